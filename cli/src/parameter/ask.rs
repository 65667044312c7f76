//! One parameter, asked on a terminal: what it is for, what may be said, and why an answer will not do.

use crate::{
    failure::Outcome,
    printer::{Printer, printable},
    prompt::{self, Line},
};
use berth_wire::domain::parameter::{Parameter, ParameterType};

/// At most this many lines of a description are shown.
const DESCRIPTION_LINES: usize = 8;

/// What is known of the answer before it is asked for.
#[derive(Debug, Clone)]
pub(super) struct Known {
    /// What the workspace has.
    pub(super) before: Option<String>,
    /// What an empty line answers.
    pub(super) offered: Option<String>,
}

/// Asks until the answer will do.
pub(super) fn answer(printer: Printer, parameter: &Parameter, known: Known) -> Outcome<String> {
    printer.say("");
    for line in described(&parameter.description) {
        printer.faint(&line);
    }
    let name = if parameter.display_name.is_empty() { &parameter.name } else { &parameter.display_name };
    let label = printable(name).replace('\n', " ");
    match (parameter.kind, parameter.options.is_empty()) {
        (_, false) if parameter.takes_several() => several(parameter, &label, &known),
        (_, false) => one(parameter, &label, &known),
        (ParameterType::Bool, true) => yes_or_no(parameter, &label, &known),
        (ParameterType::ListString, true) => list(parameter, &label, &known),
        _ => text(parameter, &label, &known),
    }
}

fn described(description: &str) -> Vec<String> {
    let text = printable(description);
    text.lines().map(str::trim_end).filter(|line| !line.is_empty()).take(DESCRIPTION_LINES).map(str::to_owned).collect()
}

fn text(parameter: &Parameter, label: &str, known: &Known) -> Outcome<String> {
    let bounds = parameter.rule.bounds().filter(|_| parameter.kind == ParameterType::Number);
    let question = bounds.map_or_else(|| label.to_owned(), |bounds| format!("{label} ({bounds})"));
    let check = |text: &str| check(parameter, text, known);
    let line = Line { question: &question, offered: known.offered.as_deref(), check: &check };
    if parameter.form_type == "textarea" { prompt::lines(line) } else { prompt::line(line) }
}

fn check(parameter: &Parameter, text: &str, known: &Known) -> Result<(), String> {
    parameter.check(text, known.before.as_deref()).map_err(|why| printable(&why.to_string()))
}

/// Bools go by the words that templates compare with.
fn yes_or_no(parameter: &Parameter, label: &str, known: &Known) -> Outcome<String> {
    let offered = known.offered.as_deref().map(|text| matches!(text, "true" | "1" | "t" | "T" | "TRUE" | "True"));
    let answer = prompt::decide(label, offered)?.to_string();
    match check(parameter, &answer, known) {
        Ok(()) => Ok(answer),
        // A declaration that allows neither is for its author to mend: the deployment says so.
        Err(_) => Ok(answer),
    }
}

/// Free texts, separated by commas, or as JSON.
fn list(parameter: &Parameter, label: &str, known: &Known) -> Outcome<String> {
    let question = format!("{label} (separated by commas)");
    let offered = known.offered.as_deref().map(shown);
    let check = |text: &str| check(parameter, &as_json(text), known);
    let line = Line { question: &question, offered: offered.as_deref(), check: &check };
    prompt::line(line).map(|text| as_json(&text))
}

/// The items of a JSON list as a person would type them; the JSON where commas would be lost.
fn shown(value: &str) -> String {
    let items: Vec<String> = serde_json::from_str(value).unwrap_or_default();
    let is_plain =
        |item: &String| !item.contains(',') && item.trim() == item.as_str() && !item.is_empty() && !item.starts_with('[');
    if items.iter().all(is_plain) { items.join(", ") } else { value.to_owned() }
}

fn as_json(text: &str) -> String {
    if text.trim_start().starts_with('[') {
        return text.trim().to_owned();
    }
    let items: Vec<&str> = text.split(',').map(str::trim).filter(|item| !item.is_empty()).collect();
    serde_json::Value::from(items).to_string()
}

fn one(parameter: &Parameter, label: &str, known: &Known) -> Outcome<String> {
    let start = parameter.options.iter().position(|option| Some(&option.value) == known.offered.as_ref()).unwrap_or(0);
    let chosen = prompt::select(&format!("{label}:"), labels(parameter), start)?;
    Ok(parameter.options.get(chosen).map(|option| option.value.clone()).unwrap_or_default())
}

fn several(parameter: &Parameter, label: &str, known: &Known) -> Outcome<String> {
    let offered: Vec<String> = known.offered.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let is_offered = |index: &usize| parameter.options.get(*index).is_some_and(|option| offered.contains(&option.value));
    let marked: Vec<usize> = (0..parameter.options.len()).filter(is_offered).collect();
    let chosen = prompt::select_several(&format!("{label}:"), labels(parameter), &marked)?;
    let values: Vec<&str> =
        chosen.into_iter().filter_map(|index| parameter.options.get(index)).map(|option| option.value.as_str()).collect();
    Ok(serde_json::Value::from(values).to_string())
}

fn labels(parameter: &Parameter) -> Vec<String> {
    let label =
        |name: &str, description: &str| if description.is_empty() { name.to_owned() } else { format!("{name} - {description}") };
    let option = |option: &berth_wire::domain::parameter::ParameterOption| {
        printable(&label(&option.name, &option.description)).replace('\n', " ")
    };
    parameter.options.iter().map(option).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_typed_with_commas_and_sent_as_json() {
        assert_eq!(as_json("git, vim,,"), r#"["git","vim"]"#);
        assert_eq!(as_json(r#" ["a,b"]"#), r#"["a,b"]"#);
        assert_eq!(shown(r#"["git","vim"]"#), "git, vim");
        assert_eq!(shown(r#"["a,b"]"#), r#"["a,b"]"#);
    }
}
