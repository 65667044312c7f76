//! Terraform's state file: reading it, and pushing every new version of it to the API while Terraform runs.
//!
//! Terraform writes the file in place after each resource, so a reader can meet half of it. A version is pushed only when it parses,
//! its serial has grown and its lineage is the known one.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use berth_client::RunnerClient;
use serde::Deserialize;
use tokio::time::timeout;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{lease::Stops, plain, progress::Progress, task::owned};

/// The file's name in the working directory.
pub const STATE_FILE: &str = "terraform.tfstate";
/// How often the file is looked at while Terraform runs.
const POLL: Duration = Duration::from_millis(100);
/// The longest pause between two attempts to push.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How long the last push is attempted once the lease has run out without an answer.
const UNREACHABLE: Duration = Duration::from_secs(30);

/// Which version of which state.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Version {
    /// Grows with every write.
    pub serial: u64,
    /// Which history it belongs to.
    pub lineage: String,
}

impl Version {
    /// The version of a state's bytes, when they are one whole state.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// Whether this may be written over `before`.
    fn follows(&self, before: Option<&Self>) -> bool {
        before.is_none_or(|before| before.lineage == self.lineage && before.serial < self.serial)
    }
}

/// Why the newest state is not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// Another runner holds the lease.
    #[error("the lease was lost")]
    Lost,
    /// The API took none of the attempts.
    #[error("the newest Terraform state could not be stored")]
    Failed,
}

/// Pushes the state file's versions.
#[derive(Debug)]
pub struct Pusher {
    path: PathBuf,
    client: RunnerClient,
    stops: Stops,
    pushed: Option<Version>,
    looked_at: Option<(SystemTime, u64)>,
}

/// A [`Pusher`] at work.
#[derive(Debug)]
pub struct Watching {
    end: CancellationToken,
    task: AbortOnDropHandle<Pusher>,
}

impl Pusher {
    /// For the state file in `directory`, of which the API already has `stored`.
    #[must_use]
    pub fn new(directory: &Path, client: RunnerClient, stops: Stops, stored: Option<Version>) -> Self {
        Self { path: directory.join(STATE_FILE), client, stops, pushed: stored, looked_at: None }
    }

    /// Watches the file and pushes, in the background; at once when Terraform has written the last one.
    #[must_use]
    pub fn watch(mut self, progress: Progress) -> Watching {
        let end = CancellationToken::new();
        let ended = end.clone();
        let task = owned(async move {
            let look = async || drop(timeout(POLL, progress.applied()).await);
            while ended.run_until_cancelled(look()).await.is_some() {
                self.push_if_changed().await;
            }
            self
        });
        Watching { end, task }
    }

    /// One look: pushes when there is something new. A failure is tried again at the next look.
    async fn push_if_changed(&mut self) {
        let Ok(about) = fs::metadata(&self.path) else { return };
        let looked_at = about.modified().ok().map(|time| (time, about.len()));
        if looked_at == self.looked_at {
            return;
        }
        match self.push().await {
            Ok(()) => self.looked_at = looked_at,
            Err(error) if self.stops.note(&error) => self.looked_at = looked_at,
            Err(error) => tracing::warn!(%error, "a state could not be pushed yet"),
        }
    }

    /// Pushes what the file holds now, if it is whole and new.
    async fn push(&mut self) -> Result<(), berth_client::ClientError> {
        let Some((version, bytes)) = self.newest() else { return Ok(()) };
        self.client.put_state(bytes.into()).await?;
        tracing::debug!(serial = version.serial, "pushed a state");
        self.pushed = Some(version);
        Ok(())
    }

    fn newest(&self) -> Option<(Version, Vec<u8>)> {
        let bytes = plain::read(&self.path).ok()?;
        let version = Version::of(&bytes)?;
        version.follows(self.pushed.as_ref()).then_some((version, bytes))
    }

    /// Whether there is something in the state's place that is no state that we can read. Terraform makes the file empty when it has none.
    fn is_hidden(&self) -> bool {
        let is_there = fs::symlink_metadata(&self.path).is_ok_and(|about| about.len() > 0);
        is_there && plain::read(&self.path).ok().as_deref().and_then(Version::of).is_none()
    }

    /// Pushes the last version, again and again while the lease may still be ours.
    ///
    /// # Errors
    /// When the lease is lost, or the API refuses the state or cannot be reached.
    pub async fn finish(mut self) -> Result<(), PushError> {
        let mut pause = POLL;
        let mut unreachable_for = Duration::ZERO;
        while !self.stops.is_lost() {
            match self.push().await {
                Ok(()) if self.is_hidden() => {
                    tracing::error!(path = %self.path.display(), "terraform's state cannot be read");
                    return Err(PushError::Failed);
                }
                Ok(()) => return Ok(()),
                Err(error) if self.stops.note(&error) => break,
                Err(error) if error.is_transient() => tracing::warn!(%error, "the last state could not be pushed yet"),
                Err(error) => {
                    tracing::error!(%error, "the last state was refused");
                    return Err(PushError::Failed);
                }
            }
            if self.stops.now() >= Some(crate::lease::Stop::Told) {
                unreachable_for += pause;
            }
            if unreachable_for > UNREACHABLE {
                return Err(PushError::Failed);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
        Err(PushError::Lost)
    }
}

impl Watching {
    /// Ends the watch and pushes the last version, see [`Pusher::finish`].
    ///
    /// # Errors
    /// As [`Pusher::finish`].
    pub async fn finish(self) -> Result<(), PushError> {
        self.end.cancel();
        match self.task.await {
            Ok(pusher) => pusher.finish().await,
            Err(error) => {
                tracing::error!(%error, "the state pusher ended badly");
                Err(PushError::Failed)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(serial: u64, lineage: &str) -> Version {
        Version { serial, lineage: lineage.to_owned() }
    }

    #[test]
    fn half_a_state_is_no_version() {
        let whole = br#"{"version": 4, "serial": 3, "lineage": "a", "resources": [{"type": "x"}]}"#;
        assert_eq!(Version::of(whole), Some(version(3, "a")));
        for end in 0..whole.len() {
            assert_eq!(Version::of(&whole[..end]), None, "{end} bytes");
        }
    }

    #[test]
    fn only_a_later_version_of_the_same_history_follows() {
        assert!(version(1, "a").follows(None));
        assert!(version(2, "a").follows(Some(&version(1, "a"))));
        assert!(!version(1, "a").follows(Some(&version(1, "a"))));
        assert!(!version(2, "b").follows(Some(&version(1, "a"))));
    }
}
