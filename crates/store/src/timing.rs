//! Where the time of a build went: a row beside its job's, written once at its end, so that no list has to carry it.

use berth_domain::{BuildId, Timing, timing::bounded};

use crate::{JobId, Store, TableError, lease, table::Key, write::Write};

fn key(id: JobId) -> Key {
    Key { sk: "TIMINGS".to_owned(), ..lease::key(id) }
}

/// The row, if there is anything to keep.
pub(crate) fn insert(id: JobId, timings: &[Timing]) -> Result<Option<Write>, TableError> {
    match timings {
        [] => Ok(None),
        timings => Write::put(key(id), &bounded(timings.to_vec())).map(Some),
    }
}

impl Store {
    /// Where the time of an ended build went, in the order of time; empty when nothing was reported. One read.
    ///
    /// # Errors
    /// When the table fails.
    pub async fn timings(&self, build: BuildId) -> Result<Vec<Timing>, TableError> {
        Ok(self.table.get(&key(JobId::Build(build))).await?.map(|row| row.value).unwrap_or_default())
    }
}
