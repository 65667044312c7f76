//! A runner's calls about its one job.

use crate::{
    Client, ClientError, Result,
    http::{Credential, TRANSFER, segment},
};
use berth_wire::{
    domain::limit::{ARCHIVE_BYTES_MAX, MODULES_BYTES_MAX, STATE_BYTES_MAX},
    runner::{Claim, Claimed, Finish, Heartbeat, LogLine},
};
use bytes::Bytes;
use reqwest::{Method, RequestBuilder, StatusCode, header::CONTENT_TYPE};
use std::time::Duration;
use uuid::Uuid;

/// A heartbeat that takes longer is better sent anew.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// A runner that holds a job. Made by [`RunnerClient::claim`].
#[derive(Debug, Clone)]
pub struct RunnerClient {
    client: Client,
    job: String,
}

impl RunnerClient {
    /// Redeems the one-time token for a session; 409 when another task holds the job or the token was used. `client` needs no token.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn claim(client: &Client, job: Uuid, claim: &Claim) -> Result<(Self, Claimed)> {
        let job = segment(job);
        let claimed: Claimed = client.post(&["runner", "jobs", &job, "claim"], claim).await?;
        let client = client.with_credential(Credential::bearer(&claimed.session)?);
        Ok((Self { client, job }, claimed))
    }

    /// Renews the lease and hears whether to cancel. 401 or 409: the job is not ours any more; stop without touching anything.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn heartbeat(&self) -> Result<Heartbeat> {
        self.client.json(self.request(Method::POST, "heartbeat").timeout(HEARTBEAT)).await
    }

    /// Appends lines to the job's log.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn logs(&self, lines: &[LogLine]) -> Result<()> {
        self.client.done(self.request(Method::POST, "logs").json(lines)).await
    }

    /// The template archive, a tar.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn archive(&self) -> Result<Bytes> {
        let response = self.client.send(self.request(Method::GET, "archive").timeout(TRANSFER)).await?;
        self.client.read(response, ARCHIVE_BYTES_MAX).await
    }

    /// The newest Terraform state; `None` when there is none yet.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn state(&self) -> Result<Option<Bytes>> {
        self.bytes("state", STATE_BYTES_MAX).await
    }

    /// The tar of the modules that the import of the build's version kept; `None` when it kept none.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn modules(&self) -> Result<Option<Bytes>> {
        self.bytes("modules", MODULES_BYTES_MAX).await
    }

    /// Stores a new version of the state; 409 when the fence is old, that is, when another runner took over.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn put_state(&self, state: Bytes) -> Result<()> {
        self.put("state", state, STATE_BYTES_MAX).await
    }

    /// Keeps the modules of the version that is imported, a tar.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn put_modules(&self, modules: Bytes) -> Result<()> {
        self.put("modules", modules, MODULES_BYTES_MAX).await
    }

    /// Ends the job and with it the session.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn finish(&self, finish: &Finish) -> Result<()> {
        self.client.done(self.request(Method::POST, "finish").json(finish)).await
    }

    async fn bytes(&self, noun: &str, limit: usize) -> Result<Option<Bytes>> {
        let response = self.client.send(self.request(Method::GET, noun).timeout(TRANSFER)).await?;
        if response.status() == StatusCode::NO_CONTENT {
            return Ok(None);
        }
        self.client.read(response, limit).await.map(Some)
    }

    async fn put(&self, noun: &str, bytes: Bytes, limit: usize) -> Result<()> {
        if bytes.len() > limit {
            let url = self.client.url(&["runner", "jobs", &self.job, noun]).to_string();
            return Err(ClientError::TooLarge { url, limit });
        }
        let request = self.request(Method::PUT, noun).timeout(TRANSFER).header(CONTENT_TYPE, "application/octet-stream");
        self.client.done(self.client.with_bytes(request, bytes).await?).await
    }

    fn request(&self, method: Method, verb: &str) -> RequestBuilder {
        self.client.request(method, &["runner", "jobs", &self.job, verb])
    }
}
