//! Checks a configuration against the rules of its rows. Unknown values are checked again when they are known.

use std::sync::LazyLock;

use regex::Regex;

use crate::diagnostic::{Diagnostic, Step};
use crate::schema::{Attribute, Block, Nested, Nesting, Problem, Rule, Type};
use crate::value::{Number, Object, Value, at};

/// Everything that is wrong with `config`.
pub(crate) fn validate(block: &Block, config: &Object) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    walk(block, config, &[], &mut found);
    found
}

fn walk(block: &Block, config: &Object, path: &[Step], found: &mut Vec<Diagnostic>) {
    for attribute in block.attributes {
        let value = at(config, attribute.name);
        if !value.is_known() {
            continue;
        }
        let path = with(path, Step::Attribute(attribute.name));
        if attribute.kind_is_number() && !matches!(value, Value::Number(Number::Whole(_))) {
            found.push(invalid(attribute.name, "a whole number is needed").at(path.clone()));
            continue;
        }
        for rule in attribute.rules {
            found.extend(broken(rule, attribute, value, config).map(|diagnostic| diagnostic.at(path.clone())));
        }
    }
    for nested in block.blocks {
        walk_blocks(nested, config, path, found);
    }
}

fn walk_blocks(nested: &Nested, config: &Object, path: &[Step], found: &mut Vec<Diagnostic>) {
    let path = with(path, Step::Attribute(nested.name));
    let elements = at(config, nested.name).elements();
    if !elements.is_empty()
        && let Some(diagnostic) = conflict(nested.name, nested.conflicts, config)
    {
        found.push(diagnostic.at(path.clone()));
    }
    for (index, element) in elements.iter().enumerate() {
        let Some(object) = element.as_object() else { continue };
        // A path cannot point into a set.
        match nested.nesting {
            Nesting::List => walk(&nested.block, object, &with(&path, Step::Index(index)), found),
            Nesting::Set => {
                let mut inside = Vec::new();
                walk(&nested.block, object, &[], &mut inside);
                found.extend(inside.into_iter().map(|diagnostic| diagnostic.at(path.clone())));
            }
        }
    }
}

fn with(path: &[Step], step: Step) -> Vec<Step> {
    let mut path = path.to_vec();
    path.push(step);
    path
}

fn invalid(name: &str, why: impl Into<String>) -> Diagnostic {
    Diagnostic::error(format!("invalid {name}"), why)
}

fn broken(rule: &Rule, attribute: &Attribute, value: &Value, config: &Object) -> Option<Diagnostic> {
    let name = attribute.name;
    let text = value.as_text().unwrap_or_default();
    let number = value.as_whole().unwrap_or_default();
    let why = match rule {
        Rule::OneOf(allowed) => (!allowed.contains(&text)).then(|| format!("\"{text}\" is not one of {}", quoted(allowed))),
        Rule::NotEmpty => value.is_zero().then(|| "it must not be empty".to_owned()),
        Rule::LengthAtMost(limit) => {
            (text.len() > *limit).then(|| format!("it is {} bytes long, at most {limit} are allowed", text.len()))
        }
        Rule::AtLeast(least) => (number < *least).then(|| format!("{number} is less than {least}")),
        Rule::Between(least, most) => {
            (!(*least..=*most).contains(&number)).then(|| format!("{number} is not between {least} and {most}"))
        }
        Rule::Matches(pattern, what) => {
            let matches = Regex::new(pattern).is_ok_and(|regex| regex.is_match(text));
            (!matches).then(|| format!("\"{text}\" is not {what}"))
        }
        Rule::Url => crate::url::check(text).err(),
        Rule::Uuid => (!UUID.as_ref().is_some_and(|regex| regex.is_match(text))).then(|| format!("\"{text}\" is not a uuid")),
        Rule::AbsolutePath => (!text.starts_with('/')).then(|| format!("\"{text}\" is not an absolute path")),
        Rule::ObjectsAtMost(limit) => {
            (value.elements().len() > *limit).then(|| format!("at most {limit} may be given, not {}", value.elements().len()))
        }
        Rule::ConflictsWith(others) => return conflict(name, others, config),
        Rule::Check(check) => match check(value)? {
            Problem::Error(why) => Some(why),
            Problem::Warning(remark) => return Some(Diagnostic::warning(format!("questionable {name}"), remark)),
        },
    };
    why.map(|why| invalid(name, why))
}

static UUID: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new("^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$").ok());

/// An error when any of `others` is set: a known attribute (whatever its value) or a block.
fn conflict(name: &str, others: &[&str], config: &Object) -> Option<Diagnostic> {
    let set = |other: &&&str| match at(config, other) {
        Value::List(elements) => !elements.is_empty(),
        value => value.is_known(),
    };
    let other = others.iter().find(set)?;
    Some(Diagnostic::error(format!("conflicting {name}"), format!("\"{name}\" cannot be set together with \"{other}\"")))
}

fn quoted(words: &[&str]) -> String {
    words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ")
}

impl Attribute {
    fn kind_is_number(&self) -> bool {
        matches!(self.kind, Type::Number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::schema;

    fn details(name: &str, config: serde_json::Value) -> String {
        let noun = schema().iter().find(|noun| noun.name == name).unwrap();
        let config = Value::from(config);
        let found = validate(&noun.block, config.as_object().unwrap());
        found.iter().map(|diagnostic| format!("{}: {}", diagnostic.summary, diagnostic.detail)).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn each_rule_names_the_attribute_and_the_remedy() {
        for (noun, config, expected) in [
            ("coder_agent", serde_json::json!({"os": "linux", "arch": "amd64"}), ""),
            ("coder_agent", serde_json::json!({"os": "beos"}), "invalid os: \"beos\" is not one of \"linux\""),
            ("coder_agent", serde_json::json!({"connection_timeout": -1}), "-1 is less than 0"),
            ("coder_agent", serde_json::json!({"connection_timeout": 1.5}), "whole number"),
            ("coder_agent", serde_json::json!({"dir": "/x"}), "questionable dir"),
            ("coder_agent", serde_json::json!({"dir": "~"}), ""),
            ("coder_agent", serde_json::json!({"display_apps": [{}, {}]}), "at most 1"),
            (
                "coder_agent",
                serde_json::json!({"resources_monitoring": [{"volume": [{"path": "home", "threshold": 101}]}]}),
                "invalid path: \"home\" is not an absolute path; invalid threshold: 101 is not between 0 and 100",
            ),
            ("coder_app", serde_json::json!({"slug": "a--b"}), "invalid slug"),
            ("coder_app", serde_json::json!({"slug": "code-server", "share": "public"}), ""),
            ("coder_app", serde_json::json!({"command": "x", "url": "y"}), "\"command\" cannot be set together with \"url\""),
            (
                "coder_app",
                serde_json::json!({"external": false, "share": "owner"}),
                "\"external\" cannot be set together with \"share\"",
            ),
            ("coder_app", serde_json::json!({"command": "x", "healthcheck": [{"url": "z"}]}), "\"healthcheck\" cannot be set"),
            ("coder_app", serde_json::json!({"icon": "/a%zz"}), "invalid icon"),
            ("coder_script", serde_json::json!({"cron": "0 0 0 0 0"}), "invalid cron"),
            ("coder_script", serde_json::json!({"cron": "0 22 * * 1-5"}), "questionable cron"),
            ("coder_script", serde_json::json!({"timeout": 0}), "0 is less than 1"),
            ("coder_env", serde_json::json!({"name": "1A"}), "invalid name"),
            ("coder_parameter", serde_json::json!({"type": "map"}), "invalid type"),
            (
                "coder_parameter",
                serde_json::json!({"validation": [{"regex": "x", "min": 1}]}),
                "\"regex\" cannot be set together with \"min\"",
            ),
            ("coder_external_auth", serde_json::json!({"id": ""}), "must not be empty"),
            ("coder_secret", serde_json::json!({"file": "etc"}), "invalid file"),
            ("coder_workspace_preset", serde_json::json!({"prebuilds": [{"expiration_policy": [{"ttl": 60}]}]}), "3600"),
            ("coder_ai_task", serde_json::json!({"app_id": "nope"}), "not a uuid"),
            ("berth_directory", serde_json::json!({"name": "../x"}), "invalid name"),
            ("berth_process", serde_json::json!({"command": []}), "must not be empty"),
        ] {
            let found = details(noun, config.clone());
            assert!(if expected.is_empty() { found.is_empty() } else { found.contains(expected) }, "{noun} {config}: {found}");
        }
    }

    #[test]
    fn an_unknown_value_is_not_checked() {
        let noun = schema().iter().find(|noun| noun.name == "coder_agent").unwrap();
        assert!(validate(&noun.block, &Object::from([("os".into(), Value::Unknown)])).is_empty());
    }
}
