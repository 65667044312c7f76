//! When workspaces are stopped without anyone asking.
//!
//! A workspace with such a time has a row in the index of what is due; it comes and goes in the transactions that set and clear the time. A
//! workspace that is stopped, or runs for ever, has none and costs nothing.

use berth_domain::{BuildId, BuildReason, Deadlines, ExtendError, JobStatus, Timestamp, Transition, WorkspaceId};

use crate::{
    Build, CreateBuildError, Job, JobId, Store, TableError, Workspace,
    lease::DUE,
    table::{Key, RACES_MAX, WriteError, encode, pause},
    workspace,
    write::Write,
};

/// Why a workspace's stop was not put off.
#[derive(Debug, thiserror::Error)]
pub enum ExtendWorkspaceError {
    /// No such workspace, or it is gone.
    #[error("workspace {0} does not exist")]
    Missing(WorkspaceId),
    /// There is no stop to put off.
    #[error("workspace {0} does not run")]
    NotRunning(WorkspaceId),
    /// The time will not do.
    #[error(transparent)]
    Time(#[from] ExtendError),
    /// The table failed.
    #[error("cannot change the workspace")]
    Table(#[from] TableError),
}

impl Workspace {
    /// When it is stopped unless something happens before; `None` is never.
    #[must_use]
    pub fn stops_at(&self) -> Option<Timestamp> {
        let build = &self.latest_build;
        match (build.transition, build.job.status) {
            (Transition::Start, JobStatus::Succeeded) => build.deadline,
            // A start that failed on a running workspace leaves it running: its deadline holds on.
            (Transition::Start, JobStatus::Canceled) => build.deadline,
            (Transition::Start, JobStatus::Failed) => {
                let failed = build.job.completed_at.and_then(|ended| build.policy.stops_failed_at(ended));
                build.deadline.into_iter().chain(failed).min()
            }
            _ => None,
        }
    }

    /// Whether it is up and nothing is being done to it.
    fn is_running(&self) -> bool {
        !self.deleted && self.latest_build.transition == Transition::Start && self.latest_build.job.status == JobStatus::Succeeded
    }

    pub(crate) fn deadlines(&self) -> Deadlines {
        Deadlines { deadline: self.latest_build.deadline, max: self.latest_build.max_deadline }
    }

    pub(crate) fn set_deadlines(&mut self, deadlines: Deadlines) {
        self.latest_build.deadline = deadlines.deadline;
        self.latest_build.max_deadline = deadlines.max;
    }

    /// What follows for a running workspace's deadline from another time to live: none at all takes it away at once, any other holds from
    /// the next start on.
    pub(crate) fn ttl_changed(&mut self) {
        if self.ttl_ms == Some(0) && self.is_running() {
            self.latest_build.deadline = self.latest_build.max_deadline;
        }
    }

    /// Use of a running workspace moves its stop away, as far as its template says.
    pub(crate) fn used(&mut self, now: Timestamp) {
        if self.is_running() {
            let bump = self.latest_build.policy.activity_bump_ms;
            self.set_deadlines(self.deadlines().bumped(now, bump));
        }
    }
}

/// The row of a workspace's stop.
fn key(id: WorkspaceId) -> Key {
    Key::new(workspace::partition(id), SORT)
}

/// Its sort key; behind the workspace's own rows, so that lists of those do not meet it.
pub(crate) const SORT: &str = "STOP";

/// The write that brings the row of a workspace's stop up to date, if it was at `before`. None when nothing changes.
pub(crate) fn rewritten(before: Option<Timestamp>, workspace: &Workspace) -> Result<Option<Write>, TableError> {
    let id = workspace.id;
    match workspace.stops_at() {
        after if after == before => Ok(None),
        None => Ok(Some(Write::delete(key(id)))),
        Some(at) => Ok(Some(Write::put(key(id), &id)?.listed(DUE, format!("{:015}#workspace-{id}", at.as_millisecond())))),
    }
}

impl Store {
    /// Puts off (or brings forward) the stop of a running workspace. A read and a transaction.
    ///
    /// # Errors
    /// When it does not run, or the time is over or beyond what its template allows.
    pub async fn extend(&self, id: WorkspaceId, deadline: Timestamp, now: Timestamp) -> Result<Workspace, ExtendWorkspaceError> {
        let extended = self.amend_workspace(id, |workspace| {
            if !workspace.is_running() {
                return Err(ExtendWorkspaceError::NotRunning(id));
            }
            workspace.set_deadlines(workspace.deadlines().extended(deadline, now)?);
            workspace.updated_at = now;
            Ok(())
        });
        extended.await?.ok_or(ExtendWorkspaceError::Missing(id))
    }

    /// Queues the stop of a workspace whose time is over, for nobody in particular. `None` when it is not over (any more), or a build does
    /// something else right now. One read when there is nothing to do.
    ///
    /// # Errors
    /// When the table fails.
    pub async fn autostop(&self, id: WorkspaceId, now: Timestamp) -> Result<Option<JobId>, TableError> {
        let workspace = self.workspace(id).await?.filter(|workspace| workspace.stops_at().is_some_and(|at| at <= now));
        let Some(workspace) = workspace else { return Ok(None) };
        match self.create_build(stop(workspace, now)).await {
            Ok(workspace) => Ok(Some(JobId::Build(workspace.latest_build.id))),
            Err(CreateBuildError::Table(error)) => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// Changes a workspace without a build, and the row of its stop with it. `None` when there is none. A read, and a write if anything
    /// changes.
    pub(crate) async fn amend_workspace<E: From<TableError>>(
        &self,
        id: WorkspaceId,
        change: impl Fn(&mut Workspace) -> Result<(), E>,
    ) -> Result<Option<Workspace>, E> {
        for attempt in 0..RACES_MAX {
            let row = self.table.get::<Workspace>(&workspace::key(id)).await?.filter(|row| !row.value.deleted);
            let Some(row) = row else { return Ok(None) };
            let (stopped_at, was) = (row.value.stops_at(), encode(&row.value)?);
            let mut workspace = row.value;
            change(&mut workspace)?;
            if encode(&workspace)? == was {
                return Ok(Some(workspace));
            }
            let write = workspace::replace(row.version, &workspace)?;
            let written = match rewritten(stopped_at, &workspace)? {
                None => self.table.write(write).await,
                Some(stop) => self.table.transact(vec![write, stop]).await,
            };
            match written {
                Ok(()) => return Ok(Some(workspace)),
                Err(WriteError::Refused { .. }) => pause(attempt).await,
                Err(WriteError::Table(error)) => return Err(error.into()),
            }
        }
        Err(TableError::Contention(id.to_string()).into())
    }
}

/// The stop of a workspace that was built last by its newest build, with all that that was built with. Two sweeps at once draft builds that
/// differ in their time only, and one of them is queued.
fn stop(workspace: Workspace, now: Timestamp) -> Build {
    let latest = workspace.latest_build;
    let mut random = [0; 10];
    random.copy_from_slice(latest.id.0.as_bytes().get(6..).unwrap_or(&[0; 10]));
    Build {
        id: BuildId::new(now, random),
        transition: Transition::Stop,
        orphan: false,
        log_level: None,
        allow_replace: false,
        imports: Vec::new(),
        reason: BuildReason::Autostop,
        initiator: workspace.owner,
        initiator_name: workspace.owner_name,
        created_at: now,
        updated_at: now,
        job: Job::queued(now),
        resources: Vec::new(),
        deadline: None,
        max_deadline: None,
        ..latest
    }
}
