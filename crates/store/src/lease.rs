//! What is done with a job while it is not over: offer, claim, heartbeat, and find those that need looking at.

use berth_domain::{Fence, JobStatus, Priority, TaskId, Timestamp, TokenHash, WorkspaceId};

use crate::{
    ClaimError, DryRun, Home, JobId, JobRecord, LeaseError, Offer, OfferError, Repair, RunnerSession, Store, TableError, Version,
    Workspace, dry_run, relay, schedule,
    table::{Bound, Key, RACES_MAX, Range, Row, WriteError, pause},
    version, workspace,
    write::Write,
};

/// The index partition of the jobs that have not ended and of the workspaces that are to be stopped, by the time at which someone must look
/// at them.
pub(crate) const DUE: &str = "DUE";
/// The most of them that one look finds.
const DUE_MAX: usize = 1000;

/// What a claim gives.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The claim's number.
    pub fence: Fence,
    /// When the lease ends unless renewed.
    pub lease_ends: Timestamp,
    /// What to work on.
    pub record: Record,
}

/// What a job works on.
#[derive(Debug, Clone)]
pub enum Record {
    /// An import's version.
    Version(Box<Version>),
    /// A build's workspace; the build is its latest.
    Workspace(Box<Workspace>),
    /// A repair and its workspace.
    Repair(Box<(Repair, Workspace)>),
    /// A dry run.
    DryRun(Box<DryRun>),
}

/// What a heartbeat learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heartbeat {
    /// Whether someone asked to cancel.
    pub cancel: bool,
    /// When the lease ends now.
    pub lease_ends: Timestamp,
}

/// What someone must look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// A job waits too long: announce it again, in this lane.
    Announce(JobId, Priority),
    /// A job's runner gave no sign of life in time.
    LeaseEnded(JobId),
    /// A workspace's time is over.
    Stop(WorkspaceId),
    /// The relay may sleep, and it is time to look whether anybody needs it.
    Relay,
}

pub(crate) fn key(id: JobId) -> Key {
    Key::new(format!("JOB#{id}"), "JOB")
}

fn listed(write: Write, job: &JobRecord) -> Write {
    let write = match job.kept_until() {
        Some(second) => write.until(second),
        None => write,
    };
    match job.due_at() {
        Some(due) => write.listed(DUE, format!("{:015}#{}", due.as_millisecond(), job.id)),
        None => write,
    }
}

/// The row of a new job.
pub(crate) fn insert(job: &JobRecord) -> Result<Write, TableError> {
    Ok(listed(Write::insert(key(job.id), job)?, job))
}

/// The job's row with another value.
pub(crate) fn replace(at: u64, job: &JobRecord) -> Result<Write, TableError> {
    Ok(listed(Write::replace(key(job.id), at, job)?, job))
}

impl Store {
    /// All that is known of a job. One read.
    ///
    /// # Errors
    /// When the table fails.
    pub async fn job(&self, id: JobId) -> Result<Option<JobRecord>, TableError> {
        Ok(self.job_row(id).await?.map(|row| row.value))
    }

    pub(crate) async fn job_row(&self, id: JobId) -> Result<Option<Row<JobRecord>>, TableError> {
        self.table.get(&key(id)).await
    }

    /// What a job works on. One read.
    ///
    /// # Errors
    /// When the table fails.
    pub async fn record(&self, job: &JobRecord) -> Result<Option<Record>, TableError> {
        Ok(match job.home {
            Home::Version(id) => self.version(id).await?.map(|version| Record::Version(Box::new(version))),
            Home::Workspace { id, .. } => self.workspace(id).await?.map(|workspace| Record::Workspace(Box::new(workspace))),
            Home::Repair { id, workspace } => {
                let (repair, workspace) = (self.repair(id).await?, self.workspace(workspace).await?);
                repair.zip(workspace).map(|pair| Record::Repair(Box::new(pair)))
            }
            Home::DryRun(id) => self.dry_run(id).await?.map(|dry_run| Record::DryRun(Box::new(dry_run))),
        })
    }

    /// The job that a session holds now. One read.
    ///
    /// # Errors
    /// [`LeaseError::Lost`] when the session does not hold it.
    pub async fn job_by_session(&self, session: &RunnerSession) -> Result<JobRecord, LeaseError> {
        let job = self.job(session.job).await?.ok_or(LeaseError::Missing(session.job))?;
        if job.is_held_by(session) { Ok(job) } else { Err(LeaseError::Lost(session.job)) }
    }

    /// Puts a one-time token for a pending job out. A read and a write.
    ///
    /// # Errors
    /// When the job does not wait, or another token is out.
    pub async fn offer(&self, id: JobId, offer: Offer, now: Timestamp) -> Result<(), OfferError> {
        for attempt in 0..RACES_MAX {
            let row = self.job_row(id).await?.ok_or(OfferError::Missing(id))?;
            let next = row.value.offered(offer.clone(), now)?;
            if self.wrote(replace(row.version, &next)?).await? {
                return Ok(());
            }
            pause(attempt).await;
        }
        Err(contention(id).into())
    }

    /// Takes back a token that no task got, so that the job can be offered anew; says whether it was out. A read and a write.
    ///
    /// # Errors
    /// When the table fails.
    pub async fn withdraw_offer(&self, id: JobId, hash: &TokenHash, now: Timestamp) -> Result<bool, TableError> {
        for attempt in 0..RACES_MAX {
            let Some(row) = self.job_row(id).await? else { return Ok(false) };
            let Some(next) = row.value.withdrawn(hash, now) else { return Ok(false) };
            if self.wrote(replace(row.version, &next)?).await? {
                return Ok(true);
            }
            pause(attempt).await;
        }
        Err(contention(id))
    }

    /// Redeems a one-time token: the job runs, held by `task`; `session` is the hash of its session's secret. Two reads and a transaction.
    ///
    /// # Errors
    /// When the token is not the one that is out, or the job is held or has ended.
    #[expect(clippy::too_many_arguments, reason = "each is of another type, and the handler has them all in hand")]
    pub async fn claim(
        &self,
        id: JobId,
        token: &str,
        task: TaskId,
        session: TokenHash,
        now: Timestamp,
    ) -> Result<Claim, ClaimError> {
        for attempt in 0..RACES_MAX {
            let row = self.job_row(id).await?.ok_or(ClaimError::Missing(id))?;
            let next = row.value.claimed(token, task, session, now)?;
            let (record, shown) = self.shown(&next, now).await?;
            if self.transacted(vec![replace(row.version, &next)?, shown]).await? {
                let lease_ends = next.lease.map_or(now, |lease| lease.ends);
                return Ok(Claim { fence: next.fence, lease_ends, record });
            }
            pause(attempt).await;
        }
        Err(contention(id).into())
    }

    /// Renews the lease and learns whether to cancel. A read and a write.
    ///
    /// # Errors
    /// [`LeaseError::Lost`] when the session does not hold the job any more: its runner must stop.
    pub async fn heartbeat(&self, session: &RunnerSession, now: Timestamp) -> Result<Heartbeat, LeaseError> {
        for attempt in 0..RACES_MAX {
            let row = self.job_row(session.job).await?.ok_or(LeaseError::Missing(session.job))?;
            let next = row.value.renewed(session, now)?;
            if self.wrote(replace(row.version, &next)?).await? {
                let cancel = next.job.status == JobStatus::Canceling;
                return Ok(Heartbeat { cancel, lease_ends: next.lease.map_or(now, |lease| lease.ends) });
            }
            pause(attempt).await;
        }
        Err(contention(session.job).into())
    }

    /// The jobs that someone must look at. One Query, which finds nothing in an idle deployment.
    ///
    /// # Errors
    /// When the table fails.
    pub async fn due(&self, now: Timestamp) -> Result<Vec<Due>, TableError> {
        let bound = Bound::UpTo(format!("{:015}~", now.as_millisecond()));
        let rows = self.table.query_raw(Range { limit: Some(DUE_MAX), ..Range::index(DUE, bound) }).await?;
        rows.into_iter().map(due).collect()
    }

    /// The row that shows a job, with the job as it is now. One read.
    pub(crate) async fn shown(&self, job: &JobRecord, now: Timestamp) -> Result<(Record, Write), TableError> {
        let missing = |key: Key| TableError::Corrupt { key: key.to_string(), cause: format!("{} belongs to it", job.id) };
        match job.home {
            Home::Version(id) => {
                let row = self.table.get::<Version>(&version::key(id)).await?.ok_or_else(|| missing(version::key(id)))?;
                let version = Version { job: job.job.clone(), updated_at: now, ..row.value };
                let write = version::replace(row.version, &version)?;
                Ok((Record::Version(Box::new(version)), write))
            }
            Home::Workspace { id, .. } => {
                let row = self.table.get::<Workspace>(&workspace::key(id)).await?.ok_or_else(|| missing(workspace::key(id)))?;
                let mut workspace = row.value;
                show(job, &mut workspace, now);
                let write = workspace::replace(row.version, &workspace)?;
                Ok((Record::Workspace(Box::new(workspace)), write))
            }
            Home::Repair { id, workspace } => {
                let (repair, write) = self.shown_repair(id, job).await?;
                let workspace = self.workspace(workspace).await?.ok_or_else(|| missing(workspace::key(workspace)))?;
                Ok((Record::Repair(Box::new((repair, workspace))), write))
            }
            Home::DryRun(id) => {
                let row = self.table.get::<DryRun>(&dry_run::key(id)).await?.ok_or_else(|| missing(dry_run::key(id)))?;
                let dry_run = DryRun { job: job.job.clone(), updated_at: now, ..row.value };
                let write = dry_run::replace(row.version, &dry_run)?;
                Ok((Record::DryRun(Box::new(dry_run)), write))
            }
        }
    }

    /// Whether a write happened; otherwise someone else was faster.
    pub(crate) async fn wrote(&self, write: Write) -> Result<bool, TableError> {
        happened(self.table.write(write).await)
    }

    /// Whether all of the writes happened; otherwise someone else was faster.
    pub(crate) async fn transacted(&self, writes: Vec<Write>) -> Result<bool, TableError> {
        happened(self.table.transact(writes).await)
    }
}

fn due(row: Row) -> Result<Due, TableError> {
    if row.key.sk == schedule::SORT {
        return Ok(Due::Stop(row.decode()?.value));
    }
    if row.key.pk == relay::PARTITION {
        return Ok(Due::Relay);
    }
    let job = row.decode::<JobRecord>()?.value;
    Ok(match job.lease {
        Some(_) => Due::LeaseEnded(job.id),
        None => Due::Announce(job.id, job.priority),
    })
}

/// Shows the job in its workspace.
pub(crate) fn show(job: &JobRecord, workspace: &mut Workspace, now: Timestamp) {
    workspace.updated_at = now;
    workspace.latest_build.updated_at = now;
    workspace.latest_build.job = job.job.clone();
    workspace.state = job.state.clone();
}

fn happened(outcome: Result<(), WriteError>) -> Result<bool, TableError> {
    match outcome {
        Ok(()) => Ok(true),
        Err(WriteError::Refused { .. }) => Ok(false),
        Err(WriteError::Table(error)) => Err(error),
    }
}

pub(crate) fn contention(id: JobId) -> TableError {
    TableError::Contention(id.to_string())
}
