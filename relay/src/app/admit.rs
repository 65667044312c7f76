//! What the API says of a browser at an app's host: asked once for a crowd, remembered for seconds.

use crate::{
    presence::lock,
    upstream::{AskError, Upstream},
};
use berth_wire::{
    app::{ADMISSION_PATH, Admission, AdmissionRequest, Entry, View},
    domain::{AppAddress, Secret},
};
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    sync::{Mutex as Turn, Semaphore},
    time::Instant,
};

/// How long a browser that was let in is let in without another question: for as long a session that ended stays good here. Less than half
/// of a ticket's life, so that a ticket is never shown too late.
const OPEN_FOR: Duration = Duration::from_secs(20);
/// How long what changes by itself is remembered.
const AWAY_FOR: Duration = Duration::from_millis(500);
/// How long a no is remembered.
const CLOSED_FOR: Duration = Duration::from_secs(3);
/// The most answers that are remembered; beyond it, all are forgotten: a flood can cause forgetting, not growth.
const KNOWN_MAX: usize = 8_192;
/// The most questions at a time.
const QUESTIONS_MAX: usize = 128;

/// A name for a browser at a host, that says nothing about its cookie.
type Key = [u8; 32];

/// One browser at one host. Held while asking, so that the many requests of a page make one question.
type Known = Arc<Turn<Option<(Instant, Arc<Admission>)>>>;

/// The answers that are remembered.
#[derive(Debug)]
pub(super) struct Admissions {
    endpoint_id: String,
    known: Mutex<HashMap<Key, Known>>,
    questions: Semaphore,
}

impl Admissions {
    /// Answers for the relay's own end of this name.
    pub(super) fn new(endpoint_id: String) -> Self {
        Self { endpoint_id, known: Mutex::default(), questions: Semaphore::new(QUESTIONS_MAX) }
    }

    /// What there is to see for a browser with this cookie, if any.
    pub(super) async fn ask(&self, api: &Upstream, app: &AppAddress, session: Option<&Secret>) -> Result<Arc<Admission>, AskError> {
        let known = self.known(key(app, session));
        let mut known = known.lock().await;
        if let Some((until, admission)) = known.as_ref()
            && Instant::now() < *until
        {
            return Ok(Arc::clone(admission));
        }
        let admission = Arc::new(self.question(api, app, (session.cloned(), None)).await?);
        *known = Some((Instant::now() + lasting(&admission.view), Arc::clone(&admission)));
        Ok(admission)
    }

    /// Shows the API a ticket that arrived, with the secret that binds it. Never remembered: it is good once.
    pub(super) async fn redeem(
        &self,
        api: &Upstream,
        app: &AppAddress,
        (ticket, nonce): (Secret, Secret),
    ) -> Result<Admission, AskError> {
        self.question(api, app, (None, Some(Entry { ticket, nonce }))).await
    }

    /// Asks anew at the next request: something shows that the answer is old.
    pub(super) fn forget(&self, app: &AppAddress, session: Option<&Secret>) {
        lock(&self.known).remove(&key(app, session));
    }

    async fn question(
        &self,
        api: &Upstream,
        app: &AppAddress,
        (session, entry): (Option<Secret>, Option<Entry>),
    ) -> Result<Admission, AskError> {
        let busy = |_| AskError::Away("too many are asked at the moment".to_owned());
        let _asking = self.questions.acquire().await.map_err(busy)?;
        let request = AdmissionRequest { app: app.to_string(), endpoint_id: self.endpoint_id.clone(), session, entry };
        api.post(ADMISSION_PATH, &request).await
    }

    fn known(&self, key: Key) -> Known {
        let mut known = lock(&self.known);
        if known.len() >= KNOWN_MAX && !known.contains_key(&key) {
            known.clear();
        }
        Arc::clone(known.entry(key).or_default())
    }
}

const fn lasting(view: &View) -> Duration {
    match view {
        View::Open(_) => OPEN_FOR,
        View::Away(_) => AWAY_FOR,
        View::SignIn | View::Missing | View::Unserved { .. } => CLOSED_FOR,
    }
}

fn key(app: &AppAddress, session: Option<&Secret>) -> Key {
    let digest = Sha256::new().chain_update(app.to_string()).chain_update([0, u8::from(session.is_some())]);
    digest.chain_update(session.map(|session| session.expose().as_str()).unwrap_or_default()).finalize().into()
}
