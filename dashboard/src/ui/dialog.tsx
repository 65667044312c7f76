import { Dialog } from "@base-ui/react/dialog";
import { type FormEvent, type ReactNode, useState } from "react";
import { Button, type Look } from "./button.tsx";
import { ErrorNotice } from "./notice.tsx";

interface ModalProps {
  title: string;
  open: boolean;
  onClose: () => void;
  children: ReactNode;
}

/** A question in front of the page. */
export function Modal({ title, open, onClose, children }: ModalProps) {
  return (
    <Dialog.Root open={open} onOpenChange={(next) => !next && onClose()}>
      <Dialog.Portal>
        <Dialog.Backdrop className="backdrop" />
        <Dialog.Popup className="modal">
          <Dialog.Title>{title}</Dialog.Title>
          {children}
        </Dialog.Popup>
      </Dialog.Portal>
    </Dialog.Root>
  );
}

interface ConfirmProps extends ModalProps {
  /** What the button says: a verb and its object. */
  action: string;
  busyLabel: string;
  look?: Look;
  /** Must be typed before the button does anything. */
  typed?: string;
  confirmed: () => Promise<unknown>;
}

/** Asks before something happens that cannot be taken back, does it, and says what went wrong. */
export function Confirm({ title, open, onClose, children, action, busyLabel, look = "danger", typed, confirmed }: ConfirmProps) {
  const [text, setText] = useState("");
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<Error>();
  const close = () => {
    setText("");
    setError(undefined);
    onClose();
  };
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    if (typed !== undefined && text !== typed) return;
    setBusy(true);
    setError(undefined);
    try {
      await confirmed();
      close();
    } catch (caught) {
      setError(caught as Error);
    } finally {
      setBusy(false);
    }
  };
  return (
    <Modal title={title} open={open} onClose={close}>
      <form onSubmit={submit}>
        {children}
        {typed !== undefined && (
          <label className="field">
            <span>
              Type <strong>{typed}</strong> to confirm
            </span>
            <input
              type="text"
              value={text}
              onChange={(event) => setText(event.target.value)}
              autoComplete="off"
              spellCheck={false}
            />
          </label>
        )}
        <ErrorNotice error={error} />
        <div className="actions">
          <Button onClick={close}>Keep it as it is</Button>
          <Button type="submit" look={look} busy={busy} busyLabel={busyLabel} disabled={typed !== undefined && text !== typed}>
            {action}
          </Button>
        </div>
      </form>
    </Modal>
  );
}
