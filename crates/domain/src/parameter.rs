//! Rich parameters: what a template asks a developer, and which answers a build gets.
//!
//! The rules of one declaration and one value are in `rule.rs`; the provider applies the same ones while Terraform runs, so
//! that an answer which is taken at the border does not fail in a build.

mod rule;

pub use rule::{FORM_TYPES, ParameterProblem, TYPES};

use crate::{build::words, limit::PARAMETER_VALUE_BYTES_MAX};
use schemars::JsonSchema;
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
pub struct ParameterRule {
    /// Whether the template has the block, even an empty one: it makes a number a whole one and a bool `true` or `false`.
    #[serde(default)]
    pub declared: bool,
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
    /// The form control: a hint for user interfaces, and of a list with options whether these are its elements (`multi-select`).
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
    /// The value is longer than [`crate::limit::PARAMETER_VALUE_BYTES_MAX`].
    #[error("parameter {0:?} has a value longer than {max} bytes", max = PARAMETER_VALUE_BYTES_MAX)]
    TooLong(String),
    /// The value breaks a rule.
    #[error("parameter {name:?}: {why}")]
    Value {
        /// The parameter.
        name: String,
        /// What is wrong.
        why: ParameterProblem,
    },
    /// The value of the build before breaks a rule that it did not have to obey then.
    #[error("parameter {name:?} needs another value than the one it has: {why}")]
    Kept {
        /// The parameter.
        name: String,
        /// What is wrong.
        why: ParameterProblem,
    },
}

impl ParameterError {
    /// The parameter it is about.
    #[must_use]
    pub fn field(&self) -> &str {
        match self {
            Self::Unknown(name)
            | Self::Twice(name)
            | Self::Missing(name)
            | Self::Immutable(name)
            | Self::TooLong(name)
            | Self::Value { name, .. }
            | Self::Kept { name, .. } => name,
        }
    }
}

/// Where the answers of a build can come from, strongest first. A new workspace has no `previous`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Answers<'a> {
    /// Those of the chosen preset. What a preset says about parameters that the version does not have counts for nothing.
    pub preset: &'a [ParameterValue],
    /// Those given one by one.
    pub given: &'a [ParameterValue],
    /// Those of the build before.
    pub previous: Option<&'a [ParameterValue]>,
}

/// Decides the values of a build: the preset's, else what is given, else what the previous build had, else the default.
///
/// Every parameter of the version is in the answer, in the version's order. An ephemeral parameter has no previous value.
///
/// # Errors
/// All that is wrong, not only the first.
pub fn resolve(parameters: &[Parameter], answers: Answers<'_>) -> Result<Vec<ParameterValue>, Vec<ParameterError>> {
    let mut errors = Vec::new();
    for (index, value) in answers.given.iter().enumerate() {
        if !parameters.iter().any(|parameter| parameter.name == value.name) {
            errors.push(ParameterError::Unknown(value.name.clone()));
        } else if answers.given.iter().take(index).any(|earlier| earlier.name == value.name) {
            errors.push(ParameterError::Twice(value.name.clone()));
        }
    }
    let mut values = Vec::with_capacity(parameters.len());
    for parameter in parameters {
        match parameter.resolve(answers) {
            Ok(value) => values.push(ParameterValue { name: parameter.name.clone(), value }),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(values) } else { Err(errors) }
}

/// The same values with those that held for one build only set back to their defaults.
#[must_use]
pub fn without_ephemeral(parameters: &[Parameter], values: &[ParameterValue]) -> Vec<ParameterValue> {
    let reset = |value: &ParameterValue| {
        let ephemeral = parameters.iter().find(|parameter| parameter.ephemeral && parameter.name == value.name);
        let text = ephemeral.and_then(|parameter| parameter.default.clone()).unwrap_or_else(|| value.value.clone());
        ParameterValue { name: value.name.clone(), value: text }
    };
    values.iter().map(reset).collect()
}

impl Parameter {
    fn resolve(&self, answers: Answers<'_>) -> Result<String, ParameterError> {
        let find = |values: &[ParameterValue]| values.iter().find(|value| value.name == self.name).map(|value| value.value.clone());
        let before = answers.previous.filter(|_| !self.ephemeral).and_then(find);
        let Some(value) = find(answers.preset).or_else(|| find(answers.given)) else { return self.kept(before) };
        if value.len() > PARAMETER_VALUE_BYTES_MAX {
            return Err(ParameterError::TooLong(self.name.clone()));
        }
        // A value that this version no longer allows may be replaced: nothing else could ever be built.
        let is_fixed = |before: &String| !self.mutable && *before != value && self.check(before, None).is_ok();
        if before.as_ref().is_some_and(is_fixed) {
            return Err(ParameterError::Immutable(self.name.clone()));
        }
        let checked = self.check(&value, before.as_deref());
        checked.map_err(|why| ParameterError::Value { name: self.name.clone(), why })?;
        Ok(value)
    }

    /// The value when none is given.
    fn kept(&self, before: Option<String>) -> Result<String, ParameterError> {
        let name = || self.name.clone();
        if let Some(before) = before {
            let checked = self.check(&before, Some(&before));
            return checked.map_err(|why| ParameterError::Kept { name: name(), why }).map(|()| before);
        }
        let default = self.default.clone().ok_or_else(|| ParameterError::Missing(name()))?;
        self.check(&default, None).map_err(|why| ParameterError::Value { name: name(), why })?;
        Ok(default)
    }
}

#[cfg(test)]
mod tests;
