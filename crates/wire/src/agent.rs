//! The agent's side of the API, under `/api/v2/workspaceagents/me`, with the agent's token in `Coder-Session-Token`.
//!
//! | route | body -> answer |
//! |---|---|
//! | `POST me/manifest` | [`Hello`] -> [`Manifest`]; 401 unknown token, 403 `superseded` when a newer build replaced this agent |
//! | `PATCH me/lifecycle` | [`LifecycleReport`] -> 204 |
//! | `PATCH me/logs` | [`Logs`] -> 204; 413 when the log is full |
//! | `POST me/sessions` | [`SessionsRequest`] -> [`SessionsAnswer`]; asked now and then while something is open |
//! | `POST me/metadata` | [`MetadataReport`] -> 204 |
//! | `POST me/script-completed` | [`ScriptCompleted`] -> 204 |
//! | `POST me/app-health` | [`AppHealthReport`] -> 204 |
//! | `GET me/gitsshkey` | -> [`AgentGitKey`]; 403 when the owner is suspended |
//! | `GET me/external-auth` | [`ExternalAuthQuery`] -> [`ExternalAuth`]; 404 when no provider is configured |
//!
//! and the client's, under `/api/v2/workspaceagents/{id}`: `POST ticket` [`TicketRequest`] -> [`Ticket`]; `GET logs?after=N&follow`.

use crate::{
    resource::AppHealthcheck,
    runner::{Metadata, Monitors, Script},
    tunnel::Terminal,
};
use berth_domain::{AppHealth, DateTime, Lifecycle, LogLevel, ScriptStage, ScriptStatus, Secret, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

/// The first thing an agent says, and again after each reconnect: who it is on the tailnet. A repeat with the same content writes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Hello {
    /// The agent's tailnet key: an iroh endpoint id in its text form.
    pub endpoint_id: String,
    /// The agent's version.
    pub version: String,
    /// The directory it resolved, once it knows its manifest.
    #[serde(default)]
    pub expanded_directory: String,
}

/// All an agent needs to know.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Manifest {
    /// The agent.
    pub agent_id: Uuid,
    /// Its name.
    pub agent_name: String,
    /// The workspace.
    pub workspace_id: Uuid,
    /// Its name.
    pub workspace_name: String,
    /// The owner's name.
    pub owner_name: String,
    /// The API's URL.
    pub access_url: String,
    /// Environment of sessions and scripts.
    pub env: BTreeMap<String, String>,
    /// Working directory, unexpanded; empty is home.
    pub directory: String,
    /// Message of the day file.
    pub motd_file: String,
    /// Scripts.
    pub scripts: Vec<Script>,
    /// Metadata blocks.
    pub metadata: Vec<Metadata>,
    /// The apps that are to be looked at.
    #[serde(default)]
    pub apps: Vec<CheckedApp>,
    /// What is watched of memory and volumes.
    #[serde(default)]
    pub monitors: Monitors,
    /// Where any port is as a web app, with `{{port}}` in place of the port; empty where the deployment has no hosts for apps.
    #[serde(default)]
    pub vs_code_port_proxy_uri: String,
    /// Where to find the relay.
    pub relay: Relay,
    /// Public key (32 bytes, base64url without padding) that signs the tickets clients present; an Ed25519 key.
    pub ticket_key: String,
    /// Which of the deployment's keys it is.
    pub ticket_key_id: String,
    /// Seed of the SSH host key: 32 bytes in hexadecimal. The same for the workspace's life.
    pub ssh_host_key_seed: Secret,
    /// Whether direct connections are forbidden.
    #[serde(default)]
    pub disable_direct_connections: bool,
}

/// How to be admitted at the deployment's relays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Relay {
    /// The URL of the first.
    pub url: String,
    /// Further ones, in no order. An agent is at the one that answers it fastest, and a client looks for it there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<String>,
    /// A JWT with `aud: relay`, bound to the endpoint that asked; good at each of them.
    pub token: Secret,
}

impl Relay {
    /// The URLs of all.
    pub fn urls(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.url).chain(&self.others).map(String::as_str)
    }

    /// Only the first.
    #[must_use]
    pub fn first(&self) -> Self {
        Self { url: self.url.clone(), others: Vec::new(), token: self.token.clone() }
    }

    /// Only the relay at `url`, if it is one of these. A final slash does not matter.
    #[must_use]
    pub fn only(&self, url: &str) -> Option<Self> {
        let bare = |url: &str| url.trim_end_matches('/').to_owned();
        let found = self.urls().find(|known| bare(known) == bare(url))?;
        Some(Self { url: found.to_owned(), others: Vec::new(), token: self.token.clone() })
    }
}

/// An agent asks which of the people who have something open in it may stay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionsRequest {
    /// The users, each once; at most [`SESSION_USERS_MAX`].
    pub users: Vec<Uuid>,
}

/// The most users that one question may be about.
pub const SESSION_USERS_MAX: usize = 256;

/// Who may not stay. Everybody else may.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionsAnswer {
    /// Those whose sessions are to end.
    pub end: Vec<Uuid>,
    /// The key that signs tickets now: what was opened with one of another key is to end too.
    pub ticket_key_id: String,
}

/// The agent's lifecycle changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LifecycleReport {
    /// To this.
    pub state: Lifecycle,
    /// At this time.
    #[schemars(with = "DateTime")]
    pub changed_at: Timestamp,
}

/// An app whose health the agent looks at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CheckedApp {
    /// The app.
    pub id: Uuid,
    /// Its name in URLs.
    pub slug: String,
    /// How; its URL is not empty.
    pub healthcheck: AppHealthcheck,
}

/// The health of apps changed. The later of two reports about an app replaces the one before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AppHealthReport {
    /// By the app's id. `disabled` is not the agent's to say.
    pub healths: BTreeMap<Uuid, AppHealth>,
}

/// A script ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScriptCompleted {
    /// Which one.
    pub script_id: Uuid,
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
}

/// Lines from the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Logs {
    /// The script's id, or the agent's own source.
    pub log_source_id: Uuid,
    /// The lines.
    pub logs: Vec<Line>,
}

/// One line from the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Line {
    /// When.
    #[schemars(with = "DateTime")]
    pub created_at: Timestamp,
    /// How loud.
    pub level: LogLevel,
    /// The text.
    pub output: String,
}

/// The key of the workspace's owner for git over SSH.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct AgentGitKey {
    /// A line of an `authorized_keys` file, with its end.
    pub public_key: String,
    /// The private key, as OpenSSH writes one without a passphrase.
    pub private_key: Secret,
}

/// Which external authentication an agent wants a token of: by its id, or by a URL that it is good for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExternalAuthQuery {
    /// The provider's id.
    #[serde(default)]
    pub id: String,
    /// The URL.
    #[serde(default, rename = "match")]
    pub matches: String,
}

/// A token of another service.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ExternalAuthToken")]
pub struct ExternalAuth {
    /// What to send.
    pub access_token: Secret,
    /// Where a person signs in when there is no token yet.
    #[serde(default)]
    pub url: String,
    /// The provider's kind.
    #[serde(default, rename = "type")]
    pub kind: String,
}

/// `POST /api/v2/workspaceagents/aws-instance-identity`: an EC2 instance asks for the token of the agent that it is the machine of. Needs no token. 401
/// also while the build that made it has not ended.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct InstanceIdentity {
    /// The PKCS #7 signature that the metadata service answers at `/latest/dynamic/instance-identity/rsa2048`, base64.
    pub signature: String,
    /// The document it is of, byte for byte: `/latest/dynamic/instance-identity/document`.
    pub document: String,
}

/// The answer to [`InstanceIdentity`]. Each boot of an instance gets it once.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct InstanceSession {
    /// The agent's token until the instance boots again.
    pub session_token: Secret,
}

/// What metadata scripts said. A later value of a key replaces the one before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MetadataReport {
    /// At most [`berth_domain::limit::METADATA_BLOCKS_MAX`].
    pub values: Vec<MetadataValue>,
}

/// What one metadata script said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MetadataValue {
    /// The block's key.
    pub key: String,
    /// When it said it.
    #[schemars(with = "DateTime")]
    pub collected_at: Timestamp,
    /// What it printed.
    #[serde(default)]
    pub value: String,
    /// Why it said nothing.
    #[serde(default)]
    pub error: String,
}

/// A metadata block as clients watch it, in `watch-metadata-ws` and its SSE twin `watch-metadata`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MetadataEvent {
    /// Its latest value.
    pub result: MetadataResult,
    /// What the template says of it.
    pub description: MetadataDescription,
}

/// The latest value of a metadata block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MetadataResult {
    /// When it was said; the first second of year 1 while nothing was.
    #[schemars(with = "DateTime")]
    pub collected_at: Timestamp,
    /// How many seconds ago.
    pub age: i64,
    /// What was said.
    pub value: String,
    /// Why nothing was.
    pub error: String,
}

impl Default for MetadataResult {
    fn default() -> Self {
        /// 0001-01-01T00:00:00Z in Unix seconds, which clients take for never.
        const NEVER: i64 = -62_135_596_800;
        Self { collected_at: Timestamp::constant(NEVER, 0), age: 0, value: String::new(), error: String::new() }
    }
}

/// What a template says of a metadata block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MetadataDescription {
    /// For people.
    pub display_name: String,
    /// Its name.
    pub key: String,
    /// Empty towards clients: its text may hold what only the agent should read.
    pub script: String,
    /// Seconds between runs.
    pub interval: i64,
    /// Seconds that a run may take.
    pub timeout: i64,
}

/// One line of an agent's log as clients read it. Ids grow by one from 1 within an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgentLog {
    /// Position.
    pub id: u64,
    /// When.
    #[schemars(with = "DateTime")]
    pub created_at: Timestamp,
    /// The text.
    pub output: String,
    /// How loud.
    pub level: LogLevel,
    /// The script's id, or the agent's own source.
    pub source_id: Uuid,
}

/// A client asks to be introduced to an agent. Only the workspace's owner may.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TicketRequest {
    /// The client's tailnet key.
    pub endpoint_id: String,
    /// The one terminal that the ticket is to be good for, in place of all that the owner may reach: what the relay asks for on behalf of a
    /// browser.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminal: Option<Terminal>,
}

/// The introduction: 409 with the agent's status when it is not connected.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Ticket {
    /// The agent's tailnet key.
    pub agent_endpoint_id: String,
    /// The relay to meet at, which the agent is at now, and the others that it may go to when that fails.
    pub relay: Relay,
    /// A JWT with `aud: agent`, see [`crate::ticket`]; presented as the first frame of each stream.
    pub ticket: Secret,
    /// The agent's SSH host key as an OpenSSH public key line, `ssh-ed25519 AAAA...`.
    pub ssh_host_key: String,
    /// Whether direct connections are forbidden.
    #[serde(default)]
    pub disable_direct_connections: bool,
}
