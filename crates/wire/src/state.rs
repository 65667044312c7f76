//! Versions of a workspace's Terraform state.
//!
//! | route (all under `/api/v2`) | body -> answer |
//! |---|---|
//! | `GET workspaces/{id}/states` | -> `[`[`StateVersion`]`]`, oldest first |
//! | `GET workspaces/{id}/states/{number}` | -> the state's bytes |
//! | `POST workspaces/{id}/states` | the state's bytes -> [`StateVersion`]; 409 while a build is active, for an older serial and for another lineage |
//! | `POST workspaces/{id}/states/{number}/restore` | -> [`StateVersion`]: the old content under a new number and serial |
//! | `GET workspacebuilds/{id}/state` | -> the state that the build left, 204 when it left none (Coder) |
//! | `PUT workspacebuilds/{id}/state` | [`UpdateState`] -> 204; the newest build only (Coder) |

use berth_domain::{DateTime, Timestamp, Transition};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A state that is or was a workspace's newest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StateVersion {
    /// 1, 2, ... in the workspace.
    pub number: u64,
    /// Terraform's own count.
    pub serial: u64,
    /// Terraform's name of the history; empty for a state of before it was recorded.
    pub lineage: String,
    /// Length in bytes.
    pub size: u64,
    /// SHA-256 of the bytes, hexadecimal.
    pub sha256: String,
    /// The build that was the workspace's latest then.
    pub build_id: Uuid,
    /// That build's number.
    pub build_number: u64,
    /// What that build does; `None` when it is not known any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transition: Option<Transition>,
    /// When it was taken.
    #[schemars(with = "DateTime")]
    pub created_at: Timestamp,
    /// Where it came from.
    pub origin: StateOrigin,
    /// Who pushed or restored it; empty for a build's.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// The number of the version whose content it has. Restored ones only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored_from: Option<u64>,
}

/// Where a state came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StateOrigin {
    /// A build's runner.
    Build,
    /// A person who pushed it.
    Push,
    /// A person who went back to an earlier one.
    Restore,
}

impl std::fmt::Display for StateOrigin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Build => "build",
            Self::Push => "push",
            Self::Restore => "restore",
        })
    }
}

/// `PUT /api/v2/workspacebuilds/{id}/state`.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub struct UpdateState {
    /// The state's bytes, in base64.
    pub state: String,
}

impl std::fmt::Debug for UpdateState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "UpdateState({} bytes [redacted])", self.state.len())
    }
}
