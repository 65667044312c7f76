//! Who may use the relay: endpoints with a token of ours, made out to their own key, that was not revoked.

use crate::presence::{Presence, lock};
use berth_wire::{
    domain::Timestamp,
    ticket::{RelayClaims, RelayRole, VerifyingKey},
};
use http::HeaderMap;
use iroh::EndpointId;
use iroh_relay::{
    KeyCache,
    server::{
        Access, AccessControl, ClientRequest, ConnectionId, Metrics,
        http_server::{Handlers, RelayService},
    },
};
use std::{
    collections::{HashMap, HashSet},
    error::Error,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The header by which a connection is recognised at the gate: the relay service hands on headers, nothing else.
const MARK: &str = "x-berth-connection";
/// How often [`Relay::revoke`] looks whether a connection that was being admitted has shown up.
const REVOKE_AGAIN: Duration = Duration::from_millis(20);
/// How long it looks; longer than an admission takes.
const REVOKE_FOR: Duration = Duration::from_secs(5);

/// What a relay needs to know.
#[derive(Debug, Clone)]
pub struct RelayConfig {
    /// The key that signed the tokens.
    pub verifying: VerifyingKey,
    /// The most endpoints at a time; 20 kB of memory each.
    pub endpoints_max: usize,
}

impl RelayConfig {
    /// The usual limits: 10 000 endpoints, which fit the smallest Fargate task.
    #[must_use]
    pub const fn new(verifying: VerifyingKey) -> Self {
        Self { verifying, endpoints_max: 10_000 }
    }
}

/// The relay. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Relay {
    service: RelayService,
    gate: Arc<Gate>,
}

impl Relay {
    /// A relay that serves nobody yet; see [`crate::serve`].
    #[must_use]
    pub fn new(config: RelayConfig) -> Self {
        let gate = Arc::new(Gate { config, presence: Presence::default(), state: Mutex::default() });
        let keys = KeyCache::new(gate.config.endpoints_max);
        let access = Arc::clone(&gate);
        let metrics = Arc::new(Metrics::default());
        let service = RelayService::new(Handlers::default(), HeaderMap::new(), None, keys, Arc::new(Door(access)), metrics);
        Self { service, gate }
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
                    self.service.clients().disconnect(endpoint, Some(connection));
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
        self.service.shutdown().await;
    }

    pub(crate) const fn service(&self) -> &RelayService {
        &self.service
    }

    /// Announces a connection about which [`Gate::decide`] will be asked, if its endpoint proves itself.
    pub(crate) fn expect(&self) -> Expected {
        let decided = CancellationToken::new();
        let mut state = lock(&self.gate.state);
        state.last_expected += 1;
        let number = state.last_expected;
        state.expected.insert(number, decided.clone());
        drop(state);
        Expected { gate: Arc::clone(&self.gate), number, decided }
    }
}

/// A connection whose endpoint has yet to prove itself.
#[derive(Debug)]
pub(crate) struct Expected {
    gate: Arc<Gate>,
    number: u64,
    decided: CancellationToken,
}

impl Expected {
    /// Marks the request, so that the gate recognises the connection. A mark that the peer sent is overwritten.
    pub(crate) fn mark(&self, headers: &mut HeaderMap) {
        headers.insert(MARK, self.number.into());
    }

    /// Waits until the endpoint was let in or refused.
    pub(crate) async fn decided(&self) {
        self.decided.cancelled().await;
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        lock(&self.gate.state).expected.remove(&self.number);
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
    expected: HashMap<u64, CancellationToken>,
    last_expected: u64,
}

/// Why an endpoint is not let in. The text goes to the endpoint.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
enum Refused {
    #[error("there is no relay token")]
    NoToken,
    #[error("the relay token is not valid: {0}")]
    Invalid(String),
    #[error("the relay token belongs to another endpoint")]
    Foreign,
    #[error("access was revoked")]
    Revoked,
    #[error("the relay is full")]
    Full,
}

impl Gate {
    fn decide(&self, request: &ClientRequest) -> Result<(), Refused> {
        let endpoint = request.endpoint_id();
        let claims = self.claims(request.auth_token().as_deref(), &endpoint.to_string())?;
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

    fn claims(&self, token: Option<&str>, endpoint: &str) -> Result<RelayClaims, Refused> {
        let token = token.ok_or(Refused::NoToken)?;
        let claims = self.config.verifying.relay(token).map_err(|error| {
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

    /// Tells the one who waits at [`Expected::decided`].
    fn tell(&self, headers: &HeaderMap) {
        let number = headers.get(MARK).and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok());
        if let Some(decided) = number.and_then(|number: u64| lock(&self.state).expected.remove(&number)) {
            decided.cancel();
        }
    }
}

/// The gate as iroh's relay sees it.
#[derive(Debug)]
struct Door(Arc<Gate>);

impl AccessControl for Door {
    async fn on_connect(&self, request: &ClientRequest) -> Access {
        let decision = self.0.decide(request);
        self.0.tell(request.headers());
        match decision {
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
