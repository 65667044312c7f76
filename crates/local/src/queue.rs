//! The queue on this machine: ids of jobs in memory. What a crash loses of it, the sweep announces again.
//!
//! One loop owns it: it takes announcements, keeps to the limit of builds at a time, hears of ended tasks, and sweeps.

use crate::task::{Ended, Tasks};
use berth_api::{Announce, Changes, Topic};
use berth_dispatch::{Launch, LaunchError, LaunchRequest, dispatch};
use berth_domain::Timestamp;
use berth_store::{JobId, Store};
use std::{
    collections::{HashSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How often the sweep looks: one read of an index that is empty when nothing happens.
const SWEEP: Duration = Duration::from_secs(10);
/// When it first looks: more than a heartbeat after the start.
const FIRST_SWEEP: Duration = Duration::from_secs(15);

/// The sending end. Clones feed the same queue.
#[derive(Debug, Clone)]
pub(crate) struct Queue {
    announce: mpsc::UnboundedSender<JobId>,
    paused: Arc<AtomicBool>,
}

impl Queue {
    /// Starts the loop.
    pub(crate) fn start(trackers: &TaskTracker, parts: Parts, builds_max: usize, drain: CancellationToken) -> Self {
        let (announce, announced) = mpsc::unbounded_channel();
        let queue = Self { announce, paused: Arc::default() };
        let (store, changes, tasks, ended) = parts;
        let worker = Worker {
            store,
            changes,
            tasks,
            queue: queue.clone(),
            waiting: VecDeque::new(),
            known: HashSet::new(),
            builds_max: builds_max.max(1),
        };
        trackers.spawn(drain.run_until_cancelled_owned(worker.work(announced, ended)));
        queue
    }

    /// Launches nothing more: the server is about to end. What is queued stays so in the table.
    pub(crate) fn pause(&self) {
        self.paused.store(true, Ordering::Relaxed);
    }
}

impl Announce for Queue {
    fn announce(&self, job: JobId) -> futures_util::future::BoxFuture<'_, ()> {
        let _stopping = self.announce.send(job);
        Box::pin(std::future::ready(()))
    }
}

impl berth_sweep::Announce for Queue {
    async fn announce(&self, job: JobId) {
        let _stopping = self.announce.send(job);
    }
}

/// What the loop works with: the store, the change bus, the tasks, and the news of their ends.
pub(crate) type Parts = (Store, Changes, Tasks, mpsc::UnboundedReceiver<Ended>);

struct Worker {
    store: Store,
    changes: Changes,
    tasks: Tasks,
    queue: Queue,
    waiting: VecDeque<JobId>,
    known: HashSet<JobId>,
    builds_max: usize,
}

impl Worker {
    async fn work(mut self, mut announced: mpsc::UnboundedReceiver<JobId>, mut ended: mpsc::UnboundedReceiver<Ended>) {
        // Not at once: after a long outage, runners that still live get the time to say so.
        let mut sweep = tokio::time::interval_at(Instant::now() + FIRST_SWEEP, SWEEP);
        loop {
            tokio::select! {
                Some(job) = announced.recv() => self.enqueue(job),
                Some(end) = ended.recv() => self.reap(&end).await,
                _ = sweep.tick() => self.sweep().await,
                else => return,
            }
            self.launch().await;
        }
    }

    fn enqueue(&mut self, job: JobId) {
        if self.known.insert(job) {
            self.waiting.push_back(job);
        }
    }

    async fn launch(&mut self) {
        while self.tasks.count() < self.builds_max && !self.queue.paused.load(Ordering::Relaxed) {
            let Some(job) = self.waiting.pop_front() else { return };
            self.known.remove(&job);
            match dispatch(&self.store, &self.tasks, job, Timestamp::now(), random()).await {
                Ok(dispatched) => tracing::debug!(job = %job, outcome = ?dispatched, "dispatched"),
                Err(error) => tracing::warn!(job = %job, error = %error, "cannot dispatch the job; the sweep tries again"),
            }
            self.changes.poke(Topic::Job(job));
        }
    }

    async fn reap(&self, end: &Ended) {
        if let Err(error) = berth_reap::reap(&self.store, end.job, end.task, &end.reason, Timestamp::now()).await {
            tracing::warn!(job = %end.job, error = %error, "cannot reap the job; the sweep does when its lease ends");
        }
        self.changes.poke(Topic::Job(end.job));
    }

    async fn sweep(&self) {
        match berth_sweep::sweep(&self.store, &self.queue, Timestamp::now()).await {
            Ok(swept) => swept.failed.into_iter().for_each(|job| self.changes.poke(Topic::Job(job))),
            Err(error) => tracing::warn!(error = %error, "cannot sweep; it comes round again"),
        }
    }
}

impl Launch for Tasks {
    /// A process claims at once; on a busy machine it may take some seconds.
    fn claims_within(&self) -> jiff::SignedDuration {
        jiff::SignedDuration::from_secs(30)
    }

    async fn launch(&self, request: LaunchRequest) -> Result<(), LaunchError> {
        self.start(request.job, request.task, &request.token)
            .map_err(|error| LaunchError::Later(format!("cannot start a runner: {error}")))
    }
}

/// Randomness for a task's id and token.
fn random() -> [u8; 32] {
    rand::random()
}
