//! The runner: one process per job, which drives Terraform and tells the API what happens.
//!
//! It claims its job with a one-time token and from then on holds nothing but a session for that job, in memory. The template's code
//! runs beside it, so it is not trusted with anything else: no table, no queue, no signing key.
//!
//! ```text
//! claim --> fetch archive and state --> (terraform init) --> terraform apply --> finish
//!   |            heartbeats, log lines and new states go to the API all the while
//!   +-- meanwhile Terraform is found, or downloaded once
//! ```

pub mod archive;
mod build;
pub mod config;
mod dry_run;
mod environment;
mod frozen;
pub mod gate;
mod import;
pub mod lease;
pub mod log;
pub mod module;
#[cfg(test)]
mod mutation;
pub mod package;
mod plain;
pub mod plan;
pub mod progress;
mod repair;
pub mod resources;
pub mod room;
pub mod state;
mod task;
pub mod template;
pub mod terraform;
#[cfg(test)]
mod testing;
pub mod watchdog;
mod work;

pub use config::{Config, ConfigError};

use std::{sync::Arc, time::Duration};

use berth_client::{Client, ClientError, RunnerClient};
use berth_domain::limit;
use berth_wire::runner::{Claim, Claimed, Finish, Job};

use lease::{Stop, Stops};
use progress::Progress;
use watchdog::Limits;
use work::{Done, Work};

/// Pauses between attempts to claim and to finish while the API does not answer.
const PAUSES: [Duration; 8] = [
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
    Duration::from_secs(15),
    Duration::from_secs(15),
];

/// How a run ended, as far as the process's exit is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The API knows the outcome, good or bad.
    Reported,
    /// The lease is another's: nothing was written after that was known.
    LeaseLost,
}

/// Why a job could not be worked on, or its outcome not be reported.
#[derive(Debug, thiserror::Error)]
pub enum RunnerError {
    /// Signals cannot be caught.
    #[error("cannot catch signals")]
    Signals(#[source] std::io::Error),
    /// The API refused the claim or cannot be reached.
    #[error("cannot claim job {job}: {source}")]
    Claim {
        /// The job.
        job: uuid::Uuid,
        /// Why.
        source: ClientError,
    },
    /// The API did not take the outcome.
    #[error("cannot report the outcome of job {job}: {source}")]
    Finish {
        /// The job.
        job: uuid::Uuid,
        /// Why.
        source: ClientError,
    },
}

/// Claims the configured job, works on it, and reports.
///
/// # Errors
/// When the job cannot be claimed or its outcome cannot be reported. A job that fails is not an error of the runner.
pub async fn run(config: Config) -> Result<Ended, RunnerError> {
    if config.terraform_user.is_some() {
        // What the runner lays out is for its group too, to which Terraform belongs, and for nobody else.
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(terraform::guard::SHARED_MASK));
    }
    let begun = std::time::Instant::now();
    let config = Arc::new(config);
    let stops = Stops::default();
    let _signals = lease::listen(&stops).map_err(RunnerError::Signals)?;
    let (log, unsent) = log::log();
    log.stage("Preparing");
    let finding = task::owned({
        let (config, log) = (Arc::clone(&config), log.clone());
        async move { terraform::find(&config, &log).await }
    });
    let (client, claimed) = claim(&config).await.map_err(|source| RunnerError::Claim { job: config.job, source })?;
    tracing::info!(job.id = %config.job, fence = claimed.fence, "claimed");
    let delivery = unsent.deliver(client.clone());
    let _lease = lease::keep(client.clone(), stops.clone(), config.heartbeat, claimed.lease_ends);
    let (job, progress) = (config.job, Progress::default());
    let _watchdog = watchdog::watch(limits(&claimed.job), progress.clone(), stops.clone());
    let work = Work {
        config,
        client: client.clone(),
        is_first_claim: claimed.fence == 1,
        enclosed: claimed.enclosed,
        stops: stops.clone(),
        log,
        progress: progress.clone(),
        finding,
    };
    let done = match &claimed.job {
        Job::Import(import) => import::run(work, import).await,
        Job::Build(build) => build::run(work, build).await,
        Job::Repair(repair) => repair::run(work, repair).await,
        Job::DryRun(build) => dry_run::run(work, build).await,
    };
    let mut finish = match done {
        Done::Finish(finish) => *finish,
        Done::Stopped(stop) => work::report(build::stopped(stop, &stops)),
    };
    finish.timings = progress.timings();
    if stops.is_lost() {
        return Ok(Ended::LeaseLost);
    }
    delivery.finish().await;
    let ended = report(&client, &stops, &finish).await.map_err(|source| RunnerError::Finish { job, source })?;
    tracing::info!(job.id = %job, outcome = ?finish.outcome, took_ms = begun.elapsed().as_millis(), "ended");
    Ok(ended)
}

/// How long the job may take, and be silent: its own limits, else the deployment's.
fn limits(job: &Job) -> Limits {
    let own = match job {
        Job::Build(build) | Job::DryRun(build) => (build.timeout_ms, build.silence_ms),
        Job::Repair(repair) => (repair.build.timeout_ms, repair.build.silence_ms),
        Job::Import(_) => (0, 0),
    };
    let or = |own: u64, seconds: u64| if own == 0 { Duration::from_secs(seconds) } else { Duration::from_millis(own) };
    Limits { timeout: or(own.0, limit::BUILD_TIMEOUT_SECONDS), silence: or(own.1, limit::BUILD_SILENCE_SECONDS) }
}

/// Makes the process unreadable to others of the same user, and to a core dump: the template's code must find neither the session nor
/// the token in `/proc/<pid>`. Before anything else.
pub fn hide() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "the runner's memory stays readable to its user");
    }
}

/// Claims. An attempt whose answer was lost may have used the token: then the next one is refused, and that is said.
async fn claim(config: &Config) -> Result<(RunnerClient, Claimed), ClientError> {
    let client = Client::new(&config.api_url, None)?;
    let claim = Claim { token: config.token.clone(), task: config.task };
    let mut pauses = PAUSES.into_iter();
    loop {
        match (RunnerClient::claim(&client, config.job, &claim).await, pauses.next()) {
            (Err(error), Some(pause)) if error.is_transient() => {
                tracing::warn!(%error, "the claim failed");
                tokio::time::sleep(pause).await;
            }
            (result, _) => return result,
        }
    }
}

async fn report(client: &RunnerClient, stops: &Stops, finish: &Finish) -> Result<Ended, ClientError> {
    let mut pauses = PAUSES.into_iter();
    loop {
        match (client.finish(finish).await, pauses.next()) {
            (Ok(()), _) => return Ok(Ended::Reported),
            (Err(error), _) if stops.note(&error) => return Ok(Ended::LeaseLost),
            (Err(error), Some(pause)) if error.is_transient() && stops.now() < Some(Stop::Lost) => {
                tracing::warn!(%error, "the outcome could not be reported yet");
                tokio::time::sleep(pause).await;
            }
            (Err(error), _) => return Err(error),
        }
    }
}
