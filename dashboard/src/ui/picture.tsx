import icons from "virtual:icons";

const SERVED = new Set(icons);

/** A template's picture where we serve it, else the first letter of its name: nothing is fetched from elsewhere. */
export function Picture({ icon, name }: { icon: string; name: string }) {
  if (SERVED.has(icon)) return <img className="picture" src={icon} alt="" width={32} height={32} />;
  return <span className="picture letter" data-letter={name.charAt(0).toUpperCase()} />;
}
