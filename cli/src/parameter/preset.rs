//! The preset of a new workspace: named, asked for, or the template's default one.

use crate::{
    failure::{Failure, Outcome},
    parameter::Given,
    printer::{Printer, printable},
    prompt,
};
use berth_wire::{domain::ParameterValue, template::Preset};
use uuid::Uuid;

/// The word that stands for no preset.
const NONE: &str = "none";

/// The chosen preset.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// Its id, to be sent with the request; none when no preset was chosen or one of its answers was replaced.
    pub id: Option<Uuid>,
    /// Its answers.
    pub values: Vec<ParameterValue>,
}

/// Chooses: by name, else by asking, else the default. The answers of a preset that was named win over those given one by one, as the
/// deployment has it; those of the default one do not.
///
/// # Errors
/// When there is no preset of that name, or the person interrupts.
pub fn choose(
    presets: &[Preset],
    named: Option<&str>,
    given: &mut Given,
    ask: Option<Printer>,
    printer: Printer,
) -> Outcome<Choice> {
    let default = presets.iter().position(|preset| preset.default);
    let chosen = match (named, ask) {
        _ if presets.is_empty() && named.is_none_or(is_none) => return Ok(Choice::default()),
        (Some(name), _) if is_none(name) => return Ok(Choice::default()),
        (Some(name), _) => Some(by_name(presets, name)?),
        (None, Some(_)) => question(presets, default)?,
        (None, None) => default.and_then(|index| presets.get(index)),
    };
    let Some(preset) = chosen else { return Ok(Choice::default()) };
    let values: Vec<ParameterValue> = preset.parameters.iter().map(value).collect();
    let differs = |value: &&ParameterValue| given.values.get(&value.name).is_some_and(|given| *given != value.value);
    let replaced: Vec<String> = values.iter().filter(differs).map(|value| value.name.clone()).collect();
    let name = printable(&preset.name);
    if replaced.is_empty() {
        printer.say(format_args!("The preset {name} answers {}.", names(&values)));
        return Ok(Choice { id: Some(preset.id), values });
    }
    if named.is_some() || ask.is_some() {
        printer.warn(format_args!("the preset {name} answers {}: what was given for it does not count", replaced.join(", ")));
        return Ok(Choice { id: Some(preset.id), values });
    }
    printer.say(format_args!("The preset {name} answers what was not given."));
    for value in values {
        given.values.entry(value.name).or_insert(value.value);
    }
    Ok(Choice::default())
}

fn is_none(name: &str) -> bool {
    name.eq_ignore_ascii_case(NONE)
}

fn value(parameter: &berth_wire::template::PresetParameter) -> ParameterValue {
    ParameterValue { name: parameter.name.clone(), value: parameter.value.clone() }
}

fn names(values: &[ParameterValue]) -> String {
    match values {
        [] => "nothing".to_owned(),
        values => values.iter().map(|value| printable(&value.name)).collect::<Vec<_>>().join(", "),
    }
}

fn by_name<'a>(presets: &'a [Preset], name: &str) -> Outcome<&'a Preset> {
    presets.iter().find(|preset| preset.name == name).ok_or_else(|| {
        let names: Vec<&str> = presets.iter().map(|preset| preset.name.as_str()).collect();
        let hint =
            if names.is_empty() { "it has none; leave --preset away".to_owned() } else { format!("it has {}", names.join(", ")) };
        Failure::usage(format!("the template has no preset {name:?}")).hint(hint)
    })
}

fn question(presets: &[Preset], default: Option<usize>) -> Outcome<Option<&Preset>> {
    let label = |preset: &Preset| {
        let label =
            if preset.description.is_empty() { preset.name.clone() } else { format!("{} - {}", preset.name, preset.description) };
        printable(&label).replace('\n', " ")
    };
    let mut labels: Vec<String> = presets.iter().map(label).collect();
    labels.push("None: answer one by one".to_owned());
    let start = default.unwrap_or(presets.len());
    Ok(presets.get(prompt::select("Preset:", labels, start)?))
}
