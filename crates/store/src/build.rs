//! Builds: the newest one of a workspace lives inside the workspace's row; older ones are rows of their own and never change.

use berth_domain::{
    BuildId, BuildReason, ParameterValue, TemplateId, Timestamp, Transition, UserId, Username, VersionId, WorkspaceId,
    WorkspaceName,
};
use serde::{Deserialize, Serialize};

use crate::{
    Home, Job, JobId, JobRecord, Resource, Store, TableError, Workspace, lease,
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
    /// The previous build's answers; the store sets them.
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

impl Store {
    /// Queues the next build of a workspace, whose number it gets. The answer has it as its latest. A read and a transaction.
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
            if latest.job.status.is_active() {
                return Err(CreateBuildError::Busy { build: latest.id, number: latest.number });
            }
            let next = Build { number: latest.number + 1, previous_parameters: latest.parameters.clone(), ..build.clone() };
            let home = Home::Workspace { id, number: next.number };
            let job = JobRecord::queued(JobId::Build(next.id), home, workspace.state.clone(), next.job.created_at);
            workspace.updated_at = next.created_at;
            let earlier = std::mem::replace(&mut workspace.latest_build, next);
            let writes = vec![
                workspace::replace(row.version, &workspace)?,
                Write::insert(key(id, earlier.number), &earlier)?,
                lease::insert(&job)?,
            ];
            match self.table.transact(writes).await {
                Ok(()) => return Ok(workspace),
                Err(WriteError::Refused { .. }) => pause(attempt).await,
                Err(WriteError::Table(error)) => return Err(error.into()),
            }
        }
        Err(TableError::Contention(id.to_string()).into())
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
