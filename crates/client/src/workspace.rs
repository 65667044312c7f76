//! Workspaces.

use crate::{Client, Follow, Result, follow, http::segment};
use berth_wire::workspace::{CreateWorkspace, Event, Workspace, Workspaces};
use reqwest::Method;
use uuid::Uuid;

/// Which workspaces to list.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct WorkspacesQuery {
    /// `owner:me status:running name:dev template:linux`, or words; empty for all one may see.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub q: String,
    /// How many at most; the server's default when none is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// How many to leave out at the beginning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u32>,
}

impl Client {
    /// Makes a workspace for `user` (`me`, a name or an id) and starts its first build.
    ///
    /// # Errors
    /// Any [`crate::ClientError`]; 409 when the name is taken.
    pub async fn create_workspace(&self, user: &str, workspace: &CreateWorkspace) -> Result<Workspace> {
        self.post(&["users", user, "workspaces"], workspace).await
    }

    /// Lists workspaces.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn workspaces(&self, query: &WorkspacesQuery) -> Result<Workspaces> {
        self.json(self.request(Method::GET, &["workspaces"]).query(query)).await
    }

    /// A workspace.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn workspace(&self, id: Uuid) -> Result<Workspace> {
        self.get(&["workspaces", &segment(id)]).await
    }

    /// A workspace by its owner (`me`, a name or an id) and name.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn workspace_by_name(&self, user: &str, name: &str) -> Result<Workspace> {
        self.get(&["users", user, "workspace", name]).await
    }

    /// The workspace now and at each change; frames of kind `ping` and `error` come through as they are.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn watch_workspace(&self, id: Uuid) -> Result<Follow<Event<Workspace>>> {
        self.follow(self.url(&["workspaces", &segment(id), "watch-ws"]), follow::one).await
    }
}
