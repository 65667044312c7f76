//! Builds and their logs.

use crate::{Client, Follow, Result, follow, http::segment};
use berth_wire::{
    build::{Build, CreateBuild, JobLog, Timings},
    domain::ParameterValue,
};
use reqwest::Method;
use uuid::Uuid;

impl Client {
    /// Starts, stops or deletes a workspace.
    ///
    /// # Errors
    /// Any [`crate::ClientError`]; 409 while another build runs.
    pub async fn create_build(&self, workspace: Uuid, build: &CreateBuild) -> Result<Build> {
        self.post(&["workspaces", &segment(workspace), "builds"], build).await
    }

    /// A build.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn build(&self, id: Uuid) -> Result<Build> {
        self.get(&["workspacebuilds", &segment(id)]).await
    }

    /// A workspace's builds, newest first.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn builds(&self, workspace: Uuid) -> Result<Vec<Build>> {
        self.get(&["workspaces", &segment(workspace), "builds"]).await
    }

    /// A build by its workspace's owner and name and its number.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn build_by_number(&self, user: &str, workspace: &str, number: u64) -> Result<Build> {
        self.get(&["users", user, "workspace", workspace, "builds", &number.to_string()]).await
    }

    /// Asks a build to end. It ends when its runner has; watch for it.
    ///
    /// # Errors
    /// Any [`crate::ClientError`]; 409 when it has ended.
    pub async fn cancel_build(&self, id: Uuid) -> Result<()> {
        self.done(self.request(Method::PATCH, &["workspacebuilds", &segment(id), "cancel"])).await
    }

    /// The lines of a build's log after line `after`.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn build_logs(&self, id: Uuid, after: u64) -> Result<Vec<JobLog>> {
        let request = self.request(Method::GET, &["workspacebuilds", &segment(id), "logs"]);
        self.json(request.query(&[("after", after)])).await
    }

    /// The same, and what comes, until the build ends.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn build_logs_follow(&self, id: Uuid, after: u64) -> Result<Follow<JobLog>> {
        let mut url = self.url(&["workspacebuilds", &segment(id), "logs"]);
        url.query_pairs_mut().append_pair("follow", "true").append_pair("after", &after.to_string());
        self.follow(url, follow::one).await
    }

    /// Where the time of a build went.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn build_timings(&self, id: Uuid) -> Result<Timings> {
        self.get(&["workspacebuilds", &segment(id), "timings"]).await
    }

    /// The answers a build was given.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn build_parameters(&self, id: Uuid) -> Result<Vec<ParameterValue>> {
        self.get(&["workspacebuilds", &segment(id), "parameters"]).await
    }
}
