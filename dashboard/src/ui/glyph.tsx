/** Line pictures, drawn here. They are decoration: what they mean is always said in words beside them. */

const PATHS = {
  boxes: "M4 4h7v7H4zM13 4h7v7h-7zM4 13h7v7H4zM13 13h7v7h-7z",
  layers: "M12 3 3 8l9 5 9-5zM3 12l9 5 9-5M3 16l9 5 9-5",
  people:
    "M9 11a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM2 21c0-4 3-6.500 7-6.500s7 2.500 7 6.500M16 3.500a4 4 0 0 1 0 7.500M18.500 15c2.200.8 3.500 2.800 3.500 6",
  pulse: "M2 12h5l3-8 4 16 3-8h5",
  play: "M7 4v16l13-8z",
  stop: "M6 6h12v12H6z",
  more: "M5 12h.01M12 12h.01M19 12h.01",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  check: "M4 12.500 9.500 18 20 6.500",
  search: "M11 18a7 7 0 1 0 0-14 7 7 0 0 0 0 14zM20 20l-4-4",
  plus: "M12 5v14M5 12h14",
  clock: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18zM12 7v5l3.500 2",
  warning: "M12 3 2 20h20zM12 10v4M12 17h.01",
  external: "M14 4h6v6M20 4l-9 9M18 14v6H4V6h6",
  person: "M12 12a4.500 4.500 0 1 0 0-9 4.500 4.500 0 0 0 0 9zM4 21c0-4.500 3.500-7 8-7s8 2.500 8 7",
  key: "M8 19a5 5 0 1 0 0-10 5 5 0 0 0 0 10zM11.500 10.500 20 2M16 6l3 3",
  terminal: "M4 5h16v14H4zM8 9l3 3-3 3M13 15h4",
  down: "M6 9l6 6 6-6",
  right: "M9 6l6 6-6 6",
  file: "M6 3h8l4 4v14H6zM14 3v4h4",
  calendar: "M4 6h16v14H4zM4 10h16M8 3v4M16 3v4",
  trash: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13",
  close: "M6 6l12 12M18 6L6 18",
} as const;

export type GlyphName = keyof typeof PATHS;

export function Glyph({ name, size = 18 }: { name: GlyphName; size?: number }) {
  return (
    <svg className={`glyph ${name}`} width={size} height={size} viewBox="0 0 24 24" aria-hidden="true" focusable="false">
      <path d={PATHS[name]} />
    </svg>
  );
}
