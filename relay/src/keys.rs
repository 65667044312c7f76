//! The public keys by which the relay knows a ticket of ours. On a laptop they are given; elsewhere the API tells them, and tells them
//! again after a rotation.

use crate::{presence::lock, upstream::Upstream};
use berth_wire::{
    presence::{RELAY_KEYS_PATH, RelayKeys},
    ticket::{VerifyingKey, key_id},
};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::Instant;

/// The API is asked for keys at most once in this time, however many tickets name one that we do not know.
const READ_AGAIN: Duration = Duration::from_secs(60);
/// How often [`Keys::keep_fresh`] asks, so that one that was withdrawn does not outlive its withdrawal by more.
const KEEP: Duration = Duration::from_secs(60 * 60);
/// More keys than this are no deployment's.
const KEYS_MAX: usize = 16;

/// The keys. Cheap to clone; all clones know the same.
#[derive(Debug, Clone)]
pub struct Keys(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    known: Mutex<Vec<VerifyingKey>>,
    api: Option<Upstream>,
    /// When the API was last asked. Held while asking, so that a crowd of strangers makes one question.
    asked: tokio::sync::Mutex<Option<Instant>>,
}

/// Why the keys could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadKeysError {
    /// The API is away.
    #[error("the API does not tell its public keys: {0}")]
    Away(String),
    /// What it said is not a list of keys.
    #[error("the API's answer at {RELAY_KEYS_PATH} is not a list of 1 to {KEYS_MAX} keys")]
    Malformed,
}

impl Keys {
    /// Keys that never change.
    #[must_use]
    pub fn fixed(keys: Vec<VerifyingKey>) -> Self {
        Self(Arc::new(Inner { known: Mutex::new(keys), api: None, asked: tokio::sync::Mutex::default() }))
    }

    /// The keys that this API tells; none are known before [`Keys::read`].
    #[must_use]
    pub fn of(api: Upstream) -> Self {
        Self(Arc::new(Inner { known: Mutex::default(), api: Some(api), asked: tokio::sync::Mutex::default() }))
    }

    /// Asks the API now.
    ///
    /// # Errors
    /// [`ReadKeysError`]; the keys known so far stay known.
    pub async fn read(&self) -> Result<(), ReadKeysError> {
        self.ask(&mut *self.0.asked.lock().await).await
    }

    /// Asks the API again now and then, without end. A question that fails changes nothing.
    pub(crate) async fn keep_fresh(&self) {
        loop {
            tokio::time::sleep(KEEP).await;
            if let Err(error) = self.read().await {
                tracing::warn!(%error, "the keys known so far stay in use");
            }
        }
    }

    async fn ask(&self, asked: &mut Option<Instant>) -> Result<(), ReadKeysError> {
        let Some(api) = &self.0.api else { return Ok(()) };
        *asked = Some(Instant::now());
        let told: RelayKeys = api.public(RELAY_KEYS_PATH).await.map_err(|error| ReadKeysError::Away(error.to_string()))?;
        if told.keys.is_empty() || told.keys.len() > KEYS_MAX {
            return Err(ReadKeysError::Malformed);
        }
        let ids: Vec<_> = told.keys.iter().map(|key| key.id.as_str()).collect();
        tracing::info!(keys = ids.join(", "), "read the API's public keys");
        *lock(&self.0.known) = told.keys;
        Ok(())
    }

    /// The key that a ticket names. One that is not known may be new: the API is asked, unless it was a moment ago.
    pub(crate) async fn of_ticket(&self, ticket: &str) -> Option<VerifyingKey> {
        let id = key_id(ticket)?;
        if let Some(key) = self.known(&id) {
            return Some(key);
        }
        let mut asked = self.0.asked.lock().await;
        // Someone may have asked while we waited.
        if self.known(&id).is_none()
            && asked.is_none_or(|last| last.elapsed() >= READ_AGAIN)
            && let Err(error) = self.ask(&mut asked).await
        {
            tracing::warn!(%error, key.id = id.chars().take(32).collect::<String>(), "a ticket names a key that is not known");
        }
        self.known(&id)
    }

    /// As if a minute had passed since the last question.
    #[cfg(test)]
    pub(crate) async fn forget_when_asked(&self) {
        *self.0.asked.lock().await = None;
    }

    fn known(&self, id: &str) -> Option<VerifyingKey> {
        lock(&self.0.known).iter().find(|key| key.id == id).cloned()
    }
}
