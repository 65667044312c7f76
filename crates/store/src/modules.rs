//! The modules of template versions, as an import fetched them: one tar per version, kept by content, so that versions with the same
//! modules share it and builds fetch nothing from elsewhere.

use berth_domain::VersionId;
use bytes::Bytes;

use crate::{
    BlobError, Home, LeaseError, RunnerSession, Store, TableError, Version,
    file::digest,
    lease::{self, contention},
    table::{RACES_MAX, pause},
    version,
    write::{Guard, Write},
};

fn blob_key(sha256: &str) -> String {
    format!("modules/{sha256}")
}

impl Store {
    /// Keeps the modules of the version that the session imports. A blob, two reads and a transaction, which holds only while the
    /// session holds the job.
    ///
    /// # Errors
    /// [`LeaseError::Lost`] when the session does not hold the job; [`LeaseError::Missing`] when it is not an import.
    pub async fn put_modules(&self, session: &RunnerSession, bytes: Bytes) -> Result<(), LeaseError> {
        let sha256 = digest(bytes.clone()).await?;
        self.blobs.put(&blob_key(&sha256), bytes).await.map_err(TableError::from)?;
        for attempt in 0..RACES_MAX {
            let job = self.job_row(session.job).await?.ok_or(LeaseError::Missing(session.job))?;
            let Home::Version(id) = job.value.home else { return Err(LeaseError::Missing(session.job)) };
            if !job.value.is_held_by(session) {
                return Err(LeaseError::Lost(session.job));
            }
            let row = self.table.get::<Version>(&version::key(id)).await?.ok_or_else(|| contention(session.job))?;
            let mut version = row.value;
            version.imported.modules = Some(sha256.clone());
            let held = Write::check(lease::key(session.job), Guard::Version(job.version));
            if self.transacted(vec![held, version::replace(row.version, &version)?]).await? {
                return Ok(());
            }
            pause(attempt).await;
        }
        Err(contention(session.job).into())
    }

    /// The tar of a version's modules; `None` when its import kept none. A read and a blob.
    ///
    /// # Errors
    /// When the table or the disk fails, or the blob is missing.
    pub async fn modules(&self, id: VersionId) -> Result<Option<Bytes>, TableError> {
        let Some(sha256) = self.version(id).await?.and_then(|version| version.imported.modules) else { return Ok(None) };
        let blob = blob_key(&sha256);
        Ok(Some(self.blobs.get(&blob).await?.ok_or(BlobError::Missing(blob))?))
    }
}
