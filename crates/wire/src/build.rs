//! Jobs, builds and their logs.

use crate::resource::Resource;
use berth_domain::{BuildReason, JobStatus, LogLevel, LogSource, ParameterValue, Timestamp, Transition, WorkspaceStatus};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A job: the run of a build or of a version's import.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// The build's or the version's id.
    pub id: Uuid,
    /// When it was queued.
    pub created_at: Timestamp,
    /// When a runner claimed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
    /// When it was canceled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canceled_at: Option<Timestamp>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// Where it stands.
    pub status: JobStatus,
    /// The archive it works on.
    pub file_id: Uuid,
    /// Worker tags; empty.
    #[serde(default)]
    pub tags: std::collections::BTreeMap<String, String>,
    /// Jobs before it; 0.
    #[serde(default)]
    pub queue_position: i64,
    /// Jobs waiting; 0.
    #[serde(default)]
    pub queue_size: i64,
}

/// A build of a workspace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Build {
    /// Identifier.
    pub id: Uuid,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Whose.
    pub workspace_id: Uuid,
    /// The workspace's name.
    pub workspace_name: String,
    /// The owner.
    pub workspace_owner_id: Uuid,
    /// The owner's name.
    pub workspace_owner_name: String,
    /// The version built.
    pub template_version_id: Uuid,
    /// The version's name.
    pub template_version_name: String,
    /// 1, 2, ...
    pub build_number: u64,
    /// What it does.
    pub transition: Transition,
    /// Who asked.
    pub initiator_id: Uuid,
    /// Their name.
    pub initiator_name: String,
    /// Its job.
    pub job: Job,
    /// Why.
    pub reason: BuildReason,
    /// What it built.
    pub resources: Vec<Resource>,
    /// When the workspace is to be stopped.
    pub deadline: Option<Timestamp>,
    /// The latest the deadline can be.
    pub max_deadline: Option<Timestamp>,
    /// The workspace's status as of this build.
    pub status: WorkspaceStatus,
    /// Sum of the resources' daily costs.
    #[serde(default)]
    pub daily_cost: i64,
}

/// `POST /api/v2/workspaces/{id}/builds`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateBuild {
    /// What to do.
    pub transition: Transition,
    /// Another version; else the workspace's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_version_id: Option<Uuid>,
    /// New answers; else those of the previous build.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rich_parameter_values: Vec<ParameterValue>,
    /// Delete only: forget the resources without destroying them.
    #[serde(default)]
    pub orphan: bool,
    /// `debug` for Terraform's own debug log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_level: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<BuildReason>,
}

/// One line of a job's log. Ids grow by one from 1 within a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobLog {
    /// Position.
    pub id: u64,
    /// When it was written.
    pub created_at: Timestamp,
    /// Who wrote it.
    pub log_source: LogSource,
    /// How loud.
    pub log_level: LogLevel,
    /// Which stage, for people: `Claiming the build`, `Initializing Terraform`, `Applying`.
    pub stage: String,
    /// The text.
    pub output: String,
}
