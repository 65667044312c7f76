//! Ports: what the API asks of its surroundings, each with a laptop's and a cloud's implementation.

use berth_domain::{AgentId, Priority, Timestamp};
use berth_store::JobId;
use futures_util::future::BoxFuture;
use std::{collections::BTreeMap, fmt, sync::Arc};

/// Tells the dispatcher that a job waits. May fail or be lost: the sweep announces again.
pub trait Announce: Send + Sync + fmt::Debug {
    /// Puts the job's id in the queue, in the lane of its priority.
    fn announce(&self, job: JobId, priority: Priority) -> BoxFuture<'_, ()>;
}

/// Knows who is at the relay; in memory, so that an idle agent costs no write.
pub trait Presence: Send + Sync + fmt::Debug {
    /// Since when each of these agents is connected with its tailnet key; one that is not is left out. Asked once per answer, with all
    /// the agents that the answer shows.
    ///
    /// Both must match the admission: the key alone is what the agent says of itself, and another agent may say it too. When the relay
    /// does not answer, nobody is connected: an answer is late by the relay's time limit at most, and never fails for it.
    fn connected<'a>(&'a self, agents: &'a [(AgentId, &'a str)]) -> BoxFuture<'a, BTreeMap<AgentId, Timestamp>>;

    /// Whether this tailnet key is that of a relay's own end, by which it opens apps for browsers. Not when no relay answers.
    fn is_relay<'a>(&'a self, endpoint_id: &'a str) -> BoxFuture<'a, bool>;
}

/// What time it is.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// A clock of the caller's making, for tests.
    pub fn new(read: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// The system's clock.
    #[must_use]
    pub fn system() -> Self {
        Self::new(Timestamp::now)
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}
