//! Jobs, builds and their logs.

use crate::resource::Resource;
use berth_domain::{
    Adoption, BuildReason, DateTime, FailureCode, JobStatus, LogLevel, LogSource, ParameterValue, ScriptStage, ScriptStatus,
    TaskId, Timestamp, TimingStage, Transition, WorkspaceStatus,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A job: the run of a build or of a version's import.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Job {
    /// The build's or the version's id.
    pub id: Uuid,
    /// When it was queued.
    #[schemars(with = "DateTime")]
    pub created_at: Timestamp,
    /// When a runner claimed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<DateTime>")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<DateTime>")]
    pub completed_at: Option<Timestamp>,
    /// When it was canceled.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<DateTime>")]
    pub canceled_at: Option<Timestamp>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// The same for programs, where they can do something about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_code: Option<FailureCode>,
    /// The task that works or worked on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_id: Option<TaskId>,
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Build {
    /// Identifier.
    pub id: Uuid,
    /// When it was asked for.
    #[schemars(with = "DateTime")]
    pub created_at: Timestamp,
    /// When it last changed.
    #[schemars(with = "DateTime")]
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
    #[schemars(with = "Option<DateTime>")]
    pub deadline: Option<Timestamp>,
    /// The latest the deadline can be.
    #[schemars(with = "Option<DateTime>")]
    pub max_deadline: Option<Timestamp>,
    /// The workspace's status as of this build.
    pub status: WorkspaceStatus,
    /// Sum of the resources' daily costs.
    #[serde(default)]
    pub daily_cost: i64,
    /// The preset that was chosen for it.
    #[serde(default)]
    pub template_version_preset_id: Option<Uuid>,
}

/// `POST /api/v2/workspaces/{id}/builds`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
    /// Start only: what exists and is to be taken over by the template's resources.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub imports: Vec<Adoption>,
    /// Consents to replacing or destroying what holds data or runs, where the template asks for consent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_replace: bool,
    /// A preset of the version, whose answers win over the ones given one by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_version_preset_id: Option<Uuid>,
}

impl CreateBuild {
    /// A build that does `transition` with all that the workspace has, and nothing more.
    #[must_use]
    pub const fn new(transition: Transition) -> Self {
        Self {
            transition,
            template_version_id: None,
            rich_parameter_values: Vec::new(),
            orphan: false,
            log_level: None,
            reason: None,
            allow_replace: false,
            template_version_preset_id: None,
            imports: Vec::new(),
        }
    }
}

/// `GET /api/v2/workspacebuilds/{id}/timings`: where the time of a build went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Timings {
    /// What Terraform did, stage by stage and resource by resource.
    pub provisioner_timings: Vec<ProvisionerTiming>,
    /// The scripts that agents ran which still are this build's; runs on a schedule are not kept.
    pub agent_script_timings: Vec<AgentScriptTiming>,
    /// How long those agents took to connect.
    pub agent_connection_timings: Vec<AgentConnectionTiming>,
}

/// How long one stage, or one resource in it, took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProvisionerTiming {
    /// The build's job.
    pub job_id: Uuid,
    /// When it began.
    #[schemars(with = "DateTime")]
    pub started_at: Timestamp,
    /// When it ended, well or not.
    #[schemars(with = "DateTime")]
    pub ended_at: Timestamp,
    /// `init`, `plan` or `apply`.
    pub stage: TimingStage,
    /// The provider's name, or `terraform`.
    pub source: String,
    /// `create`, `read`, ...
    pub action: String,
    /// The resource's address, or `terraform` for the whole stage.
    pub resource: String,
}

/// How long a script of an agent took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgentScriptTiming {
    /// When it began.
    #[schemars(with = "DateTime")]
    pub started_at: Timestamp,
    /// When it ended, well or not.
    #[schemars(with = "DateTime")]
    pub ended_at: Timestamp,
    /// Its exit code; 255 when it has none.
    pub exit_code: i32,
    /// Why it ran.
    pub stage: ScriptStage,
    /// How it ended.
    pub status: ScriptStatus,
    /// The script, for people.
    pub display_name: String,
    /// The agent.
    pub workspace_agent_id: Uuid,
    /// Its name.
    pub workspace_agent_name: String,
}

/// How long an agent took to connect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgentConnectionTiming {
    /// When its build recorded it.
    #[schemars(with = "DateTime")]
    pub started_at: Timestamp,
    /// When it first said hello.
    #[schemars(with = "DateTime")]
    pub ended_at: Timestamp,
    /// `connect`.
    pub stage: String,
    /// The agent.
    pub workspace_agent_id: Uuid,
    /// Its name.
    pub workspace_agent_name: String,
}

/// One line of a job's log. Ids grow by one from 1 within a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobLog {
    /// Position.
    pub id: u64,
    /// When it was written.
    #[schemars(with = "DateTime")]
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
