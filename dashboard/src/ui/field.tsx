import { type InputHTMLAttributes, type ReactNode, type SelectHTMLAttributes, type TextareaHTMLAttributes, useId } from "react";

interface Described {
  label: ReactNode;
  hint?: ReactNode;
  error?: string | undefined;
}

interface Wired {
  id: string;
  "aria-describedby": string | undefined;
  "aria-invalid": true | undefined;
}

/** A label, a control, and what is to be said about it. */
function Field({ label, hint, error, children }: Described & { children: (wired: Wired) => ReactNode }) {
  const id = useId();
  const described = [hint && `${id}-hint`, error && `${id}-error`].filter(Boolean).join(" ");
  return (
    <div className="field">
      <label htmlFor={id}>{label}</label>
      {hint && (
        <p className="hint" id={`${id}-hint`}>
          {hint}
        </p>
      )}
      {children({ id, "aria-describedby": described || undefined, "aria-invalid": error ? true : undefined })}
      <FieldError id={`${id}-error`} error={error} />
    </div>
  );
}

export function FieldError({ id, error }: { id?: string; error: string | undefined }) {
  return error ? (
    <p className="field-error" id={id}>
      {error}
    </p>
  ) : null;
}

export function TextField({ label, hint, error, ...input }: Described & InputHTMLAttributes<HTMLInputElement>) {
  return (
    <Field label={label} hint={hint} error={error}>
      {(wired) => <input type="text" {...input} {...wired} />}
    </Field>
  );
}

export function TextArea({ label, hint, error, ...area }: Described & TextareaHTMLAttributes<HTMLTextAreaElement>) {
  return (
    <Field label={label} hint={hint} error={error}>
      {(wired) => <textarea rows={4} {...area} {...wired} />}
    </Field>
  );
}

export function SelectField({ label, hint, error, children, ...select }: Described & SelectHTMLAttributes<HTMLSelectElement>) {
  return (
    <Field label={label} hint={hint} error={error}>
      {(wired) => (
        <select {...select} {...wired}>
          {children}
        </select>
      )}
    </Field>
  );
}

/** One yes or no. */
export function CheckField({ label, hint, ...input }: Omit<Described, "error"> & InputHTMLAttributes<HTMLInputElement>) {
  const id = useId();
  return (
    <div className="check-field">
      <input {...input} type="checkbox" id={id} aria-describedby={hint ? `${id}-hint` : undefined} />
      <label htmlFor={id}>{label}</label>
      {hint && (
        <p className="hint" id={`${id}-hint`}>
          {hint}
        </p>
      )}
    </div>
  );
}

interface Choice {
  value: string;
  label: string;
  hint?: string;
}

interface ChoicesProps extends Described {
  kind: "radio" | "checkbox";
  choices: Choice[];
  chosen: string[];
  disabled?: boolean;
  onChoose: (value: string, on: boolean) => void;
}

/** One or some of a few, all in sight. */
export function Choices({ label, hint, error, kind, choices, chosen, disabled, onChoose }: ChoicesProps) {
  const id = useId();
  return (
    <fieldset className="field choices" disabled={disabled} aria-describedby={error ? `${id}-error` : undefined}>
      <legend>{label}</legend>
      {hint && <div className="hint">{hint}</div>}
      <div className="choice-list">
        {choices.map((choice) => (
          <label key={choice.value} className="choice">
            <input
              type={kind}
              name={id}
              value={choice.value}
              checked={chosen.includes(choice.value)}
              onChange={(event) => onChoose(choice.value, event.target.checked)}
            />
            <span>
              {choice.label}
              {choice.hint && <small>{choice.hint}</small>}
            </span>
          </label>
        ))}
      </div>
      <FieldError id={`${id}-error`} error={error} />
    </fieldset>
  );
}
