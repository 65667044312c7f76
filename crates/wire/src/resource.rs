//! What a build made: resources, and the agents and apps in them.

use berth_domain::{AgentStatus, AppHealth, AppSharing, DateTime, Lifecycle, Timestamp, Transition};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

/// One Terraform resource that a build made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Resource {
    /// Identifier.
    pub id: Uuid,
    /// When it was recorded.
    #[schemars(with = "DateTime")]
    pub created_at: Timestamp,
    /// The build's job.
    pub job_id: Uuid,
    /// The build's transition.
    pub workspace_transition: Transition,
    /// Terraform type, e.g. `aws_instance`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Terraform label.
    pub name: String,
    /// Not shown to developers.
    pub hide: bool,
    /// A picture.
    pub icon: String,
    /// Agents on it; absent for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agents: Option<Vec<Agent>>,
    /// `coder_metadata` items.
    #[serde(default)]
    pub metadata: Vec<ResourceMetadata>,
    /// From `coder_metadata`.
    #[serde(default)]
    pub daily_cost: i64,
}

/// One item of a `coder_metadata`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ResourceMetadata {
    /// The label.
    pub key: String,
    /// The text; empty when sensitive.
    pub value: String,
    /// Whether it was hidden.
    pub sensitive: bool,
}

/// An agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Agent {
    /// Identifier.
    pub id: Uuid,
    /// None for an agent straight from the template.
    #[serde(default)]
    pub parent_id: Option<Uuid>,
    /// When it was recorded.
    #[schemars(with = "DateTime")]
    pub created_at: Timestamp,
    /// When it last changed.
    #[schemars(with = "DateTime")]
    pub updated_at: Timestamp,
    /// First connection.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(with = "Option<DateTime>")]
    pub first_connected_at: Option<Timestamp>,
    /// Latest connection.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(with = "Option<DateTime>")]
    pub last_connected_at: Option<Timestamp>,
    /// Latest loss of connection.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(with = "Option<DateTime>")]
    pub disconnected_at: Option<Timestamp>,
    /// When start scripts began.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(with = "Option<DateTime>")]
    pub started_at: Option<Timestamp>,
    /// When start scripts ended.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(with = "Option<DateTime>")]
    pub ready_at: Option<Timestamp>,
    /// Whether it can be reached.
    pub status: AgentStatus,
    /// How far its start-up is.
    pub lifecycle_state: Lifecycle,
    /// Terraform label.
    pub name: String,
    /// The resource it is on.
    pub resource_id: Uuid,
    /// The instance id, with instance identity.
    #[serde(default)]
    pub instance_id: String,
    /// `amd64`, `arm64`, `armv7`.
    pub architecture: String,
    /// `linux`, `darwin`, `windows`.
    pub operating_system: String,
    /// Environment; empty towards clients.
    #[serde(default)]
    pub environment_variables: BTreeMap<String, String>,
    /// As the template has it.
    #[serde(default)]
    pub directory: String,
    /// As the agent resolved it.
    #[serde(default)]
    pub expanded_directory: String,
    /// The agent's version.
    pub version: String,
    /// Its API version.
    #[serde(default)]
    pub api_version: String,
    /// Apps.
    pub apps: Vec<App>,
    /// After this, a connecting agent is `timeout`.
    pub connection_timeout_seconds: i64,
    /// Where to read when it does not connect.
    #[serde(default)]
    pub troubleshooting_url: String,
    /// `blocking` or `non-blocking`.
    pub startup_script_behavior: String,
    /// Whether people wait for start scripts.
    #[serde(default)]
    pub login_before_ready: bool,
    /// Which buttons to show.
    #[serde(default)]
    pub display_apps: Vec<String>,
    /// Whether it fares well.
    pub health: AgentHealth,
    /// Lines of log so far.
    #[serde(default)]
    pub logs_length: u64,
    /// Whether log was cut at its limit.
    #[serde(default)]
    pub logs_overflowed: bool,
    /// Log sources.
    #[serde(default)]
    pub log_sources: Vec<LogSourceInfo>,
    /// Scripts.
    #[serde(default)]
    pub scripts: Vec<AgentScript>,
    /// Latency by relay.
    #[serde(default)]
    pub latency: BTreeMap<String, RelayLatency>,
    /// Which parts.
    #[serde(default)]
    pub subsystems: Vec<String>,
}

/// Whether an agent fares well, and if not why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgentHealth {
    /// Yes or no.
    pub healthy: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// A script of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgentScript {
    /// Identifier.
    pub id: Uuid,
    /// The source of its log lines.
    pub log_source_id: Uuid,
    /// Where in the workspace its output is kept, too.
    pub log_path: String,
    /// For people.
    pub display_name: String,
    /// When it runs again: six cron fields, or empty.
    pub cron: String,
    /// Whether people wait for it.
    pub start_blocks_login: bool,
    /// Whether it runs when the agent starts.
    pub run_on_start: bool,
    /// Whether it runs when the agent ends.
    pub run_on_stop: bool,
    /// Its time limit in nanoseconds, as Coder has it; 0 for none.
    pub timeout: u64,
    /// Empty towards clients: its text may hold what only the agent should read.
    pub script: String,
}

/// How far an agent is from a relay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RelayLatency {
    /// Whether it is the agent's own relay.
    pub preferred: bool,
    /// The round trip in milliseconds.
    pub latency_ms: f64,
}

/// Where an agent's log lines come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogSourceInfo {
    /// Identifier.
    pub id: Uuid,
    /// The agent.
    pub workspace_agent_id: Uuid,
    /// When it was made.
    #[schemars(with = "DateTime")]
    pub created_at: Timestamp,
    /// For people.
    pub display_name: String,
    /// A picture.
    #[serde(default)]
    pub icon: String,
}

/// An app of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct App {
    /// Identifier.
    pub id: Uuid,
    /// Where it answers, from inside.
    pub url: String,
    /// Whether it is a link to elsewhere.
    pub external: bool,
    /// Name in URLs.
    pub slug: String,
    /// For people.
    pub display_name: String,
    /// A command for the terminal instead of a URL.
    #[serde(default)]
    pub command: String,
    /// A picture.
    #[serde(default)]
    pub icon: String,
    /// Whether it gets its own host.
    pub subdomain: bool,
    /// Its host label.
    #[serde(default)]
    pub subdomain_name: String,
    /// Who may open it.
    pub sharing_level: AppSharing,
    /// How to check it.
    pub healthcheck: AppHealthcheck,
    /// What the check says.
    pub health: AppHealth,
    /// Not shown.
    pub hidden: bool,
    /// `slim-window` or `tab`.
    #[serde(default)]
    pub open_in: String,
    /// Heading to show it under.
    #[serde(default)]
    pub group: String,
    /// Markdown.
    #[serde(default)]
    pub tooltip: String,
}

/// How to check an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
pub struct AppHealthcheck {
    /// Empty for none.
    pub url: String,
    /// Seconds between checks.
    pub interval: i64,
    /// Failures in a row that mean unhealthy.
    pub threshold: i64,
}
