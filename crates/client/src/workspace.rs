//! Workspaces.

use crate::{Client, Follow, Result, follow, http::segment};
use berth_wire::{
    domain::{AutomaticUpdates, Timestamp},
    workspace::{
        CreateWorkspace, Event, Extend, RenameWorkspace, SetAutomaticUpdates, SetAutostart, SetTtl, Workspace, Workspaces,
    },
};
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

    /// Sets when a workspace starts by itself; `None` for never.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn set_autostart(&self, id: Uuid, schedule: Option<String>) -> Result<()> {
        self.done(self.request(Method::PUT, &["workspaces", &segment(id), "autostart"]).json(&SetAutostart { schedule })).await
    }

    /// Sets how long a workspace runs after a start; `None` for ever.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn set_ttl(&self, id: Uuid, ttl_ms: Option<i64>) -> Result<()> {
        self.done(self.request(Method::PUT, &["workspaces", &segment(id), "ttl"]).json(&SetTtl { ttl_ms })).await
    }

    /// Puts off the stop of a running workspace, or brings it forward.
    ///
    /// # Errors
    /// Any [`crate::ClientError`]; 409 when it does not run, 400 when its template does not let it run so long.
    pub async fn extend(&self, id: Uuid, deadline: Timestamp) -> Result<()> {
        self.done(self.request(Method::PUT, &["workspaces", &segment(id), "extend"]).json(&Extend { deadline })).await
    }

    /// Sets whether each start moves a workspace to its template's active version.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn set_automatic_updates(&self, id: Uuid, automatic_updates: AutomaticUpdates) -> Result<()> {
        let body = SetAutomaticUpdates { automatic_updates };
        self.done(self.request(Method::PUT, &["workspaces", &segment(id), "autoupdates"]).json(&body)).await
    }

    /// Gives a workspace another name.
    ///
    /// # Errors
    /// Any [`crate::ClientError`]; 409 when the name is taken or a build runs.
    pub async fn rename_workspace(&self, id: Uuid, name: String) -> Result<()> {
        self.done(self.request(Method::PATCH, &["workspaces", &segment(id)]).json(&RenameWorkspace { name })).await
    }

    /// Says that a workspace is in use now.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn used(&self, id: Uuid) -> Result<()> {
        self.done(self.request(Method::POST, &["workspaces", &segment(id), "usage"])).await
    }

    /// The workspace now and at each change; frames of kind `ping` and `error` come through as they are.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn watch_workspace(&self, id: Uuid) -> Result<Follow<Event<Workspace>>> {
        self.follow(self.url(&["workspaces", &segment(id), "watch-ws"]), follow::one).await
    }
}
