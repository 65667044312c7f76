//! The resumable streams of an agent: who may resume which, how many there are, and what they keep in memory.

use super::{
    frame::{Credentials, Reason},
    machine::Ended,
    stream::{Connection, Resumable, Shared},
};
use crate::{credit::lock, link::spawn, session::Grant};
use berth_wire::tunnel::{SESSION_ID_BYTES, SessionId};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

/// How many resumable streams an agent has at a time, with or without a connection.
pub const RESUMABLES_MAX: usize = 256;
/// How many bytes they may keep for their clients together, apart from 64 KiB each. Writers wait while it is more.
pub const HELD_BYTES_MAX: usize = 128 * 1024 * 1024;
/// How long one may be without a connection.
const AWAY_LIMIT: Duration = Duration::from_secs(8 * 3600);

/// The resumable streams of an agent. Cheap to clone; clones share everything. They end when the last clone is gone.
#[derive(Debug, Clone)]
pub struct Resumables(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limit: Duration,
    kept: Mutex<HashMap<[u8; SESSION_ID_BYTES], Kept>>,
    budget: Arc<Budget>,
}

#[derive(Debug)]
struct Kept {
    grant: Arc<Grant>,
    shared: Arc<Shared>,
    driver: AbortOnDropHandle<()>,
}

/// What all streams of an agent together keep in memory for their clients.
#[derive(Debug, Default)]
pub(super) struct Budget(AtomicUsize);

impl Budget {
    /// One stream keeps `now` bytes instead of `before`.
    pub(super) fn change(&self, before: usize, now: usize) {
        if now >= before {
            self.0.fetch_add(now - before, Ordering::Relaxed);
        } else {
            self.0.fetch_sub(before - now, Ordering::Relaxed);
        }
    }

    pub(super) fn has_room(&self) -> bool {
        self.0.load(Ordering::Relaxed) < HELD_BYTES_MAX
    }
}

impl Default for Resumables {
    fn default() -> Self {
        Self::with_limit(AWAY_LIMIT)
    }
}

impl Resumables {
    /// None so far; each may be without a connection for `limit`.
    #[must_use]
    pub fn with_limit(limit: Duration) -> Self {
        Self(Arc::new(Inner { limit, kept: Mutex::default(), budget: Arc::default() }))
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        lock(&self.0.kept).len()
    }

    /// How many bytes they keep for their clients.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.0.budget.0.load(Ordering::Relaxed)
    }

    /// Ends all streams of a user, with or without a connection, at once; how many. A client that has a connection is told why.
    pub fn revoke(&self, user: Uuid) -> usize {
        let theirs: Vec<_> = {
            let kept = lock(&self.0.kept);
            kept.values().filter(|kept| kept.grant.claims.sub == user).map(|kept| Arc::clone(&kept.shared)).collect()
        };
        theirs.iter().for_each(|shared| shared.close(Reason::Revoked));
        theirs.len()
    }

    /// Ends all streams: what was written before still goes to clients that have a connection, and they are told why it ends. Waits until they
    /// were, which a client that does not read can delay for ever: the caller has the deadline.
    pub async fn end(&self, reason: Reason) {
        let all: Vec<_> = lock(&self.0.kept).values().map(|kept| Arc::clone(&kept.shared)).collect();
        for shared in &all {
            shared.close(reason);
        }
        for shared in all {
            shared.ended().await;
        }
    }

    /// Begins a stream of whoever was let in by this grant. `None` when there are too many that are all connected.
    pub(crate) fn begin(&self, grant: Arc<Grant>, stream: impl Connection + 'static) -> Option<Resumable> {
        let credentials = Credentials { id: SessionId::new(rand::random()), limit: self.0.limit };
        let id = *credentials.id.expose();
        let mut kept = lock(&self.0.kept);
        if kept.len() >= RESUMABLES_MAX {
            let longest = kept.iter().filter_map(|(id, kept)| Some((kept.shared.away_since()?, *id))).min()?.1;
            if let Some(evicted) = kept.remove(&longest) {
                evicted.shared.end(Ended::Expired(self.0.limit));
            }
        }
        let (resumable, shared) = Resumable::accept(stream, &credentials, Arc::clone(&self.0.budget));
        let driver = spawn(serve(Arc::downgrade(&self.0), Arc::clone(&shared), credentials));
        kept.insert(id, Kept { grant, shared, driver });
        Some(resumable)
    }

    /// Whom a stream belongs to, if there is one with this id.
    pub(crate) fn grant(&self, id: &SessionId) -> Option<Arc<Grant>> {
        lock(&self.0.kept).get(id.expose()).map(|kept| Arc::clone(&kept.grant))
    }

    /// Gives a stream a new connection, whose client has received everything before `received`. The one it had is dropped: the newer one is
    /// the living one. False, and the stream goes with it, when there is no such stream or the client cannot have received that.
    pub(crate) fn resume(&self, id: &SessionId, received: u64, stream: impl Connection + 'static) -> bool {
        let found = lock(&self.0.kept).get(id.expose()).map(|kept| (Arc::clone(&kept.shared), Arc::clone(&kept.grant)));
        let Some((shared, grant)) = found else { return false };
        match shared.readmit(received, stream) {
            Ok(()) => {
                tracing::info!(user.name = grant.claims.name, "a session goes on");
                true
            }
            Err(violation) => {
                tracing::warn!(%violation, user.name = grant.claims.name, "a session does not go on");
                false
            }
        }
    }
}

/// Runs a stream until it is over, then forgets it.
async fn serve(registry: Weak<Inner>, shared: Arc<Shared>, credentials: Credentials) {
    shared.serve(credentials.limit).await;
    let Some(registry) = registry.upgrade() else { return };
    let kept = lock(&registry.kept).remove(credentials.id.expose());
    if let Some(kept) = kept {
        // That is this task.
        drop(kept.driver.detach());
    }
}
