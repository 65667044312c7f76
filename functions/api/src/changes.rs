//! The change bus: handlers poke it after a write, and open sockets re-read the store when something they show was poked.
//!
//! A poke carries no data, so a lost one costs a few seconds and never a wrong view: watchers also re-read on their own.

use berth_domain::{AgentId, TokenId, WorkspaceId};
use berth_store::JobId;
use std::{collections::HashSet, time::Duration};
use tokio::sync::broadcast::{self, error::RecvError};

/// How many pokes a slow watcher may fall behind; one that falls further re-reads at once.
const BACKLOG: usize = 1024;

/// What changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Topic {
    /// A workspace or its latest build.
    Workspace(WorkspaceId),
    /// A job: its status or its log.
    Job(JobId),
    /// An agent: its row, its presence or its log.
    Agent(AgentId),
    /// A session or API token: it may have ended.
    Session(TokenId),
}

/// The bus. Clones are the same bus.
#[derive(Debug, Clone)]
pub struct Changes(broadcast::Sender<Topic>);

impl Default for Changes {
    fn default() -> Self {
        Self(broadcast::channel(BACKLOG).0)
    }
}

impl Changes {
    /// Tells the watchers of a topic to read again. Costs nothing when nobody watches.
    pub fn poke(&self, topic: Topic) {
        let _ = self.0.send(topic); // An error only says that nobody listens.
    }

    /// Starts to listen. Listen first, read then: a change between the two is not missed.
    #[must_use]
    pub fn listen(&self) -> Listener {
        Listener(self.0.subscribe())
    }

    /// How many listeners there are; an open socket has two.
    #[must_use]
    pub fn listeners(&self) -> usize {
        self.0.receiver_count()
    }
}

/// One watcher's ear.
#[derive(Debug)]
pub struct Listener(broadcast::Receiver<Topic>);

impl Listener {
    /// Returns when one of `topics` was poked, when pokes were lost, or after `at_most`.
    pub async fn changed(&mut self, topics: &HashSet<Topic>, at_most: Duration) {
        let _ = tokio::time::timeout(at_most, self.poked(topics)).await; // Elapsed: read again to be sure.
        while let Ok(_) | Err(broadcast::error::TryRecvError::Lagged(_)) = self.0.try_recv() {} // One read serves them all.
    }

    async fn poked(&mut self, topics: &HashSet<Topic>) {
        loop {
            match self.0.recv().await {
                Ok(topic) if topics.contains(&topic) => return,
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => return,
                Err(RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}
