import { type ComponentType, useState } from "react";
import { Glyph } from "./glyph.tsx";
import type { MenuProps } from "./menu-list.tsx";

const load = () => import("./menu-list.tsx");

/** A button that opens a list of things to do. What the list takes is loaded when somebody is about to open one. */
export function ActionMenu(props: MenuProps) {
  const [List, setList] = useState<ComponentType<MenuProps>>();
  if (List) return <List {...props} />;
  const { label, trigger } = props;
  return (
    <button
      type="button"
      className={trigger ? "button quiet" : "icon-button"}
      aria-label={label}
      title={label}
      aria-haspopup="menu"
      aria-expanded={false}
      onPointerEnter={() => void load()}
      onFocus={() => void load()}
      onClick={async () => {
        const { MenuList } = await load();
        setList(() => MenuList);
      }}
    >
      {trigger ?? <Glyph name="more" />}
    </button>
  );
}
