import { Menu } from "@base-ui/react/menu";
import type { ReactNode } from "react";
import { Glyph, type GlyphName } from "./glyph.tsx";

interface Item {
  label: string;
  glyph?: GlyphName;
  danger?: boolean;
  disabled?: boolean;
  choose: () => void;
}

export interface MenuProps {
  /** The name of the button for everyone. */
  label: string;
  trigger?: ReactNode;
  heading?: ReactNode;
  items: Item[];
}

/** The same button with its list, which is open at first: it takes the place of one that was pressed. */
export function MenuList({ label, trigger, heading, items }: MenuProps) {
  return (
    <Menu.Root defaultOpen>
      <Menu.Trigger className={trigger ? "button quiet" : "icon-button"} aria-label={label} title={label}>
        {trigger ?? <Glyph name="more" />}
      </Menu.Trigger>
      <Menu.Portal>
        <Menu.Positioner className="menu-place" align="end" sideOffset={4}>
          <Menu.Popup className="menu">
            {heading && <div className="menu-heading">{heading}</div>}
            {items.map((item) => (
              <Menu.Item
                key={item.label}
                className={item.danger ? "menu-item danger" : "menu-item"}
                disabled={item.disabled ?? false}
                onClick={item.choose}
              >
                {item.glyph && <Glyph name={item.glyph} size={16} />}
                {item.label}
              </Menu.Item>
            ))}
          </Menu.Popup>
        </Menu.Positioner>
      </Menu.Portal>
    </Menu.Root>
  );
}
