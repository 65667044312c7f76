//! Jobs: the run of a build or of a version's import. A job's row is small and holds all that a runner changes while it works.
//!
//! ```text
//! pending --offer--> pending, a one-time token is out --claim(fence + 1)--> running --finish--> succeeded | failed | canceled
//!    |  '--withdraw/offer ends--> pending                                     |  '--cancel--> canceling --finish--> the same
//!    '--cancel--> canceled                                                    '--lost(fence + 1)--> failed, as from canceling
//! ```
//!
//! The rules are pure methods of [`JobRecord`]; the table's verbs read a record, apply one rule and write it back on the
//! condition that nobody else did ([`crate::lease`], [`crate::finish`]).

use berth_domain::{
    BuildId, DryRunId, FailureCode, Fence, JobStatus, Lease, Priority, RepairId, Secret, TaskId, Timestamp, TokenHash, VersionId,
    WorkspaceId, limit,
};
use berth_wire::runner::Outcome;
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};
use uuid::Uuid;

use crate::{StatePointer, TableError};

/// Which job: an import has its version's id, a build's job its build's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobId {
    /// The import of a template version.
    Import(VersionId),
    /// A build of a workspace.
    Build(BuildId),
    /// A repair of a workspace.
    Repair(RepairId),
    /// A plan of a workspace that is not made.
    DryRun(DryRunId),
}

impl JobId {
    /// The bare identifier, as the wire has it.
    #[must_use]
    pub const fn uuid(self) -> Uuid {
        match self {
            Self::Import(id) => id.0,
            Self::Build(id) => id.0,
            Self::Repair(id) => id.0,
            Self::DryRun(id) => id.0,
        }
    }

    /// `import`, `build`, `repair` or `dry_run`.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Import(_) => "import",
            Self::Build(_) => "build",
            Self::Repair(_) => "repair",
            Self::DryRun(_) => "dry_run",
        }
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.kind(), self.uuid().simple())
    }
}

/// Text that names no job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a job id")]
pub struct JobIdError(pub String);

impl FromStr for JobId {
    type Err = JobIdError;
    fn from_str(text: &str) -> Result<Self, JobIdError> {
        let wrong = || JobIdError(text.to_owned());
        let (kind, id) = text.split_once('-').ok_or_else(wrong)?;
        match kind {
            "import" => Ok(Self::Import(id.parse().map_err(|_| wrong())?)),
            "build" => Ok(Self::Build(id.parse().map_err(|_| wrong())?)),
            "repair" => Ok(Self::Repair(id.parse().map_err(|_| wrong())?)),
            "dry_run" => Ok(Self::DryRun(id.parse().map_err(|_| wrong())?)),
            _ => Err(wrong()),
        }
    }
}

/// What a runner presents with every call after its claim: `<kind>-<id>-<fence>-<secret>`.
///
/// The store keeps the hash of the secret only, so that it can be made before the fence is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunnerSession {
    /// The one job it is good for.
    pub job: JobId,
    /// The claim it is good for.
    pub fence: Fence,
    /// What proves it.
    pub secret: Secret,
}

impl RunnerSession {
    /// Reads a presented session; `None` when it has not the form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(4, '-');
        let (kind, id, fence, secret) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let well_formed = !secret.is_empty() && secret.bytes().all(|byte| byte.is_ascii_hexdigit());
        let job = format!("{kind}-{id}").parse().ok()?;
        well_formed.then_some(Self { job, fence: Fence(fence.parse().ok()?), secret: Secret::new(secret.to_owned()) })
    }

    /// The text to hand to the runner, once.
    #[must_use]
    pub fn expose(&self) -> String {
        format!("{}-{}-{}", self.job, self.fence.0, self.secret.expose())
    }
}

/// A job as its build or version shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Where it stands.
    pub status: JobStatus,
    /// When it was queued.
    pub created_at: Timestamp,
    /// When a runner claimed it.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
    /// When someone asked to cancel it.
    pub canceled_at: Option<Timestamp>,
    /// Why it failed, or why it was canceled without anyone asking.
    pub error: String,
    /// The same for programs.
    #[serde(default)]
    pub error_code: Option<FailureCode>,
    /// The task that claimed it.
    #[serde(default)]
    pub worker: Option<TaskId>,
}

impl Job {
    /// A job that waits for a runner.
    #[must_use]
    pub const fn queued(now: Timestamp) -> Self {
        Self {
            status: JobStatus::Pending,
            created_at: now,
            started_at: None,
            completed_at: None,
            canceled_at: None,
            error: String::new(),
            error_code: None,
            worker: None,
        }
    }

    fn ended(self, status: JobStatus, error: String, now: Timestamp) -> Self {
        Self { status, error, completed_at: Some(now), ..self }
    }
}

/// A one-time token that is out: whoever presents it until it ends may claim the job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// The task it was made for.
    pub task: TaskId,
    /// The token's hash.
    pub hash: TokenHash,
    /// When it ends; the sweep announces the job again then.
    pub ends: Timestamp,
}

/// The row that shows a job to people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Home {
    /// The version whose import it is.
    Version(VersionId),
    /// The workspace, and the build's number in it.
    Workspace {
        /// The workspace.
        id: WorkspaceId,
        /// The build's number.
        number: u64,
    },
    /// The repair, and the workspace that it is of.
    Repair {
        /// The repair.
        id: RepairId,
        /// The workspace.
        workspace: WorkspaceId,
    },
    /// The dry run whose plan it is.
    DryRun(DryRunId),
}

/// All that is known of a job, secrets as hashes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRecord {
    /// Which.
    pub id: JobId,
    /// Where it is shown.
    pub home: Home,
    /// What people see.
    pub job: Job,
    /// The one-time token that is out, while pending.
    pub offer: Option<Offer>,
    /// Who works on it, while running or canceling.
    pub lease: Option<Lease>,
    /// The hash of the secret of the session that holds or finished it.
    pub session: Option<TokenHash>,
    /// The newest claim's number.
    pub fence: Fence,
    /// The newest Terraform state.
    pub state: Option<StatePointer>,
    /// Whether anybody waits for it.
    #[serde(default)]
    pub priority: Priority,
}

/// Why a task could not take a job.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// Someone else runs it. Expected when the queue delivers twice.
    #[error("{job} is held by task {holder}")]
    Held {
        /// The job.
        job: JobId,
        /// Who runs it.
        holder: TaskId,
    },
    /// No such job.
    #[error("{0} does not exist")]
    Missing(JobId),
    /// The token is not the one that is out, or it ended.
    #[error("the one-time token for {0} is not valid")]
    BadToken(JobId),
    /// The job has ended.
    #[error("{job} has ended: {status}")]
    Ended {
        /// The job.
        job: JobId,
        /// How.
        status: JobStatus,
    },
    /// The table failed.
    #[error("cannot claim the job")]
    Table(#[from] TableError),
}

/// Why a job was not offered.
#[derive(Debug, thiserror::Error)]
pub enum OfferError {
    /// No such job.
    #[error("{0} does not exist")]
    Missing(JobId),
    /// It does not wait any more. Expected when the queue delivers twice.
    #[error("{job} is not pending but {status}")]
    NotPending {
        /// The job.
        job: JobId,
        /// Where it stands.
        status: JobStatus,
    },
    /// Another token is out. Expected when the queue delivers twice.
    #[error("a token for {job} is out until {ends}")]
    Out {
        /// The job.
        job: JobId,
        /// When that token ends.
        ends: Timestamp,
    },
    /// The table failed.
    #[error("cannot offer the job")]
    Table(#[from] TableError),
}

/// Why a runner's write was refused.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// The session does not hold the job: it ended, or another claim is newer, or the secret is wrong.
    #[error("the session does not hold {0}")]
    Lost(JobId),
    /// No such job.
    #[error("{0} does not exist")]
    Missing(JobId),
    /// The table failed.
    #[error("cannot read or write the job")]
    Table(#[from] TableError),
}

/// Why a job was not finished.
#[derive(Debug, thiserror::Error)]
pub enum FinishError {
    /// The session does not hold the job.
    #[error("the session does not hold {0}")]
    Lost(JobId),
    /// No such job.
    #[error("{0} does not exist")]
    Missing(JobId),
    /// More agents than one transaction holds.
    #[error("the build has {count} agents, more than the {limit} that one build may have")]
    TooManyAgents {
        /// How many.
        count: usize,
        /// How many may be.
        limit: usize,
    },
    /// An agent's id or token belongs to another workspace, or comes twice.
    #[error("agent {0} is not this workspace's")]
    ForeignAgent(Uuid),
    /// The table failed.
    #[error("cannot finish the job")]
    Table(#[from] TableError),
}

/// Why a job was not canceled.
#[derive(Debug, thiserror::Error)]
pub enum CancelError {
    /// No such job.
    #[error("{0} does not exist")]
    Missing(JobId),
    /// It has ended.
    #[error("{job} has ended: {status}")]
    Ended {
        /// The job.
        job: JobId,
        /// How.
        status: JobStatus,
    },
    /// The table failed.
    #[error("cannot cancel the job")]
    Table(#[from] TableError),
}

/// What is said to have happened to a job's runner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lost {
    /// No heartbeat in time. True only if the lease has ended.
    LeaseEnded,
    /// The task ended. True only if the job is that task's, claimed or offered.
    TaskEnded {
        /// The task.
        task: TaskId,
        /// Why, for people.
        reason: String,
    },
    /// It can never be launched. True only while pending.
    Unlaunchable {
        /// Why, for people.
        reason: String,
    },
}

/// What became of a job whose runner was said to be lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LostOutcome {
    /// It failed now; its old holder's writes are refused from here on.
    Failed,
    /// It was not true (any more): the job goes on.
    Alive,
    /// It had ended before.
    Ended(JobStatus),
    /// There is no such job.
    Missing,
}

impl JobRecord {
    /// A job that waits for a runner; `state` is what the previous build left.
    #[must_use]
    pub const fn queued(id: JobId, home: Home, state: Option<StatePointer>, now: Timestamp) -> Self {
        let priority = Priority::Person;
        Self { id, home, job: Job::queued(now), offer: None, lease: None, session: None, fence: Fence(0), state, priority }
    }

    /// The same with another priority.
    #[must_use]
    pub fn with(self, priority: Priority) -> Self {
        Self { priority, ..self }
    }

    /// The second after which its rows are forgotten; `None` is never.
    pub(crate) fn kept_until(&self) -> Option<i64> {
        matches!(self.id, JobId::DryRun(_)).then(|| kept_until(self.job.created_at))
    }

    /// When someone must look at the job unless it changes before; `None` once it has ended.
    #[must_use]
    pub fn due_at(&self) -> Option<Timestamp> {
        match self.job.status {
            JobStatus::Pending => {
                Some(self.offer.as_ref().map_or_else(|| self.job.created_at + ANNOUNCE_AGAIN, |offer| offer.ends))
            }
            JobStatus::Running | JobStatus::Canceling => self.lease.as_ref().map(|lease| lease.ends),
            _ => None,
        }
    }

    /// Puts a one-time token out.
    pub(crate) fn offered(self, offer: Offer, now: Timestamp) -> Result<Self, OfferError> {
        let job = self.id;
        if self.job.status != JobStatus::Pending {
            return Err(OfferError::NotPending { job, status: self.job.status });
        }
        match self.offer {
            Some(Offer { ends, .. }) if ends > now => Err(OfferError::Out { job, ends }),
            _ => Ok(Self { offer: Some(offer), ..self }),
        }
    }

    /// Takes a token back that could not be handed to a task; `None` when it is not out any more.
    pub(crate) fn withdrawn(self, hash: &TokenHash, now: Timestamp) -> Option<Self> {
        let out = self.job.status == JobStatus::Pending && self.offer.as_ref().is_some_and(|offer| offer.hash == *hash);
        // Ended, not forgotten: its end says when to announce the job again.
        out.then(|| Self { offer: self.offer.map(|offer| Offer { ends: now, ..offer }), ..self })
    }

    /// Redeems the token that is out: the job runs, held by `task`.
    pub(crate) fn claimed(self, token: &str, task: TaskId, session: TokenHash, now: Timestamp) -> Result<Self, ClaimError> {
        let job = self.id;
        if let Some(Lease { task: holder, .. }) = self.lease {
            return Err(ClaimError::Held { job, holder });
        }
        if self.job.status != JobStatus::Pending {
            return Err(ClaimError::Ended { job, status: self.job.status });
        }
        if !self.offer.as_ref().is_some_and(|offer| offer.ends > now && offer.hash.matches(token)) {
            return Err(ClaimError::BadToken(job));
        }
        let fence = self.fence.next();
        Ok(Self {
            job: Job { status: JobStatus::Running, started_at: Some(now), worker: Some(task), ..self.job },
            offer: None,
            lease: Some(Lease { task, fence, ends: Lease::end_from(now) }),
            session: Some(session),
            fence,
            ..self
        })
    }

    /// Whether the session holds the job now.
    pub(crate) fn is_held_by(&self, session: &RunnerSession) -> bool {
        self.job.status.is_active() && self.lease.is_some() && self.was_held_by(session)
    }

    fn was_held_by(&self, session: &RunnerSession) -> bool {
        self.fence == session.fence && self.session.is_some_and(|hash| hash.matches(session.secret.expose()))
    }

    /// Renews the lease.
    pub(crate) fn renewed(self, session: &RunnerSession, now: Timestamp) -> Result<Self, LeaseError> {
        let held = self.is_held_by(session);
        match self.lease {
            Some(lease) if held => Ok(Self { lease: Some(Lease { ends: Lease::end_from(now), ..lease }), ..self }),
            _ => Err(LeaseError::Lost(self.id)),
        }
    }

    /// Ends the job with its runner's outcome; `None` when this session has ended it before.
    pub(crate) fn finished(self, session: &RunnerSession, outcome: &Outcome, now: Timestamp) -> Result<Option<Self>, LeaseError> {
        if !self.job.status.is_active() && self.was_held_by(session) {
            return Ok(None);
        }
        if !self.is_held_by(session) {
            return Err(LeaseError::Lost(self.id));
        }
        let (status, error, error_code) = match outcome {
            Outcome::Succeeded => (JobStatus::Succeeded, String::new(), None),
            Outcome::Failed { error } => (JobStatus::Failed, error.clone(), None),
            Outcome::Refused { error, code } => (JobStatus::Failed, error.clone(), Some(*code)),
            Outcome::Canceled => (JobStatus::Canceled, String::new(), None),
        };
        let job = Job { error_code, ..self.job.ended(status, error, now) };
        Ok(Some(Self { job, lease: None, ..self }))
    }

    /// Cancels: at once when pending, by request when running. Asking twice changes nothing.
    pub(crate) fn canceled(self, now: Timestamp) -> Result<Self, CancelError> {
        let canceled_at = self.job.canceled_at.or(Some(now));
        let job = Job { canceled_at, ..self.job };
        match job.status {
            JobStatus::Pending => Ok(Self { job: job.ended(JobStatus::Canceled, String::new(), now), offer: None, ..self }),
            JobStatus::Running | JobStatus::Canceling => Ok(Self { job: Job { status: JobStatus::Canceling, ..job }, ..self }),
            status => Err(CancelError::Ended { job: self.id, status }),
        }
    }

    /// Cancels a job that nobody waits for and nobody has claimed, in favour of a person's; `None` when it is not such a one.
    pub(crate) fn superseded(self, why: String, now: Timestamp) -> Option<Self> {
        let gives_way = self.priority == Priority::Automatic && self.job.status == JobStatus::Pending;
        let job = Job { canceled_at: Some(now), ..self.job };
        gives_way.then(|| Self { job: job.ended(JobStatus::Canceled, why, now), offer: None, ..self })
    }

    /// Fails the job if what is said of its runner is true.
    pub(crate) fn lost(self, lost: &Lost, now: Timestamp) -> Result<Self, LostOutcome> {
        if !self.job.status.is_active() {
            return Err(LostOutcome::Ended(self.job.status));
        }
        let (true_now, reason) = match lost {
            Lost::LeaseEnded => (
                self.lease.as_ref().is_some_and(|lease| lease.has_ended(now)),
                format!("the runner was lost: no sign of life for {} s", limit::LEASE_SECONDS),
            ),
            Lost::TaskEnded { task, reason } => (
                self.lease.as_ref().map(|lease| lease.task).or_else(|| self.offer.as_ref().map(|offer| offer.task)) == Some(*task),
                reason.clone(),
            ),
            Lost::Unlaunchable { reason } => (self.job.status == JobStatus::Pending, reason.clone()),
        };
        if !true_now {
            return Err(LostOutcome::Alive);
        }
        let (fence, worked) = (self.fence.next(), self.lease.is_some());
        let job = Job { error_code: worked.then_some(FailureCode::RunnerLost), ..self.job.ended(JobStatus::Failed, reason, now) };
        Ok(Self { job, offer: None, lease: None, session: None, fence, ..self })
    }
}

/// The second after which nothing is left of a dry run that was asked for at `created_at`.
pub(crate) fn kept_until(created_at: Timestamp) -> i64 {
    created_at.as_second().saturating_add(limit::DRY_RUN_SECONDS)
}

/// A queued job is announced again this long after.
const ANNOUNCE_AGAIN: SignedDuration = SignedDuration::from_secs(limit::ANNOUNCE_AGAIN_SECONDS);

#[cfg(test)]
mod schedule;
#[cfg(test)]
mod tests;
