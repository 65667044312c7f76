//! Rich parameters: what a template asks a developer, and whether an answer will do.
//!
//! The rules are those of `coder_parameter` (see the provider), applied at the border so that a bad answer costs no build.

use crate::build::words;
use regex::Regex;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

words! {
    /// The type of a parameter's value; every value travels as text.
    ParameterType {
        /// Any text.
        String = "string",
        /// A number.
        Number = "number",
        /// `true` or `false`.
        Bool = "bool",
        /// A JSON array of strings.
        ListString = "list(string)",
    }
}

/// One of a parameter's choices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct ParameterOption {
    /// What the person sees.
    pub name: String,
    /// More words.
    #[serde(default)]
    pub description: String,
    /// What the template gets.
    pub value: String,
    /// A picture's path or URL.
    #[serde(default)]
    pub icon: String,
}

/// The `validation` block of a parameter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct ParameterRule {
    /// A regular expression that a string must match.
    pub regex: Option<String>,
    /// The template author's words for a refusal; `{min}`, `{max}` and `{value}` are filled in.
    pub error: Option<String>,
    /// Smallest number.
    pub min: Option<i64>,
    /// Largest number.
    pub max: Option<i64>,
    /// `increasing` or `decreasing` against the previous build's value.
    pub monotonic: Option<String>,
}

/// What a template version asks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Parameter {
    /// Its name, the key of the answer.
    pub name: String,
    /// What the person sees instead of the name.
    #[serde(default)]
    pub display_name: String,
    /// Markdown.
    #[serde(default)]
    pub description: String,
    /// The type of the value.
    #[serde(rename = "type")]
    pub kind: ParameterType,
    /// The form control, a hint for user interfaces.
    #[serde(default)]
    pub form_type: String,
    /// Whether it may change after the first build.
    #[serde(default)]
    pub mutable: bool,
    /// The value when none is given; `None` means that one must be.
    pub default: Option<String>,
    /// A picture's path or URL.
    #[serde(default)]
    pub icon: String,
    /// The choices; empty means any value.
    #[serde(default)]
    pub options: Vec<ParameterOption>,
    /// Further rules.
    #[serde(default)]
    pub rule: ParameterRule,
    /// Whether the value holds for one build only.
    #[serde(default)]
    pub ephemeral: bool,
    /// Position in forms.
    #[serde(default)]
    pub order: i64,
}

/// An answer: which parameter, and the value as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParameterValue {
    /// The parameter's name.
    pub name: String,
    /// The value as text.
    pub value: String,
}

/// Why an answer will not do. The field is the parameter's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParameterError {
    /// The template has no such parameter.
    #[error("the template has no parameter {0:?}")]
    Unknown(String),
    /// It was given twice.
    #[error("parameter {0:?} is given twice")]
    Twice(String),
    /// It has no default and was not given.
    #[error("parameter {0:?} needs a value")]
    Missing(String),
    /// It may not change after the first build.
    #[error("parameter {0:?} cannot change after the first build")]
    Immutable(String),
    /// The value breaks a rule.
    #[error("parameter {name:?}: {why}")]
    Value {
        /// The parameter.
        name: String,
        /// What is wrong.
        why: String,
    },
}

impl ParameterError {
    /// The parameter it is about.
    #[must_use]
    pub fn field(&self) -> &str {
        match self {
            Self::Unknown(name) | Self::Twice(name) | Self::Missing(name) | Self::Immutable(name) | Self::Value { name, .. } => {
                name
            }
        }
    }
}

/// Decides the values of a build: what is given, else what the previous build had, else the default.
///
/// Every parameter of the version is in the answer, in the version's order.
///
/// # Errors
/// All that is wrong, not only the first.
pub fn resolve(
    parameters: &[Parameter],
    given: &[ParameterValue],
    previous: Option<&[ParameterValue]>,
) -> Result<Vec<ParameterValue>, Vec<ParameterError>> {
    let mut errors = Vec::new();
    for (index, value) in given.iter().enumerate() {
        if !parameters.iter().any(|parameter| parameter.name == value.name) {
            errors.push(ParameterError::Unknown(value.name.clone()));
        } else if given.iter().take(index).any(|earlier| earlier.name == value.name) {
            errors.push(ParameterError::Twice(value.name.clone()));
        }
    }
    let mut values = Vec::with_capacity(parameters.len());
    for parameter in parameters {
        match parameter.resolve(given, previous) {
            Ok(value) => values.push(ParameterValue { name: parameter.name.clone(), value }),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(values) } else { Err(errors) }
}

impl Parameter {
    fn resolve(&self, given: &[ParameterValue], previous: Option<&[ParameterValue]>) -> Result<String, ParameterError> {
        let find = |values: &[ParameterValue]| values.iter().find(|value| value.name == self.name).map(|value| value.value.clone());
        let before = previous.and_then(find);
        let value = match find(given) {
            Some(value) => {
                if !self.mutable && before.as_ref().is_some_and(|before| *before != value) {
                    return Err(ParameterError::Immutable(self.name.clone()));
                }
                value
            }
            None => {
                let kept = if self.ephemeral { None } else { before.clone() };
                kept.or_else(|| self.default.clone()).ok_or_else(|| ParameterError::Missing(self.name.clone()))?
            }
        };
        self.check(&value, before.as_deref()).map_err(|why| ParameterError::Value { name: self.name.clone(), why })?;
        Ok(value)
    }

    /// Whether the value obeys type, options and rules. `before` is the previous build's value, for `monotonic`.
    ///
    /// # Errors
    /// What is wrong, in words for the person who typed it.
    pub fn check(&self, value: &str, before: Option<&str>) -> Result<(), String> {
        match self.kind {
            ParameterType::Bool if !matches!(value, "true" | "false") => return Err(format!("{value:?} is not true or false")),
            ParameterType::Number => self.check_number(value, before)?,
            ParameterType::ListString => return self.check_list(value),
            _ => {}
        }
        self.check_choice(value)?;
        let Some(pattern) = &self.rule.regex else { return Ok(()) };
        let regex = Regex::new(pattern).map_err(|_| format!("the template's pattern {pattern:?} is not a regular expression"))?;
        if regex.is_match(value) { Ok(()) } else { Err(self.words(value, &format!("{value:?} does not match {pattern}"))) }
    }

    fn check_choice(&self, value: &str) -> Result<(), String> {
        if self.options.is_empty() || self.options.iter().any(|option| option.value == value) {
            return Ok(());
        }
        let choices: Vec<_> = self.options.iter().map(|option| option.value.as_str()).collect();
        Err(format!("{value:?} is not one of {}", choices.join(", ")))
    }

    fn check_list(&self, value: &str) -> Result<(), String> {
        let items = parse_list(value).ok_or_else(|| format!("{value:?} is not a JSON list of strings"))?;
        items.iter().try_for_each(|item| self.check_choice(item))
    }

    fn check_number(&self, value: &str, before: Option<&str>) -> Result<(), String> {
        let number: f64 = value.parse().map_err(|_| format!("{value:?} is not a number"))?;
        if !number.is_finite() {
            return Err(format!("{value:?} is not a number"));
        }
        let rule = &self.rule;
        #[allow(clippy::cast_precision_loss)]
        let outside = rule.min.is_some_and(|min| number < min as f64) || rule.max.is_some_and(|max| number > max as f64);
        if outside {
            let bound = |bound: Option<i64>| bound.map_or_else(|| "any".to_owned(), |bound| bound.to_string());
            return Err(self.words(value, &format!("{value} is not between {} and {}", bound(rule.min), bound(rule.max))));
        }
        let Some(before) = before.and_then(|before| before.parse::<f64>().ok()) else { return Ok(()) };
        match rule.monotonic.as_deref() {
            Some("increasing") if number < before => Err(self.words(value, &format!("{value} is less than the previous {before}"))),
            Some("decreasing") if number > before => Err(self.words(value, &format!("{value} is more than the previous {before}"))),
            _ => Ok(()),
        }
    }

    fn words(&self, value: &str, plain: &str) -> String {
        let bound = |bound: Option<i64>| bound.map(|bound| bound.to_string()).unwrap_or_default();
        self.rule.error.as_ref().map_or_else(
            || plain.to_owned(),
            |error| error.replace("{min}", &bound(self.rule.min)).replace("{max}", &bound(self.rule.max)).replace("{value}", value),
        )
    }
}

/// Reads a JSON array of strings, the text form of a `list(string)`.
fn parse_list(text: &str) -> Option<Vec<String>> {
    serde_json::from_str(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameter(kind: ParameterType) -> Parameter {
        Parameter {
            name: "p".into(),
            display_name: String::new(),
            description: String::new(),
            kind,
            form_type: String::new(),
            mutable: false,
            default: None,
            icon: String::new(),
            options: Vec::new(),
            rule: ParameterRule::default(),
            ephemeral: false,
            order: 0,
        }
    }

    fn value(text: &str) -> ParameterValue {
        ParameterValue { name: "p".into(), value: text.into() }
    }

    #[test]
    fn a_number_keeps_its_bounds_and_the_authors_words() {
        let mut disk = parameter(ParameterType::Number);
        disk.rule = ParameterRule {
            min: Some(10),
            max: Some(100),
            error: Some("{value} GB is outside {min}-{max}".into()),
            ..Default::default()
        };
        assert!(disk.check("50", None).is_ok());
        assert_eq!(disk.check("150", None).unwrap_err(), "150 GB is outside 10-100");
        assert_eq!(disk.check("many", None).unwrap_err(), "\"many\" is not a number");
        disk.rule.monotonic = Some("increasing".into());
        assert!(disk.check("20", Some("30")).is_err());
        assert!(disk.check("20", Some("unreadable")).is_ok());
    }

    #[test]
    fn an_immutable_answer_is_kept_and_cannot_change() {
        let region = parameter(ParameterType::String);
        assert_eq!(resolve(std::slice::from_ref(&region), &[], None), Err(vec![ParameterError::Missing("p".into())]));
        let first = resolve(std::slice::from_ref(&region), &[value("eu")], None).unwrap();
        assert_eq!(resolve(std::slice::from_ref(&region), &[], Some(&first)).unwrap(), first);
        assert_eq!(resolve(&[region], &[value("us")], Some(&first)), Err(vec![ParameterError::Immutable("p".into())]));
    }

    #[test]
    fn an_unknown_and_a_doubled_answer_are_both_reported() {
        let mut free = parameter(ParameterType::String);
        free.default = Some(String::new());
        let other = ParameterValue { name: "q".into(), value: "1".into() };
        let errors = resolve(&[free], &[value("a"), value("b"), other], None).unwrap_err();
        assert_eq!(errors, vec![ParameterError::Twice("p".into()), ParameterError::Unknown("q".into())]);
    }

    #[test]
    fn a_list_is_checked_item_by_item() {
        let mut tools = parameter(ParameterType::ListString);
        tools.options =
            ["git", "vim"].map(|name| ParameterOption { name: name.into(), value: name.into(), ..Default::default() }).to_vec();
        assert!(tools.check("[\"git\",\"vim\"]", None).is_ok());
        assert!(tools.check("[\"emacs\"]", None).is_err());
        assert!(tools.check("git", None).is_err());
    }
}
