//! The lease: at most one task works on a build, and a late one cannot write.
//!
//! ```text
//! unclaimed --claim(fence 1)--> held by task, until `ends`
//!     held --heartbeat--> held, until a later `ends`
//!     held --the sweep finds `ends` in the past--> build failed, fence + 1: the old task's writes are refused
//! ```

use crate::{TaskId, Timestamp, limit::LEASE_SECONDS};
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

/// Grows by one with every claim; every state write carries it and is refused when it is not the newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct Fence(pub u64);

impl Fence {
    /// The fence of the next holder.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Who works on a build, and until when without a sign of life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The task that holds it.
    pub task: TaskId,
    /// The number its writes carry.
    pub fence: Fence,
    /// When it ends unless renewed.
    pub ends: Timestamp,
}

impl Lease {
    /// When a lease taken or renewed at `now` ends.
    #[must_use]
    pub fn end_from(now: Timestamp) -> Timestamp {
        now + SignedDuration::from_secs(LEASE_SECONDS)
    }

    /// Whether the lease has run out.
    #[must_use]
    pub fn has_ended(&self, now: Timestamp) -> bool {
        self.ends <= now
    }
}
