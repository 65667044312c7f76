//! Workspaces: one row each, with the newest build inside, so that a list needs no second read.

use berth_domain::{
    AutomaticUpdates, BuildId, TemplateId, Timestamp, UserId, Username, WorkspaceId, WorkspaceName, permission::MayCreateWorkspace,
};
use serde::{Deserialize, Serialize};

use crate::{
    Agent, Build, Home, JobId, JobRecord, LatestRepair, StatePointer, Store, TableError, agent, lease,
    table::{Bound, Key, RACES_MAX, Range, Row, WriteError, pause},
    template,
    write::Write,
};

/// A workspace.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Workspace {
    /// Identifier.
    pub id: WorkspaceId,
    /// Whose.
    pub owner: UserId,
    /// Their name.
    pub owner_name: Username,
    /// Its name, unique among its owner's without regard to case.
    pub name: WorkspaceName,
    /// The template.
    pub template: TemplateId,
    /// Its name.
    pub template_name: String,
    /// Its name for people.
    pub template_display_name: String,
    /// Its picture.
    pub template_icon: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When it was last used.
    pub last_used_at: Timestamp,
    /// Cron with time zone.
    pub autostart_schedule: Option<String>,
    /// Time to live after a start, in milliseconds; none is the template's default, 0 for ever.
    pub ttl_ms: Option<i64>,
    /// Whether each start moves it to the template's active version.
    #[serde(default)]
    pub automatic_updates: AutomaticUpdates,
    /// Whether it is gone.
    pub deleted: bool,
    /// The newest build.
    pub latest_build: Build,
    /// The newest Terraform state as of the last ended build.
    pub state: Option<StatePointer>,
    /// The succeeded start build whose agents may speak; `None` while stopped.
    pub live_build: Option<BuildId>,
    /// The newest repair.
    #[serde(default)]
    pub repair: Option<LatestRepair>,
}

/// What may change about a workspace without a build; `None` leaves it as it is.
#[derive(Debug, Clone, Default)]
pub struct WorkspaceChange {
    /// Cron with time zone, or none.
    pub autostart_schedule: Option<Option<String>>,
    /// Time to live after a start, or none.
    pub ttl_ms: Option<Option<i64>>,
    /// Whether each start moves it to the template's active version.
    pub automatic_updates: Option<AutomaticUpdates>,
    /// When it was last used.
    pub last_used_at: Option<Timestamp>,
}

/// Why a workspace was not renamed.
#[derive(Debug, thiserror::Error)]
pub enum RenameWorkspaceError {
    /// The owner has one of that name.
    #[error("{owner} already has a workspace named {name}")]
    NameTaken {
        /// The owner.
        owner: Username,
        /// The name.
        name: WorkspaceName,
    },
    /// A build works under the old name.
    #[error("build {number} of the workspace has not ended")]
    Busy {
        /// The active build.
        build: BuildId,
        /// Its number.
        number: u64,
    },
    /// No such workspace, or it is gone.
    #[error("workspace {0} does not exist")]
    Missing(WorkspaceId),
    /// The table failed.
    #[error("cannot rename the workspace")]
    Table(#[from] TableError),
}

/// Why a workspace was not made.
#[derive(Debug, thiserror::Error)]
pub enum CreateWorkspaceError {
    /// The owner has one of that name.
    #[error("{owner} already has a workspace named {name}")]
    NameTaken {
        /// The owner.
        owner: Username,
        /// The name.
        name: WorkspaceName,
    },
    /// The template is unknown or deleted.
    #[error("template {0} does not exist")]
    TemplateMissing(TemplateId),
    /// The permit is for another owner.
    #[error("the permit is for user {permitted}, not for {owner}")]
    NotPermitted {
        /// Whom the permit names.
        permitted: UserId,
        /// Whose the workspace would be.
        owner: UserId,
    },
    /// The table failed.
    #[error("cannot write the workspace")]
    Table(#[from] TableError),
}

/// Why a workspace was not changed.
#[derive(Debug, thiserror::Error)]
pub enum UpdateWorkspaceError {
    /// No such workspace, or it is gone.
    #[error("workspace {0} does not exist")]
    Missing(WorkspaceId),
    /// The table failed.
    #[error("cannot change the workspace")]
    Table(#[from] TableError),
}

/// The partition of a workspace's rows.
pub(crate) fn partition(id: WorkspaceId) -> String {
    format!("WORKSPACE#{id}")
}

pub(crate) fn key(id: WorkspaceId) -> Key {
    Key::new(partition(id), NOW)
}

/// The sort key of a workspace's own row, and the beginning of its agents'.
pub(crate) const NOW: &str = "NOW";

pub(crate) fn name_key(owner: UserId, name: &WorkspaceName) -> Key {
    Key::new(format!("USER#{owner}"), format!("WORKSPACE#{}", name.key()))
}

fn place(workspace: &Workspace) -> Option<(String, String)> {
    (!workspace.deleted).then(|| ("WORKSPACES".to_owned(), format!("{}#{}", workspace.owner, workspace.name.key())))
}

/// The workspace's row with another value, listed unless deleted.
pub(crate) fn replace(at: u64, workspace: &Workspace) -> Result<Write, TableError> {
    let write = Write::replace(key(workspace.id), at, workspace)?;
    Ok(match place(workspace) {
        Some((partition, sort)) => write.listed(partition, sort),
        None => write,
    })
}

impl Store {
    /// Makes a workspace and queues its first build, `workspace.latest_build`. One transaction.
    ///
    /// # Errors
    /// When the owner has one of that name, or the template does not exist.
    pub async fn create_workspace(
        &self,
        permit: &MayCreateWorkspace,
        workspace: Workspace,
    ) -> Result<Workspace, CreateWorkspaceError> {
        if permit.owner() != workspace.owner {
            return Err(CreateWorkspaceError::NotPermitted { permitted: permit.owner(), owner: workspace.owner });
        }
        let mut workspace = workspace;
        workspace.latest_build.number = 1;
        workspace.latest_build.previous_parameters.clear();
        let first = &workspace.latest_build;
        workspace.latest_build.gate = first.policy.gate(first.transition, true, first.allow_replace);
        let build = &workspace.latest_build;
        let home = Home::Workspace { id: workspace.id, number: 1 };
        let job = JobRecord::queued(JobId::Build(build.id), home, None, build.job.created_at);
        let row = Write::insert(key(workspace.id), &workspace)?;
        let writes = vec![
            Write::insert(name_key(workspace.owner, &workspace.name), &workspace.id)?,
            Write::count(template::key(workspace.template), 1),
            row.listed("WORKSPACES", format!("{}#{}", workspace.owner, workspace.name.key())),
            lease::insert(&job)?,
        ];
        match self.table.transact(writes).await {
            Ok(()) => Ok(workspace),
            Err(WriteError::Refused { at: 1 }) => Err(CreateWorkspaceError::TemplateMissing(workspace.template)),
            Err(WriteError::Refused { .. }) => {
                Err(CreateWorkspaceError::NameTaken { owner: workspace.owner_name, name: workspace.name })
            }
            Err(WriteError::Table(error)) => Err(error.into()),
        }
    }

    /// The workspace with this id, also a deleted one. One read.
    ///
    /// # Errors
    /// When the table fails.
    pub async fn workspace(&self, id: WorkspaceId) -> Result<Option<Workspace>, TableError> {
        Ok(self.table.get(&key(id)).await?.map(|row| row.value))
    }

    /// The workspace with this id, also a deleted one, and its live agents. One Query.
    ///
    /// # Errors
    /// When the table fails.
    pub async fn workspace_and_agents(&self, id: WorkspaceId) -> Result<Option<(Workspace, Vec<Agent>)>, TableError> {
        let (workspace, agents) = self.workspace_rows(id).await?;
        Ok(workspace.map(|row| (row.value, agents.into_iter().map(agent::from_row).collect())))
    }

    pub(crate) async fn workspace_rows(&self, id: WorkspaceId) -> Result<(Option<Row<Workspace>>, Vec<Row<Agent>>), TableError> {
        let (mut workspace, mut agents) = (None, Vec::new());
        for row in self.table.query_raw(Range::of(partition(id), Bound::Prefix(NOW.to_owned()))).await? {
            if row.key.sk == NOW {
                workspace = Some(row.decode()?);
            } else {
                agents.push(row.decode()?);
            }
        }
        Ok((workspace, agents))
    }

    /// The owner's workspace of this name. Two reads.
    ///
    /// # Errors
    /// When the table fails.
    pub async fn workspace_by_name(&self, owner: UserId, name: &WorkspaceName) -> Result<Option<Workspace>, TableError> {
        self.pointed(&name_key(owner, name), key).await
    }

    /// All workspaces, or all of one owner, by owner and name. One Query.
    ///
    /// # Errors
    /// When the table fails.
    pub async fn workspaces(&self, owner: Option<UserId>) -> Result<Vec<Workspace>, TableError> {
        let bound = owner.map_or(Bound::All, |owner| Bound::Prefix(format!("{owner}#")));
        let rows = self.table.query(Range::index("WORKSPACES", bound)).await?;
        let mut workspaces: Vec<Workspace> = rows.into_iter().map(|row| row.value).collect();
        // The index goes by the owner's id, which lives as long as the owner; people read names.
        workspaces.sort_by_cached_key(|workspace| (workspace.owner_name.key(), workspace.name.key()));
        Ok(workspaces)
    }

    /// Changes a workspace without a build. A read and a write. Use of it may put off its stop.
    ///
    /// # Errors
    /// When there is none.
    pub async fn update_workspace(
        &self,
        id: WorkspaceId,
        change: WorkspaceChange,
        now: Timestamp,
    ) -> Result<Workspace, UpdateWorkspaceError> {
        let amended = self.amend_workspace(id, |workspace| {
            let WorkspaceChange { autostart_schedule, ttl_ms, automatic_updates, last_used_at } = change.clone();
            if autostart_schedule.is_some() || ttl_ms.is_some() || automatic_updates.is_some() {
                workspace.updated_at = now;
            }
            workspace.autostart_schedule = autostart_schedule.unwrap_or(workspace.autostart_schedule.take());
            if let Some(ttl_ms) = ttl_ms {
                workspace.ttl_ms = ttl_ms;
                workspace.ttl_changed();
            }
            workspace.automatic_updates = automatic_updates.unwrap_or(workspace.automatic_updates);
            if let Some(used) = last_used_at {
                workspace.last_used_at = used;
                workspace.used(used);
            }
            Ok::<_, TableError>(())
        });
        amended.await?.ok_or(UpdateWorkspaceError::Missing(id))
    }

    /// Gives a workspace another name; the next build tells it to the template. A read and a transaction.
    ///
    /// # Errors
    /// When its owner has another one of that name, or a build has not ended.
    pub async fn rename_workspace(
        &self,
        id: WorkspaceId,
        name: &WorkspaceName,
        now: Timestamp,
    ) -> Result<Workspace, RenameWorkspaceError> {
        for attempt in 0..RACES_MAX {
            let row = self.table.get::<Workspace>(&key(id)).await?.filter(|row| !row.value.deleted);
            let Row { version, value: mut workspace, .. } = row.ok_or(RenameWorkspaceError::Missing(id))?;
            let latest = &workspace.latest_build;
            if latest.job.status.is_active() {
                return Err(RenameWorkspaceError::Busy { build: latest.id, number: latest.number });
            }
            let before = std::mem::replace(&mut workspace.name, name.clone());
            workspace.latest_build.workspace_name = name.clone();
            workspace.updated_at = now;
            let mut writes = vec![replace(version, &workspace)?];
            if before.key() != name.key() {
                writes.push(Write::insert(name_key(workspace.owner, name), &id)?);
                writes.push(Write::delete(name_key(workspace.owner, &before)));
            }
            match self.table.transact(writes).await {
                Ok(()) => return Ok(workspace),
                Err(WriteError::Refused { at: 1 }) => {
                    return Err(RenameWorkspaceError::NameTaken { owner: workspace.owner_name, name: name.clone() });
                }
                Err(WriteError::Refused { .. }) => pause(attempt).await,
                Err(WriteError::Table(error)) => return Err(error.into()),
            }
        }
        Err(TableError::Contention(id.to_string()).into())
    }
}
