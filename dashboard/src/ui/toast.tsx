import { Toast } from "@base-ui/react/toast";
import { type ReactNode, useCallback } from "react";
import { Glyph } from "./glyph.tsx";

/** What just happened, in a corner of the page. */
export function Toasts({ children }: { children: ReactNode }) {
  return (
    <Toast.Provider>
      {children}
      <Toast.Portal>
        <Toast.Viewport className="toasts">
          <List />
        </Toast.Viewport>
      </Toast.Portal>
    </Toast.Provider>
  );
}

function List() {
  const { toasts } = Toast.useToastManager();
  return toasts.map((toast) => (
    <Toast.Root key={toast.id} toast={toast} className={`toast ${toast.type ?? "good"}`}>
      <Toast.Description />
      <Toast.Close className="icon-button" aria-label="Dismiss">
        <Glyph name="close" size={16} />
      </Toast.Close>
    </Toast.Root>
  ));
}

/** Says a sentence; what went wrong stays longer. */
export function useSay(): (sentence: string, type?: "good" | "bad") => void {
  const { add } = Toast.useToastManager();
  return useCallback(
    (description, type = "good") => {
      add({ description, type, timeout: type === "bad" ? 12_000 : 5_000, priority: type === "bad" ? "high" : "low" });
    },
    [add],
  );
}
