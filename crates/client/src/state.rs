//! Versions of a workspace's Terraform state.

use crate::{
    Client, ClientError, Result,
    http::{TRANSFER, segment},
};
use berth_wire::{domain::limit::STATE_BYTES_MAX, state::StateVersion};
use bytes::Bytes;
use reqwest::{Method, RequestBuilder, StatusCode, header::CONTENT_TYPE};
use uuid::Uuid;

impl Client {
    /// The versions of a workspace's state, oldest first.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn states(&self, workspace: Uuid) -> Result<Vec<StateVersion>> {
        self.get(&["workspaces", &segment(workspace), "states"]).await
    }

    /// The bytes of one version of a workspace's state.
    ///
    /// # Errors
    /// Any [`ClientError`]; 404 when there is no such version.
    pub async fn state(&self, workspace: Uuid, number: u64) -> Result<Bytes> {
        let request = self.request(Method::GET, &["workspaces", &segment(workspace), "states", &number.to_string()]);
        self.state_bytes(request).await.map(Option::unwrap_or_default)
    }

    /// The state that a build left; `None` when it left none.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn build_state(&self, build: Uuid) -> Result<Option<Bytes>> {
        self.state_bytes(self.request(Method::GET, &["workspacebuilds", &segment(build), "state"])).await
    }

    /// Gives a workspace a new state; 409 while a build is active, for an older serial and for another lineage.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn push_state(&self, workspace: Uuid, state: Bytes) -> Result<StateVersion> {
        let request = self.request(Method::POST, &["workspaces", &segment(workspace), "states"]).timeout(TRANSFER);
        if state.len() > STATE_BYTES_MAX {
            let url = self.url(&["workspaces", &segment(workspace), "states"]).to_string();
            return Err(ClientError::TooLarge { url, limit: STATE_BYTES_MAX });
        }
        self.json(self.with_bytes(request.header(CONTENT_TYPE, "application/octet-stream"), state).await?).await
    }

    /// Makes the content of an earlier version the newest again; 409 while a build is active.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn restore_state(&self, workspace: Uuid, number: u64) -> Result<StateVersion> {
        let segments = ["workspaces", &segment(workspace), "states", &number.to_string(), "restore"];
        self.json(self.request(Method::POST, &segments).timeout(TRANSFER)).await
    }

    async fn state_bytes(&self, request: RequestBuilder) -> Result<Option<Bytes>> {
        let response = self.send(request.timeout(TRANSFER)).await?;
        if response.status() == StatusCode::NO_CONTENT {
            return Ok(None);
        }
        self.read(response, STATE_BYTES_MAX).await.map(Some)
    }
}
