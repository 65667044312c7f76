//! External authentication: accounts elsewhere that a template wants its workspaces' owners to have linked.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A `coder_external_auth` of a template version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ExternalAuthDefinition")]
pub struct ExternalAuth {
    /// The id of the external auth provider, as the operator configured it.
    pub id: String,
    /// Whether a workspace may be built without it.
    #[serde(default)]
    pub optional: bool,
}
