/** Answers to a template's questions: what a form begins with, and what is wrong with an answer before the server is asked. */

import type { Parameter, ParameterValue, Preset } from "../api/types.ts";

export type Answers = Record<string, string>;

/** What the form shows first: the answers of before, else the defaults. */
export function initialAnswers(parameters: Parameter[], before: ParameterValue[] = []): Answers {
  const known = new Map(before.map(({ name, value }) => [name, value]));
  return Object.fromEntries(
    parameters.map(({ name, ephemeral, default_value }) => [name, ephemeral ? default_value : (known.get(name) ?? default_value)]),
  );
}

export function withPreset(answers: Answers, preset: Preset): Answers {
  return { ...answers, ...Object.fromEntries(preset.Parameters.map(({ Name, Value }) => [Name, Value])) };
}

/** The elements of a `list(string)`; none when the text is no such list. */
export function listOf(value: string): string[] {
  try {
    const list: unknown = JSON.parse(value);
    return Array.isArray(list) ? list.filter((item) => typeof item === "string") : [];
  } catch {
    return [];
  }
}

/** What the template's author says about a refusal, with the numbers filled in. */
function authorsWords(parameter: Parameter, value: string): string | undefined {
  return parameter.validation_error
    ?.replaceAll("{min}", String(parameter.validation_min))
    .replaceAll("{max}", String(parameter.validation_max))
    .replaceAll("{value}", value);
}

/** What is wrong with an answer, if the form can tell. The server has the last word. */
export function problem(parameter: Parameter, value: string, before?: string): string | undefined {
  if (value === "" && parameter.required) return "An answer is needed.";
  if (parameter.type === "number") return numberProblem(parameter, value, before);
  if (parameter.type === "string" && parameter.validation_regex) {
    const expression = compiled(parameter.validation_regex);
    if (expression && !expression.test(value)) return authorsWords(parameter, value) || `Must match ${parameter.validation_regex}`;
  }
  return undefined;
}

function numberProblem(parameter: Parameter, text: string, before?: string): string | undefined {
  const { validation_min: min, validation_max: max, validation_monotonic: monotonic } = parameter;
  if (text === "" && parameter.default_value === "" && !parameter.required) return undefined;
  const value = Number(text);
  if (text.trim() === "" || Number.isNaN(value)) return "Must be a number.";
  if (min != null && value < min) return authorsWords(parameter, text) || `Must be ${min} or more.`;
  if (max != null && value > max) return authorsWords(parameter, text) || `Must be ${max} or less.`;
  if (before === undefined || before === "") return undefined;
  if (monotonic === "increasing" && value < Number(before)) return `Can only grow: it is ${before} now.`;
  if (monotonic === "decreasing" && value > Number(before)) return `Can only shrink: it is ${before} now.`;
  return undefined;
}

/** The pattern, where the browser understands it as the server does; else the server alone checks it. */
function compiled(pattern: string): RegExp | undefined {
  try {
    return new RegExp(pattern, "u");
  } catch {
    return undefined;
  }
}

/** What is sent: the answers that a preset does not give, in the template's order. */
export function given(parameters: Parameter[], answers: Answers, preset?: Preset): ParameterValue[] {
  const preset_gives = new Set(preset?.Parameters.map(({ Name }) => Name));
  return parameters
    .filter(({ name, ephemeral, default_value }) => !preset_gives.has(name) && !(ephemeral && answers[name] === default_value))
    .map(({ name }) => ({ name, value: answers[name] ?? "" }));
}

/** A word as a shell reads it back unchanged. */
export function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
