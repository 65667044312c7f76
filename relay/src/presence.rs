//! Which agents are connected. In memory only: a restart forgets it, and the agents come back within seconds.

use berth_wire::domain::Timestamp;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::broadcast;

/// How many changes a slow listener may be behind.
const CHANGES_MAX: usize = 1024;

/// An agent came or went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its endpoint.
    pub endpoint_id: String,
    /// The subject of its token: the agent's id.
    pub subject: String,
    /// Whether it is connected now.
    pub connected: bool,
    /// When that began.
    pub at: Timestamp,
}

/// The agents that are connected to this relay. Cheap to clone; all clones see the same.
#[derive(Debug, Clone)]
pub struct Presence {
    agents: Arc<Mutex<HashMap<String, Entry>>>,
    changes: broadcast::Sender<Change>,
}

#[derive(Debug)]
struct Entry {
    subject: String,
    since: Timestamp,
    connections: usize,
}

impl Default for Presence {
    fn default() -> Self {
        Self { agents: Arc::default(), changes: broadcast::Sender::new(CHANGES_MAX) }
    }
}

impl Presence {
    /// Since when an endpoint is connected, if it is.
    #[must_use]
    pub fn is_connected(&self, endpoint_id: &str) -> Option<Timestamp> {
        self.agents().get(endpoint_id).map(|entry| entry.since)
    }

    /// Since when an endpoint is connected with a token for `subject`, if it is.
    #[must_use]
    pub fn since(&self, endpoint_id: &str, subject: &str) -> Option<Timestamp> {
        self.agents().get(endpoint_id).filter(|entry| entry.subject == subject).map(|entry| entry.since)
    }

    /// All that are connected: endpoint id, subject, since when.
    #[must_use]
    pub fn connected(&self) -> Vec<(String, String, Timestamp)> {
        self.agents().iter().map(|(id, entry)| (id.clone(), entry.subject.clone(), entry.since)).collect()
    }

    /// Every change from now on. A listener that lags reads [`Presence::connected`] anew.
    #[must_use]
    pub fn changed(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    /// One more connection of an agent.
    pub(crate) fn join(&self, endpoint_id: &str, subject: &str, now: Timestamp) {
        let mut agents = self.agents();
        let entry = agents.entry(endpoint_id.to_owned()).or_insert_with(|| Entry {
            subject: subject.to_owned(),
            since: now,
            connections: 0,
        });
        entry.connections += 1;
        if entry.connections == 1 {
            self.tell(endpoint_id, &entry.subject, true, now);
        }
    }

    /// One connection of an agent less.
    pub(crate) fn leave(&self, endpoint_id: &str, now: Timestamp) {
        let mut agents = self.agents();
        let Some(entry) = agents.get_mut(endpoint_id) else { return };
        entry.connections = entry.connections.saturating_sub(1);
        if entry.connections == 0
            && let Some(entry) = agents.remove(endpoint_id)
        {
            self.tell(endpoint_id, &entry.subject, false, now);
        }
    }

    fn tell(&self, endpoint_id: &str, subject: &str, connected: bool, at: Timestamp) {
        tracing::info!(endpoint.id = endpoint_id, agent.id = subject, connected, "agent presence changed");
        // Fails only when nobody listens.
        let (endpoint_id, subject) = (endpoint_id.to_owned(), subject.to_owned());
        self.changes.send(Change { endpoint_id, subject, connected, at }).ok();
    }

    fn agents(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        lock(&self.agents)
    }
}

/// Locks; a panic elsewhere while the lock was held leaves nothing half done in the plain values kept here.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn an_agent_is_there_from_its_first_connection_to_its_last() {
        let (presence, at) = (Presence::default(), Timestamp::UNIX_EPOCH);
        let mut changes = presence.changed();
        presence.join("e", "a", at);
        presence.join("e", "a", at);
        presence.leave("e", at);
        assert_eq!(presence.is_connected("e"), Some(at));
        presence.leave("e", at);
        presence.leave("e", at);
        assert_eq!(presence.is_connected("e"), None);
        assert!(changes.try_recv().unwrap().connected);
        assert!(!changes.try_recv().unwrap().connected);
        assert!(changes.try_recv().is_err());
    }
}
