//! Which agents are connected. In memory only: a restart forgets it, and the agents come back within seconds.

pub(crate) mod answer;

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
    agents: Arc<Mutex<HashMap<String, Vec<Entry>>>>,
    changes: broadcast::Sender<Change>,
}

/// The connections that one endpoint opened as one agent. An endpoint is two agents for a moment when its workspace is built anew: the key
/// stays on the disk, the agent's id does not.
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
    /// Since when an endpoint is connected as the agent `subject`, if it is.
    #[must_use]
    pub fn since(&self, endpoint_id: &str, subject: &str) -> Option<Timestamp> {
        self.agents().get(endpoint_id)?.iter().find(|entry| entry.subject == subject).map(|entry| entry.since)
    }

    /// Since when an endpoint is connected, as whichever agent, if it is.
    #[must_use]
    pub fn is_connected(&self, endpoint_id: &str) -> Option<Timestamp> {
        self.agents().get(endpoint_id)?.iter().map(|entry| entry.since).min()
    }

    /// All that are connected: endpoint id, subject, since when.
    #[must_use]
    pub fn connected(&self) -> Vec<(String, String, Timestamp)> {
        let agents = self.agents();
        let entries = agents.iter().flat_map(|(id, entries)| entries.iter().map(move |entry| (id, entry)));
        entries.map(|(id, entry)| (id.clone(), entry.subject.clone(), entry.since)).collect()
    }

    /// Every change from now on. A listener that lags reads [`Presence::connected`] anew.
    #[must_use]
    pub fn changed(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    /// One more connection of an agent.
    pub(crate) fn join(&self, endpoint_id: &str, subject: &str, now: Timestamp) {
        let mut agents = self.agents();
        let entries = agents.entry(endpoint_id.to_owned()).or_default();
        if let Some(entry) = entries.iter_mut().find(|entry| entry.subject == subject) {
            entry.connections += 1;
            return;
        }
        entries.push(Entry { subject: subject.to_owned(), since: now, connections: 1 });
        self.tell(endpoint_id, subject, true, now);
    }

    /// One connection of an agent less.
    pub(crate) fn leave(&self, endpoint_id: &str, subject: &str, now: Timestamp) {
        let mut agents = self.agents();
        let Some(entries) = agents.get_mut(endpoint_id) else { return };
        let Some(at) = entries.iter().position(|entry| entry.subject == subject) else { return };
        let Some(entry) = entries.get_mut(at) else { return };
        entry.connections = entry.connections.saturating_sub(1);
        if entry.connections > 0 {
            return;
        }
        entries.swap_remove(at);
        if entries.is_empty() {
            agents.remove(endpoint_id);
        }
        self.tell(endpoint_id, subject, false, now);
    }

    fn tell(&self, endpoint_id: &str, subject: &str, connected: bool, at: Timestamp) {
        tracing::info!(endpoint.id = endpoint_id, agent.id = subject, connected, "agent presence changed");
        // Fails only when nobody listens.
        let (endpoint_id, subject) = (endpoint_id.to_owned(), subject.to_owned());
        self.changes.send(Change { endpoint_id, subject, connected, at }).ok();
    }

    fn agents(&self) -> MutexGuard<'_, HashMap<String, Vec<Entry>>> {
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
        presence.join("e", "a", Timestamp::MAX);
        presence.leave("e", "a", at);
        assert_eq!(presence.since("e", "a"), Some(at));
        assert_eq!(presence.is_connected("e"), Some(at));
        presence.leave("e", "a", at);
        presence.leave("e", "a", at);
        assert_eq!(presence.is_connected("e"), None);
        assert_eq!(presence.connected(), Vec::new());
        assert!(changes.try_recv().unwrap().connected);
        assert!(!changes.try_recv().unwrap().connected);
        assert!(changes.try_recv().is_err());
    }

    #[test]
    fn a_key_that_returns_as_another_agent_is_not_taken_for_the_old_one() {
        let (presence, at) = (Presence::default(), Timestamp::UNIX_EPOCH);
        let mut changes = presence.changed();
        presence.join("e", "old", at);
        presence.join("e", "new", at);
        presence.leave("e", "old", at);
        assert_eq!((presence.since("e", "old"), presence.since("e", "new")), (None, Some(at)));
        let mut told = || changes.try_recv().map(|change| (change.subject, change.connected));
        assert_eq!(told(), Ok(("old".to_owned(), true)));
        assert_eq!(told(), Ok(("new".to_owned(), true)));
        assert_eq!(told(), Ok(("old".to_owned(), false)));
        assert!(told().is_err());
    }
}
