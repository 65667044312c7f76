//! Repairs: a job that looks for what exists of a workspace and is not in its state, and removes of it what it is told to.
//!
//! A repair never writes a state. It runs while no build does and no other repair: the workspace's row says which one is active, and
//! both beginnings are conditional on that row.

use berth_domain::{RepairId, Stray, StrayRef, Timestamp, UserId, Username, WorkspaceId};
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use crate::{
    Home, Job, JobId, JobRecord, Store, TableError, Workspace,
    lease::{self, contention},
    table::{Key, RACES_MAX, Row, pause},
    workspace,
    write::Write,
};

/// A repair.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Repair {
    /// Identifier; also its job's.
    pub id: RepairId,
    /// The workspace.
    pub workspace: WorkspaceId,
    /// Whose the workspace is.
    pub owner: UserId,
    /// Who asked.
    pub initiator: UserId,
    /// Their name.
    pub initiator_name: Username,
    /// When.
    pub created_at: Timestamp,
    /// What to remove; nothing to only look.
    pub delete: Vec<StrayRef>,
    /// Its job.
    pub job: Job,
    /// What exists and is in no state.
    pub found: Vec<Stray>,
}

/// A workspace's newest repair, as its row has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatestRepair {
    /// Which.
    pub id: RepairId,
    /// Whether its job has not ended.
    pub active: bool,
}

/// Why a repair was not queued.
#[derive(Debug, thiserror::Error)]
pub enum CreateRepairError {
    /// The latest build has not ended.
    #[error("build {0} of the workspace has not ended")]
    Building(u64),
    /// Another repair has not ended.
    #[error("repair {0} of the workspace has not ended")]
    Repairing(RepairId),
    /// No such workspace, or it is gone.
    #[error("workspace {0} does not exist")]
    Missing(WorkspaceId),
    /// The table failed.
    #[error("cannot write the repair")]
    Table(#[from] TableError),
}

/// How long a repair can be read: what it found is not true for long.
const KEPT: SignedDuration = SignedDuration::from_hours(7 * 24);

fn key(id: RepairId) -> Key {
    Key::new(format!("REPAIR#{id}"), "REPAIR")
}

fn kept(write: Write, repair: &Repair) -> Write {
    write.until((repair.created_at + KEPT).as_second())
}

impl Store {
    /// Queues a repair of a workspace. A read and a transaction.
    ///
    /// # Errors
    /// [`CreateRepairError::Building`] and [`CreateRepairError::Repairing`] while a build or another repair is active.
    pub async fn create_repair(&self, repair: &Repair) -> Result<(), CreateRepairError> {
        let id = repair.workspace;
        for attempt in 0..RACES_MAX {
            let row = self.table.get::<Workspace>(&workspace::key(id)).await?;
            let mut row = row.filter(|row| !row.value.deleted).ok_or(CreateRepairError::Missing(id))?;
            let latest = &row.value.latest_build;
            if latest.job.status.is_active() {
                return Err(CreateRepairError::Building(latest.number));
            }
            if let Some(active) = row.value.repair.filter(|repair| repair.active) {
                return Err(CreateRepairError::Repairing(active.id));
            }
            row.value.repair = Some(LatestRepair { id: repair.id, active: true });
            let home = Home::Repair { id: repair.id, workspace: id };
            let job = JobRecord::queued(JobId::Repair(repair.id), home, row.value.state.clone(), repair.created_at);
            let writes = vec![
                workspace::replace(row.version, &row.value)?,
                kept(Write::insert(key(repair.id), repair)?, repair),
                lease::insert(&job)?,
            ];
            if self.transacted(writes).await? {
                return Ok(());
            }
            pause(attempt).await;
        }
        Err(TableError::Contention(id.to_string()).into())
    }

    /// The repair with this id. One read.
    ///
    /// # Errors
    /// When the table fails.
    pub async fn repair(&self, id: RepairId) -> Result<Option<Repair>, TableError> {
        Ok(self.table.get(&key(id)).await?.map(|row| row.value))
    }

    /// The repair's row with its job as it is now. One read.
    pub(crate) async fn shown_repair(&self, id: RepairId, job: &JobRecord) -> Result<(Repair, Write), TableError> {
        let row: Row<Repair> = self.table.get(&key(id)).await?.ok_or_else(|| contention(job.id))?;
        let repair = Repair { job: job.job.clone(), ..row.value };
        let write = kept(Write::replace(key(id), row.version, &repair)?, &repair);
        Ok((repair, write))
    }

    /// The writes that end a repair: what it found, and the workspace free again. Two reads.
    pub(crate) async fn ended_repair(
        &self,
        (id, workspace): (RepairId, WorkspaceId),
        job: &JobRecord,
        found: Vec<Stray>,
    ) -> Result<Vec<Write>, TableError> {
        let row: Row<Repair> = self.table.get(&key(id)).await?.ok_or_else(|| contention(job.id))?;
        let repair = Repair { job: job.job.clone(), found, ..row.value };
        let mut writes = vec![kept(Write::replace(key(id), row.version, &repair)?, &repair)];
        let home = self.table.get::<Workspace>(&workspace::key(workspace)).await?;
        if let Some(mut home) = home.filter(|home| home.value.repair.is_some_and(|latest| latest.id == id)) {
            home.value.repair = Some(LatestRepair { id, active: false });
            writes.push(workspace::replace(home.version, &home.value)?);
        }
        Ok(writes)
    }
}
