//! Who is at the relay, for the API: the relay's own memory when both are in this process, else it is asked.

use berth_api::{Attendance, Changes, Clock, Presence, Seat, Topic};
use berth_aws::{Aws, AwsError};
use berth_domain::AgentId;
use berth_wire::ticket::SigningKey;
use futures_util::future::BoxFuture;
use std::sync::Arc;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The relay's presence as the API's port, and the tailnet key of the relay's own end.
#[derive(Debug, Clone)]
pub(crate) struct RelayPresence {
    presence: berth_relay::Presence,
    endpoint_id: Arc<str>,
    url: Arc<str>,
}

impl RelayPresence {
    /// Of the relay that everybody knows by `url`. Also pokes the change bus whenever an agent comes or goes.
    pub(crate) fn start(
        trackers: &TaskTracker,
        (presence, endpoint_id, url): (berth_relay::Presence, String, Arc<str>),
        changes: Changes,
        drain: CancellationToken,
    ) -> Self {
        let mut heard = presence.changed();
        trackers.spawn(drain.run_until_cancelled_owned(async move {
            loop {
                match heard.recv().await {
                    Ok(change) => poke(&changes, &change.subject),
                    Err(RecvError::Lagged(_)) => {} // Watchers read again by themselves within seconds.
                    Err(RecvError::Closed) => return,
                }
            }
        }));
        Self { presence, endpoint_id: endpoint_id.into(), url }
    }
}

/// Our own relay and those elsewhere.
#[derive(Debug)]
pub(crate) struct Both(pub(crate) RelayPresence, pub(crate) Arc<dyn Presence>);

impl Presence for Both {
    fn connected<'a>(&'a self, agents: &'a [(AgentId, &'a str)]) -> BoxFuture<'a, Attendance> {
        Box::pin(async move { self.1.connected(agents).await.with(self.0.connected(agents).await) })
    }

    fn is_relay<'a>(&'a self, endpoint_id: &'a str) -> BoxFuture<'a, bool> {
        Box::pin(async move { self.0.is_relay(endpoint_id).await || self.1.is_relay(endpoint_id).await })
    }
}

/// Relays elsewhere, asked over HTTP as the API on AWS asks its own. Nothing of AWS is used but the way to make a request. `roots` is a file of
/// certificates to trust instead of Mozilla's.
///
/// # Errors
/// When that file cannot be used.
pub(crate) fn elsewhere(urls: &[String], signing: SigningKey, roots: Option<&str>) -> Result<Arc<dyn Presence>, AwsError> {
    let nowhere = |name: &str| match name {
        "AWS_REGION" | "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" => Some("none".to_owned()),
        "AWS_CA_BUNDLE" => roots.map(str::to_owned),
        _ => None,
    };
    Ok(Arc::new(berth_api::RelayPresence::new(Aws::from_env(nowhere)?, urls, signing, Clock::system())))
}

fn poke(changes: &Changes, subject: &str) {
    if let Ok(agent) = subject.parse::<AgentId>() {
        changes.poke(Topic::Agent(agent));
    }
}

impl Presence for RelayPresence {
    fn connected<'a>(&'a self, agents: &'a [(AgentId, &'a str)]) -> BoxFuture<'a, Attendance> {
        let seat = |&(agent, endpoint): &(AgentId, &str)| {
            Some((agent, Seat::new(self.presence.since(endpoint, &agent.to_string())?, &self.url)))
        };
        Box::pin(std::future::ready(Attendance { connected: agents.iter().filter_map(seat).collect(), is_incomplete: false }))
    }

    fn is_relay<'a>(&'a self, endpoint_id: &'a str) -> BoxFuture<'a, bool> {
        Box::pin(std::future::ready(*self.endpoint_id == *endpoint_id))
    }
}
