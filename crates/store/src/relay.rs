//! A relay that may sleep: whether it is awake. There is one row, and only while the relay is not asleep, so that an idle deployment costs
//! nothing; its place in the index of what is due says when the sweep looks at it.
//!
//! ```text
//! asleep: no row --need_relay--> waking --started--> awake --nobody needs it--> drowsy --still nobody, stopped--> asleep
//!                                   ^                  |                          |
//!                                   '----------------- | -------need_relay--------'
//!                                                      '<------somebody runs------'
//! ```
//!
//! Each need writes the row, even an unchanged one: a sweep that found nobody and acts on it is refused when somebody came meanwhile. It
//! looks twice, a minute apart, since the index that it looks into may be a moment behind.

use berth_domain::Timestamp;
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use crate::{
    Store, TableError,
    lease::DUE,
    table::{Bound, Key, RACES_MAX, Range, Row, WriteError, pause},
    write::{Guard, Write},
};

/// How long until the sweep looks at a relay that is waking or drowsy.
const PASSING: SignedDuration = SignedDuration::from_secs(60);
/// How often the sweep looks whether anybody needs the relay that is awake.
const AWAKE: SignedDuration = SignedDuration::from_mins(10);
/// The partition of its row.
pub(crate) const PARTITION: &str = "RELAY";
/// What the partitions of jobs begin with.
const JOBS: &str = "JOB#";

/// Where a relay that may sleep is when it does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RelayState {
    /// Somebody needs it, and nobody has said yet that it was started.
    Waking,
    /// It was started.
    Awake,
    /// Nobody needed it when the sweep last looked.
    Drowsy,
}

/// A relay as it was seen; what is done about it happens only if it is still so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelaySeen {
    /// Where it was.
    pub state: RelayState,
    version: u64,
}

impl RelaySeen {
    fn of(row: &Row<RelayState>) -> Self {
        Self { state: row.value, version: row.version }
    }
}

impl Store {
    /// Notes that somebody needs the relay now. When it is [`RelayState::Waking`] afterwards, the caller must start it and then say
    /// [`Store::relay_becomes`]. A read and a write.
    ///
    /// # Errors
    /// When the table fails.
    pub async fn need_relay(&self, now: Timestamp) -> Result<RelaySeen, TableError> {
        for attempt in 0..RACES_MAX {
            let (write, next) = match self.relay().await? {
                None => (Write::insert(key(), &RelayState::Waking)?, RelaySeen { state: RelayState::Waking, version: 1 }),
                Some(seen) => {
                    let state = if seen.state == RelayState::Awake { RelayState::Awake } else { RelayState::Waking };
                    (Write::replace(key(), seen.version, &state)?, RelaySeen { state, version: seen.version + 1 })
                }
            };
            if self.wrote(listed(write, next.state, now)).await? {
                return Ok(next);
            }
            pause(attempt).await;
        }
        Err(TableError::Contention(PARTITION.to_owned()))
    }

    /// Where the relay is; `None` when it sleeps, or never sleeps. One read.
    ///
    /// # Errors
    /// When the table fails.
    pub async fn relay(&self) -> Result<Option<RelaySeen>, TableError> {
        Ok(self.table.get::<RelayState>(&key()).await?.map(|row| RelaySeen::of(&row)))
    }

    /// Moves the relay on, to be looked at in a minute or, awake, in ten. `None` when it is not as it was seen. One write.
    ///
    /// # Errors
    /// When the table fails.
    pub async fn relay_becomes(&self, seen: RelaySeen, state: RelayState, now: Timestamp) -> Result<Option<RelaySeen>, TableError> {
        let write = listed(Write::replace(key(), seen.version, &state)?, state, now);
        Ok(self.wrote(write).await?.then_some(RelaySeen { state, version: seen.version + 1 }))
    }

    /// Notes that the relay sleeps: its row goes. False when it is not as it was seen. One write.
    ///
    /// # Errors
    /// When the table fails.
    pub async fn relay_sleeps(&self, seen: RelaySeen) -> Result<bool, TableError> {
        match self.table.write(Write::delete(key()).only_if(Guard::Version(seen.version))).await {
            Ok(()) => Ok(true),
            Err(WriteError::Refused { .. }) => Ok(false),
            Err(WriteError::Table(error)) => Err(error),
        }
    }

    /// Whether anybody needs the relay: a workspace runs, or a job is under way. Two Queries, of which the one of the workspaces reads all
    /// of them.
    ///
    /// # Errors
    /// When the table fails.
    pub async fn is_relay_needed(&self) -> Result<bool, TableError> {
        let due = self.table.query_raw(Range::index(DUE, Bound::All)).await?;
        if due.iter().any(|row| row.key.pk.starts_with(JOBS)) {
            return Ok(true);
        }
        Ok(self.workspaces(None).await?.iter().any(|workspace| workspace.live_build.is_some()))
    }
}

fn key() -> Key {
    Key::new(PARTITION, PARTITION)
}

fn listed(write: Write, state: RelayState, now: Timestamp) -> Write {
    let due = now + if state == RelayState::Awake { AWAKE } else { PASSING };
    write.listed(DUE, format!("{:015}#relay", due.as_millisecond()))
}
