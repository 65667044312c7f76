//! What the table is asked: so that a test can pin what an endpoint costs.

use aws_sdk_dynamodb::types::ConsumedCapacity;
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
    /// Twice the read units that DynamoDB says these cost: an eventually consistent read of 4 KB is half a unit.
    pub half_read_units: u64,
    /// The write units: one per KB and copy in the index, two in a transaction.
    pub write_units: u64,
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
        Self {
            reads: self.reads.saturating_sub(earlier.reads),
            writes: self.writes.saturating_sub(earlier.writes),
            half_read_units: self.half_read_units.saturating_sub(earlier.half_read_units),
            write_units: self.write_units.saturating_sub(earlier.write_units),
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    reads: AtomicU64,
    writes: AtomicU64,
    half_read_units: AtomicU64,
    write_units: AtomicU64,
}

impl Counters {
    pub(crate) fn read(&self) {
        self.reads.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn wrote(&self) {
        self.writes.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn spent_reading<'a>(&self, consumed: impl IntoIterator<Item = &'a ConsumedCapacity>) {
        self.half_read_units.fetch_add(rounded(units(consumed) * 2.0), Ordering::Relaxed);
    }

    pub(crate) fn spent_writing<'a>(&self, consumed: impl IntoIterator<Item = &'a ConsumedCapacity>) {
        self.write_units.fetch_add(rounded(units(consumed)), Ordering::Relaxed);
    }

    pub(crate) fn meter(&self) -> Meter {
        Meter {
            reads: self.reads.load(Ordering::Relaxed),
            writes: self.writes.load(Ordering::Relaxed),
            half_read_units: self.half_read_units.load(Ordering::Relaxed),
            write_units: self.write_units.load(Ordering::Relaxed),
        }
    }
}

fn units<'a>(consumed: impl IntoIterator<Item = &'a ConsumedCapacity>) -> f64 {
    consumed.into_iter().filter_map(ConsumedCapacity::capacity_units).sum()
}

/// A count that DynamoDB writes as a fraction.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn rounded(units: f64) -> u64 {
    units.round().max(0.0) as u64
}
