//! The dispatcher: a queued job becomes a task.
//!
//! A message carries a job's id and may come twice, late or never; the truth is in the store. The dispatcher puts a one-time token
//! out and launches a task with it; the task redeems the token at the API, which is what starts the job.
//!
//! ```text
//! pending --offer--> a token is out --launch--> the task claims
//!                        |--launch fails for now--> withdrawn: the sweep announces the job again
//!                        '--it can never work-----> the job fails and says why
//! ```

mod batch;
mod config;
mod fargate;
mod refusal;

use berth_domain::{JobStatus, LogLevel, Secret, TaskId, Timestamp, TokenHash};
use berth_store::{JobId, Lost, LostOutcome, Offer, OfferError, Store, TableError};
use jiff::SignedDuration;
use std::future::Future;

pub use batch::dispatch_batch;
pub use config::{Config, FargateConfig};
pub use fargate::Fargate;

/// Starts tasks: a process on a laptop, Fargate in the cloud.
pub trait Launch: Sync {
    /// Starts a task that will redeem the token. To return is enough: how the task fares is heard of by its claim or its end.
    fn launch(&self, request: LaunchRequest) -> impl Future<Output = Result<(), LaunchError>> + Send;

    /// How long a launched task may take until it claims; the job is announced again after that.
    fn claims_within(&self) -> SignedDuration {
        SignedDuration::from_secs(120)
    }
}

/// What a task is told.
#[derive(Debug, Clone)]
pub struct LaunchRequest {
    /// The job to claim.
    pub job: JobId,
    /// The one-time token to claim it with.
    pub token: Secret,
    /// The task that it is to be; the same message launched twice has another one.
    pub task: TaskId,
    /// When that was decided.
    pub at: Timestamp,
}

/// Why a task was not launched. The text is for the person who asked for the job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LaunchError {
    /// Not now: no room, throttled, the network.
    #[error("{0}")]
    Later(String),
    /// Not until someone changes something: no such image, no permission.
    #[error("{0}")]
    Never(String),
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dispatched {
    /// A task was launched.
    Launched(TaskId),
    /// A task launched before may still claim. Expected when a message comes twice.
    AlreadyOffered,
    /// The job does not wait any more. Expected when a message comes late.
    NotPending(JobStatus),
    /// There is no such job.
    Missing,
    /// The launch failed for now; the sweep announces the job again.
    Later(String),
    /// The launch can never work: the job failed.
    Failed(String),
}

/// Why a message was not handled; it may come again.
#[derive(Debug, thiserror::Error)]
#[error("cannot dispatch {job}")]
pub struct DispatchError {
    /// The job.
    pub job: JobId,
    /// Why.
    pub source: TableError,
}

/// Launches a task for a job if it waits for one. Two requests to the table.
///
/// `random` must be fresh and from a cryptographic source: the one-time token is made of it.
///
/// # Errors
/// When the table fails. Every other outcome is a [`Dispatched`].
pub async fn dispatch(
    store: &Store,
    launcher: &impl Launch,
    job: JobId,
    now: Timestamp,
    random: [u8; 32],
) -> Result<Dispatched, DispatchError> {
    let failed = |source| DispatchError { job, source };
    let (task, token) = made_of(now, random);
    let hash = TokenHash::of(token.expose());
    match store.offer(job, Offer { task, hash, ends: now + launcher.claims_within() }, now).await {
        Ok(()) => {}
        Err(OfferError::Missing(_)) => return Ok(Dispatched::Missing),
        Err(OfferError::NotPending { status, .. }) => return Ok(Dispatched::NotPending(status)),
        Err(OfferError::Out { .. }) => return Ok(Dispatched::AlreadyOffered),
        Err(OfferError::Table(source)) => return Err(failed(source)),
    }
    match launcher.launch(LaunchRequest { job, token, task, at: now }).await {
        Ok(()) => Ok(Dispatched::Launched(task)),
        Err(LaunchError::Later(reason)) => {
            store.withdraw_offer(job, &hash, now).await.map_err(failed)?;
            let text = format!("{reason}; it is tried again");
            let line = Store::own_line(LogLevel::Warn, STAGE, &text, now);
            store.append_logs(job, vec![line]).await.map_err(failed)?;
            Ok(Dispatched::Later(reason))
        }
        Err(LaunchError::Never(reason)) => never(store, job, reason, now).await.map_err(failed),
    }
}

/// The stage of the dispatcher's own log lines.
const STAGE: &str = "Starting the runner";

async fn never(store: &Store, job: JobId, reason: String, now: Timestamp) -> Result<Dispatched, TableError> {
    Ok(match store.fail_lost(job, &Lost::Unlaunchable { reason: reason.clone() }, now).await? {
        LostOutcome::Failed => {
            store.append_logs(job, vec![Store::own_line(LogLevel::Error, STAGE, &reason, now)]).await?;
            Dispatched::Failed(reason)
        }
        LostOutcome::Ended(status) => Dispatched::NotPending(status),
        LostOutcome::Alive => Dispatched::AlreadyOffered,
        LostOutcome::Missing => Dispatched::Missing,
    })
}

fn made_of(now: Timestamp, random: [u8; 32]) -> (TaskId, Secret) {
    let (token, rest) = random.split_at(22);
    let mut task = [0; 10];
    task.copy_from_slice(rest);
    (TaskId::new(now, task), Secret::new(hex::encode(token)))
}

#[cfg(test)]
mod tests;
