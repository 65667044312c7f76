//! Answers to a template's parameters: from flags, from a file, from the person.

use crate::{
    config::{plain, read_optional},
    failure::{Failure, Outcome},
    printer::Printer,
};
use berth_wire::{
    domain::{
        ParameterValue,
        parameter::{Parameter, ParameterRule, ParameterType},
    },
    template::RichParameter,
};
use clap::Args;
use inquire::{
    Confirm, MultiSelect, Select, Text,
    validator::{ErrorMessage, Validation},
};
use std::{collections::BTreeMap, path::PathBuf};

/// The flags that answer parameters.
#[derive(Debug, Clone, Default, Args)]
pub struct ParameterFlags {
    /// Answer to a parameter of the template; may be repeated
    #[arg(long = "parameter", value_name = "NAME=VALUE")]
    pub parameter: Vec<String>,
    /// File of answers: `name: value` lines, or a JSON object
    #[arg(long, value_name = "FILE")]
    pub rich_parameter_file: Option<PathBuf>,
}

impl ParameterFlags {
    /// The answers given. A flag wins over the file.
    ///
    /// # Errors
    /// When a flag is not `name=value`, or the file cannot be read.
    pub fn given(&self) -> Outcome<Vec<ParameterValue>> {
        let mut values = BTreeMap::new();
        if let Some(path) = &self.rich_parameter_file {
            let text = read_optional(path)?.ok_or_else(|| {
                let missing = plain(&std::io::Error::from(std::io::ErrorKind::NotFound));
                Failure::usage(format!("cannot read {}: {missing}", path.display())).hint("name an existing file")
            })?;
            values.extend(
                parse_file(&text)
                    .map_err(|why| Failure::usage(format!("{}: {why}", path.display())).hint("write `name: value` lines"))?,
            );
        }
        for flag in &self.parameter {
            let Some((name, value)) = flag.split_once('=') else {
                return Err(Failure::usage(format!("--parameter {flag:?} has no value")).hint("write --parameter name=value"));
            };
            values.insert(name.trim().to_owned(), value.to_owned());
        }
        Ok(values.into_iter().map(|(name, value)| ParameterValue { name, value }).collect())
    }
}

/// Checks the given answers and gets the missing ones: from the person when there is one to ask, else the template's defaults are left to stand.
///
/// # Errors
/// When an answer will not do, names no parameter, or is missing and cannot be asked for. The failure names the flag.
pub fn complete(asked: &[RichParameter], given: Vec<ParameterValue>, printer: Printer, ask: bool) -> Outcome<Vec<ParameterValue>> {
    let parameters: Vec<Parameter> = asked.iter().map(to_domain).collect::<Result<_, _>>()?;
    for value in &given {
        let Some(parameter) = parameters.iter().find(|parameter| parameter.name == value.name) else {
            return Err(unknown(value, &parameters));
        };
        parameter.check(&value.value, None).map_err(|why| {
            Failure::usage(format!("parameter {:?}: {why}", value.name))
                .hint(format!("give another value: --parameter {}=...", value.name))
        })?;
    }
    let mut values = given;
    for parameter in &parameters {
        if values.iter().any(|value| value.name == parameter.name) {
            continue;
        }
        if ask && printer.is_interactive() {
            values.push(ParameterValue { name: parameter.name.clone(), value: question(parameter)? });
        } else if parameter.default.is_none() {
            let clause = format!("parameter {:?} needs a value", parameter.name);
            return Err(Failure::usage(clause).hint(format!("--parameter {}={}", parameter.name, example(parameter))));
        }
    }
    Ok(values)
}

fn unknown(value: &ParameterValue, parameters: &[Parameter]) -> Failure {
    let names: Vec<&str> = parameters.iter().map(|parameter| parameter.name.as_str()).collect();
    let hint =
        if names.is_empty() { "it has none; leave --parameter away".to_owned() } else { format!("it has {}", names.join(", ")) };
    Failure::usage(format!("the template has no parameter {:?}", value.name)).hint(hint)
}

/// What a value could look like, for the hint.
fn example(parameter: &Parameter) -> String {
    match (parameter.options.first(), parameter.kind) {
        (Some(option), _) => option.value.clone(),
        (None, ParameterType::Number) => parameter.rule.min.unwrap_or(1).to_string(),
        (None, ParameterType::Bool) => "true".to_owned(),
        (None, ParameterType::ListString) => "'[\"one\",\"two\"]'".to_owned(),
        (None, ParameterType::String) => "VALUE".to_owned(),
    }
}

fn question(parameter: &Parameter) -> Outcome<String> {
    let label = if parameter.display_name.is_empty() { &parameter.name } else { &parameter.display_name };
    let question = format!("{label}:");
    let help = crate::printer::printable(&parameter.description).lines().next().unwrap_or_default().to_owned();
    let help = (!help.is_empty()).then_some(help);
    crate::prompt::answer(match (parameter.kind, parameter.options.is_empty()) {
        (ParameterType::ListString, false) => ask_several(parameter, &question, help.as_deref()),
        (_, false) => ask_choice(parameter, &question, help.as_deref()),
        (ParameterType::Bool, true) => {
            let mut ask = Confirm::new(&question);
            ask.help_message = help.as_deref();
            ask.default = parameter.default.as_deref().map(|default| default == "true");
            ask.prompt().map(|yes| yes.to_string())
        }
        _ => ask_text(parameter, &question, help.as_deref()),
    })
}

type Asked = Result<String, inquire::InquireError>;

fn ask_text(parameter: &Parameter, question: &str, help: Option<&str>) -> Asked {
    let rules = parameter.clone();
    let mut ask = Text::new(question).with_validator(move |text: &str| {
        Ok(match rules.check(text, None) {
            Ok(()) => Validation::Valid,
            Err(why) => Validation::Invalid(ErrorMessage::Custom(why.to_string())),
        })
    });
    ask.help_message = help;
    ask.default = parameter.default.as_deref();
    ask.prompt()
}

fn ask_choice(parameter: &Parameter, question: &str, help: Option<&str>) -> Asked {
    let start = parameter.options.iter().position(|option| Some(&option.value) == parameter.default.as_ref()).unwrap_or(0);
    let mut ask = Select::new(question, labels(parameter)).with_starting_cursor(start);
    if help.is_some() {
        ask.help_message = help;
    }
    let chosen = ask.raw_prompt()?.index;
    Ok(parameter.options.get(chosen).map(|option| option.value.clone()).unwrap_or_default())
}

fn ask_several(parameter: &Parameter, question: &str, help: Option<&str>) -> Asked {
    let defaults: Vec<String> = parameter.default.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let marked: Vec<usize> = parameter
        .options
        .iter()
        .enumerate()
        .filter(|(_, option)| defaults.contains(&option.value))
        .map(|(index, _)| index)
        .collect();
    let mut ask = MultiSelect::new(question, labels(parameter)).with_default(&marked);
    if help.is_some() {
        ask.help_message = help;
    }
    let chosen = ask.raw_prompt()?;
    let values: Vec<&str> =
        chosen.iter().filter_map(|one| parameter.options.get(one.index)).map(|option| option.value.as_str()).collect();
    Ok(serde_json::Value::from(values).to_string())
}

fn labels(parameter: &Parameter) -> Vec<String> {
    let label =
        |name: &str, description: &str| if description.is_empty() { name.to_owned() } else { format!("{name} - {description}") };
    parameter
        .options
        .iter()
        .map(|option| crate::printer::printable(&label(&option.name, &option.description)).replace('\n', " "))
        .collect()
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

/// Reads a JSON object, or lines `name: value` with `#` comments and optional quotes: the part of YAML that such files use.
fn parse_file(text: &str) -> Result<BTreeMap<String, String>, String> {
    if text.trim_start().starts_with('{') {
        let object: BTreeMap<String, serde_json::Value> = serde_json::from_str(text).map_err(|error| error.to_string())?;
        return Ok(object.into_iter().map(|(name, value)| (name, scalar(value))).collect());
    }
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
    lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#') && *line != "---")
        .map(|(number, line)| parse_line(number, line))
        .collect()
}

fn scalar(value: serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text,
        other => other.to_string(),
    }
}

fn parse_line(number: usize, line: &str) -> Result<(String, String), String> {
    let (name, value) = split_name(line).ok_or_else(|| format!("line {number} is not `name: value`"))?;
    let value = value.trim();
    let value = match value.chars().next() {
        Some('"') => serde_json::from_str(value).map_err(|_| format!("line {number} has an odd quote"))?,
        Some('\'') => match value.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
            Some(inner) => inner.replace("''", "'"),
            None => return Err(format!("line {number} has an odd quote")),
        },
        Some('|' | '>' | '&' | '*') => return Err(format!("line {number} uses more of YAML than is understood here")),
        _ => value.split(" #").next().unwrap_or(value).trim_end().to_owned(),
    };
    Ok((name, value))
}

fn split_name(line: &str) -> Option<(String, &str)> {
    for quote in ['"', '\''] {
        if let Some((name, rest)) = line.strip_prefix(quote).and_then(|rest| rest.split_once(quote)) {
            return Some((name.to_owned(), rest.trim_start().strip_prefix(':')?));
        }
    }
    let (name, value) = line.split_once(": ").or_else(|| line.strip_suffix(':').map(|name| (name, "")))?;
    (!name.trim().is_empty()).then(|| (name.trim().to_owned(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(name: &str, kind: &str, default: Option<&str>) -> RichParameter {
        RichParameter {
            name: name.into(),
            display_name: String::new(),
            description: String::new(),
            description_plaintext: String::new(),
            kind: kind.into(),
            form_type: String::new(),
            mutable: true,
            default_value: default.unwrap_or_default().into(),
            icon: String::new(),
            options: Vec::new(),
            validation_error: String::new(),
            validation_regex: String::new(),
            validation_min: Some(1),
            validation_max: Some(8),
            validation_monotonic: String::new(),
            required: default.is_none(),
            ephemeral: false,
        }
    }

    fn complete_with(flags: &[&str]) -> Outcome<Vec<ParameterValue>> {
        let flags = ParameterFlags { parameter: flags.iter().map(|&flag| flag.to_owned()).collect(), rich_parameter_file: None };
        complete(&[asked("cpu", "number", None), asked("region", "string", Some("eu"))], flags.given()?, Printer::new(true), false)
    }

    #[test]
    fn a_missing_answer_names_parameter_and_flag() {
        let failure = complete_with(&[]).unwrap_err();
        assert_eq!(failure.to_string(), "parameter \"cpu\" needs a value");
        assert_eq!(failure.next(), Some("--parameter cpu=1"));
        assert_eq!(failure.exit_code(), 2);
    }

    #[test]
    fn an_answer_that_will_not_do_is_refused_before_anything_is_sent() {
        assert_eq!(complete_with(&["cpu=9"]).unwrap_err().to_string(), "parameter \"cpu\": 9 is more than the maximum 8");
        assert_eq!(complete_with(&["cpu"]).unwrap_err().to_string(), "--parameter \"cpu\" has no value");
        let failure = complete_with(&["cpus=2"]).unwrap_err();
        assert_eq!(
            (failure.to_string().as_str(), failure.next()),
            ("the template has no parameter \"cpus\"", Some("it has cpu, region"))
        );
    }

    #[test]
    fn a_value_may_hold_an_equals_sign_and_defaults_are_left_to_the_server() {
        let values = complete_with(&["cpu=2", "region=a=b"]).unwrap();
        assert_eq!(
            values,
            [("cpu", "2"), ("region", "a=b")].map(|(name, value)| ParameterValue { name: name.into(), value: value.into() })
        );
        assert_eq!(complete_with(&["cpu=2"]).unwrap().len(), 1);
    }

    #[test]
    fn a_file_of_answers_is_read_and_a_flag_wins_over_it() {
        let file = parse_file(
            "---\n# mine\ncpu: 4 # cores\nname: \"a: b\"\nother: 'it''s'\nlist: [\"a\", \"b\"]\nempty:\n\"odd key\": x\n",
        )
        .unwrap();
        let read: Vec<_> = file.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(read, ["cpu=4", "empty=", "list=[\"a\", \"b\"]", "name=a: b", "odd key=x", "other=it's"]);
        assert_eq!(parse_file("{\"cpu\": 4, \"on\": true, \"name\": \"x\"}").unwrap()["cpu"], "4");
        assert_eq!(parse_file("cpu 4").unwrap_err(), "line 1 is not `name: value`");
        assert!(parse_file("a: |\n  x").is_err());
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("answers.yaml");
        std::fs::write(&path, "cpu: 4\nregion: us\n").unwrap();
        let flags = ParameterFlags { parameter: vec!["cpu=2".into()], rich_parameter_file: Some(path) };
        assert_eq!(flags.given().unwrap()[0].value, "2");
    }
}
