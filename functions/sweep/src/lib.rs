//! The sweep: once in a while, without input, it repairs what a lost message or a dead task left behind, and stops what is due.
//!
//! Jobs that wait too long are announced again; jobs whose runner gave no sign of life fail; workspaces whose time is over are stopped; a
//! relay that may sleep is sent to sleep.
//! An idle deployment costs one read.

mod aws;
mod config;
mod relay;

use berth_domain::{Priority, Timestamp, WorkspaceId, limit::LEASE_SECONDS};
use berth_store::{Due, JobId, Lost, LostOutcome, Store, TableError};
use std::future::Future;

pub use aws::{Queue, Service};
pub use config::{Config, RelayService};
pub use relay::{Power, PowerError, RelayError};

/// Tells the dispatcher that a job waits.
pub trait Announce: Sync {
    /// Puts the job's id in the queue, in the lane of its priority. May be lost: the next sweep announces again.
    fn announce(&self, job: JobId, priority: Priority) -> impl Future<Output = ()> + Send;
}

/// What a sweep did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Swept {
    /// Jobs that were announced again.
    pub announced: Vec<JobId>,
    /// Jobs whose runner was lost and that have failed now.
    pub failed: Vec<JobId>,
    /// Workspaces whose time was over, and the jobs that stop them.
    pub stopped: Vec<(WorkspaceId, JobId)>,
}

/// Why a sweep found nothing; the next one comes.
#[derive(Debug, thiserror::Error)]
#[error("cannot find what needs looking at")]
pub struct SweepError(#[from] TableError);

/// Sweeps once. One read, and per lost job or due workspace what failing or stopping it costs. What cannot be done for one is logged and
/// left to the next sweep.
///
/// # Errors
/// When the table does not answer.
pub async fn sweep(store: &Store, announce: &impl Announce, power: &impl Power, now: Timestamp) -> Result<Swept, SweepError> {
    let mut swept = Swept::default();
    for due in store.due(now).await? {
        match due {
            Due::Announce(job, priority) => {
                announce.announce(job, priority).await;
                swept.announced.push(job);
            }
            Due::LeaseEnded(job) => match fail(store, job, now).await {
                Ok(true) => swept.failed.push(job),
                Ok(false) => {}
                Err(error) => tracing::warn!(job = %job, error = %error, "cannot fail a job whose runner was lost"),
            },
            Due::Stop(workspace) => match store.autostop(workspace, now).await {
                Ok(Some(job)) => {
                    announce.announce(job, Priority::Automatic).await;
                    swept.stopped.push((workspace, job));
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(workspace = %workspace, error = %error, "cannot stop a workspace whose time is over"),
            },
            Due::Relay => {
                if let Err(error) = relay::look_after(store, power, now).await {
                    tracing::warn!(error = %error, "cannot look after the relay; the next sweep does");
                }
            }
        }
    }
    if swept != Swept::default() {
        let Swept { announced, failed, stopped } = &swept;
        tracing::info!(announced = announced.len(), failed = failed.len(), stopped = stopped.len(), "swept");
    }
    Ok(swept)
}

async fn fail(store: &Store, job: JobId, now: Timestamp) -> Result<bool, TableError> {
    if store.fail_lost(job, &Lost::LeaseEnded, now).await? != LostOutcome::Failed {
        return Ok(false);
    }
    let text = format!("the runner was lost: no sign of life for {LEASE_SECONDS} s");
    store.append_logs(job, Store::lost_lines(job, &text, now)).await?;
    Ok(true)
}

#[cfg(test)]
mod tests;
