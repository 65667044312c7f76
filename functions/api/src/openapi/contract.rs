//! The document as a contract: whether an answer is one that it foresees. It reads what [`schemars`] writes and nothing else, and is
//! stricter than JSON Schema: a field that is not described is an error.

use super::DOCUMENT;
use crate::route::table;
use http::{HeaderMap, Method, StatusCode, header};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// The path of the table that a request's path is one of.
fn template(method: &Method, path: &str) -> Option<&'static str> {
    let parts: Vec<_> = path.split('/').collect();
    let is_of = |template: &&'static str| {
        let own: Vec<_> = template.split('/').collect();
        own.len() == parts.len() && own.iter().zip(&parts).all(|(own, part)| own.starts_with('{') || own == part)
    };
    let own = table().into_iter().filter(|route| route.method == *method).map(|route| route.path);
    own.filter(is_of).min_by_key(|template| template.matches('{').count())
}

/// Panics when an answer is not one that the document foresees.
pub(crate) fn check(method: &Method, path: &str, (status, headers, body): (StatusCode, &HeaderMap, &[u8])) {
    let Some(template) = template(method, path) else { return };
    let operation = &DOCUMENT["paths"][template][method.as_str().to_ascii_lowercase()];
    let cell = format!("{method} {template}: {status} {}", String::from_utf8_lossy(body));
    let group = format!("{}XX", status.as_u16() / 100);
    let answers = &operation["responses"];
    let answer = answers.get(status.as_str()).or_else(|| answers.get(&group)).unwrap_or_else(|| panic!("{cell}: no such status"));
    let answer = resolve(answer);
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default();
    match answer.get("content") {
        None => assert!(body.is_empty(), "{cell}: a body that is not described"),
        Some(_) if status == StatusCode::SWITCHING_PROTOCOLS => {}
        Some(content) => {
            let described = content.get(media_type).unwrap_or_else(|| panic!("{cell}: {media_type:?} is not described"));
            if media_type == "application/json" {
                let value = serde_json::from_slice(body).unwrap_or_else(|error| panic!("{cell}: {error}"));
                conform(&described["schema"], &value, "").unwrap_or_else(|why| panic!("{cell}: {why}"));
            }
        }
    }
}

/// Whether a value is one of a schema's.
pub(crate) fn conform(schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    if let (Value::Object(fields), Some(known)) = (value, known(schema))
        && let Some(stranger) = fields.keys().find(|name| !known.contains(*name))
    {
        return Err(format!("{at}/{stranger} is not described"));
    }
    keywords(schema, value, at)
}

/// The fields that an object of this schema may have; `None` when it may have any, or when its variants say.
fn known(schema: &Value) -> Option<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for part in resolve_all(schema) {
        let fields = part.as_object()?;
        if fields.is_empty() || ["additionalProperties", "anyOf", "oneOf"].iter().any(|open| fields.contains_key(*open)) {
            return None;
        }
        names.extend(fields.get("properties").and_then(Value::as_object).into_iter().flat_map(Map::keys).cloned());
    }
    Some(names)
}

/// A schema, and those that it refers to at the same place.
fn resolve_all(schema: &Value) -> Vec<Value> {
    let mut all = vec![schema.clone()];
    if schema.get("$ref").is_some() {
        all.extend(resolve_all(resolve(schema)));
    }
    all
}

fn resolve(value: &Value) -> &Value {
    let Some(place) = value.get("$ref").and_then(Value::as_str) else { return value };
    DOCUMENT.pointer(place.trim_start_matches('#')).unwrap_or_else(|| panic!("{place} is nowhere"))
}

fn keywords(schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let Value::Object(rules) = schema else { return Ok(()) };
    for (keyword, rule) in rules {
        let parts = || rule.as_array().into_iter().flatten();
        let holds = match keyword.as_str() {
            "$ref" => keywords(resolve(schema), value, at),
            "anyOf" | "oneOf" => {
                let tried: Vec<_> = parts().map(|part| conform(part, value, at)).collect();
                let why = tried.iter().filter_map(|one| one.as_ref().err()).cloned().collect::<Vec<_>>().join("; ");
                if tried.iter().any(Result::is_ok) { Ok(()) } else { Err(why) }
            }
            "enum" => wanted(parts().any(|one| one == value), at, || format!("{value} is none of {rule}")),
            "const" => wanted(rule == value, at, || format!("{value} is not {rule}")),
            "type" => {
                let is = |kind: &Value| kind.as_str().is_some_and(|kind| is_a(value, kind));
                wanted(is(rule) || parts().any(is), at, || format!("{value} is no {rule}"))
            }
            "format" => wanted(value.as_str().is_none_or(|text| has_form(text, rule.as_str().unwrap_or_default())), at, || {
                format!("{value} has not the form {rule}")
            }),
            "minimum" => wanted(value.as_f64() >= rule.as_f64(), at, || format!("{value} is less than {rule}")),
            "maximum" => wanted(value.as_f64() <= rule.as_f64(), at, || format!("{value} is more than {rule}")),
            "required" => parts()
                .filter_map(Value::as_str)
                .try_for_each(|name| wanted(value.get(name).is_some() || !value.is_object(), at, || format!("{name} is missing"))),
            "properties" => rule.as_object().into_iter().flatten().try_for_each(|(name, schema)| {
                value.get(name).map_or(Ok(()), |field| conform(schema, field, &format!("{at}/{name}")))
            }),
            "additionalProperties" => {
                let own = |name: &&String| rules.get("properties").is_none_or(|properties| properties.get(name.as_str()).is_none());
                let mut others = value.as_object().into_iter().flatten().filter(|(name, _)| own(name));
                others.try_for_each(|(name, field)| conform(rule, field, &format!("{at}/{name}")))
            }
            "items" => {
                let mut items = value.as_array().into_iter().flatten().enumerate();
                items.try_for_each(|(index, item)| conform(rule, item, &format!("{at}/{index}")))
            }
            "title" | "description" | "default" => Ok(()),
            other => Err(format!("{at}: {other} is a keyword that the contract does not read")),
        };
        holds?;
    }
    Ok(())
}

fn wanted(holds: bool, at: &str, why: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("{at}: {}", why())) }
}

fn is_a(value: &Value, kind: &str) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    }
}

fn has_form(text: &str, form: &str) -> bool {
    match form {
        "date-time" => text.parse::<berth_domain::Timestamp>().is_ok(),
        "uuid" => uuid::Uuid::try_parse(text).is_ok(),
        _ => true,
    }
}

#[test]
fn a_contract_is_broken_by_a_stranger_a_gap_and_a_wrong_word() {
    let schema = serde_json::json!({
        "type": "object", "required": ["id", "status"],
        "properties": { "id": { "type": "string", "format": "uuid" }, "status": { "enum": ["on", "off"] }, "when": { "type": ["string", "null"], "format": "date-time" } },
    });
    let id = "00000000-0000-0000-0000-000000000000";
    let holds = |value: Value| conform(&schema, &value, "");
    assert_eq!(holds(serde_json::json!({ "id": id, "status": "on", "when": null })), Ok(()));
    for broken in [
        serde_json::json!({ "id": id, "status": "on", "more": 1 }),
        serde_json::json!({ "id": id }),
        serde_json::json!({ "id": id, "status": "ON" }),
        serde_json::json!({ "id": "x", "status": "on" }),
        serde_json::json!({ "id": id, "status": "on", "when": "today" }),
        serde_json::json!([]),
    ] {
        assert!(holds(broken.clone()).is_err(), "{broken}");
    }
}
