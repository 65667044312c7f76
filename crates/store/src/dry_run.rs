//! Dry runs: a plan of a workspace that is not made. Nothing of one is left after a day.

use berth_domain::{DryRunId, ParameterValue, Secret, Timestamp, UserId, VersionId, WorkspaceName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use crate::{
    Home, Job, JobId, JobRecord, Resource, Store, TableError,
    job::kept_until,
    lease,
    table::{Key, WriteError},
    write::Write,
};

/// A dry run: what would become of a workspace of this version with these answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DryRun {
    /// Identifier; also its job's.
    pub id: DryRunId,
    /// The version.
    pub version: VersionId,
    /// What the workspace would be named.
    pub workspace_name: WorkspaceName,
    /// Answers, complete.
    pub parameters: Vec<ParameterValue>,
    /// The values of Terraform variables, instead of those that the version was pushed with.
    pub variables: BTreeMap<String, Secret>,
    /// Who asked, and would own it.
    pub created_by: UserId,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Its job.
    pub job: Job,
    /// What would be made; empty until it ends.
    pub resources: Vec<Resource>,
}

pub(crate) fn key(id: DryRunId) -> Key {
    Key::new(format!("DRY_RUN#{id}"), "DRY_RUN")
}

/// The dry run's row with another value.
pub(crate) fn replace(at: u64, dry_run: &DryRun) -> Result<Write, TableError> {
    Ok(kept(Write::replace(key(dry_run.id), at, dry_run)?, dry_run))
}

fn kept(write: Write, dry_run: &DryRun) -> Write {
    write.until(kept_until(dry_run.created_at))
}

impl Store {
    /// Queues a dry run. One transaction.
    ///
    /// # Errors
    /// When the table fails.
    pub async fn create_dry_run(&self, dry_run: &DryRun) -> Result<(), TableError> {
        let job = JobRecord::queued(JobId::DryRun(dry_run.id), Home::DryRun(dry_run.id), None, dry_run.created_at);
        let writes = vec![kept(Write::insert(key(dry_run.id), dry_run)?, dry_run), lease::insert(&job)?];
        match self.table.transact(writes).await {
            Ok(()) => Ok(()),
            Err(WriteError::Refused { .. }) => Err(TableError::Contention(dry_run.id.to_string())),
            Err(WriteError::Table(error)) => Err(error),
        }
    }

    /// The dry run with this id. One read.
    ///
    /// # Errors
    /// When the table fails.
    pub async fn dry_run(&self, id: DryRunId) -> Result<Option<DryRun>, TableError> {
        Ok(self.table.get(&key(id)).await?.map(|row| row.value))
    }
}
