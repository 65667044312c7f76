//! The one error envelope of the API.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Every answer of 400 and above has this body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
pub struct ErrorBody {
    /// One sentence for the person.
    pub message: String,
    /// More, for the one who debugs; never internals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Which fields were refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub validations: Vec<Validation>,
}

/// One refused field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Validation {
    /// The JSON field or the parameter's name.
    pub field: String,
    /// What is wrong with it.
    pub detail: String,
}
