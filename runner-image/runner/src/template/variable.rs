//! Terraform variables: what the template declares, and which of them have values in its own `.tfvars` files.

use std::{collections::BTreeSet, fs, io, path::Path};

use berth_domain::Variable;
use serde_json::{Map, Value};

use super::file::{Block, FILE_BYTES_MAX};

/// The variable that a `variable` block declares.
pub(super) fn declared(block: &Block) -> Option<Variable> {
    let sensitive = block.body.get("sensitive").and_then(Value::as_bool).unwrap_or(false);
    let default = block.body.get("default");
    Some(Variable {
        name: block.labels.first()?.clone(),
        description: block.body.get("description").and_then(Value::as_str).unwrap_or_default().trim().to_owned(),
        kind: block.body.get("type").and_then(Value::as_str).map(constraint).unwrap_or_default(),
        default: default.filter(|_| !sensitive).cloned().unwrap_or_default(),
        required: default.is_none(),
        sensitive,
    })
}

/// A type constraint without the marks of an expression: `${list(string)}` is `list(string)`.
fn constraint(text: &str) -> String {
    let inner = text.strip_prefix("${").and_then(|text| text.strip_suffix('}'));
    inner.unwrap_or(text).trim().to_owned()
}

/// Whether a value given as text is the value; else it is an expression. Terraform's own rule for `-var`.
pub(super) fn holds_text(variable: &Variable) -> bool {
    matches!(variable.kind.as_str(), "" | "string" | "number" | "bool")
}

/// Whether Terraform reads a file of this name for values without being told to, and after `terraform.tfvars`.
pub(super) fn is_automatic(name: &str) -> bool {
    name.ends_with(".auto.tfvars") || name.ends_with(".auto.tfvars.json")
}

/// The names that have a value in the template's own files; `None` when one of these files cannot be read.
pub(super) fn valued(directory: &Path) -> io::Result<Option<BTreeSet<String>>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !matches!(name.as_str(), "terraform.tfvars" | "terraform.tfvars.json") && !is_automatic(&name) {
            continue;
        }
        let is_small = entry.metadata()?.len() <= FILE_BYTES_MAX;
        let found = if is_small { names_in(&fs::read(entry.path())?, name.ends_with(".json")) } else { None };
        match found {
            Some(found) => names.extend(found),
            None => return Ok(None),
        }
    }
    Ok(Some(names))
}

fn names_in(bytes: &[u8], is_json: bool) -> Option<Vec<String>> {
    if is_json {
        let file: Map<String, Value> = serde_json::from_slice(bytes).ok()?;
        return Some(file.keys().cloned().collect());
    }
    let body = hcl_edit::parser::parse_body(std::str::from_utf8(bytes).ok()?).ok()?;
    Some(body.attributes().map(|attribute| attribute.key.as_str().to_owned()).collect())
}
