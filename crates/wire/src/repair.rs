//! Repairs: a look at what exists of a workspace and is not in its Terraform state, and the removal of some of it.
//!
//! | route (all under `/api/v2`) | body -> answer |
//! |---|---|
//! | `POST workspaces/{id}/repairs` | [`CreateRepair`] -> [`Repair`]; 409 while a build or another repair is active |
//! | `GET repairs/{id}` | -> [`Repair`] |
//! | `GET repairs/{id}/logs` | -> log lines, as a build's |
//! | `PATCH repairs/{id}/cancel` | -> 200 |

use crate::build::Job;
use berth_domain::{DateTime, Stray, StrayRef, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// `POST /api/v2/workspaces/{id}/repairs`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CreateRepair {
    /// What to remove, of what the workspace's last repair found; nothing to only look.
    #[serde(default)]
    pub delete: Vec<StrayRef>,
}

/// A repair of a workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Repair {
    /// Identifier; also its job's.
    pub id: Uuid,
    /// The workspace.
    pub workspace_id: Uuid,
    /// Who asked.
    pub initiator_name: String,
    /// When.
    #[schemars(with = "DateTime")]
    pub created_at: Timestamp,
    /// Its job.
    pub job: Job,
    /// What was to be removed.
    pub delete: Vec<StrayRef>,
    /// What exists and is in no state; empty until the job has succeeded.
    pub found: Vec<Stray>,
}
