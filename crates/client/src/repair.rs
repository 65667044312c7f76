//! Repairs: what exists of a workspace and is in no state.

use crate::{Client, Follow, Result, follow, http::segment};
use berth_wire::{
    build::JobLog,
    repair::{CreateRepair, Repair},
};
use reqwest::Method;
use uuid::Uuid;

impl Client {
    /// Starts to look for what exists of a workspace and is in no state, and to remove some of it.
    ///
    /// # Errors
    /// Any [`crate::ClientError`]; 409 while a build or another repair is active.
    pub async fn create_repair(&self, workspace: Uuid, repair: &CreateRepair) -> Result<Repair> {
        self.post(&["workspaces", &segment(workspace), "repairs"], repair).await
    }

    /// A repair.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn repair(&self, id: Uuid) -> Result<Repair> {
        self.get(&["repairs", &segment(id)]).await
    }

    /// Asks a repair to end.
    ///
    /// # Errors
    /// Any [`crate::ClientError`]; 409 when it has ended.
    pub async fn cancel_repair(&self, id: Uuid) -> Result<()> {
        self.done(self.request(Method::PATCH, &["repairs", &segment(id), "cancel"])).await
    }

    /// The lines of a repair's log after line `after`.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn repair_logs(&self, id: Uuid, after: u64) -> Result<Vec<JobLog>> {
        let request = self.request(Method::GET, &["repairs", &segment(id), "logs"]);
        self.json(request.query(&[("after", after)])).await
    }

    /// The same, and what comes, until the repair ends.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn repair_logs_follow(&self, id: Uuid, after: u64) -> Result<Follow<JobLog>> {
        let mut url = self.url(&["repairs", &segment(id), "logs"]);
        url.query_pairs_mut().append_pair("follow", "true").append_pair("after", &after.to_string());
        self.follow(url, follow::one).await
    }
}
