//! Presence: what the API asks the relay about agents, and the keys by which the relay knows who may ask and who may connect.
//!
//! `POST {relay_url}/presence` with a [`crate::ticket::PresenceClaims`] ticket as bearer; `GET /api/v2/relay/keys` without
//! authentication, since public keys are no secret.

use crate::ticket::VerifyingKey;
use berth_domain::{DateTime, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Where the relay answers, below its URL.
pub const PRESENCE_PATH: &str = "/presence";
/// Where the API tells its public keys, below its URL.
pub const RELAY_KEYS_PATH: &str = "/api/v2/relay/keys";
/// How long a presence ticket is good for.
pub const PRESENCE_TICKET_SECONDS: i64 = 60;
/// The most agents that one request may ask about; who has more asks again.
pub const PRESENCE_AGENTS_MAX: usize = 1_000;

/// Which of these agents are connected?
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PresenceRequest {
    /// At most [`PRESENCE_AGENTS_MAX`].
    pub agents: Vec<AskedAgent>,
}

/// An agent as the table knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AskedAgent {
    /// Its id, the subject of its relay token.
    pub id: Uuid,
    /// The tailnet key it said hello with, 64 hexadecimal digits. Both must match the connection: a key alone is what an agent says of
    /// itself, and another agent may say it too.
    pub endpoint_id: String,
}

/// Those that are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PresenceAnswer {
    /// In the order they were asked for.
    pub connected: Vec<ConnectedAgent>,
    /// The tailnet key of the relay's own end, by which it opens apps for browsers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint_id: Option<String>,
}

/// An agent that the relay holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConnectedAgent {
    /// Its id.
    pub id: Uuid,
    /// Since when.
    #[schemars(with = "DateTime")]
    pub since: Timestamp,
}

/// The keys that verify the deployment's tickets: the one that signs now, and those whose tickets may still be about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RelayKeys {
    /// At least one.
    pub keys: Vec<VerifyingKey>,
}
