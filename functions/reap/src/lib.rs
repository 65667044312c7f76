//! The reaper: a task ended, so its job must not stay as if it ran.
//!
//! An event may come twice, late or never. It fails a job only if that very task holds it or was to claim it; a job that ended by
//! itself, or that another task holds, goes on as it is. What no event tells, the sweep finds by the lease.

mod config;
mod stopped;

use berth_domain::{TaskId, Timestamp};
use berth_store::{JobId, Lost, LostOutcome, Store, TableError};

pub use config::Config;
pub use stopped::{Stopped, TaskEvent};

/// Why an event was not handled; it may come again.
#[derive(Debug, thiserror::Error)]
#[error("cannot reap {job}")]
pub struct ReapError {
    /// The job.
    pub job: JobId,
    /// Why.
    pub source: TableError,
}

/// Fails the job of an ended task, if the task still had it. One read when there is nothing to do.
///
/// `reason` is for the person who asked for the job.
///
/// # Errors
/// When the table fails.
pub async fn reap(store: &Store, job: JobId, task: TaskId, reason: &str, now: Timestamp) -> Result<LostOutcome, ReapError> {
    let failed = |source| ReapError { job, source };
    let lost = Lost::TaskEnded { task, reason: reason.to_owned() };
    let outcome = store.fail_lost(job, &lost, now).await.map_err(failed)?;
    if outcome == LostOutcome::Failed {
        tracing::warn!(job = %job, task = %task, reason, "a task ended before its job did");
        store.append_logs(job, Store::lost_lines(job, reason, now)).await.map_err(failed)?;
    }
    Ok(outcome)
}

/// Handles one event of ECS. One that is not the end of a runner's task is nothing.
///
/// # Errors
/// When the table fails; the event is delivered again then.
pub async fn reap_event(store: &Store, event: &TaskEvent, now: Timestamp) -> Result<(), ReapError> {
    let Some(Stopped { job, task, reason }) = event.stopped() else {
        tracing::debug!("an event that is not the end of a runner's task");
        return Ok(());
    };
    let outcome = reap(store, job, task, &reason, now).await.inspect_err(|error| {
        tracing::error!(%job, %task, error = %berth_lambda::causes(error), "cannot reap; the event comes again, else the sweep fails the job");
    })?;
    tracing::info!(%job, %task, reason, ?outcome, "a runner's task ended");
    Ok(())
}

#[cfg(test)]
mod tests;
