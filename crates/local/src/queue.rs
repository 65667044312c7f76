//! The queue on this machine: ids of jobs in memory. What a crash loses of it, the sweep announces again.
//!
//! One loop owns it: it takes announcements, keeps to the limit of builds at a time, hears of ended tasks, and sweeps.

mod lane;

use crate::task::{Ended, Tasks};
use berth_api::{Announce, Changes, Topic};
use berth_dispatch::{Dispatched, Launch, LaunchError, LaunchRequest, dispatch};
use berth_domain::{Priority, Timestamp, limit::ANNOUNCE_AGAIN_SECONDS};
use berth_store::{Due, JobId, Store};
use berth_sweep::{Power, PowerError};
use jiff::SignedDuration;
use lane::Lanes;
use std::{
    collections::HashSet,
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
/// A job without an offer is due this long after it was queued.
const ANNOUNCE_AGAIN: SignedDuration = SignedDuration::from_secs(ANNOUNCE_AGAIN_SECONDS);

/// The sending end. Clones feed the same queue.
#[derive(Debug, Clone)]
pub(crate) struct Queue {
    announce: mpsc::UnboundedSender<(JobId, Priority)>,
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
            waiting: Lanes::default(),
            automatic: HashSet::new(),
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
    fn announce(&self, job: JobId, priority: Priority) -> futures_util::future::BoxFuture<'_, ()> {
        let _stopping = self.announce.send((job, priority));
        Box::pin(std::future::ready(()))
    }
}

impl berth_sweep::Announce for Queue {
    async fn announce(&self, job: JobId, priority: Priority) {
        let _stopping = self.announce.send((job, priority));
    }
}

/// The relay on this machine is a part of the server: nothing puts it to sleep.
struct AlwaysOn;

impl Power for AlwaysOn {
    async fn set(&self, _: bool) -> Result<(), PowerError> {
        Ok(())
    }
}

/// What the loop works with: the store, the change bus, the tasks, and the news of their ends.
pub(crate) type Parts = (Store, Changes, Tasks, mpsc::UnboundedReceiver<Ended>);

struct Worker {
    store: Store,
    changes: Changes,
    tasks: Tasks,
    queue: Queue,
    waiting: Lanes<JobId>,
    /// The automatic jobs that run.
    automatic: HashSet<JobId>,
    builds_max: usize,
}

impl Worker {
    async fn work(mut self, mut announced: mpsc::UnboundedReceiver<(JobId, Priority)>, mut ended: mpsc::UnboundedReceiver<Ended>) {
        self.recall().await;
        self.launch().await;
        // Not at once: after a long outage, runners that still live get the time to say so.
        let mut sweep = tokio::time::interval_at(Instant::now() + FIRST_SWEEP, SWEEP);
        loop {
            tokio::select! {
                Some((job, priority)) = announced.recv() => self.waiting.push(job, priority),
                Some(end) = ended.recv() => self.reap(&end).await,
                _ = sweep.tick() => self.sweep().await,
                else => return,
            }
            self.launch().await;
        }
    }

    /// Takes up what waited when the last server ended: the queue was in its memory, so no message is left.
    async fn recall(&mut self) {
        let due = self.store.due(Timestamp::now() + ANNOUNCE_AGAIN).await;
        for due in due
            .inspect_err(|error| tracing::warn!(%error, "cannot look for builds that waited; the sweep does"))
            .unwrap_or_default()
        {
            if let Due::Announce(job, priority) = due {
                self.waiting.push(job, priority);
            }
        }
    }

    async fn launch(&mut self) {
        while self.tasks.count() < self.builds_max && !self.queue.paused.load(Ordering::Relaxed) {
            let Some((job, priority)) = self.waiting.pop(self.takes_automatic()) else { return };
            match dispatch(&self.store, &self.tasks, job, Timestamp::now(), random()).await {
                Ok(dispatched) => {
                    tracing::debug!(job = %job, priority = %priority, outcome = ?dispatched, "dispatched");
                    if priority == Priority::Automatic && matches!(dispatched, Dispatched::Launched(_)) {
                        self.automatic.insert(job);
                    }
                }
                Err(error) => tracing::warn!(job = %job, error = %error, "cannot dispatch the job; the sweep tries again"),
            }
            self.changes.poke(Topic::Job(job));
        }
    }

    /// Automatic builds leave one place free: a person never waits for a schedule's long build to end.
    fn takes_automatic(&self) -> bool {
        self.builds_max == 1 || self.automatic.len() < self.builds_max - 1
    }

    async fn reap(&mut self, end: &Ended) {
        self.automatic.remove(&end.job);
        if let Err(error) = berth_reap::reap(&self.store, end.job, end.task, &end.reason, Timestamp::now()).await {
            tracing::warn!(job = %end.job, error = %error, "cannot reap the job; the sweep does when its lease ends");
        }
        self.changes.poke(Topic::Job(end.job));
    }

    async fn sweep(&self) {
        match berth_sweep::sweep(&self.store, &self.queue, &AlwaysOn, Timestamp::now()).await {
            Ok(swept) => {
                swept.failed.into_iter().for_each(|job| self.changes.poke(Topic::Job(job)));
                swept.stopped.into_iter().for_each(|(workspace, _)| self.changes.poke(Topic::Workspace(workspace)));
            }
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
