//! One template file as blocks, whichever of Terraform's two syntaxes it is written in.
//!
//! Expressions that are not literals become the text `${...}`, exactly as they are written in the JSON syntax.

use std::{fs, io, path::Path};

use hcl_edit::{
    Decorated, Ident,
    expr::{Expression, ObjectKey},
    structure::{Body, Structure},
    template::{Element, Template},
};
use serde_json::{Map, Value};

/// The largest file that is looked into, in bytes.
pub(super) const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Which of Terraform's two syntaxes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Syntax {
    Hcl,
    Json,
}

/// A file that Terraform reads as a part of the root module.
#[derive(Debug)]
pub(super) struct TemplateFile {
    pub(super) name: String,
    pub(super) syntax: Syntax,
    /// Its blocks are laid over those of the other files.
    pub(super) is_override: bool,
    /// Larger than what we look into.
    pub(super) is_too_large: bool,
}

/// The template's files in Terraform's order: by name, overrides last.
pub(super) fn template_files(directory: &Path) -> io::Result<Vec<TemplateFile>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let hcl = name.strip_suffix(".tf").map(|stem| (stem, Syntax::Hcl));
        let Some((stem, syntax)) = hcl.or_else(|| name.strip_suffix(".tf.json").map(|stem| (stem, Syntax::Json))) else { continue };
        if name.starts_with('.') || !entry.file_type()?.is_file() {
            continue;
        }
        let is_override = stem == "override" || stem.ends_with("_override");
        let is_too_large = entry.metadata()?.len() > FILE_BYTES_MAX;
        files.push(TemplateFile { syntax, is_override, is_too_large, name });
    }
    files.sort_by(|one, two| (one.is_override, &one.name).cmp(&(two.is_override, &two.name)));
    Ok(files)
}

impl TemplateFile {
    /// Its blocks; `None` when it is too large or does not parse.
    pub(super) fn blocks(&self, directory: &Path) -> io::Result<Option<Vec<Block>>> {
        if self.is_too_large {
            return Ok(None);
        }
        let bytes = fs::read(directory.join(&self.name))?;
        Ok(match self.syntax {
            Syntax::Hcl => std::str::from_utf8(&bytes).ok().and_then(blocks_of_hcl),
            Syntax::Json => blocks_of_json(&bytes),
        })
    }
}

/// A top-level block: `resource "coder_agent" "main" { ... }`.
#[derive(Debug, PartialEq)]
pub(crate) struct Block {
    /// `resource`.
    pub(crate) kind: String,
    /// `coder_agent`, `main`.
    pub(crate) labels: Vec<String>,
    /// Attributes and nested blocks.
    pub(crate) body: Map<String, Value>,
}

/// The blocks of a file in HCL syntax; `None` when it does not parse.
pub(crate) fn blocks_of_hcl(text: &str) -> Option<Vec<Block>> {
    let body = hcl_edit::parser::parse_body(text).ok()?;
    let blocks = body.blocks().map(|block| Block {
        kind: block.ident.as_str().to_owned(),
        labels: block.labels.iter().map(|label| label.as_str().to_owned()).collect(),
        body: map_of(&block.body),
    });
    Some(blocks.collect())
}

/// The blocks of a file in JSON syntax; `None` when it does not parse.
pub(crate) fn blocks_of_json(bytes: &[u8]) -> Option<Vec<Block>> {
    let file: Map<String, Value> = serde_json::from_slice(bytes).ok()?;
    let mut blocks = Vec::new();
    for (kind, value) in &file {
        let depth = match kind.as_str() {
            "resource" | "data" | "ephemeral" => 2,
            "module" | "variable" | "output" | "provider" | "check" => 1,
            _ => 0,
        };
        collect(kind, value, depth, &mut Vec::new(), &mut blocks);
    }
    Some(blocks)
}

fn collect(kind: &str, value: &Value, depth: usize, labels: &mut Vec<String>, blocks: &mut Vec<Block>) {
    for body in bodies(value) {
        if depth == 0 {
            blocks.push(Block { kind: kind.to_owned(), labels: labels.clone(), body: body.clone() });
            continue;
        }
        for (label, inner) in body {
            labels.push(label.clone());
            collect(kind, inner, depth - 1, labels, blocks);
            labels.pop();
        }
    }
}

/// The objects of a value that is one object or a list of them.
pub(crate) fn bodies(value: &Value) -> Vec<&Map<String, Value>> {
    match value {
        Value::Object(object) => vec![object],
        Value::Array(items) => items.iter().filter_map(Value::as_object).collect(),
        _ => Vec::new(),
    }
}

fn map_of(body: &Body) -> Map<String, Value> {
    let mut map = Map::new();
    for structure in body {
        match structure {
            Structure::Attribute(attribute) => {
                map.insert(attribute.key.as_str().to_owned(), value_of(&attribute.value));
            }
            Structure::Block(block) => {
                let nested = Value::Object(map_of(&block.body));
                match map.entry(block.ident.as_str()).or_insert_with(|| Value::Array(Vec::new())) {
                    Value::Array(items) => items.push(nested),
                    other => *other = Value::Array(vec![nested]),
                }
            }
        }
    }
    map
}

fn value_of(expression: &Expression) -> Value {
    literal(expression).unwrap_or_else(|| Value::String(format!("${{{}}}", expression.to_string().trim())))
}

/// The value of an expression that needs no evaluation.
fn literal(expression: &Expression) -> Option<Value> {
    match expression {
        Expression::Null(_) => Some(Value::Null),
        Expression::Bool(value) => Some(Value::Bool(*value.value())),
        Expression::Number(number) => serde_json::from_str(&number.value().to_string()).ok(),
        Expression::String(text) => Some(Value::String(text.as_str().to_owned())),
        Expression::HeredocTemplate(text) => plain_text(&text.template).map(Value::String),
        Expression::Parenthesis(inner) => literal(inner.inner()),
        Expression::UnaryOp(operation) => {
            let text = format!("-{}", literal(&operation.expr)?);
            serde_json::from_str(&text).ok()
        }
        Expression::Array(items) => Some(Value::Array(items.iter().map(value_of).collect())),
        Expression::Object(object) => {
            let pairs = object.iter().filter_map(|(key, value)| Some((key_of(key)?, value_of(value.expr()))));
            Some(Value::Object(pairs.collect()))
        }
        _ => None,
    }
}

/// The text of a template without interpolation.
fn plain_text(template: &Template) -> Option<String> {
    let literal = |element: &Element| match element {
        Element::Literal(text) => Some(text.to_string()),
        Element::Interpolation(_) | Element::Directive(_) => None,
    };
    template.iter().map(literal).collect()
}

fn key_of(key: &ObjectKey) -> Option<String> {
    let ident = |ident: &Decorated<Ident>| ident.as_str().to_owned();
    match key {
        ObjectKey::Ident(name) => Some(ident(name)),
        ObjectKey::Expression(Expression::Variable(name)) => Some(name.as_str().to_owned()),
        ObjectKey::Expression(expression) => literal(expression)?.as_str().map(str::to_owned),
    }
}

/// Reads a variable's text as Terraform would read it for a type that is not text: JSON, or a literal HCL expression.
pub(super) fn literal_of_text(text: &str) -> Option<Value> {
    serde_json::from_str(text).ok().or_else(|| literal(&hcl_edit::parser::parse_expr(text).ok()?))
}
