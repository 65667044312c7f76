//! The schemas of the wire's types: of answers as serde writes them, of requests as it reads them.

use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

const PLACE: &str = "#/components/schemas/";

/// The two generators; what they define goes into the components.
pub(super) struct Schemas {
    pub(super) answers: SchemaGenerator,
    pub(super) requests: SchemaGenerator,
}

impl Schemas {
    pub(super) fn new() -> Self {
        let settings = || {
            SchemaSettings::draft2020_12().with(|settings| {
                settings.definitions_path = "/components/schemas".into();
                settings.meta_schema = None;
            })
        };
        Self { answers: settings().for_serialize().into_generator(), requests: settings().for_deserialize().into_generator() }
    }

    /// Puts the definitions into the document. A type that is read otherwise than it is written is there twice.
    pub(super) fn finish(mut self, document: &mut Value) {
        let mut written = definitions(&mut self.answers);
        written.values_mut().for_each(without_null);
        let read = definitions(&mut self.requests);
        let other = others(&written, &read);
        for (name, mut schema) in read {
            rename(&mut schema, &other);
            written.entry(if other.contains(&name) { format!("{name}Input") } else { name }).or_insert(schema);
        }
        for path in document["paths"].as_object_mut().into_iter().flat_map(Map::values_mut) {
            for operation in path.as_object_mut().into_iter().flat_map(Map::values_mut) {
                for (_, part) in operation.as_object_mut().into_iter().flatten().filter(|(name, _)| *name != "responses") {
                    rename(part, &other);
                }
            }
        }
        document["components"]["schemas"] = Value::Object(written);
    }
}

fn definitions(generator: &mut SchemaGenerator) -> Map<String, Value> {
    generator.take_definitions(true).into_iter().map(|(name, schema)| (name, tidy(schema))).collect()
}

/// What an answer may leave out is left out instead of being `null`: serde's `skip_serializing_if` is what makes a field optional there.
fn without_null(schema: &mut Value) {
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    let fields = schema.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten();
    for (_, field) in fields.filter(|(name, _)| !required.iter().any(|own| own == name.as_str())) {
        let Some(field) = field.as_object_mut() else { continue };
        if let Some(Value::Array(kinds)) = field.get("type") {
            let kinds: Vec<_> = kinds.iter().filter(|kind| *kind != "null").cloned().collect();
            let kinds = if let [only] = kinds.as_slice() { only.clone() } else { Value::Array(kinds) };
            field.insert("type".to_owned(), kinds);
        }
        if let Some(Value::Array(variants)) = field.get_mut("anyOf") {
            variants.retain(|variant| variant["type"] != "null");
            if let [Value::Object(only)] = variants.as_slice() {
                let only = only.clone();
                field.remove("anyOf");
                field.extend(only);
            }
        }
    }
}

/// The names of types whose two schemas differ, themselves or in what they refer to.
fn others(written: &Map<String, Value>, read: &Map<String, Value>) -> BTreeSet<String> {
    let both = || read.iter().filter(|(name, _)| written.contains_key(*name));
    let mut other: BTreeSet<String> =
        both().filter(|(name, schema)| written[*name] != **schema).map(|(name, _)| name.clone()).collect();
    loop {
        let before = other.len();
        let touched =
            both().filter(|(_, schema)| other.iter().any(|name| schema.to_string().contains(&format!("\"{PLACE}{name}\""))));
        let touched: Vec<_> = touched.map(|(name, _)| name.clone()).collect();
        other.extend(touched);
        if other.len() == before {
            return other;
        }
    }
}

fn rename(value: &mut Value, other: &BTreeSet<String>) {
    if let Some(Value::String(target)) = value.get_mut("$ref")
        && let Some(name) = target.strip_prefix(PLACE)
        && other.contains(name)
    {
        target.push_str("Input");
    }
    match value {
        Value::Object(fields) => fields.values_mut().for_each(|value| rename(value, other)),
        Value::Array(items) => items.iter_mut().for_each(|value| rename(value, other)),
        _ => {}
    }
}

/// A schema as people and generators of clients like it: the words of an enum in one list, links of Rust's documentation as plain words.
pub(super) fn tidy(mut schema: Value) -> Value {
    match &mut schema {
        Value::Object(fields) => {
            if let Some(words) = fields.get("oneOf").and_then(words) {
                fields.remove("oneOf");
                fields.insert("type".to_owned(), "string".into());
                fields.insert("enum".to_owned(), words);
            }
            if let Some(Value::String(description)) = fields.get_mut("description") {
                *description = plain(description);
            }
            for value in fields.values_mut() {
                *value = tidy(value.take());
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| *item = tidy(item.take())),
        _ => {}
    }
    schema
}

/// The words of an enum of words.
fn words(variants: &Value) -> Option<Value> {
    let word = |variant: &Value| match (&variant["const"], &variant["enum"]) {
        (Value::String(word), _) => Some(vec![json!(word)]),
        (_, Value::Array(words)) => Some(words.clone()),
        _ => None,
    };
    let words: Option<Vec<_>> = variants.as_array()?.iter().map(word).collect();
    Some(Value::Array(words?.concat()))
}

/// Text without the brackets of links to Rust items and without line breaks inside a paragraph.
pub(super) fn plain(text: &str) -> String {
    let text = text.replace("[`", "`").replace("`]", "`").replace("crate::", "").replace("berth_domain::", "");
    text.split("\n\n").map(|paragraph| paragraph.split('\n').collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join("\n\n")
}
