//! The relay's certificate: kept in the bucket, so that a new task has it at once and asks no authority; renewed when two thirds of its
//! life are over, by the relay that leads; and never taken out of use for a failure.

mod acme;
mod validity;

use crate::{
    bucket::{Bucket, BucketError, Object},
    leader::Leader,
    tls::{CertificateError, Certificates},
    zone::{Zone, ZoneError},
};
use berth_wire::domain::{Secret, Timestamp};
use jiff::SignedDuration;
use rand::RngExt;
use serde::{Deserialize, Serialize};
use validity::Validity;

pub(crate) use acme::Authority;

/// The object that holds chain and key.
const CERTIFICATE: &str = "certificate";
/// The object that remembers failed orders, so that a task that is started again and again does not use up the authority's patience
/// (Let's Encrypt: 5 failed validations an hour, 5 certificates of the same names a week).
const FAILURES: &str = "certificate-failures";
/// How long to wait after the first failure; it doubles with each.
const FIRST_WAIT: SignedDuration = SignedDuration::from_mins(5);
/// How long at the most.
const LONGEST_WAIT: SignedDuration = SignedDuration::from_hours(6);
/// How often a relay that does not lead looks whether the one that does has renewed.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_hours(1);

/// What is kept.
#[derive(Clone, Serialize, Deserialize)]
struct Kept {
    /// What it was ordered for.
    names: Vec<String>,
    /// PEM, the leaf first.
    chain: String,
    /// PEM.
    key: Secret,
}

/// The orders that failed since one succeeded.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Failures {
    count: u32,
    next: Timestamp,
    reason: String,
}

/// Why there is no certificate, or no new one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OrderError {
    #[error(transparent)]
    Bucket(#[from] BucketError),
    #[error(transparent)]
    Zone(#[from] ZoneError),
    #[error("the certificate authority at {directory} refused: {reason}")]
    Authority { directory: String, reason: String },
    /// Costs nothing at the authority: it may be asked again soon.
    #[error("cannot ask the certificate authority at {directory}: {reason}")]
    Away { directory: String, reason: String },
    #[error("the certificate is not usable")]
    Unusable(#[from] CertificateError),
    #[error("the certificate is not usable: {0}")]
    Unreadable(String),
    /// Expected during a rollout.
    #[error("another relay leads, and orders")]
    NotLeader,
    /// Expected after a failure.
    #[error("order {count} failed ({reason}); the next is at {next}")]
    Waiting { count: u32, reason: String, next: Timestamp },
}

/// Keeps the certificate in use current.
#[derive(Debug)]
pub(crate) struct Keeper {
    bucket: Bucket,
    zone: Zone,
    authority: Authority,
    names: Vec<String>,
    used: Certificates,
}

/// A certificate in use: the tag it has in the bucket, and for how long it is good.
#[derive(Debug, Clone)]
pub(crate) struct Current {
    tag: String,
    validity: Validity,
}

impl Keeper {
    pub(crate) fn new((bucket, zone): (Bucket, Zone), authority: Authority, names: Vec<String>, used: Certificates) -> Self {
        Self { bucket, zone, authority, names, used }
    }

    /// Takes the kept certificate into use, if there is one for our names that is good at `now`. One request.
    pub(crate) async fn load(&self, now: Timestamp) -> Result<Option<Current>, OrderError> {
        let Some(Object { value, tag }) = self.bucket.get::<Kept>(CERTIFICATE).await? else { return Ok(None) };
        let validity = Validity::of(&value.chain).map_err(OrderError::Unreadable)?;
        if value.names != self.names || !validity.is_good(now) {
            tracing::warn!(names = value.names.join(", "), ends = %validity.ends, "the kept certificate is of no use");
            return Ok(None);
        }
        self.used.replace(&value.chain, value.key.expose())?;
        tracing::info!(ends = %validity.ends, "the kept certificate is in use");
        Ok(Some(Current { tag, validity }))
    }

    /// Orders a certificate and takes it into use, if we lead and no failure is too fresh. A minute or so.
    pub(crate) async fn order(&self, leader: &Leader, now: Timestamp) -> Result<Current, OrderError> {
        let failures = self.bucket.get::<Failures>(FAILURES).await?;
        if let Some(Object { value: Failures { count, next, reason }, .. }) = failures.clone().filter(|kept| kept.value.next > now)
        {
            return Err(OrderError::Waiting { count, reason, next });
        }
        if !leader.stands().await? {
            return Err(OrderError::NotLeader);
        }
        match self.order_now(leader).await {
            Ok(current) => {
                self.remember(failures, 0, (now, String::new())).await;
                Ok(current)
            }
            Err(error @ (OrderError::NotLeader | OrderError::Bucket(_) | OrderError::Away { .. })) => Err(error),
            Err(error) => {
                let count = failures.as_ref().map_or(0, |kept| kept.value.count) + 1;
                self.remember(failures, count, (now + wait(count), error.to_string())).await;
                Err(error)
            }
        }
    }

    async fn order_now(&self, leader: &Leader) -> Result<Current, OrderError> {
        tracing::info!(names = self.names.join(", "), "ordering a certificate");
        let (chain, key) = self.authority.order(&self.bucket, &self.zone, &self.names).await?;
        let validity = Validity::of(&chain).map_err(OrderError::Unreadable)?;
        if !leader.stands().await? {
            return Err(OrderError::NotLeader);
        }
        let kept = Kept { names: self.names.clone(), chain, key: Secret::new(key) };
        let before = self.bucket.get::<serde_json::Value>(CERTIFICATE).await?;
        let tag = self.bucket.put(CERTIFICATE, &kept, before.as_ref().map(|before| before.tag.as_str())).await?;
        self.used.replace(&kept.chain, kept.key.expose())?;
        tracing::info!(ends = %validity.ends, "a new certificate is in use");
        Ok(Current { tag, validity })
    }

    /// Best effort: what is not remembered is tried a little too soon.
    async fn remember(&self, before: Option<Object<Failures>>, count: u32, (next, reason): (Timestamp, String)) {
        if count == 0 && before.as_ref().is_none_or(|before| before.value.count == 0) {
            return;
        }
        let failures = Failures { count, next, reason };
        if let Err(error) = self.bucket.put(FAILURES, &failures, before.as_ref().map(|before| before.tag.as_str())).await {
            tracing::warn!(%error, "cannot remember how the order went");
        }
    }

    /// Renews without end. What fails is tried again; the certificate in use stays in use.
    pub(crate) async fn keep(&self, leader: &Leader, mut current: Current) {
        let mut due = self.due(&current);
        loop {
            until(due).await;
            let now = Timestamp::now();
            // Another relay may have renewed it.
            match self.load(now).await {
                Ok(Some(loaded)) if loaded.tag != current.tag => {
                    current = loaded;
                    due = self.due(&current);
                    continue;
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "cannot read the kept certificate"),
            }
            due = match self.order(leader, now).await {
                Ok(ordered) => {
                    current = ordered;
                    self.due(&current)
                }
                Err(OrderError::Waiting { next, .. }) => next,
                Err(error @ OrderError::NotLeader) => {
                    tracing::warn!(%error, ends = %current.validity.ends, "the certificate is not renewed yet");
                    now + LOOK_AGAIN
                }
                Err(error) => {
                    tracing::error!(%error, ends = %current.validity.ends, "the certificate was not renewed; the one in use stays");
                    now + FIRST_WAIT
                }
            };
        }
    }

    fn due(&self, current: &Current) -> Timestamp {
        let due = current.validity.renewal(rand::rng().random());
        tracing::info!(%due, "the certificate is to be renewed");
        due
    }
}

/// How long after this many failures in a row the next order is made.
fn wait(failures: u32) -> SignedDuration {
    let factor = 2_i32.saturating_pow(failures.saturating_sub(1).min(20));
    FIRST_WAIT.saturating_mul(factor).min(LONGEST_WAIT)
}

/// Sleeps until a time of the wall clock.
pub(crate) async fn until(time: Timestamp) {
    let left = time.duration_since(Timestamp::now());
    tokio::time::sleep(left.try_into().unwrap_or_default()).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_followed_by_longer_and_longer_waits() {
        let minutes = |failures| wait(failures).as_mins();
        assert_eq!([1, 2, 3, 4, 7, 8, 100].map(minutes), [5, 10, 20, 40, 320, 360, 360]);
        // Within an hour of the first: no more than Let's Encrypt's five.
        let within: Vec<_> = (1..)
            .map(minutes)
            .scan(0, |at, wait| {
                *at += wait;
                Some(*at)
            })
            .take_while(|at| *at < 60)
            .collect();
        assert!(within.len() < 4, "{within:?}");
    }
}
