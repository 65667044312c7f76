//! Who may write the relay's DNS records and its certificate: one relay at a time, though two run while one replaces the other.
//!
//! `relay/leader` in the bucket holds an epoch. Whoever comes takes the next one with a conditional put, so no two have the same; whoever
//! finds another epoch there has been followed and writes nothing any more. It looks before each write.

use crate::bucket::{Bucket, BucketError};
use berth_wire::domain::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The object.
const LEADER: &str = "leader";
/// How often a claim is tried anew when others claim at the same time.
const TRIES_MAX: usize = 8;

/// What the object says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Reign {
    epoch: u64,
    /// Tells whether a put whose answer was lost was ours.
    relay: Uuid,
    since: Timestamp,
}

/// The right to write, as long as nobody follows.
#[derive(Debug, Clone)]
pub(crate) struct Leader {
    bucket: Bucket,
    reign: Reign,
}

impl Leader {
    /// Takes over from whoever leads. Two requests, unless others do the same.
    pub(crate) async fn claim(bucket: Bucket, now: Timestamp) -> Result<Self, BucketError> {
        let relay = Uuid::new_v4();
        let mut last = None;
        for _ in 0..TRIES_MAX {
            let before = bucket.get::<Reign>(LEADER).await?;
            if let Some(own) = before.as_ref().filter(|before| before.value.relay == relay) {
                return Ok(Self { reign: own.value.clone(), bucket });
            }
            let epoch = before.as_ref().map_or(0, |before| before.value.epoch) + 1;
            let reign = Reign { epoch, relay, since: now };
            match bucket.put(LEADER, &reign, before.as_ref().map(|before| before.tag.as_str())).await {
                Ok(_) => {
                    tracing::info!(epoch, "this relay leads: it owns DNS records and certificate from now on");
                    return Ok(Self { bucket, reign });
                }
                Err(error @ BucketError::Changed(_)) => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(last.unwrap_or_else(|| BucketError::Changed(LEADER.to_owned())))
    }

    /// Whether nobody has followed. One read.
    pub(crate) async fn stands(&self) -> Result<bool, BucketError> {
        let now = self.bucket.get::<Reign>(LEADER).await?;
        Ok(now.is_some_and(|now| now.value == self.reign))
    }
}
