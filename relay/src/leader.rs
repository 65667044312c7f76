//! Who may write the relay's DNS records and its certificate: one relay at a time, though two run while one replaces the other.
//!
//! `relay/leader` in the bucket holds an epoch. Whoever comes takes the next one with a conditional put, so no two have the same; whoever
//! finds another epoch there has been followed and writes nothing any more. It looks before each write. Only when its successor answers no
//! more (a rollout that failed), it takes the next epoch as a newcomer would.

use crate::{
    bucket::{Bucket, BucketError},
    presence::lock,
};
use berth_wire::domain::Timestamp;
use serde::{Deserialize, Serialize};
use std::{net::SocketAddr, sync::Mutex, time::Duration};
use tokio::net::TcpStream;
use uuid::Uuid;

/// The object.
const LEADER: &str = "leader";
/// How often a claim is tried anew when others claim at the same time.
const TRIES_MAX: usize = 8;
/// How long the leader may take to answer a connection.
const ANSWER: Duration = Duration::from_secs(5);

/// What the object says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Reign {
    epoch: u64,
    /// Tells whether a put whose answer was lost was ours.
    relay: Uuid,
    since: Timestamp,
    /// Where the world reaches it, if it knows.
    address: Option<SocketAddr>,
}

/// The right to write, as long as nobody follows.
#[derive(Debug)]
pub(crate) struct Leader {
    bucket: Bucket,
    reign: Mutex<Reign>,
}

impl Leader {
    /// Takes over from whoever leads. Two requests, unless others do the same.
    pub(crate) async fn claim(bucket: Bucket, address: Option<SocketAddr>, now: Timestamp) -> Result<Self, BucketError> {
        let reign = Mutex::new(next(&bucket, address, now).await?);
        Ok(Self { bucket, reign })
    }

    /// Takes over again, as [`Leader::claim`] does.
    pub(crate) async fn claim_again(&self, now: Timestamp) -> Result<(), BucketError> {
        let address = lock(&self.reign).address;
        let reign = next(&self.bucket, address, now).await?;
        *lock(&self.reign) = reign;
        Ok(())
    }

    /// Whether nobody has followed. One read.
    pub(crate) async fn stands(&self) -> Result<bool, BucketError> {
        let now = self.bucket.get::<Reign>(LEADER).await?;
        Ok(now.is_some_and(|now| now.value == *lock(&self.reign)))
    }

    /// Whether whoever leads now answers. One read and one connection. One that told no address is taken to.
    pub(crate) async fn answers(&self) -> Result<bool, BucketError> {
        let now = self.bucket.get::<Reign>(LEADER).await?;
        let Some(address) = now.and_then(|now| now.value.address) else { return Ok(true) };
        Ok(matches!(tokio::time::timeout(ANSWER, TcpStream::connect(address)).await, Ok(Ok(_))))
    }
}

/// Puts the next epoch, and gives it once it is ours.
async fn next(bucket: &Bucket, address: Option<SocketAddr>, now: Timestamp) -> Result<Reign, BucketError> {
    let relay = Uuid::new_v4();
    let mut last = BucketError::Changed(LEADER.to_owned());
    for _ in 0..TRIES_MAX {
        let before = bucket.get::<Reign>(LEADER).await?;
        if let Some(own) = before.as_ref().filter(|before| before.value.relay == relay) {
            return Ok(own.value.clone());
        }
        let epoch = before.as_ref().map_or(0, |before| before.value.epoch) + 1;
        let reign = Reign { epoch, relay, since: now, address };
        match bucket.put(LEADER, &reign, before.as_ref().map(|before| before.tag.as_str())).await {
            Ok(_) => {
                tracing::info!(epoch, "this relay leads: it owns DNS records and certificate from now on");
                return Ok(reign);
            }
            Err(error @ BucketError::Changed(_)) => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}
