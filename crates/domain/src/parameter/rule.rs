//! What `coder_parameter` allows: of a declaration, and of one value.
//!
//! The order of the checks is the provider's: form type, options (unique, of their type), then the value against the options,
//! against the validation block, and against the parameter's type.

use super::{Parameter, ParameterRule, ParameterType};
use regex::Regex;
use std::{collections::BTreeSet, fmt};

/// The types of a parameter and of its options, as templates write them.
pub const TYPES: &[&str] = &["string", "number", "bool", "list(string)"];

/// The form types that a template may name.
pub const FORM_TYPES: &[&str] =
    &["", "radio", "slider", "input", "dropdown", "checkbox", "switch", "multi-select", "tag-select", "textarea", "error"];

/// What Go reads as a bool, and so the public provider too.
const BOOLS: &[&str] = &["1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False"];
/// A refusal lists at most this many options and repeats at most this many characters of a value.
const OPTIONS_SHOWN: usize = 20;
const VALUE_CHARS_SHOWN: usize = 100;

/// What is wrong with a declaration or a value. Its text is for the person who wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterProblem {
    /// What kind of problem it is, in a few words.
    pub summary: String,
    /// The attribute or block of the declaration that is to blame; none when it is the value that was given.
    pub attribute: Option<&'static str>,
    detail: String,
}

impl ParameterProblem {
    fn new(summary: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { summary: summary.into(), attribute: None, detail: detail.into() }
    }

    const fn about(mut self, attribute: &'static str) -> Self {
        self.attribute = Some(attribute);
        self
    }
}

impl fmt::Display for ParameterProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for ParameterProblem {}

/// The form types of a type, with or without options; the first one is the default.
const fn form_types(kind: ParameterType, has_options: bool) -> &'static [&'static str] {
    match (kind, has_options) {
        (ParameterType::ListString, true) => &["radio", "multi-select"],
        (ParameterType::ListString, false) => &["tag-select"],
        (_, true) => &["radio", "dropdown"],
        (ParameterType::String, false) => &["input", "textarea"],
        (ParameterType::Number, false) => &["input", "slider"],
        (ParameterType::Bool, false) => &["checkbox", "switch"],
    }
}

impl Parameter {
    /// Whether the declaration holds together; its form type, the type's first one when the template names none.
    ///
    /// # Errors
    /// The first thing that is wrong, and the attribute to blame.
    pub fn declared(&self) -> Result<&str, ParameterProblem> {
        if self.ephemeral && !self.mutable {
            let detail = "an ephemeral parameter must be mutable";
            return Err(ParameterProblem::new("immutable ephemeral parameter", detail).about("ephemeral"));
        }
        if self.ephemeral && self.default.is_none() {
            let detail = "an ephemeral parameter requires a default";
            return Err(ParameterProblem::new("ephemeral parameter without default", detail).about("ephemeral"));
        }
        let form_type = self.declared_form_type()?;
        self.check_options(self.option_type(form_type))?;
        Ok(form_type)
    }

    /// The value that Terraform sees: the input, else the default, else nothing. `before` is the value of the build before.
    ///
    /// # Errors
    /// What is wrong with it. A default that is to blame is named as the attribute.
    pub fn value<'a>(&'a self, input: Option<&'a str>, before: Option<&str>) -> Result<&'a str, ParameterProblem> {
        let given = input.or(self.default.as_deref());
        if given.is_none() && !self.rule.is_declared() {
            return Ok("");
        }
        let value = given.unwrap_or_default();
        let by_default = input.is_none() && self.default.is_some();
        let place = |problem: ParameterProblem| if by_default { problem.about("default") } else { problem };
        self.check(value, before).map_err(place)?;
        Ok(value)
    }

    /// Whether a value obeys options, rules and type. `before` is the value of the build before, for `monotonic`.
    ///
    /// # Errors
    /// What is wrong, in words for the person who typed it: the template author's own where there are any.
    pub fn check(&self, value: &str, before: Option<&str>) -> Result<(), ParameterProblem> {
        if !self.options.is_empty() {
            self.check_choice(value)?;
        }
        if self.rule.is_declared() {
            let refused = |why: String| ParameterProblem::new("parameter value is not valid", why);
            self.rule.check(self.kind, value, before).map_err(refused)?;
        }
        let summary = || format!("parameter value is not of type \"{}\"", self.kind);
        is_of_type(self.kind, value).map_err(|why| ParameterProblem::new(summary(), why))
    }

    /// Whether the options are the elements of a list, of which any number may be chosen.
    #[must_use]
    pub fn takes_several(&self) -> bool {
        self.kind == ParameterType::ListString && self.option_type(&self.form_type) == ParameterType::String
    }

    /// The type of the options: of a multi-select they are the elements of its value.
    fn option_type(&self, form_type: &str) -> ParameterType {
        if form_type == "multi-select" { ParameterType::String } else { self.kind }
    }

    fn declared_form_type(&self) -> Result<&str, ParameterProblem> {
        let has_options = !self.options.is_empty();
        let allowed = form_types(self.kind, has_options);
        let named = self.form_type.as_str();
        if named.is_empty() {
            return Ok(allowed.first().copied().unwrap_or_default());
        }
        if allowed.contains(&named) {
            return Ok(named);
        }
        let reason = match (form_types(self.kind, !has_options).contains(&named), has_options) {
            (true, true) => " when options exist",
            (true, false) => " when no options exist",
            (false, _) => "",
        };
        let (kind, choices) = (self.kind, allowed.join(", "));
        let detail = format!("form_type \"{named}\" is not supported for type \"{kind}\"{reason}, choose one of {choices}");
        Err(ParameterProblem::new("invalid form_type", detail).about("form_type"))
    }

    /// Options are unique and of the type `kind`.
    fn check_options(&self, kind: ParameterType) -> Result<(), ParameterProblem> {
        let (mut names, mut values) = (BTreeSet::new(), BTreeSet::new());
        for option in &self.options {
            let twice = |what: &str, text: &str| {
                let detail = format!("two options have the {what} {}", quoted(text));
                ParameterProblem::new(format!("option {what}s must be unique"), detail).about("option")
            };
            if !names.insert(option.name.as_str()) {
                return Err(twice("name", &option.name));
            }
            if !values.insert(option.value.as_str()) {
                return Err(twice("value", &option.value));
            }
            let summary = || format!("option \"{}\" is not of type \"{kind}\"", option.name);
            is_of_type(kind, &option.value).map_err(|why| ParameterProblem::new(summary(), why).about("option"))?;
        }
        Ok(())
    }

    fn check_choice(&self, value: &str) -> Result<(), ParameterProblem> {
        let refused = |detail: String| Err(ParameterProblem::new("parameter value is not a valid option", detail));
        let is_option = |text: &str| self.options.iter().any(|option| option.value == text);
        if self.takes_several() {
            let chosen = match texts(value) {
                Ok(chosen) => chosen,
                Err(why) => return refused(format!("the value must be a json encoded list of strings: {why}")),
            };
            let missing: Vec<_> = chosen.iter().filter(|text| !is_option(text)).map(|text| quoted(text)).collect();
            return match missing.as_slice() {
                [] => Ok(()),
                [one] => refused(format!("{one} is not one of {}", self.choices())),
                several => refused(format!("{} are not among {}", several.join(", "), self.choices())),
            };
        }
        match value {
            value if is_option(value) => Ok(()),
            "" => refused(format!("the value is empty, not one of {}", self.choices())),
            value => refused(format!("{} is not one of {}", quoted(value), self.choices())),
        }
    }

    fn choices(&self) -> String {
        let mut shown: Vec<_> = self.options.iter().take(OPTIONS_SHOWN).map(|option| option.value.as_str()).collect();
        if self.options.len() > OPTIONS_SHOWN {
            shown.push("...");
        }
        shown.join(", ")
    }
}

impl ParameterRule {
    /// Whether the template has a validation block.
    #[must_use]
    pub const fn is_declared(&self) -> bool {
        self.declared
            || self.regex.is_some()
            || self.error.is_some()
            || self.min.is_some()
            || self.max.is_some()
            || self.monotonic.is_some()
    }

    /// The smallest and largest number in words for a person: `1 to 8`, `at least 1`, `at most 8`; nothing without either.
    #[must_use]
    pub fn bounds(&self) -> Option<String> {
        match (self.min, self.max) {
            (Some(min), Some(max)) => Some(format!("{min} to {max}")),
            (Some(min), None) => Some(format!("at least {min}")),
            (None, Some(max)) => Some(format!("at most {max}")),
            (None, None) => None,
        }
    }

    /// Says in one clause why `value` is refused, or why the block does not fit the type.
    fn check(&self, kind: ParameterType, value: &str, before: Option<&str>) -> Result<(), String> {
        self.fits(kind)?;
        match kind {
            ParameterType::Bool if !matches!(value, "true" | "false") => {
                Err(format!("{} is neither \"true\" nor \"false\"", quoted(value)))
            }
            ParameterType::Bool => Ok(()),
            ParameterType::String => self.regex.as_deref().map_or(Ok(()), |regex| self.check_regex(regex, value)),
            ParameterType::Number => self.check_number(value, before),
            ParameterType::ListString => texts(value).map(drop),
        }
    }

    fn fits(&self, kind: ParameterType) -> Result<(), String> {
        let refuse = |what: &str| Err(format!("{what} cannot be specified for a {kind} type"));
        match kind {
            ParameterType::Number => {}
            _ if self.min.is_some() => return refuse("a min"),
            _ if self.max.is_some() => return refuse("a max"),
            _ if self.monotonic.is_some() => return refuse("monotonic"),
            _ => {}
        }
        if kind != ParameterType::String && self.regex.is_some() { refuse("a regex") } else { Ok(()) }
    }

    fn check_regex(&self, pattern: &str, value: &str) -> Result<(), String> {
        let regex = Regex::new(pattern).map_err(|why| format!("the regex \"{pattern}\" cannot be read: {why}"))?;
        let Some(error) = &self.error else { return Err("an error must be specified with a regex".into()) };
        if regex.is_match(value) {
            return Ok(());
        }
        Err(format!("{error} (value {} does not match \"{pattern}\")", quoted(value)))
    }

    fn check_number(&self, value: &str, before: Option<&str>) -> Result<(), String> {
        let refuse = |why: String| Err(self.rendered_error(value).unwrap_or(why));
        let Ok(number) = value.parse::<i64>() else { return refuse(format!("{} is not a whole number", quoted(value))) };
        match (self.min, self.max) {
            (Some(min), _) if number < min => return refuse(format!("{number} is less than the minimum {min}")),
            (_, Some(max)) if number > max => return refuse(format!("{number} is more than the maximum {max}")),
            _ => {}
        }
        let before = before.and_then(|before| before.parse::<i64>().ok());
        match (self.monotonic.as_deref(), before) {
            (Some("increasing"), Some(before)) if number < before => {
                Err(format!("value {number} must be equal to or greater than the previous value {before}"))
            }
            (Some("decreasing"), Some(before)) if number > before => {
                Err(format!("value {number} must be equal to or lower than the previous value {before}"))
            }
            (None | Some("increasing" | "decreasing"), _) => Ok(()),
            (Some(other), _) => Err(format!("monotonic is either \"increasing\" or \"decreasing\", not \"{other}\"")),
        }
    }

    /// The author's own message, with the limits (0 when not given) and the value filled in.
    fn rendered_error(&self, value: &str) -> Option<String> {
        let limit = |limit: Option<i64>| limit.unwrap_or_default().to_string();
        let error = self.error.as_ref()?;
        Some(error.replace("{min}", &limit(self.min)).replace("{max}", &limit(self.max)).replace("{value}", value))
    }
}

fn is_of_type(kind: ParameterType, value: &str) -> Result<(), String> {
    match kind {
        // `tonumber` of a template reads neither an infinity nor what is no number.
        ParameterType::Number if !value.parse::<f64>().is_ok_and(f64::is_finite) => {
            Err(format!("{} is not a number", quoted(value)))
        }
        ParameterType::Bool if !BOOLS.contains(&value) => Err(format!("{} is not a bool", quoted(value))),
        ParameterType::ListString => texts(value).map(drop),
        _ => Ok(()),
    }
}

/// The texts of a JSON list; null elements count as empty.
fn texts(value: &str) -> Result<Vec<String>, String> {
    let list: Option<Vec<Option<String>>> =
        serde_json::from_str(value).map_err(|_| format!("{} is not a list of strings, as in [\"a\",\"b\"]", quoted(value)))?;
    Ok(list.unwrap_or_default().into_iter().map(Option::unwrap_or_default).collect())
}

/// A value between quotes, cut when it is long.
fn quoted(value: &str) -> String {
    match value.char_indices().nth(VALUE_CHARS_SHOWN) {
        Some((end, _)) => format!("\"{}...\"", value.get(..end).unwrap_or_default()),
        None => format!("\"{value}\""),
    }
}
