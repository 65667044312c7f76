//! What a parameter's value is and whether it is allowed: no Terraform, no environment, only the rules.
//!
//! Order of the checks: form type, options (unique, of their type), then, unless nothing is given and nothing is
//! validated, the value against the options, against the validation block, and against the parameter's type.

use std::collections::BTreeSet;

use regex::Regex;

use crate::diagnostic::Diagnostic;

/// The types of a parameter and of its options, as templates write them.
pub(crate) const TYPES: &[&str] = &["string", "number", "bool", "list(string)"];

/// The form types that a template may name.
pub(crate) const FORM_TYPES: &[&str] =
    &["", "radio", "slider", "input", "dropdown", "checkbox", "switch", "multi-select", "tag-select", "textarea", "error"];

/// A parameter as the template declares it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parameter {
    pub(crate) kind: String,
    pub(crate) form_type: String,
    pub(crate) mutable: bool,
    pub(crate) ephemeral: bool,
    pub(crate) default: Option<String>,
    pub(crate) options: Vec<Choice>,
    pub(crate) validation: Option<Validation>,
}

/// One option.
#[derive(Clone, Debug, Default)]
pub(crate) struct Choice {
    pub(crate) name: String,
    pub(crate) value: String,
}

/// A validation block. The texts are empty when they are not given.
#[derive(Clone, Debug, Default)]
pub(crate) struct Validation {
    pub(crate) min: Option<i64>,
    pub(crate) max: Option<i64>,
    pub(crate) monotonic: String,
    pub(crate) regex: String,
    pub(crate) error: String,
}

/// What the declaration and the input come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resolved {
    pub(crate) value: String,
    pub(crate) form_type: String,
}

/// The form types of a type, with or without options; the first one is the default.
fn form_types(kind: &str, has_options: bool) -> &'static [&'static str] {
    match (kind, has_options) {
        ("string" | "number" | "bool", true) => &["radio", "dropdown"],
        ("string", false) => &["input", "textarea"],
        ("number", false) => &["input", "slider"],
        ("bool", false) => &["checkbox", "switch"],
        ("list(string)", true) => &["radio", "multi-select"],
        ("list(string)", false) => &["tag-select"],
        _ => &[],
    }
}

impl Parameter {
    /// The value: the input, else the default, else empty. `previous` is the value of the build before.
    pub(crate) fn resolve(&self, input: Option<&str>, previous: Option<&str>) -> Result<Resolved, Diagnostic> {
        if self.ephemeral && !self.mutable {
            return Err(
                Diagnostic::error("immutable ephemeral parameter", "an ephemeral parameter must be mutable").about("ephemeral")
            );
        }
        if self.ephemeral && self.default.is_none() {
            return Err(Diagnostic::error("ephemeral parameter without default", "an ephemeral parameter requires a default")
                .about("ephemeral"));
        }
        let form_type = self.resolve_form_type()?;
        let options = self.check_options(option_type(&self.kind, form_type))?;
        let given = input.or(self.default.as_deref());
        if given.is_none() && self.validation.is_none() {
            return Ok(Resolved { value: String::new(), form_type: form_type.into() });
        }
        let value = given.unwrap_or_default();
        let by_default = input.is_none() && self.default.is_some();
        let place = |diagnostic: Diagnostic| if by_default { diagnostic.about("default") } else { diagnostic };
        if !options.is_empty() {
            self.check_choice(value, form_type, &options).map_err(place)?;
        }
        if let Some(validation) = &self.validation {
            let refused = |why| Diagnostic::error("parameter value is not valid", why);
            validation.check(&self.kind, value, previous).map_err(refused).map_err(place)?;
        }
        is_of_type(&self.kind, value)
            .map_err(|why| place(Diagnostic::error(format!("parameter value is not of type \"{}\"", self.kind), why)))?;
        Ok(Resolved { value: value.into(), form_type: form_type.into() })
    }

    fn resolve_form_type(&self) -> Result<&str, Diagnostic> {
        let has_options = !self.options.is_empty();
        let allowed = form_types(&self.kind, has_options);
        let Some(first) = allowed.first() else {
            return Err(Diagnostic::error("invalid type", format!("\"{}\" is not a parameter type", self.kind)).about("type"));
        };
        match self.form_type.as_str() {
            "" => Ok(first),
            named if allowed.contains(&named) => Ok(named),
            named => {
                let reason = match (form_types(&self.kind, !has_options).contains(&named), has_options) {
                    (true, true) => " when options exist",
                    (true, false) => " when no options exist",
                    (false, _) => "",
                };
                let detail = format!(
                    "form_type \"{named}\" is not supported for type \"{}\"{reason}, choose one of {}",
                    self.kind,
                    allowed.join(", ")
                );
                Err(Diagnostic::error("invalid form_type", detail).about("form_type"))
            }
        }
    }

    /// The values of the options, which are unique and of the type `kind`.
    fn check_options(&self, kind: &str) -> Result<BTreeSet<&str>, Diagnostic> {
        let mut names = BTreeSet::new();
        let mut values = BTreeSet::new();
        for option in &self.options {
            let twice = |what: &str, text: &str| {
                Diagnostic::error(format!("option {what}s must be unique"), format!("two options have the {what} \"{text}\""))
                    .about("option")
            };
            if !names.insert(option.name.as_str()) {
                return Err(twice("name", &option.name));
            }
            if !values.insert(option.value.as_str()) {
                return Err(twice("value", &option.value));
            }
            is_of_type(kind, &option.value).map_err(|why| {
                Diagnostic::error(format!("option \"{}\" is not of type \"{kind}\"", option.name), why).about("option")
            })?;
        }
        Ok(values)
    }

    fn check_choice(&self, value: &str, form_type: &str, options: &BTreeSet<&str>) -> Result<(), Diagnostic> {
        let summary = "parameter value is not a valid option";
        if self.kind == "list(string)" && option_type(&self.kind, form_type) == "string" {
            let chosen = texts(value)
                .map_err(|why| Diagnostic::error(summary, format!("the value must be a json encoded list of strings: {why}")))?;
            let missing: Vec<_> = chosen.iter().filter(|text| !options.contains(text.as_str())).map(String::as_str).collect();
            if missing.is_empty() {
                return Ok(());
            }
            return Err(Diagnostic::error(summary, format!("these values are not among the options: {}", missing.join(", "))));
        }
        if options.contains(value) {
            return Ok(());
        }
        let detail = if value.is_empty() {
            "the value is empty: give the parameter a default or a value".into()
        } else {
            format!("the value \"{value}\" is not among the options")
        };
        Err(Diagnostic::error(summary, detail))
    }
}

impl Validation {
    /// Says in one clause why `value` is refused, or why the block does not fit the type.
    fn check(&self, kind: &str, value: &str, previous: Option<&str>) -> Result<(), String> {
        self.fits(kind)?;
        match kind {
            "bool" if value != "true" && value != "false" => Err("a bool is either \"true\" or \"false\"".into()),
            "string" if !self.regex.is_empty() => self.check_regex(value),
            "number" => self.check_number(value, previous),
            "list(string)" => texts(value).map(drop),
            _ => Ok(()),
        }
    }

    fn fits(&self, kind: &str) -> Result<(), String> {
        let refuse = |what: &str| Err(format!("{what} cannot be specified for a {kind} type"));
        match kind {
            "number" => {}
            _ if self.min.is_some() => return refuse("a min"),
            _ if self.max.is_some() => return refuse("a max"),
            _ if !self.monotonic.is_empty() => return refuse("monotonic"),
            _ => {}
        }
        if kind != "string" && !self.regex.is_empty() { refuse("a regex") } else { Ok(()) }
    }

    fn check_regex(&self, value: &str) -> Result<(), String> {
        let regex = Regex::new(&self.regex).map_err(|why| format!("the regex \"{}\" cannot be read: {why}", self.regex))?;
        if self.error.is_empty() {
            return Err("an error must be specified with a regex".into());
        }
        if regex.is_match(value) {
            return Ok(());
        }
        Err(format!("{} (value \"{value}\" does not match \"{}\")", self.error, self.regex))
    }

    fn check_number(&self, value: &str, previous: Option<&str>) -> Result<(), String> {
        let refuse = |why: String| Err(self.rendered_error(value).unwrap_or(why));
        let Ok(number) = value.parse::<i64>() else { return refuse(format!("value \"{value}\" is not a whole number")) };
        match (self.min, self.max) {
            (Some(min), _) if number < min => return refuse(format!("value {number} is less than the minimum {min}")),
            (_, Some(max)) if number > max => return refuse(format!("value {number} is more than the maximum {max}")),
            _ => {}
        }
        let before = previous.and_then(|previous| previous.parse::<i64>().ok());
        match (self.monotonic.as_str(), before) {
            ("increasing", Some(before)) if number < before => {
                Err(format!("value {number} must be equal to or greater than the previous value {before}"))
            }
            ("decreasing", Some(before)) if number > before => {
                Err(format!("value {number} must be equal to or lower than the previous value {before}"))
            }
            ("" | "increasing" | "decreasing", _) => Ok(()),
            (other, _) => Err(format!("monotonic is either \"increasing\" or \"decreasing\", not \"{other}\"")),
        }
    }

    /// The author's own message, with the limits (0 when not given) and the value filled in.
    fn rendered_error(&self, value: &str) -> Option<String> {
        let limit = |limit: Option<i64>| limit.unwrap_or_default().to_string();
        let error = self.error.replace("{min}", &limit(self.min)).replace("{max}", &limit(self.max)).replace("{value}", value);
        (!error.is_empty()).then_some(error)
    }
}

/// The type of the options: of a multi-select they are the elements of its value.
fn option_type<'a>(kind: &'a str, form_type: &str) -> &'a str {
    if form_type == "multi-select" { "string" } else { kind }
}

fn is_of_type(kind: &str, value: &str) -> Result<(), String> {
    let bools = ["1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False"];
    match kind {
        "number" if value.parse::<f64>().is_err() => Err(format!("\"{value}\" is not a number")),
        "bool" if !bools.contains(&value) => Err(format!("\"{value}\" is not a bool")),
        "list(string)" => texts(value).map(drop),
        _ => Ok(()),
    }
}

/// The texts of a JSON list; null elements count as empty.
fn texts(value: &str) -> Result<Vec<String>, String> {
    let list: Option<Vec<Option<String>>> =
        serde_json::from_str(value).map_err(|_| format!("value \"{value}\" is not a valid list of strings"))?;
    Ok(list.unwrap_or_default().into_iter().map(Option::unwrap_or_default).collect())
}

#[cfg(test)]
mod tests;
