/** A template's questions as form controls. Used when a workspace is made and when its answers are changed. */

import type { Parameter, Preset } from "../api/types.ts";
import { type Answers, listOf } from "../lib/parameters.ts";
import { CheckField, Choices, FieldError, SelectField, TextArea, TextField } from "../ui/field.tsx";

/** So many options are shown at once; more go into a list that opens. */
const OPTIONS_IN_SIGHT = 5;

interface QuestionProps {
  parameter: Parameter;
  value: string;
  error: string | undefined;
  /** It cannot be changed any more. */
  fixed: boolean;
  answer: (value: string) => void;
}

export interface QuestionsProps {
  parameters: Parameter[];
  answers: Answers;
  errors: Record<string, string | undefined>;
  /** Whether the workspace exists: what is immutable stays. */
  exists?: boolean;
  answer: (name: string, value: string) => void;
}

export function Questions({ parameters, answers, errors, exists = false, answer }: QuestionsProps) {
  const question = (parameter: Parameter) => (
    <Question
      key={parameter.name}
      parameter={parameter}
      value={answers[parameter.name] ?? ""}
      error={errors[parameter.name]}
      fixed={exists && !parameter.mutable}
      answer={(value) => answer(parameter.name, value)}
    />
  );
  const ephemeral = parameters.filter((parameter) => parameter.ephemeral);
  return (
    <>
      {parameters.filter((parameter) => !parameter.ephemeral).map(question)}
      {ephemeral.length > 0 && (
        <section className="once">
          <h3>For this build only</h3>
          {ephemeral.map(question)}
        </section>
      )}
    </>
  );
}

function words(parameter: Parameter, fixed: boolean) {
  const once = !parameter.mutable && !parameter.ephemeral;
  const label = (
    <>
      {parameter.display_name || parameter.name}
      {parameter.required && <span className="required"> (required)</span>}
      {once && <span className="tag">{fixed ? "cannot change any more" : "cannot change later"}</span>}
    </>
  );
  return { label, hint: parameter.description_plaintext || undefined };
}

function Question(props: QuestionProps) {
  const { parameter, value, error, fixed, answer } = props;
  const described = { ...words(parameter, fixed), error };
  if (parameter.type === "list(string)") return <ListQuestion {...props} />;
  if (parameter.options.length > 0) return <OptionQuestion {...props} />;
  if (parameter.type === "bool") {
    const { label, hint } = described;
    const change = (on: boolean) => answer(on ? "true" : "false");
    return (
      <div className="field">
        <CheckField
          label={label}
          hint={hint}
          checked={value === "true"}
          disabled={fixed}
          onChange={(event) => change(event.target.checked)}
        />
        <FieldError error={error} />
      </div>
    );
  }
  if (parameter.type === "number") return <NumberQuestion {...props} />;
  if (parameter.form_type === "textarea") {
    return <TextArea {...described} value={value} disabled={fixed} onChange={(event) => answer(event.target.value)} />;
  }
  return (
    <TextField {...described} value={value} disabled={fixed} spellCheck={false} onChange={(event) => answer(event.target.value)} />
  );
}

function OptionQuestion({ parameter, value, error, fixed, answer }: QuestionProps) {
  const described = { ...words(parameter, fixed), error };
  const many = parameter.options.length > OPTIONS_IN_SIGHT || parameter.form_type === "dropdown";
  if (many) {
    return (
      <SelectField {...described} value={value} disabled={fixed} onChange={(event) => answer(event.target.value)}>
        {!parameter.options.some((option) => option.value === value) && <option value="">Choose one</option>}
        {parameter.options.map((option) => (
          <option key={option.value} value={option.value}>
            {option.description ? `${option.name}: ${option.description}` : option.name}
          </option>
        ))}
      </SelectField>
    );
  }
  const choices = parameter.options.map((option) => ({ value: option.value, label: option.name, hint: option.description }));
  return <Choices {...described} kind="radio" choices={choices} chosen={[value]} disabled={fixed} onChoose={answer} />;
}

function ListQuestion({ parameter, value, error, fixed, answer }: QuestionProps) {
  const described = { ...words(parameter, fixed), error };
  const list = listOf(value);
  if (parameter.options.length > 0 && parameter.form_type !== "multi-select") {
    return <OptionQuestion parameter={parameter} value={value} error={error} fixed={fixed} answer={answer} />;
  }
  if (parameter.options.length > 0) {
    const choices = parameter.options.map((option) => ({ value: option.value, label: option.name, hint: option.description }));
    // In the template's order, so that the same choice is the same answer.
    const choose = (chosen: string, on: boolean) =>
      answer(JSON.stringify(choices.map((choice) => choice.value).filter((each) => (each === chosen ? on : list.includes(each)))));
    return <Choices {...described} kind="checkbox" choices={choices} chosen={list} disabled={fixed} onChoose={choose} />;
  }
  const lines = (text: string) => JSON.stringify(text === "" ? [] : text.split("\n"));
  const hint = [described.hint, "One a line."].filter(Boolean).join(" ");
  return (
    <TextArea
      {...described}
      hint={hint}
      value={list.join("\n")}
      disabled={fixed}
      onChange={(event) => answer(lines(event.target.value))}
    />
  );
}

function NumberQuestion({ parameter, value, error, fixed, answer }: QuestionProps) {
  const { validation_min: min, validation_max: max } = parameter;
  const range = [min != null && `from ${min}`, max != null && `to ${max}`].filter(Boolean).join(" ");
  const described = { ...words(parameter, fixed), error };
  const hint = [described.hint, range && `A number ${range}.`].filter(Boolean).join(" ");
  const slides = parameter.form_type === "slider" && min != null && max != null;
  return (
    <div className={slides ? "slides" : undefined}>
      <TextField
        {...described}
        hint={hint || undefined}
        inputMode="decimal"
        value={value}
        disabled={fixed}
        onChange={(event) => answer(event.target.value)}
      />
      {slides && (
        <input
          type="range"
          aria-label={parameter.display_name || parameter.name}
          min={min}
          max={max}
          value={Number(value) || min}
          disabled={fixed}
          onChange={(event) => answer(event.target.value)}
        />
      )}
    </div>
  );
}

interface PresetsProps {
  presets: Preset[];
  chosen: Preset | undefined;
  choose: (preset: Preset | undefined) => void;
}

/** Answers that belong together, by name. */
export function Presets({ presets, chosen, choose }: PresetsProps) {
  if (presets.length === 0) return null;
  const choices = [
    ...presets.map((preset) => ({ value: preset.ID, label: preset.Name, hint: preset.Description })),
    { value: "", label: "My own answers", hint: "Change what you like below." },
  ];
  return (
    <Choices
      label="Preset"
      kind="radio"
      choices={choices}
      chosen={[chosen?.ID ?? ""]}
      onChoose={(id) => choose(presets.find((preset) => preset.ID === id))}
    />
  );
}
