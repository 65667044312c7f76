//! What the agent says to the control plane, said again until it is heard.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use berth_client::{AgentClient, ClientError};
use berth_wire::agent::{
    AppHealthReport, Hello, LifecycleReport, Logs, Manifest, MetadataReport, ScriptCompleted, SessionsAnswer, SessionsRequest,
};
use tokio::time::Instant;
use uuid::Uuid;

use crate::config::Config;

/// The first pause after a failure; each next one doubles.
const PAUSE_MIN: Duration = Duration::from_millis(250);

/// The longest pause between attempts while somebody is likely to wait for the agent.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// The longest pause after [`PATIENCE`]: a workspace nobody knows any more must not keep asking.
const PAUSE_LONG_MAX: Duration = Duration::from_secs(60);

/// How long the short pauses go on.
const PATIENCE: Duration = Duration::from_secs(600);

/// How long the question who may stay waits for its answer.
const SESSIONS_WITHIN: Duration = Duration::from_secs(15);

/// Why there is no point in going on.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// A newer build of the workspace has an agent in this one's place.
    #[error("a newer build of the workspace replaced this agent")]
    Superseded,
    /// The deployment's URL or the token cannot be used at all.
    #[error("the agent cannot talk to {url}")]
    Unusable {
        /// The deployment's URL.
        url: String,
        /// What is wrong.
        source: ClientError,
    },
}

/// The agent's voice.
#[derive(Debug)]
pub struct Control {
    client: AgentClient,
    hello: Mutex<Hello>,
}

impl Control {
    /// A voice for the agent with this endpoint. Says nothing yet.
    ///
    /// # Errors
    /// [`ControlError::Unusable`] when URL or token are malformed.
    pub fn new(config: &Config, endpoint_id: String) -> Result<Control, ControlError> {
        let client = AgentClient::new(&config.url, config.token.clone())
            .map_err(|source| ControlError::Unusable { url: config.url.clone(), source })?;
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Ok(Control { client, hello: Mutex::new(Hello { endpoint_id, version, expanded_directory: String::new() }) })
    }

    /// Says hello and hears the manifest, trying until it is heard. An unknown token is not an end: the build that made this agent may not have
    /// recorded it yet.
    ///
    /// # Errors
    /// [`ControlError::Superseded`].
    pub async fn manifest(&self) -> Result<Manifest, ControlError> {
        let mut attempts = Attempts::new();
        loop {
            let hello = self.hello.lock().unwrap_or_else(PoisonError::into_inner).clone();
            match self.client.manifest(&hello).await {
                Ok(manifest) => return Ok(manifest),
                Err(error) if is_superseded(&error) => return Err(ControlError::Superseded),
                Err(error) => attempts.failed("manifest", &error).await,
            }
        }
    }

    /// From now on says that the working directory is this one. True if that is news.
    pub fn set_directory(&self, directory: &str) -> bool {
        let mut hello = self.hello.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = hello.expanded_directory != directory;
        directory.clone_into(&mut hello.expanded_directory);
        is_news
    }

    /// Reports the lifecycle's state, trying until it is heard or refused.
    pub async fn tell_lifecycle(&self, report: &LifecycleReport) {
        insist("lifecycle", || self.client.lifecycle(report)).await;
    }

    /// Tells how a script ran, trying until it is heard or refused.
    pub async fn tell_script(&self, run: &ScriptCompleted) {
        insist("script-completed", || self.client.script_completed(run)).await;
    }

    /// Reports apps whose health changed, trying until it is heard or refused.
    pub async fn tell_apps(&self, report: &AppHealthReport) {
        insist("app-health", || self.client.app_health(report)).await;
    }

    /// Asks once which of these users may stay. `None` when there is no answer: that is no reason to end anything, and the next question
    /// is not far.
    ///
    /// # Errors
    /// [`ControlError::Superseded`].
    pub async fn sessions(&self, users: Vec<Uuid>) -> Result<Option<SessionsAnswer>, ControlError> {
        let request = SessionsRequest { users };
        match tokio::time::timeout(SESSIONS_WITHIN, self.client.sessions(&request)).await {
            Ok(Ok(answer)) => Ok(Some(answer)),
            Ok(Err(error)) if is_superseded(&error) => Err(ControlError::Superseded),
            Ok(Err(error)) => {
                tracing::debug!(%error, "the control plane does not say who may stay");
                Ok(None)
            }
            Err(_) => Ok(None),
        }
    }

    /// Tells what metadata blocks said, once: newer words come.
    pub async fn tell_metadata(&self, report: &MetadataReport) {
        if let Err(error) = self.client.metadata(report).await {
            tracing::debug!(%error, values = report.values.len(), "metadata was not heard");
        }
    }

    /// Sends lines of the log, trying until they are heard. False if no more lines are wanted.
    pub async fn send_logs(&self, logs: &Logs) -> bool {
        let mut attempts = Attempts::new();
        while let Err(error) = self.client.logs(logs).await {
            match error.status() {
                Some(413) => {
                    tracing::warn!("the log is full, the rest of it is not kept");
                    return false;
                }
                _ if !may_help(&error) => {
                    tracing::warn!(%error, lines = logs.logs.len(), "lines of the log were refused");
                    return !is_superseded(&error);
                }
                _ => attempts.failed("logs", &error).await,
            }
        }
        true
    }
}

/// Says something until it is heard or refused.
async fn insist<F: Future<Output = Result<(), ClientError>>>(what: &'static str, say: impl Fn() -> F) {
    let mut attempts = Attempts::new();
    while let Err(error) = say().await {
        if !may_help(&error) {
            tracing::warn!(%error, request = what, "the control plane refused to hear");
            return;
        }
        attempts.failed(what, &error).await;
    }
}

/// Whether the same request may succeed later. An unknown token counts: see [`Control::manifest`].
fn may_help(error: &ClientError) -> bool {
    error.is_transient() || error.is_unauthorized()
}

fn is_superseded(error: &ClientError) -> bool {
    match error {
        ClientError::Api { status: 403, body } => {
            body.message.contains("superseded") || body.detail.as_deref().is_some_and(|detail| detail.contains("superseded"))
        }
        _ => false,
    }
}

/// Counts failures and pauses between them.
pub(crate) struct Attempts {
    since: Instant,
    pause: Duration,
    patience: Duration,
    last: Option<String>,
}

impl Attempts {
    /// Somebody waits: pauses stay short for [`PATIENCE`].
    pub(crate) fn new() -> Attempts {
        Attempts { since: Instant::now(), pause: PAUSE_MIN, patience: PATIENCE, last: None }
    }

    /// Nobody waits, but thousands may do the same at once: pauses soon are long.
    pub(crate) fn patient() -> Attempts {
        Attempts { patience: Duration::ZERO, ..Attempts::new() }
    }

    /// Pauses. The same failure is logged once, and an unknown token is no news at all in the beginning.
    pub(crate) async fn failed(&mut self, what: &str, error: &ClientError) {
        let text = error.to_string();
        if self.last.as_ref() != Some(&text) {
            if error.is_unauthorized() {
                tracing::info!(%error, request = what, "the deployment does not know this agent yet");
            } else {
                tracing::warn!(%error, request = what, "the control plane did not hear, trying on");
            }
            self.last = Some(text);
        }
        self.pause().await;
    }

    /// Waits: longer each time, and never in step with other agents.
    pub(crate) async fn pause(&mut self) {
        let longest = if self.since.elapsed() < self.patience { PAUSE_MAX } else { PAUSE_LONG_MAX };
        tokio::time::sleep(self.pause.mul_f64(rand::random_range(0.5..=1.0))).await;
        self.pause = (self.pause * 2).min(longest);
    }
}

#[cfg(test)]
mod tests {
    use berth_wire::ErrorBody;

    use super::*;

    fn answer(status: u16, message: &str) -> ClientError {
        ClientError::Api { status, body: ErrorBody { message: message.to_owned(), ..ErrorBody::default() } }
    }

    #[test]
    fn only_a_newer_build_ends_the_agent() {
        assert!(is_superseded(&answer(403, "superseded")));
        assert!(!is_superseded(&answer(403, "no")));
        assert!(!is_superseded(&answer(401, "superseded")));
        assert!(may_help(&answer(401, "unknown")) && may_help(&answer(503, "busy")));
        assert!(!may_help(&answer(400, "malformed")));
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_to_five_seconds_and_after_ten_minutes_to_a_minute() {
        let mut attempts = Attempts::new();
        let began = Instant::now();
        for _ in 0..10 {
            attempts.pause().await;
        }
        assert!(began.elapsed() < Duration::from_secs(40));
        while began.elapsed() < PATIENCE + Duration::from_secs(300) {
            attempts.pause().await;
        }
        let before = began.elapsed();
        attempts.pause().await;
        assert!(began.elapsed() - before >= Duration::from_secs(30));
    }
}
