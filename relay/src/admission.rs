//! Who may use the relay: endpoints with a token of ours, made out to their own key, that was not revoked.

use crate::{
    keys::Keys,
    presence::{Presence, lock},
};
use berth_wire::{
    domain::Timestamp,
    ticket::{RelayClaims, RelayRole},
};
use iroh::EndpointId;
use iroh_relay::{
    KeyCache,
    server::{Access, AccessControl, ClientRequest, ConnectionId, DynAccessControl, Metrics, clients::Clients},
};
use std::{
    collections::{HashMap, HashSet},
    error::Error,
    sync::{Arc, Mutex},
    time::Duration,
};
use uuid::Uuid;

/// How often [`Relay::revoke`] looks whether a connection that was being admitted has shown up.
const REVOKE_AGAIN: Duration = Duration::from_millis(20);
/// How long it looks; longer than an admission takes.
const REVOKE_FOR: Duration = Duration::from_secs(5);

/// What a relay needs to know. The two limits on numbers are apart, so that browsers cannot keep endpoints out, nor endpoints browsers.
#[derive(Debug, Clone)]
pub struct RelayConfig {
    /// The keys that may have signed the tokens.
    pub keys: Keys,
    /// The most endpoints at a time; 20 kB of memory each.
    pub endpoints_max: usize,
    /// The most other connections at a time: HTTP, websockets, and endpoints that have yet to prove themselves. Further ones wait.
    pub connections_max: u32,
    /// A request's head must be whole within this time, which is also how long an idle connection is kept.
    pub head_within: Duration,
    /// An endpoint must have proven itself within this time of its upgrade.
    pub admission_within: Duration,
    /// How long requests may go on once we drain.
    pub drain_within: Duration,
}

impl RelayConfig {
    /// The usual limits: 10 000 endpoints and 10 000 other connections, which fit the smallest Fargate task; 10 seconds for everything.
    #[must_use]
    pub const fn new(keys: Keys) -> Self {
        Self {
            keys,
            endpoints_max: 10_000,
            connections_max: 10_000,
            head_within: Duration::from_secs(10),
            admission_within: Duration::from_secs(10),
            drain_within: Duration::from_secs(10),
        }
    }
}

/// The relay. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Relay {
    gate: Arc<Gate>,
    access: Arc<dyn DynAccessControl>,
    clients: Clients,
    keys: KeyCache,
    metrics: Arc<Metrics>,
}

impl Relay {
    /// A relay that serves nobody yet; see [`crate::serve`].
    #[must_use]
    pub fn new(config: RelayConfig) -> Self {
        let keys = KeyCache::new(config.endpoints_max);
        let gate = Arc::new(Gate { config, presence: Presence::default(), state: Mutex::default() });
        let access: Arc<dyn DynAccessControl> = Arc::new(Door(Arc::clone(&gate)));
        Self { gate, access, clients: Clients::default(), keys, metrics: Arc::default() }
    }

    /// Which agents are connected.
    #[must_use]
    pub fn presence(&self) -> Presence {
        self.gate.presence.clone()
    }

    /// How many endpoints are connected, agents and clients.
    #[must_use]
    pub fn endpoints(&self) -> usize {
        lock(&self.gate.state).admitted.len()
    }

    /// Cuts off a user or an agent and does not let it in again, whatever token it holds. Returns once none of its connections is left.
    /// Known to this process only: who calls must call again after a restart.
    pub async fn revoke(&self, subject: Uuid) {
        let subject = subject.to_string();
        lock(&self.gate.state).revoked.insert(subject.clone());
        // A connection admitted a moment ago may not have registered yet, hence the loop.
        let cut = async {
            loop {
                let left = self.gate.connections_of(&subject);
                if left.is_empty() {
                    return;
                }
                for (endpoint, connection) in left {
                    self.clients.disconnect(endpoint, Some(connection));
                }
                tokio::time::sleep(REVOKE_AGAIN).await;
            }
        };
        if tokio::time::timeout(REVOKE_FOR, cut).await.is_err() {
            tracing::warn!(subject, "a revoked connection to the relay does not end");
        }
    }

    /// Lets a revoked subject in again.
    pub fn restore(&self, subject: Uuid) {
        lock(&self.gate.state).revoked.remove(&subject.to_string());
    }

    /// Disconnects everyone.
    pub async fn shutdown(&self) {
        self.clients.shutdown().await;
    }

    pub(crate) fn config(&self) -> &RelayConfig {
        &self.gate.config
    }

    pub(crate) const fn access(&self) -> &Arc<dyn DynAccessControl> {
        &self.access
    }

    pub(crate) const fn clients(&self) -> &Clients {
        &self.clients
    }

    pub(crate) const fn keys(&self) -> &KeyCache {
        &self.keys
    }

    pub(crate) const fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }
}

/// Decides, and remembers who is in.
#[derive(Debug)]
struct Gate {
    config: RelayConfig,
    presence: Presence,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    revoked: HashSet<String>,
    admitted: HashMap<ConnectionId, (EndpointId, RelayClaims)>,
}

/// Why an endpoint is not let in. The text goes to the endpoint.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
enum Refused {
    #[error("there is no relay token")]
    NoToken,
    #[error("the relay token is not valid: {0}")]
    Invalid(String),
    #[error("the relay token is not valid: it is signed by a key that the relay does not know")]
    UnknownKey,
    #[error("the relay token belongs to another endpoint")]
    Foreign,
    #[error("access was revoked")]
    Revoked,
    #[error("the relay is full")]
    Full,
}

impl Gate {
    async fn decide(&self, request: &ClientRequest) -> Result<(), Refused> {
        let endpoint = request.endpoint_id();
        let claims = self.claims(request.auth_token().as_deref(), &endpoint.to_string()).await?;
        let mut state = lock(&self.state);
        if state.revoked.contains(&claims.sub) {
            return Err(Refused::Revoked);
        }
        if state.admitted.len() >= self.config.endpoints_max {
            return Err(Refused::Full);
        }
        if claims.role == RelayRole::Agent {
            self.presence.join(&claims.eid, &claims.sub, Timestamp::now());
        }
        state.admitted.insert(request.connection_id(), (endpoint, claims));
        Ok(())
    }

    async fn claims(&self, token: Option<&str>, endpoint: &str) -> Result<RelayClaims, Refused> {
        let token = token.ok_or(Refused::NoToken)?;
        let key = self.config.keys.of_ticket(token).await.ok_or(Refused::UnknownKey)?;
        let claims = key.relay(token).map_err(|error| {
            let cause = error.source().map(ToString::to_string);
            Refused::Invalid(cause.unwrap_or_else(|| error.to_string()))
        })?;
        if claims.eid == endpoint { Ok(claims) } else { Err(Refused::Foreign) }
    }

    fn connections_of(&self, subject: &str) -> Vec<(EndpointId, ConnectionId)> {
        let state = lock(&self.state);
        let of_subject = state.admitted.iter().filter(|(_, (_, claims))| claims.sub == subject);
        of_subject.map(|(connection, (endpoint, _))| (*endpoint, *connection)).collect()
    }

    fn forget(&self, connection: ConnectionId) {
        let left = lock(&self.state).admitted.remove(&connection);
        if let Some((_, claims)) = left.filter(|(_, claims)| claims.role == RelayRole::Agent) {
            self.presence.leave(&claims.eid, &claims.sub, Timestamp::now());
        }
    }
}

/// The gate as iroh's relay sees it.
#[derive(Debug)]
struct Door(Arc<Gate>);

impl AccessControl for Door {
    async fn on_connect(&self, request: &ClientRequest) -> Access {
        match self.0.decide(request).await {
            Ok(()) => Access::Allow,
            Err(refused) => {
                tracing::info!(endpoint.id = %request.endpoint_id(), reason = %refused, "endpoint refused at the relay");
                Access::Deny { reason: Some(refused.to_string()) }
            }
        }
    }

    fn on_disconnect(&self, _endpoint_id: EndpointId, connection_id: ConnectionId) {
        self.0.forget(connection_id);
    }
}
