//! Every store error's status, in one place. Internals go to the log; the person gets one clause and, where there is one, the way out.

use super::ApiError;
use berth_domain::{RepairId, StateError};
use berth_store::{
    ActivateError, AgentError, AgentLogError, ArchiveVersionError, BlobError, CancelError, ClaimError, CreateBuildError,
    CreateRepairError, CreateTemplateError, CreateUserError, CreateVersionError, CreateWorkspaceError, DeleteTemplateError,
    ExtendWorkspaceError, FinishError, FirstUserError, LeaseError, PushStateError, PutStateError, RenameWorkspaceError, TableError,
    UpdateTemplateError, UpdateUserError, UpdateVersionError, UpdateWorkspaceError,
};
use http::StatusCode;

impl From<TableError> for ApiError {
    fn from(error: TableError) -> Self {
        if error.is_full() {
            tracing::error!(%error, "the disk is full");
            return Self::new(StatusCode::INSUFFICIENT_STORAGE, "the server's disk is full: free some space and try again");
        }
        if let TableError::Blob(blob @ (BlobError::Missing(_) | BlobError::Damaged(_) | BlobError::Sealed { .. })) = &error {
            // Which one is no secret to who may read it, and what they need to mend it.
            return Self::internal("read what it keeps", &error).detail(blob.to_string());
        }
        Self::internal("reach its table", &error)
    }
}

impl From<FirstUserError> for ApiError {
    fn from(error: FirstUserError) -> Self {
        match error {
            FirstUserError::AlreadyExists => Self::conflict("the first user already exists: sign in instead"),
            FirstUserError::Table(error) => error.into(),
        }
    }
}

impl From<CreateUserError> for ApiError {
    fn from(error: CreateUserError) -> Self {
        let why = error.to_string();
        match error {
            CreateUserError::UsernameTaken(_) => Self::conflict(why).validation("username", "is taken"),
            CreateUserError::EmailTaken(_) => Self::conflict(why).validation("email", "is taken"),
            CreateUserError::Table(error) => error.into(),
        }
    }
}

impl From<UpdateUserError> for ApiError {
    fn from(error: UpdateUserError) -> Self {
        match error {
            UpdateUserError::Missing(_) => Self::missing("user"),
            UpdateUserError::Table(error) => error.into(),
        }
    }
}

impl From<CreateVersionError> for ApiError {
    fn from(error: CreateVersionError) -> Self {
        let why = error.to_string();
        match error {
            CreateVersionError::NameTaken(_) => Self::conflict(why).validation("name", "is taken"),
            CreateVersionError::TemplateMissing(_) => Self::bad(why).validation("template_id", "does not exist"),
            CreateVersionError::Table(error) => error.into(),
        }
    }
}

impl From<CreateTemplateError> for ApiError {
    fn from(error: CreateTemplateError) -> Self {
        let why = error.to_string();
        match error {
            CreateTemplateError::NameTaken(_) => Self::conflict(why).validation("name", "is taken"),
            CreateTemplateError::VersionMissing(_) => Self::bad(why).validation("template_version_id", "does not exist"),
            CreateTemplateError::VersionNotReady { .. } => Self::bad(why).validation("template_version_id", "is not imported"),
            CreateTemplateError::VersionOfOther { .. } => Self::bad(why).validation("template_version_id", "has another template"),
            CreateTemplateError::Table(error) => error.into(),
        }
    }
}

impl From<ActivateError> for ApiError {
    fn from(error: ActivateError) -> Self {
        let why = error.to_string();
        match error {
            ActivateError::Missing(_) => Self::missing("template"),
            ActivateError::VersionMissing(_) => Self::bad(why).validation("id", "is no version of this template"),
            ActivateError::VersionNotReady { .. } => Self::bad(why).validation("id", "is not imported"),
            ActivateError::Archived(_) => Self::conflict(format!("{why}: bring it back first")).validation("id", "is archived"),
            ActivateError::Table(error) => error.into(),
        }
    }
}

impl From<UpdateVersionError> for ApiError {
    fn from(error: UpdateVersionError) -> Self {
        let why = error.to_string();
        match error {
            UpdateVersionError::Missing(_) => Self::missing("template version"),
            UpdateVersionError::NameTaken(_) => Self::conflict(why).validation("name", "is taken"),
            UpdateVersionError::Table(error) => error.into(),
        }
    }
}

impl From<ArchiveVersionError> for ApiError {
    fn from(error: ArchiveVersionError) -> Self {
        let why = error.to_string();
        match error {
            ArchiveVersionError::Missing(_) => Self::missing("template version"),
            ArchiveVersionError::Active(_) => Self::conflict(format!("{why}: make another one active first")),
            ArchiveVersionError::Table(error) => error.into(),
        }
    }
}

impl From<UpdateTemplateError> for ApiError {
    fn from(error: UpdateTemplateError) -> Self {
        match error {
            UpdateTemplateError::Missing(_) => Self::missing("template"),
            UpdateTemplateError::NameTaken(_) => Self::conflict(error.to_string()).validation("name", "is taken"),
            UpdateTemplateError::Settings(error) => error.into(),
            UpdateTemplateError::Table(error) => error.into(),
        }
    }
}

impl From<DeleteTemplateError> for ApiError {
    fn from(error: DeleteTemplateError) -> Self {
        match error {
            DeleteTemplateError::Missing(_) => Self::missing("template"),
            DeleteTemplateError::InUse { count: 1 } => Self::conflict("the template is used by a workspace: delete that first"),
            DeleteTemplateError::InUse { count } => {
                Self::conflict(format!("the template is used by {count} workspaces: delete those first"))
            }
            DeleteTemplateError::Table(error) => error.into(),
        }
    }
}

impl From<CreateWorkspaceError> for ApiError {
    fn from(error: CreateWorkspaceError) -> Self {
        let why = error.to_string();
        match error {
            CreateWorkspaceError::NameTaken { .. } => Self::conflict(why).validation("name", "is taken"),
            CreateWorkspaceError::TemplateMissing(_) => Self::bad(why).validation("template_id", "does not exist"),
            CreateWorkspaceError::NotPermitted { .. } => Self::missing("user"),
            CreateWorkspaceError::Table(error) => error.into(),
        }
    }
}

impl From<UpdateWorkspaceError> for ApiError {
    fn from(error: UpdateWorkspaceError) -> Self {
        match error {
            UpdateWorkspaceError::Missing(_) => Self::missing("workspace"),
            UpdateWorkspaceError::Table(error) => error.into(),
        }
    }
}

impl From<RenameWorkspaceError> for ApiError {
    fn from(error: RenameWorkspaceError) -> Self {
        let why = error.to_string();
        match error {
            RenameWorkspaceError::NameTaken { .. } => Self::conflict(why).validation("name", "is taken"),
            RenameWorkspaceError::Busy { build, number } => {
                let message = format!("build {number} of the workspace has not ended: wait for it, or cancel it");
                Self::conflict(message).detail(format!("the active build is {build}"))
            }
            RenameWorkspaceError::Missing(_) => Self::missing("workspace"),
            RenameWorkspaceError::Table(error) => error.into(),
        }
    }
}

impl From<ExtendWorkspaceError> for ApiError {
    fn from(error: ExtendWorkspaceError) -> Self {
        let why = error.to_string();
        match error {
            ExtendWorkspaceError::Missing(_) => Self::missing("workspace"),
            ExtendWorkspaceError::NotRunning(_) => Self::conflict("the workspace does not run: there is no stop to put off"),
            ExtendWorkspaceError::Time(_) => Self::field("deadline", why),
            ExtendWorkspaceError::Table(error) => error.into(),
        }
    }
}

impl From<CreateBuildError> for ApiError {
    fn from(error: CreateBuildError) -> Self {
        match error {
            CreateBuildError::Busy { build, number } => {
                let message = format!("build {number} of the workspace has not ended: wait for it, or cancel it");
                Self::conflict(message).detail(format!("the active build is {build}"))
            }
            CreateBuildError::Repairing(repair) => repairing(repair),
            CreateBuildError::Missing(_) | CreateBuildError::Deleted(_) => Self::missing("workspace"),
            CreateBuildError::Table(error) => error.into(),
        }
    }
}

fn repairing(repair: RepairId) -> ApiError {
    let message = "a repair of the workspace has not ended: wait for it, or cancel it";
    ApiError::conflict(message).detail(format!("the active repair is {repair}"))
}

impl From<CreateRepairError> for ApiError {
    fn from(error: CreateRepairError) -> Self {
        match error {
            CreateRepairError::Building(number) => {
                Self::conflict(format!("build {number} of the workspace has not ended: wait for it, or cancel it"))
            }
            CreateRepairError::Repairing(repair) => repairing(repair),
            CreateRepairError::Missing(_) => Self::missing("workspace"),
            CreateRepairError::Table(error) => error.into(),
        }
    }
}

impl From<CancelError> for ApiError {
    fn from(error: CancelError) -> Self {
        match error {
            CancelError::Missing(_) => Self::missing("job"),
            CancelError::Ended { status, .. } => Self::conflict(format!("there is nothing to cancel: the job is {status}")),
            CancelError::Table(error) => error.into(),
        }
    }
}

impl From<ClaimError> for ApiError {
    fn from(error: ClaimError) -> Self {
        let why = error.to_string();
        match error {
            ClaimError::Missing(_) => Self::missing("job"),
            ClaimError::Held { .. } | ClaimError::Ended { .. } => Self::conflict(why),
            ClaimError::BadToken(_) => Self::new(StatusCode::UNAUTHORIZED, "the one-time token is wrong, was used or has ended"),
            ClaimError::Table(error) => error.into(),
        }
    }
}

impl From<LeaseError> for ApiError {
    fn from(error: LeaseError) -> Self {
        let why = error.to_string();
        match error {
            LeaseError::Lost(_) => Self::conflict(why),
            LeaseError::Missing(_) => Self::missing("job"),
            LeaseError::Table(error) => error.into(),
        }
    }
}

impl From<PushStateError> for ApiError {
    fn from(error: PushStateError) -> Self {
        let why = error.to_string();
        match error {
            PushStateError::Lost(_) => Self::conflict(why),
            PushStateError::Missing(_) => Self::missing("job"),
            PushStateError::Refused(_) => Self::bad(why),
            PushStateError::Table(error) => error.into(),
        }
    }
}

impl From<PutStateError> for ApiError {
    fn from(error: PutStateError) -> Self {
        let why = error.to_string();
        match error {
            PutStateError::Missing(_) => Self::missing("workspace"),
            PutStateError::NoVersion(_) => Self::missing("state version"),
            PutStateError::Busy { build, number } => {
                let message = format!("build {number} of the workspace has not ended: wait for it, or cancel it");
                Self::conflict(message).detail(format!("the active build is {build}"))
            }
            PutStateError::Refused(StateError::Lineage { .. } | StateError::Serial { .. }) => Self::conflict(why),
            PutStateError::Refused(_) => Self::bad(why),
            PutStateError::Table(error) => error.into(),
        }
    }
}

impl From<FinishError> for ApiError {
    fn from(error: FinishError) -> Self {
        let why = error.to_string();
        match error {
            FinishError::Lost(_) => Self::conflict(why),
            FinishError::Missing(_) => Self::missing("job"),
            FinishError::TooManyAgents { .. } | FinishError::ForeignAgent(_) => {
                Self::bad(why).validation("resources", "cannot be recorded")
            }
            FinishError::Table(error) => error.into(),
        }
    }
}

impl From<AgentError> for ApiError {
    fn from(error: AgentError) -> Self {
        match error {
            AgentError::Missing(_) => Self::missing("agent"),
            AgentError::Table(error) => error.into(),
        }
    }
}

impl From<AgentLogError> for ApiError {
    fn from(error: AgentLogError) -> Self {
        match error {
            AgentLogError::Missing(_) => Self::missing("agent"),
            AgentLogError::Full(_) => Self::too_large("the agent's log is full: further lines are dropped"),
            AgentLogError::Table(error) => error.into(),
        }
    }
}
