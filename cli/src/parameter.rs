//! Answers to a template's parameters: from flags, from a file, from another workspace, from a preset, from the person.

mod ask;
pub(crate) mod file;
mod preset;
mod rebuild;

pub use preset::{Choice, choose};
pub use rebuild::Typed;

use crate::{
    config::Environment,
    failure::{Failure, Outcome},
    printer::{Printer, printable, render, table},
};
use berth_wire::{
    domain::{
        ParameterError, ParameterValue,
        parameter::{self, Answers, Parameter, ParameterRule, ParameterType},
    },
    template::RichParameter,
};
use clap::Args;
use std::{collections::BTreeMap, path::PathBuf};

/// A summary cuts values that are longer than this, in characters.
const SUMMARY_CHARS: usize = 60;

/// The flags that answer parameters.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Parameters")]
pub struct ParameterFlags {
    /// Answer to a parameter of the template; may be repeated [variable: CODER_RICH_PARAMETER]
    #[arg(long = "parameter", value_name = "NAME=VALUE")]
    pub parameter: Vec<String>,
    /// YAML or JSON file of answers: `name: value` [variable: CODER_RICH_PARAMETER_FILE]
    #[arg(long, value_name = "FILE")]
    pub rich_parameter_file: Option<PathBuf>,
    /// What to offer, and to take without asking with --yes, instead of the template's default; may be repeated [variable:
    /// CODER_RICH_PARAMETER_DEFAULT]
    #[arg(long, value_name = "NAME=VALUE")]
    pub parameter_default: Vec<String>,
    /// Answer to a parameter that holds for this build only; may be repeated
    #[arg(long, alias = "build-option", value_name = "NAME=VALUE")]
    pub ephemeral_parameter: Vec<String>,
    /// Ask for the parameters that hold for one build only
    #[arg(long, alias = "build-options")]
    pub prompt_ephemeral_parameters: bool,
}

/// Whether to ask again for what is known.
#[derive(Debug, Clone, Copy, Default, Args)]
#[command(next_help_heading = "Parameters")]
pub struct AlwaysPrompt {
    /// Ask for every parameter that may change, offering what the workspace has
    #[arg(long)]
    pub always_prompt: bool,
}

/// Answers given before anything is asked.
#[derive(Debug, Clone, Default)]
pub struct Given {
    /// By flags, variables and the file.
    pub values: BTreeMap<String, String>,
    /// What to offer instead of the template's defaults.
    pub defaults: BTreeMap<String, String>,
}

impl ParameterFlags {
    /// The answers given. A flag wins over the variable, both over the file.
    ///
    /// # Errors
    /// When a flag is not `name=value`, or the file cannot be read.
    pub fn given(&self, environment: &Environment) -> Outcome<Given> {
        let mut given = Given::default();
        let path = self.rich_parameter_file.clone().or_else(|| environment.setting("RICH_PARAMETER_FILE").map(PathBuf::from));
        if let Some(path) = path {
            given.values.extend(file::read(&path)?);
        }
        extend(&mut given.values, "the variable RICH_PARAMETER", environment.setting("RICH_PARAMETER"))?;
        extend(&mut given.values, "--parameter", &self.parameter)?;
        extend(&mut given.values, "--ephemeral-parameter", &self.ephemeral_parameter)?;
        extend(&mut given.defaults, "the variable RICH_PARAMETER_DEFAULT", environment.setting("RICH_PARAMETER_DEFAULT"))?;
        extend(&mut given.defaults, "--parameter-default", &self.parameter_default)?;
        Ok(given)
    }
}

/// Adds the pairs of flags or of a variable.
fn extend(values: &mut BTreeMap<String, String>, source: &str, texts: impl IntoIterator<Item = impl AsRef<str>>) -> Outcome {
    for text in texts {
        for field in fields(text.as_ref(), source) {
            let Some((name, value)) = field.split_once('=') else {
                return Err(Failure::usage(format!("{source} {field:?} has no value")).hint("write --parameter name=value"));
            };
            values.insert(name.trim().to_owned(), value.to_owned());
        }
    }
    Ok(())
}

/// The pairs in the text of one flag: the text as it is, or, as scripts for `coder` quote it, comma-separated `"name=value"` with
/// doubled quotes inside. A variable holds several, quoted or not.
fn fields(text: &str, source: &str) -> Vec<String> {
    if !text.starts_with('"') && source.starts_with("--") {
        return vec![text.to_owned()];
    }
    let mut fields = vec![String::new()];
    let (mut is_quoted, mut characters) = (false, text.chars().peekable());
    while let Some(character) = characters.next() {
        let Some(field) = fields.last_mut() else { break };
        match character {
            '"' if is_quoted && characters.next_if_eq(&'"').is_some() => field.push('"'),
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => fields.push(String::new()),
            other => field.push(other),
        }
    }
    fields
}

/// What is asked, and how.
#[derive(Debug, Clone, Copy)]
pub struct Asking<'a> {
    /// What the version asks.
    pub parameters: &'a [Parameter],
    /// The answers of the workspace's latest build; none for a new workspace.
    pub previous: Option<&'a [ParameterValue]>,
    /// The answers of the chosen preset.
    pub preset: &'a [ParameterValue],
    /// Whether nothing is asked that has a default.
    pub yes: bool,
    /// Whether what the workspace has is asked for again.
    pub always: bool,
    /// Whether parameters that hold for one build only are asked for.
    pub ephemeral: bool,
}

/// The parameters of a version as the rules know them.
///
/// # Errors
/// When the deployment is newer and has a type that this program does not know.
pub fn known(asked: &[RichParameter]) -> Outcome<Vec<Parameter>> {
    asked.iter().map(to_domain).collect()
}

impl Asking<'_> {
    /// The answers to send: those given, and those asked for. Nothing is sent before all of them will do.
    ///
    /// # Errors
    /// When an answer will not do, names no parameter, or is missing and cannot be asked for. The failure names all of them and the flags.
    pub fn complete(self, mut given: Given, printer: Printer) -> Outcome<Vec<ParameterValue>> {
        let may_ask = printer.is_interactive() && !self.yes;
        let open = self.problems(&given.values)?;
        if !may_ask {
            self.take_defaults(&mut given);
            let left: Vec<_> = self.problems(&given.values)?;
            return if left.is_empty() { Ok(pairs(given.values)) } else { Err(refusal(&left, self.parameters)) };
        }
        let asked: Vec<_> = self.parameters.iter().filter(|parameter| self.is_asked(parameter, &given, &open)).collect();
        for parameter in asked {
            let kept = |problem: &&ParameterError| matches!(problem, ParameterError::Kept { name, .. } if *name == parameter.name);
            if let Some(problem) = open.iter().find(kept) {
                printer.warn(printable(&problem.to_string()));
            }
            let known = ask::Known { before: self.before(parameter), offered: self.offered(parameter, &given) };
            given.values.insert(parameter.name.clone(), ask::answer(printer, parameter, known)?);
        }
        let left = self.problems(&given.values)?;
        if left.is_empty() { Ok(pairs(given.values)) } else { Err(refusal(&left, self.parameters)) }
    }

    /// What is open: what is missing, and what the workspace has but the version does not allow. Whatever else is wrong fails.
    fn problems(&self, values: &BTreeMap<String, String>) -> Outcome<Vec<ParameterError>> {
        let given = pairs(values.clone());
        let answers = Answers { preset: self.preset, given: &given, previous: self.previous };
        let Err(errors) = parameter::resolve(self.parameters, answers) else { return Ok(Vec::new()) };
        let is_open = |error: &ParameterError| matches!(error, ParameterError::Missing(_) | ParameterError::Kept { .. });
        if errors.iter().all(is_open) { Ok(errors) } else { Err(refusal(&errors, self.parameters)) }
    }

    fn is_asked(&self, parameter: &Parameter, given: &Given, open: &[ParameterError]) -> bool {
        let is_answered = given.values.contains_key(&parameter.name) || has(self.preset, &parameter.name);
        let is_open = open.iter().any(|problem| problem.field() == parameter.name);
        let is_new = self.previous.is_none_or(|previous| !has(previous, &parameter.name));
        let is_due = match parameter.ephemeral {
            true => self.ephemeral,
            false => is_new || (self.always && parameter.mutable),
        };
        !is_answered && (is_open || is_due)
    }

    /// Without anyone to ask, `--parameter-default` stands in for the template's.
    fn take_defaults(&self, given: &mut Given) {
        for parameter in self.parameters {
            let is_answered = given.values.contains_key(&parameter.name) || has(self.preset, &parameter.name);
            let is_new = self.previous.is_none_or(|previous| !has(previous, &parameter.name));
            if let Some(default) = given.defaults.get(&parameter.name).filter(|_| !is_answered && is_new) {
                given.values.insert(parameter.name.clone(), default.clone());
            }
        }
    }

    fn before(&self, parameter: &Parameter) -> Option<String> {
        let previous = self.previous.filter(|_| !parameter.ephemeral)?;
        previous.iter().find(|value| value.name == parameter.name).map(|value| value.value.clone())
    }

    /// The answer that an empty line gives: what the workspace has, else the default. One that will not do is not offered.
    fn offered(&self, parameter: &Parameter, given: &Given) -> Option<String> {
        let before = self.before(parameter);
        let mut candidates =
            [before.clone(), given.defaults.get(&parameter.name).cloned(), parameter.default.clone()].into_iter().flatten();
        candidates.find(|text| parameter.check(text, before.as_deref()).is_ok())
    }
}

fn has(values: &[ParameterValue], name: &str) -> bool {
    values.iter().any(|value| value.name == name)
}

fn pairs(values: BTreeMap<String, String>) -> Vec<ParameterValue> {
    values.into_iter().map(|(name, value)| ParameterValue { name, value }).collect()
}

/// All that is wrong in one failure, and the flags that mend it.
fn refusal(errors: &[ParameterError], parameters: &[Parameter]) -> Failure {
    let missing: Vec<&str> =
        errors.iter().filter(|error| matches!(error, ParameterError::Missing(_))).map(ParameterError::field).collect();
    let mut clauses: Vec<String> =
        errors.iter().filter(|error| !matches!(error, ParameterError::Missing(_))).map(ToString::to_string).collect();
    match missing.as_slice() {
        [] => {}
        [one] => clauses.push(format!("parameter {one:?} needs a value")),
        several => clauses.push(format!("{} parameters need a value: {}", several.len(), several.join(", "))),
    }
    let hints: Vec<String> = errors.iter().map(|error| remedy(error, parameters)).collect();
    let flags: Vec<&str> = hints.iter().filter(|hint| hint.starts_with("--")).map(String::as_str).collect();
    let hint = match hints.iter().find(|hint| !hint.starts_with("--")) {
        Some(words) => words.clone(),
        None => flags.join(" "),
    };
    Failure::usage(clauses.join("; ")).hint(hint)
}

/// The flag that mends it, or words when none does.
fn remedy(error: &ParameterError, parameters: &[Parameter]) -> String {
    let names = || parameters.iter().map(|parameter| parameter.name.as_str()).collect::<Vec<_>>().join(", ");
    match error {
        ParameterError::Unknown(_) if parameters.is_empty() => "it has none; leave --parameter away".to_owned(),
        ParameterError::Unknown(_) => format!("it has {}", names()),
        ParameterError::Immutable(name) => format!("leave {name} away; another value needs a new workspace"),
        other => {
            let parameter = parameters.iter().find(|parameter| parameter.name == other.field());
            format!("--parameter {}={}", other.field(), parameter.map_or("VALUE".to_owned(), example))
        }
    }
}

/// What a value could look like, for the hint.
fn example(parameter: &Parameter) -> String {
    let quoted = |text: &str| {
        let is_plain = text.chars().all(|character| character.is_ascii_alphanumeric() || "-_./:+@%,".contains(character));
        if is_plain && !text.is_empty() { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
    };
    match (parameter.options.first(), parameter.kind) {
        (Some(option), _) if parameter.takes_several() => quoted(&serde_json::json!([option.value]).to_string()),
        (Some(option), _) => quoted(&option.value),
        (None, ParameterType::Number) => parameter.rule.min.or(parameter.rule.max).unwrap_or(1).to_string(),
        (None, ParameterType::Bool) => "true".to_owned(),
        (None, ParameterType::ListString) => "'[\"one\",\"two\"]'".to_owned(),
        (None, ParameterType::String) => "VALUE".to_owned(),
    }
}

/// The parameter as the rules know it.
fn to_domain(parameter: &RichParameter) -> Outcome<Parameter> {
    let kind = parameter
        .kind
        .parse()
        .map_err(|why| Failure::new(format!("parameter {:?}: {why}", parameter.name)).hint("update berth"))?;
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Ok(Parameter {
        name: parameter.name.clone(),
        display_name: parameter.display_name.clone(),
        description: parameter.description_plaintext.clone(),
        kind,
        form_type: parameter.form_type.clone(),
        mutable: parameter.mutable,
        default: (!parameter.required).then(|| parameter.default_value.clone()),
        icon: parameter.icon.clone(),
        options: parameter.options.clone(),
        rule: ParameterRule {
            regex: some(&parameter.validation_regex),
            error: some(&parameter.validation_error),
            min: parameter.validation_min,
            max: parameter.validation_max,
            monotonic: some(&parameter.validation_monotonic),
            ..ParameterRule::default()
        },
        ephemeral: parameter.ephemeral,
        order: 0,
    })
}

/// The answers of a build in a table: what people see before a workspace is made, and in `show`.
#[must_use]
pub fn summary(values: &[ParameterValue]) -> String {
    let mut rows = table(["parameter", "value"]);
    for value in values {
        let text = printable(&value.value).replace('\n', " ");
        let shown: String = text.chars().take(SUMMARY_CHARS).collect();
        rows.add_row([printable(&value.name), if shown.len() < text.len() { format!("{shown}...") } else { shown }]);
    }
    render(&rows)
}

/// Every answer that a build will have, as the deployment will decide it.
#[must_use]
pub fn decided(asking: Asking<'_>, sent: &[ParameterValue]) -> Vec<ParameterValue> {
    let answers = Answers { preset: asking.preset, given: sent, previous: asking.previous };
    parameter::resolve(asking.parameters, answers).unwrap_or_default()
}

#[cfg(test)]
mod tests;
