//! What the table is asked: so that a test can pin what an endpoint costs.

use std::{
    ops::Sub,
    sync::atomic::{AtomicU64, Ordering},
};

/// Requests to the table, as the store made them; the SDK's own retries are not counted again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Meter {
    /// Requests that read: `GetItem`, `BatchGetItem`, `Query`.
    pub reads: u64,
    /// Requests that write: `UpdateItem`, `DeleteItem`, `TransactWriteItems`. Each costs one fsync on a laptop.
    pub writes: u64,
}

impl Meter {
    /// All of them.
    #[must_use]
    pub const fn requests(self) -> u64 {
        self.reads + self.writes
    }
}

impl Sub for Meter {
    type Output = Self;
    fn sub(self, earlier: Self) -> Self {
        Self { reads: self.reads.saturating_sub(earlier.reads), writes: self.writes.saturating_sub(earlier.writes) }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    reads: AtomicU64,
    writes: AtomicU64,
}

impl Counters {
    pub(crate) fn read(&self) {
        self.reads.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn wrote(&self) {
        self.writes.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn meter(&self) -> Meter {
        Meter { reads: self.reads.load(Ordering::Relaxed), writes: self.writes.load(Ordering::Relaxed) }
    }
}
