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
    /// Which of these agents are connected with their tailnet keys, since when, and where. Asked once per answer, with all the agents that
    /// the answer shows.
    ///
    /// Both must match the admission: the key alone is what the agent says of itself, and another agent may say it too. When a relay does
    /// not answer, nobody is seen there: an answer is late by the relay's time limit at most, and never fails for it.
    fn connected<'a>(&'a self, agents: &'a [(AgentId, &'a str)]) -> BoxFuture<'a, Attendance>;

    /// Whether this tailnet key is that of a relay's own end, by which it opens apps for browsers. Not when no relay answers.
    fn is_relay<'a>(&'a self, endpoint_id: &'a str) -> BoxFuture<'a, bool>;
}

/// What the relays say of the agents that were asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attendance {
    /// Those that are connected.
    pub connected: BTreeMap<AgentId, Seat>,
    /// Whether a relay did not answer. Of an agent that no other relay holds, nothing is known then.
    pub is_incomplete: bool,
}

/// Where a connected agent is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seat {
    /// Since when it is connected.
    pub since: Timestamp,
    /// When it came to this relay.
    arrived: Timestamp,
    /// The relay to find it at.
    pub relay_url: String,
}

impl Seat {
    /// The seat of an agent that came to a relay at `since`.
    #[must_use]
    pub fn new(since: Timestamp, relay_url: &str) -> Self {
        Self { since, arrived: since, relay_url: relay_url.to_owned() }
    }

    /// Of one agent's seats at two relays, which it has for a moment when it changes from one to the other: it is connected since it came to
    /// the first, and found where it came last.
    fn with(self, other: Self) -> Self {
        let since = self.since.min(other.since);
        let last = if other.arrived > self.arrived { other } else { self };
        Self { since, ..last }
    }
}

impl Attendance {
    /// Adds what one relay says of an agent.
    pub fn note(&mut self, agent: AgentId, seat: Seat) {
        let seat = match self.connected.remove(&agent) {
            Some(known) => known.with(seat),
            None => seat,
        };
        self.connected.insert(agent, seat);
    }

    /// Adds what other relays say.
    #[must_use]
    pub fn with(mut self, other: Self) -> Self {
        self.is_incomplete |= other.is_incomplete;
        other.connected.into_iter().for_each(|(agent, seat)| self.note(agent, seat));
        self
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_at_several_relays_is_found_where_it_came_last_and_connected_since_it_came_first() {
        let (agent, at) = (AgentId(uuid::Uuid::nil()), |second| Timestamp::from_second(second).unwrap());
        let orders = [[("a", 5), ("b", 9), ("c", 7)], [("b", 9), ("c", 7), ("a", 5)], [("c", 7), ("a", 5), ("b", 9)]];
        for seats in orders {
            let mut seen = Attendance::default();
            seats.iter().for_each(|(url, since)| seen.note(agent, Seat::new(at(*since), url)));
            let seat = &seen.connected[&agent];
            assert_eq!((seat.since, seat.relay_url.as_str()), (at(5), "b"), "{seats:?}");
        }
        let silent = Attendance { is_incomplete: true, ..Attendance::default() };
        assert!(Attendance::default().with(silent.clone()).is_incomplete && silent.with(Attendance::default()).is_incomplete);
    }
}
