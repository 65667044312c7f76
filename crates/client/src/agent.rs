//! Agents: what a client asks about one, and what an agent says about itself.

use crate::{Client, Follow, Result, follow, http::segment};
use berth_wire::{
    agent::{
        AgentGitKey, AgentLog, AppHealthReport, ExternalAuth, Hello, InstanceIdentity, InstanceSession, LifecycleReport, Logs,
        Manifest, MetadataReport, ScriptCompleted, SessionsAnswer, SessionsRequest, Ticket, TicketRequest,
    },
    domain::Secret,
    resource::Agent,
};
use reqwest::Method;
use uuid::Uuid;

impl Client {
    /// An agent.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn agent(&self, id: Uuid) -> Result<Agent> {
        self.get(&["workspaceagents", &segment(id)]).await
    }

    /// The lines of an agent's log after line `after`.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn agent_logs(&self, id: Uuid, after: u64) -> Result<Vec<AgentLog>> {
        let request = self.request(Method::GET, &["workspaceagents", &segment(id), "logs"]);
        self.json(request.query(&[("after", after)])).await
    }

    /// The same, and what comes; line by line, though frames are arrays.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn agent_logs_follow(&self, id: Uuid, after: u64) -> Result<Follow<AgentLog>> {
        let mut url = self.url(&["workspaceagents", &segment(id), "logs"]);
        url.query_pairs_mut().append_pair("follow", "true").append_pair("after", &after.to_string());
        self.follow(url, follow::many).await
    }

    /// Asks to be introduced to an agent as the endpoint `endpoint_id`. Only the workspace's owner may; 409 with the agent's status when
    /// it is not connected.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn ticket(&self, agent: Uuid, endpoint_id: &str) -> Result<Ticket> {
        let request = TicketRequest { endpoint_id: endpoint_id.to_owned(), terminal: None };
        self.post(&["workspaceagents", &segment(agent), "ticket"], &request).await
    }
}

/// An agent's own voice: calls under `workspaceagents/me` with the agent's token.
#[derive(Debug, Clone)]
pub struct AgentClient(Client);

impl AgentClient {
    /// An agent of the deployment at `base_url`, by its token.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn new(base_url: &str, token: Secret) -> Result<Self> {
        Client::new(base_url, Some(token)).map(Self)
    }

    /// Asks for the token of the agent that an EC2 instance is the machine of. Each boot gets it once; 401 also while the build that made the
    /// instance has not ended.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn introduce(base_url: &str, identity: &InstanceIdentity) -> Result<InstanceSession> {
        Client::new(base_url, None)?.post(&["workspaceagents", "aws-instance-identity"], identity).await
    }

    /// Says who this agent is on the tailnet and hears all it needs. 401: the token is not known (any more); 403: a newer build
    /// replaced this agent, which should end.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn manifest(&self, hello: &Hello) -> Result<Manifest> {
        self.0.post(&["workspaceagents", "me", "manifest"], hello).await
    }

    /// Reports a change of the agent's lifecycle.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn lifecycle(&self, report: &LifecycleReport) -> Result<()> {
        self.0.done(self.0.request(Method::PATCH, &["workspaceagents", "me", "lifecycle"]).json(report)).await
    }

    /// Asks which of the people who have something open in the agent may stay.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn sessions(&self, request: &SessionsRequest) -> Result<SessionsAnswer> {
        self.0.post(&["workspaceagents", "me", "sessions"], request).await
    }

    /// Tells what metadata scripts said.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn metadata(&self, report: &MetadataReport) -> Result<()> {
        self.0.done(self.0.request(Method::POST, &["workspaceagents", "me", "metadata"]).json(report)).await
    }

    /// Tells how a script ran.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn script_completed(&self, run: &ScriptCompleted) -> Result<()> {
        self.0.done(self.0.request(Method::POST, &["workspaceagents", "me", "script-completed"]).json(run)).await
    }

    /// Reports apps whose health changed.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn app_health(&self, report: &AppHealthReport) -> Result<()> {
        self.0.done(self.0.request(Method::POST, &["workspaceagents", "me", "app-health"]).json(report)).await
    }

    /// The key of the workspace's owner for git over SSH.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn git_key(&self) -> Result<AgentGitKey> {
        self.0.get(&["workspaceagents", "me", "gitsshkey"]).await
    }

    /// A token of the external authentication that `key` (`id` or `match`) and `value` name; 404 when there is none.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn external_auth(&self, key: &str, value: &str) -> Result<ExternalAuth> {
        let request = self.0.request(Method::GET, &["workspaceagents", "me", "external-auth"]);
        self.0.json(request.query(&[(key, value)])).await
    }

    /// Appends lines to the agent's log; 413 when it is full.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn logs(&self, logs: &Logs) -> Result<()> {
        self.0.done(self.0.request(Method::PATCH, &["workspaceagents", "me", "logs"]).json(logs)).await
    }
}
