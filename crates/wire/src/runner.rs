//! The runner's side of the API: claim a job with a one-time token, then log, push state, heartbeat, finish.
//!
//! | route (all under `/api/v2/runner`) | body -> answer |
//! |---|---|
//! | `POST jobs/{id}/claim` | [`Claim`] -> [`Claimed`]; 409 when another task holds it or the token was used |
//! | `POST jobs/{id}/heartbeat` | -> [`Heartbeat`]; renews the lease |
//! | `POST jobs/{id}/logs` | `[`[`LogLine`]`]` -> 204 |
//! | `GET jobs/{id}/archive` | -> the template archive, a tar |
//! | `PUT jobs/{id}/modules` | imports only: the tar of the modules that `terraform init` fetched -> 204 |
//! | `GET jobs/{id}/modules` | builds only: the same bytes, 204 when the version's import kept none |
//! | `GET jobs/{id}/state` | -> the newest Terraform state, 204 when there is none |
//! | `PUT jobs/{id}/state` | the state's bytes -> 204; 409 when the fence is old |
//! | `POST jobs/{id}/finish` | [`Finish`] -> 204 |
//!
//! All but the claim carry `Authorization: Bearer <session>`; a session is good for its one job and fence, until the job ends.

use berth_domain::{
    Adoption, AppSharing, DateTime, ExternalAuth, FailureCode, Gate, LogLevel, LogSource, Parameter, ParameterValue, Preset,
    Secret, Stray, StrayRef, TaskId, Timestamp, Timing, Transition, Variable,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Redeems a one-time token.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Claim {
    /// The one-time token given to the task.
    pub token: Secret,
    /// Which task asks.
    pub task: TaskId,
}

/// What the runner gets for its token.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Claimed {
    /// For all further calls; kept in memory only.
    pub session: Secret,
    /// The number of this claim.
    pub fence: u64,
    /// When the lease ends unless renewed.
    #[schemars(with = "DateTime")]
    pub lease_ends: Timestamp,
    /// What to do.
    pub job: Job,
    /// What it takes, as far as it came along.
    #[serde(default)]
    pub enclosed: Enclosed,
}

/// What comes along with a claim, so that the runner need not ask for it. What is `None` it fetches.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Enclosed {
    /// The template archive, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<Secret>,
    /// The newest Terraform state, in base64; empty when there is none yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<Secret>,
}

/// What a runner does.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[schemars(rename = "RunnerJob")]
pub enum Job {
    /// Parse and plan a template version: are there errors, and what does it ask?
    Import(Box<Import>),
    /// Start, stop or delete a workspace.
    Build(Box<Build>),
    /// Look for what exists of a workspace and is in no state; remove some of it.
    Repair(Box<Repair>),
    /// Plan a start of a workspace that is not made; its ids are the dry run's. Nothing may change.
    DryRun(Box<Build>),
}

/// A workspace to repair. Its state is read and never written.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "RunnerRepair")]
pub struct Repair {
    /// The workspace as for a start.
    pub build: Build,
    /// What to remove of what exists and is in no state; nothing to only look.
    #[serde(default)]
    pub delete: Vec<StrayRef>,
}

/// A version to import.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Import {
    /// The version.
    pub version_id: Uuid,
    /// Its name.
    pub version_name: String,
    /// The template's name, when it has one.
    #[serde(default)]
    pub template_name: String,
    /// Terraform variables that were given.
    #[serde(default)]
    pub variables: BTreeMap<String, Secret>,
    /// The API's URL.
    pub access_url: String,
    /// Who pushed it, standing in as workspace owner.
    pub owner: Owner,
}

/// A workspace to build.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "RunnerBuild")]
pub struct Build {
    /// The build.
    pub build_id: Uuid,
    /// 1, 2, ...
    pub build_number: u64,
    /// What to do.
    pub transition: Transition,
    /// Delete only: do not destroy, only forget.
    #[serde(default)]
    pub orphan: bool,
    /// Start only: what exists and is to be taken over by the template's resources.
    #[serde(default)]
    pub imports: Vec<Adoption>,
    /// Terraform's log level, when more than usual is wanted.
    #[serde(default)]
    pub log_level: Option<String>,
    /// The workspace.
    pub workspace_id: Uuid,
    /// Its name.
    pub workspace_name: String,
    /// Its owner.
    pub owner: Owner,
    /// The template.
    pub template_id: Uuid,
    /// Its name.
    pub template_name: String,
    /// The version's name.
    pub version_name: String,
    /// Answers, complete.
    pub parameters: Vec<ParameterValue>,
    /// The previous build's answers.
    #[serde(default)]
    pub previous_parameters: Vec<ParameterValue>,
    /// Terraform variables that were given.
    #[serde(default)]
    pub variables: BTreeMap<String, Secret>,
    /// What the version's import kept, so that this build downloads nothing.
    #[serde(default)]
    pub frozen: Frozen,
    /// The API's URL, ending in `/`.
    pub access_url: String,
    /// What to look at in the plan before it is applied; `None` is to apply without a look.
    #[serde(default)]
    pub gate: Option<Gate>,
    /// End the build when it takes longer, in milliseconds; 0 is the deployment's own limit.
    #[serde(default)]
    pub timeout_ms: u64,
    /// End the build when it says and does nothing for so long, in milliseconds; 0 is the deployment's own limit.
    #[serde(default)]
    pub silence_ms: u64,
}

/// What a version's import kept of what `terraform init` made. Provider packages are not in it: each machine keeps its own, and the
/// lock file holds their checksums.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Frozen {
    /// The text of `.terraform.lock.hcl`; empty when no provider but ours is used.
    #[serde(default)]
    pub lock: String,
    /// SHA-256 of the modules' tar, hexadecimal; `None` when there are none to fetch.
    #[serde(default)]
    pub modules: Option<String>,
}

/// The owner of the workspace that is built.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Owner {
    /// Identifier.
    pub id: Uuid,
    /// User name.
    pub username: String,
    /// Full name.
    pub name: String,
    /// E-mail address.
    pub email: String,
    /// Group names.
    #[serde(default)]
    pub groups: Vec<String>,
    /// `password`.
    pub login_type: String,
}

/// The answer to a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Heartbeat {
    /// Whether someone asked to cancel.
    pub cancel: bool,
    /// When the lease ends now.
    #[schemars(with = "DateTime")]
    pub lease_ends: Timestamp,
}

/// One log line from the runner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogLine {
    /// When it was written.
    #[schemars(with = "DateTime")]
    pub created_at: Timestamp,
    /// Who wrote it.
    pub source: LogSource,
    /// How loud.
    pub level: LogLevel,
    /// Which stage.
    pub stage: String,
    /// The text.
    pub output: String,
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Finish {
    /// The outcome.
    pub outcome: Outcome,
    /// What the state holds now, also after a failure. Empty for an import.
    #[serde(default)]
    pub resources: Vec<Resource>,
    /// What an import found; `None` after a build and after an import that did not succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported: Option<Box<Imported>>,
    /// Where the time went.
    #[serde(default)]
    pub timings: Vec<Timing>,
    /// What exists and is in no state. Repairs only.
    #[serde(default)]
    pub found: Vec<Stray>,
}

/// What an import found in a template version.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Imported {
    /// What it asks, in the order of a form.
    pub parameters: Vec<Parameter>,
    /// Answers that go together, in the order of the template's text.
    pub presets: Vec<Preset>,
    /// The Terraform variables it declares, in the order of the template's text.
    pub variables: Vec<Variable>,
    /// The tags that choose the runner of a build.
    pub tags: BTreeMap<String, String>,
    /// The accounts elsewhere that it wants linked, in the order of the template's text.
    pub external_auth: Vec<ExternalAuth>,
    /// What a workspace is made of while it runs, with the values that are known before it exists. Agents have stand-in ids that
    /// follow from the version and their address, and no token.
    pub start: Vec<Resource>,
    /// What is left of a workspace that is stopped.
    pub stop: Vec<Resource>,
    /// README.md, cut at its limit.
    pub readme: String,
    /// `.terraform.lock.hcl` as `terraform init` left it; empty when no provider but ours is used.
    pub lock: String,
    /// Things the author should know.
    pub warnings: Vec<String>,
}

/// The outcome of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Outcome {
    /// Done.
    Succeeded,
    /// Failed; the reason is for the person who asked.
    Failed {
        /// One line.
        error: String,
    },
    /// The plan breaks a rule, so nothing was changed; the reason is for the person who asked.
    Refused {
        /// One line.
        error: String,
        /// Which rule.
        code: FailureCode,
    },
    /// Ended by request.
    Canceled,
}

/// A resource in Terraform's state, with the agents placed on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "RunnerResource")]
pub struct Resource {
    /// Terraform type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Terraform label.
    pub name: String,
    /// From `coder_metadata`.
    #[serde(default)]
    pub hide: bool,
    /// From `coder_metadata`.
    #[serde(default)]
    pub icon: String,
    /// From `coder_metadata`.
    #[serde(default)]
    pub daily_cost: i64,
    /// From `coder_metadata`.
    #[serde(default)]
    pub metadata: Vec<crate::resource::ResourceMetadata>,
    /// Agents placed on it.
    #[serde(default)]
    pub agents: Vec<Agent>,
}

/// An agent in Terraform's state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "RunnerAgent")]
pub struct Agent {
    /// The agent's id: the id attribute of its `coder_agent`.
    pub id: Uuid,
    /// Terraform label.
    pub name: String,
    /// The token in its environment; the store keeps the hash. `None` with instance identity.
    pub token: Option<Secret>,
    /// `token` or `aws-instance-identity` and the like.
    pub auth: String,
    /// With instance identity.
    #[serde(default)]
    pub instance_id: String,
    /// With AWS instance identity, the ARN of the machine: its account and region are those that the instance must be in.
    #[serde(default)]
    pub instance_arn: String,
    /// `no_user_data` when the agent is not to have its user's secrets; `all`, or nothing, otherwise.
    #[serde(default)]
    pub api_key_scope: String,
    /// `amd64`, `arm64`, `armv7`.
    pub arch: String,
    /// `linux`, `darwin`, `windows`.
    pub os: String,
    /// Working directory, unexpanded.
    #[serde(default)]
    pub directory: String,
    /// `env` of the agent, then `coder_env` merged into it.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Message of the day file.
    #[serde(default)]
    pub motd_file: String,
    /// Seconds.
    pub connection_timeout_seconds: i64,
    /// Where to read when it does not connect.
    #[serde(default)]
    pub troubleshooting_url: String,
    /// `blocking` or `non-blocking`.
    pub startup_script_behavior: String,
    /// Which buttons: `vscode`, `web_terminal`, ...
    #[serde(default)]
    pub display_apps: Vec<String>,
    /// Position.
    #[serde(default)]
    pub order: i64,
    /// Scripts, `startup_script` and `shutdown_script` among them.
    #[serde(default)]
    pub scripts: Vec<Script>,
    /// Apps.
    #[serde(default)]
    pub apps: Vec<App>,
    /// Metadata blocks.
    #[serde(default)]
    pub metadata: Vec<Metadata>,
    /// What is watched of memory and volumes.
    #[serde(default, skip_serializing_if = "Monitors::is_empty")]
    pub monitors: Monitors,
}

/// `resources_monitoring` of an agent: what is watched, without what is switched off.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Monitors {
    /// Memory, at this use in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u8>,
    /// Volumes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<VolumeMonitor>,
}

impl Monitors {
    /// Whether nothing is watched.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.memory.is_none() && self.volumes.is_empty()
    }
}

/// A volume that is watched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VolumeMonitor {
    /// A path on it.
    pub path: String,
    /// The use, in percent, from which on it is told.
    pub threshold: u8,
}

/// A `coder_script`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Script {
    /// Identifier; also its log source.
    pub id: Uuid,
    /// For people.
    pub display_name: String,
    /// Picture.
    #[serde(default)]
    pub icon: String,
    /// The text.
    pub script: String,
    /// Where its output goes as well.
    #[serde(default)]
    pub log_path: String,
    /// Six fields, or empty.
    #[serde(default)]
    pub cron: String,
    /// Sessions wait for it.
    #[serde(default)]
    pub start_blocks_login: bool,
    /// Runs at start.
    #[serde(default)]
    pub run_on_start: bool,
    /// Runs at stop.
    #[serde(default)]
    pub run_on_stop: bool,
    /// Seconds; 0 is none.
    #[serde(default)]
    pub timeout_seconds: u64,
}

/// A `coder_app`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "RunnerApp")]
pub struct App {
    /// Identifier.
    pub id: Uuid,
    /// Name in URLs.
    pub slug: String,
    /// For people.
    #[serde(default)]
    pub display_name: String,
    /// Inside URL.
    #[serde(default)]
    pub url: String,
    /// Terminal command instead.
    #[serde(default)]
    pub command: String,
    /// Picture.
    #[serde(default)]
    pub icon: String,
    /// Own host.
    #[serde(default)]
    pub subdomain: bool,
    /// Link to elsewhere.
    #[serde(default)]
    pub external: bool,
    /// Who may open it.
    pub share: AppSharing,
    /// Check.
    #[serde(default)]
    pub healthcheck: crate::resource::AppHealthcheck,
    /// Not shown.
    #[serde(default)]
    pub hidden: bool,
    /// `slim-window` or `tab`.
    #[serde(default)]
    pub open_in: String,
    /// Heading.
    #[serde(default)]
    pub group: String,
    /// Markdown.
    #[serde(default)]
    pub tooltip: String,
    /// Position.
    #[serde(default)]
    pub order: i64,
}

/// A `metadata` block of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Metadata {
    /// Key.
    pub key: String,
    /// For people.
    #[serde(default)]
    pub display_name: String,
    /// The script whose output is the value.
    pub script: String,
    /// Seconds between runs.
    pub interval: i64,
    /// Seconds a run may take.
    pub timeout: i64,
}
