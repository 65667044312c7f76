//! Terraform variables: what a template version declares, set by who pushes it and the same for all its workspaces.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A `variable` block of a template's root module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "VariableDefinition")]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// Its type constraint as the template has it, such as `string` or `list(object({ name = string }))`; empty for any.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// Its default; null when there is none, and of a sensitive one, whose default never leaves the archive.
    #[serde(default)]
    pub default: Value,
    /// Whether a value must be given: it has no default and no value in a `.tfvars` file of the archive.
    #[serde(default)]
    pub required: bool,
    /// Whether its value must not be shown.
    #[serde(default)]
    pub sensitive: bool,
}
