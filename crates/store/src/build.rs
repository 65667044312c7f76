//! Builds: the newest one of a workspace lives inside the workspace's row; older ones are rows of their own and never change.

use berth_domain::{
    Adoption, BuildId, BuildReason, Gate, JobStatus, LogLevel, ParameterValue, Policy, Priority, RepairId, TemplateId, Timestamp,
    Transition, UserId, Username, VersionId, WorkspaceId, WorkspaceName,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    Home, Job, JobId, JobRecord, Resource, Store, TableError, Workspace, lease, schedule,
    table::{Bound, Key, RACES_MAX, Range, WriteError, pause},
    workspace::{self, NOW},
    write::Write,
};

/// One build of a workspace.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Build {
    /// Identifier; also its job's.
    pub id: BuildId,
    /// The workspace.
    pub workspace: WorkspaceId,
    /// Its name.
    pub workspace_name: WorkspaceName,
    /// Its owner.
    pub owner: UserId,
    /// The owner's name.
    pub owner_name: Username,
    /// 1, 2, ...; the store sets it.
    pub number: u64,
    /// What it does.
    pub transition: Transition,
    /// The version built.
    pub version: VersionId,
    /// Its name.
    pub version_name: String,
    /// The template.
    pub template: TemplateId,
    /// Its name.
    pub template_name: String,
    /// Answers, complete.
    pub parameters: Vec<ParameterValue>,
    /// The preset that some of them come from.
    #[serde(default)]
    pub preset: Option<Uuid>,
    /// The names of those answers that hold for this build only.
    #[serde(default)]
    pub ephemeral: Vec<String>,
    /// The previous build's answers without those that held for it only; the store sets them.
    pub previous_parameters: Vec<ParameterValue>,
    /// Delete only: forget the resources without destroying them.
    pub orphan: bool,
    /// `debug` for Terraform's own debug log.
    pub log_level: Option<String>,
    /// Why it was asked for.
    pub reason: BuildReason,
    /// Who asked.
    pub initiator: UserId,
    /// Their name.
    pub initiator_name: Username,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Its job.
    pub job: Job,
    /// What it made; empty until it ends.
    pub resources: Vec<Resource>,
    /// Whether the one who asked consents to replacing or destroying what holds data or runs.
    #[serde(default)]
    pub allow_replace: bool,
    /// Start only: what exists and is to be taken over by the template's resources.
    #[serde(default)]
    pub imports: Vec<Adoption>,
    /// Its template's rules when it was asked for.
    #[serde(default)]
    pub policy: Policy,
    /// What the runner looks at in the plan; the store sets it.
    #[serde(default)]
    pub gate: Option<Gate>,
    /// When the workspace is stopped, after a good start.
    #[serde(default)]
    pub deadline: Option<Timestamp>,
    /// The latest that the deadline can be put off to.
    #[serde(default)]
    pub max_deadline: Option<Timestamp>,
}

impl Build {
    /// The answers that hold beyond this build.
    fn lasting_parameters(&self) -> Vec<ParameterValue> {
        self.parameters.iter().filter(|value| !self.ephemeral.contains(&value.name)).cloned().collect()
    }
}

/// Why a build was not queued.
#[derive(Debug, thiserror::Error)]
pub enum CreateBuildError {
    /// The latest build has not ended. Expected when two people press a button.
    #[error("build {number} of the workspace has not ended")]
    Busy {
        /// The active build.
        build: BuildId,
        /// Its number.
        number: u64,
    },
    /// A repair has not ended.
    #[error("repair {0} of the workspace has not ended")]
    Repairing(RepairId),
    /// No such workspace.
    #[error("workspace {0} does not exist")]
    Missing(WorkspaceId),
    /// The workspace is gone.
    #[error("workspace {0} was deleted")]
    Deleted(WorkspaceId),
    /// The table failed.
    #[error("cannot write the build")]
    Table(#[from] TableError),
}

fn key(workspace: WorkspaceId, number: u64) -> Key {
    Key::new(workspace::partition(workspace), format!("BUILD#{number:010}"))
}

/// A build that waited and gave way to a person's.
struct Superseded {
    /// The version of its job's row.
    at: u64,
    /// Its job, canceled.
    job: JobRecord,
    /// What the build before it had made, which it leaves as it was.
    resources: Vec<Resource>,
}

/// The build that follows a workspace's latest.
fn next(workspace: &Workspace, build: Build) -> Build {
    let latest = &workspace.latest_build;
    let same = latest.version == build.version && latest.parameters == build.parameters && build.imports.is_empty();
    let unchanged = same && latest.job.status == JobStatus::Succeeded;
    // A start that does not succeed leaves what ran before it running, and with it the time at which that is stopped.
    let runs_until = workspace.live_build.and(latest.deadline);
    Build {
        number: latest.number + 1,
        previous_parameters: latest.lasting_parameters(),
        gate: build.policy.gate(build.transition, !unchanged, build.allow_replace),
        deadline: runs_until,
        max_deadline: workspace.live_build.and(latest.max_deadline),
        ..build
    }
}

impl Store {
    /// Queues the next build of a workspace, whose number it gets. The answer has it as its latest. A read and a transaction. A person's
    /// build takes the place of an automatic one that still waits, which is canceled.
    ///
    /// # Errors
    /// [`CreateBuildError::Busy`] while the latest build has not ended.
    pub async fn create_build(&self, build: Build) -> Result<Workspace, CreateBuildError> {
        let id = build.workspace;
        for attempt in 0..RACES_MAX {
            let row = self.table.get::<Workspace>(&workspace::key(id)).await?.ok_or(CreateBuildError::Missing(id))?;
            let mut workspace = row.value;
            let latest = &workspace.latest_build;
            if workspace.deleted {
                return Err(CreateBuildError::Deleted(id));
            }
            if let Some(active) = workspace.repair.filter(|repair| repair.active) {
                return Err(CreateBuildError::Repairing(active.id));
            }
            let waiting = if latest.job.status.is_active() { Some(self.giving_way(latest, &build).await?) } else { None };
            let stopped_at = workspace.stops_at();
            let next = next(&workspace, build.clone());
            let home = Home::Workspace { id, number: next.number };
            let job = JobRecord::queued(JobId::Build(next.id), home, workspace.state.clone(), next.job.created_at);
            let job = job.with(next.reason.priority());
            workspace.updated_at = next.created_at;
            let mut earlier = std::mem::replace(&mut workspace.latest_build, next);
            let mut writes = vec![workspace::replace(row.version, &workspace)?, lease::insert(&job)?];
            writes.extend(schedule::rewritten(stopped_at, &workspace)?);
            if let Some(Superseded { at, job, resources }) = &waiting {
                earlier.job = job.job.clone();
                earlier.resources.clone_from(resources);
                writes.push(lease::replace(*at, job)?);
            }
            writes.push(Write::insert(key(id, earlier.number), &earlier)?);
            match self.table.transact(writes).await {
                Ok(()) => {
                    self.say_superseded(waiting, build.created_at).await;
                    return Ok(workspace);
                }
                Err(WriteError::Refused { .. }) => pause(attempt).await,
                Err(WriteError::Table(error)) => return Err(error.into()),
            }
        }
        Err(TableError::Contention(id.to_string()).into())
    }

    /// An active build as it is when `by` takes its place. Two reads.
    async fn giving_way(&self, active: &Build, by: &Build) -> Result<Superseded, CreateBuildError> {
        let busy = || CreateBuildError::Busy { build: active.id, number: active.number };
        if by.reason.priority() != Priority::Person || active.reason.priority() != Priority::Automatic {
            return Err(busy());
        }
        let row = self.job_row(JobId::Build(active.id)).await?.ok_or_else(busy)?;
        let why = format!("build {} took its place: {} asked for a {}", active.number + 1, by.initiator_name, by.transition);
        let job = row.value.superseded(why, by.created_at).ok_or_else(busy)?;
        let before = self.build_by_number(active.workspace, active.number.saturating_sub(1)).await?;
        Ok(Superseded { at: row.version, job, resources: before.map(|before| before.resources).unwrap_or_default() })
    }

    /// Tells the log of a build that another took its place. If it cannot be written, the build's own error says it still.
    async fn say_superseded(&self, superseded: Option<Superseded>, now: Timestamp) {
        let Some(Superseded { job: JobRecord { id, job, .. }, .. }) = superseded else { return };
        let line = Self::own_line(LogLevel::Warn, "Ending the job", &job.error, now);
        if let Err(error) = self.append_logs(id, vec![line]).await {
            tracing::warn!(job = %id, error = %error, "cannot log why a build was canceled");
        }
    }

    /// The build with this id. Two reads.
    ///
    /// # Errors
    /// When the table fails.
    pub async fn build(&self, id: BuildId) -> Result<Option<Build>, TableError> {
        match self.job(JobId::Build(id)).await?.map(|job| job.home) {
            Some(Home::Workspace { id, number }) => self.build_by_number(id, number).await,
            _ => Ok(None),
        }
    }

    /// The build of a workspace with this number. One read.
    ///
    /// # Errors
    /// When the table fails.
    pub async fn build_by_number(&self, workspace: WorkspaceId, number: u64) -> Result<Option<Build>, TableError> {
        for row in self.table.get_all(&[workspace::key(workspace), key(workspace, number)]).await? {
            let build = if row.key.sk == NOW { row.decode::<Workspace>()?.value.latest_build } else { row.decode()?.value };
            if build.number == number {
                return Ok(Some(build));
            }
        }
        Ok(None)
    }

    /// All builds of a workspace, newest first. One Query.
    ///
    /// # Errors
    /// When the table fails.
    pub async fn builds_of(&self, workspace: WorkspaceId) -> Result<Vec<Build>, TableError> {
        let mut builds = Vec::new();
        for row in self.table.query_raw(Range::of(workspace::partition(workspace), Bound::UpTo(NOW.to_owned()))).await? {
            builds.push(if row.key.sk == NOW { row.decode::<Workspace>()?.value.latest_build } else { row.decode()?.value });
        }
        builds.reverse();
        Ok(builds)
    }
}
