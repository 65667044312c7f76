//! Who may do what: deny by default, and permission is a value that only a check can make.

use crate::{UserId, Username, build::words};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

words! {
    /// A site-wide role. Everyone is a member; a member rules only over what is theirs.
    Role {
        /// May do everything.
        Owner = "owner",
        /// Manages templates.
        TemplateAdmin = "template-admin",
        /// Manages users.
        UserAdmin = "user-admin",
        /// Reads everything, changes nothing.
        Auditor = "auditor",
    }
}

/// An authenticated user, with what decides permission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// The user.
    pub user: UserId,
    /// Their name.
    pub username: Username,
    /// Their roles beyond member.
    pub roles: Vec<Role>,
}

/// The actor may not do that. The API answers "not found" where the existence itself is not theirs to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not permitted")]
pub struct Denied;

/// Proof that templates may be changed. Only [`Actor::may_manage_templates`] makes one.
#[derive(Debug)]
pub struct MayManageTemplates(());

/// Proof that a workspace of this owner may be read. Only [`Actor::may_read_workspace`] makes one.
#[derive(Debug)]
pub struct MayReadWorkspace(());

/// Proof that a workspace of this owner may be built, changed and deleted.
#[derive(Debug)]
pub struct MayBuildWorkspace(());

/// Proof that a workspace of this owner may be entered (SSH, apps, secrets): the owner alone, whatever their role.
#[derive(Debug)]
pub struct MayEnterWorkspace(());

/// Proof that any Terraform state may be given to a workspace of this owner.
#[derive(Debug)]
pub struct MayPushState(());

/// Proof that a workspace may be made for this owner.
#[derive(Debug)]
pub struct MayCreateWorkspace {
    owner: UserId,
}

impl MayCreateWorkspace {
    /// Whom it will belong to.
    #[must_use]
    pub const fn owner(&self) -> UserId {
        self.owner
    }
}

/// Proof that a user's own settings (tokens, keys) may be read and changed.
#[derive(Debug)]
pub struct MayManageUser(());

impl Actor {
    fn has(&self, roles: &[Role]) -> bool {
        self.roles.iter().any(|role| roles.contains(role))
    }

    /// Templates are changed by template admins and owners.
    ///
    /// # Errors
    /// When the actor is neither.
    pub fn may_manage_templates(&self) -> Result<MayManageTemplates, Denied> {
        if self.has(&[Role::Owner, Role::TemplateAdmin]) { Ok(MayManageTemplates(())) } else { Err(Denied) }
    }

    /// Workspaces are read by their owner, and by owners, template admins and auditors of the deployment.
    ///
    /// # Errors
    /// When the actor is none of them.
    pub fn may_read_workspace(&self, owner: UserId) -> Result<MayReadWorkspace, Denied> {
        if self.user == owner || self.has(&[Role::Owner, Role::TemplateAdmin, Role::Auditor]) {
            Ok(MayReadWorkspace(()))
        } else {
            Err(Denied)
        }
    }

    /// Workspaces are built and deleted by their owner and by owners of the deployment.
    ///
    /// # Errors
    /// When the actor is neither.
    pub fn may_build_workspace(&self, owner: UserId) -> Result<MayBuildWorkspace, Denied> {
        if self.user == owner || self.has(&[Role::Owner]) { Ok(MayBuildWorkspace(())) } else { Err(Denied) }
    }

    /// States are pushed by template admins and owners of the deployment. A state says what the next build destroys, whoever made
    /// it, with the runner's rights: who pushes one could as well run any template. Going back to a state that a build of the
    /// workspace left needs no more than the right to build it.
    ///
    /// # Errors
    /// When the actor is neither.
    pub fn may_push_state(&self, owner: UserId) -> Result<MayPushState, Denied> {
        self.may_read_workspace(owner)?;
        self.may_manage_templates().map(|_| MayPushState(()))
    }

    /// Workspaces are entered by their owner only.
    ///
    /// # Errors
    /// When the actor is someone else.
    pub fn may_enter_workspace(&self, owner: UserId) -> Result<MayEnterWorkspace, Denied> {
        if self.user == owner { Ok(MayEnterWorkspace(())) } else { Err(Denied) }
    }

    /// Workspaces are created for oneself, or by an owner of the deployment for anyone.
    ///
    /// # Errors
    /// When the actor is neither.
    pub fn may_create_workspace(&self, owner: UserId) -> Result<MayCreateWorkspace, Denied> {
        if self.user == owner || self.has(&[Role::Owner]) { Ok(MayCreateWorkspace { owner }) } else { Err(Denied) }
    }

    /// Users are managed by themselves, by user admins and by owners.
    ///
    /// # Errors
    /// When the actor is none of them.
    pub fn may_manage_user(&self, user: UserId) -> Result<MayManageUser, Denied> {
        if self.user == user || self.has(&[Role::Owner, Role::UserAdmin]) { Ok(MayManageUser(())) } else { Err(Denied) }
    }
}
