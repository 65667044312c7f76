//! Terraform states: every one that was ever taken is kept, and the newest one is pointed at.
//!
//! ```text
//! runner --push--> blob --transaction--> { the job's pointer, if its session holds the job; a row of the version }
//! person --put---> blob --transaction--> { the workspace's pointer and its ended build's, if no build is active; a row of the version }
//! ```
//!
//! The blob comes first: a version whose row is there can be read. A version's row is written in the transaction that moves the
//! pointer and never changes, so the list holds exactly what was once the newest, in order, by one Query and without the right to
//! list a bucket; what a runner without a lease left behind is a blob that nobody names.

use berth_domain::{BuildId, StateError, StateHead, Timestamp, UserId, Username, WorkspaceId, state::with_serial};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    BlobError, Home, JobId, JobRecord, RunnerSession, Store, TableError, Workspace,
    file::digest,
    lease::{self, contention},
    table::{Bound, Key, RACES_MAX, Range, Row, pause},
    workspace,
    write::Write,
};

/// Which Terraform state is the newest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatePointer {
    /// Grows by one with every new state of the workspace; Terraform's own serial is in the head.
    pub serial: u64,
    /// The blob that holds it.
    pub key: String,
    /// Length in bytes.
    pub size: u64,
    /// SHA-256, hexadecimal.
    pub sha256: String,
    /// What the state says of itself; `None` in rows of before it was kept here.
    #[serde(default)]
    pub head: Option<StateHead>,
}

/// A state that is or was a workspace's newest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateVersion {
    /// Where it is.
    #[serde(flatten)]
    pub pointer: StatePointer,
    /// The build that was the latest then.
    pub build: BuildId,
    /// That build's number.
    pub build_number: u64,
    /// When it was taken.
    pub created_at: Timestamp,
    /// Where it came from.
    pub origin: StateOrigin,
}

/// Where a state came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateOrigin {
    /// The build's runner pushed it.
    Build,
    /// A person pushed it.
    Pushed(StateAuthor),
    /// A person went back to an earlier one.
    Restored {
        /// Who.
        by: StateAuthor,
        /// The version whose content it has.
        from: u64,
    },
}

/// A person who gave a workspace a state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateAuthor {
    /// Identifier.
    pub id: UserId,
    /// Their name then.
    pub name: Username,
}

/// Why a runner's state was not taken.
#[derive(Debug, thiserror::Error)]
pub enum PushStateError {
    /// The session does not hold the job: it ended, or another claim is newer, or the secret is wrong.
    #[error("the session does not hold {0}")]
    Lost(JobId),
    /// No such job, or one that has no state.
    #[error("{0} does not exist")]
    Missing(JobId),
    /// It is no state, or one that does not follow the newest.
    #[error(transparent)]
    Refused(#[from] StateError),
    /// The table or the disk failed.
    #[error("cannot keep the state")]
    Table(#[from] TableError),
}

/// Why a person's state was not taken.
#[derive(Debug, thiserror::Error)]
pub enum PutStateError {
    /// No such workspace, or it is gone.
    #[error("workspace {0} does not exist")]
    Missing(WorkspaceId),
    /// It has no such version.
    #[error("the workspace has no state version {0}")]
    NoVersion(u64),
    /// The latest build has not ended: its runner writes states now.
    #[error("build {number} of the workspace has not ended")]
    Busy {
        /// The active build.
        build: BuildId,
        /// Its number.
        number: u64,
    },
    /// It is no state, or one that does not follow the newest.
    #[error(transparent)]
    Refused(#[from] StateError),
    /// The table or the disk failed.
    #[error("cannot keep the state")]
    Table(#[from] TableError),
}

/// The prefix of the sort keys of a workspace's state versions.
const STATE: &str = "STATE#";

fn key(workspace: WorkspaceId, serial: u64) -> Key {
    Key::new(workspace::partition(workspace), format!("{STATE}{serial:010}"))
}

/// Two pushes of one serial must not overwrite each other, so the key has the content's hash.
fn blob_key(workspace: WorkspaceId, build: BuildId, serial: u64, sha256: &str) -> String {
    format!("state/{workspace}/{build}/{serial:08}-{sha256}")
}

/// A state on its way in.
struct Arrival {
    bytes: Bytes,
    head: StateHead,
    sha256: String,
    /// The blob that holds it already.
    kept: Option<String>,
}

impl Arrival {
    async fn of(bytes: Bytes, head: StateHead) -> Result<Self, TableError> {
        let sha256 = digest(bytes.clone()).await?;
        Ok(Self { bytes, head, sha256, kept: None })
    }
}

impl Store {
    /// Keeps a new Terraform state of a build: first the blob, then the pointer to it if the session still holds the job. A read, a
    /// blob and a transaction; a repeat of the newest state costs the read only.
    ///
    /// # Errors
    /// [`PushStateError::Lost`] when the session does not hold the job, [`PushStateError::Refused`] for an older serial or another
    /// lineage: the newest state stays what it was.
    pub async fn push_state(&self, session: &RunnerSession, bytes: Bytes, now: Timestamp) -> Result<u64, PushStateError> {
        let JobId::Build(build) = session.job else { return Err(PushStateError::Missing(session.job)) };
        let mut arrival = None;
        for attempt in 0..RACES_MAX {
            let row = self.job_row(session.job).await?.ok_or(PushStateError::Missing(session.job))?;
            let mut next = row.value;
            let Home::Workspace { id: workspace, number } = next.home else { return Err(PushStateError::Missing(session.job)) };
            if !next.is_held_by(session) {
                return Err(PushStateError::Lost(session.job));
            }
            let arrival = match &mut arrival {
                Some(arrival) => arrival,
                none => none.insert(Arrival::of(bytes.clone(), StateHead::read(&bytes)?).await?),
            };
            if let Some(newest) = next.state.as_ref().filter(|newest| newest.sha256 == arrival.sha256) {
                return Ok(newest.serial);
            }
            if let Some(newest) = &next.state {
                arrival.head.follows(&self.head(newest).await?)?;
            }
            let pointer = self.keep(arrival, (workspace, build), next.state.as_ref()).await?;
            let version = StateVersion { pointer, build, build_number: number, created_at: now, origin: StateOrigin::Build };
            next.state = Some(version.pointer.clone());
            let writes =
                vec![lease::replace(row.version, &next)?, Write::insert(key(workspace, version.pointer.serial), &version)?];
            if self.transacted(writes).await? {
                return Ok(version.pointer.serial);
            }
            pause(attempt).await;
        }
        Err(contention(session.job).into())
    }

    /// Gives a workspace a state that a person has, which the next build works on. Three reads, a blob and a transaction.
    ///
    /// # Errors
    /// [`PutStateError::Busy`] while a build is active, [`PutStateError::Refused`] for an older serial or another lineage.
    pub async fn put_state(
        &self,
        workspace: WorkspaceId,
        bytes: Bytes,
        by: StateAuthor,
        now: Timestamp,
    ) -> Result<StateVersion, PutStateError> {
        let head = StateHead::read(&bytes)?;
        let mut arrival = Arrival::of(bytes, head).await?;
        for attempt in 0..RACES_MAX {
            let idle = self.idle(workspace).await?;
            if let Some(newest) = &idle.newest {
                arrival.head.follows(&self.head(newest).await?)?;
            }
            if let Some(version) = self.replaced(idle, &mut arrival, StateOrigin::Pushed(by.clone()), now).await? {
                return Ok(version);
            }
            pause(attempt).await;
        }
        Err(TableError::Contention(workspace.to_string()).into())
    }

    /// Makes the content of an earlier version the newest state again, under a serial above all others: nothing that was recorded
    /// since is lost, and no build goes backwards. Four reads, two blobs and a transaction.
    ///
    /// # Errors
    /// [`PutStateError::Busy`] while a build is active, [`PutStateError::NoVersion`] when there is no such version.
    pub async fn restore_state(
        &self,
        workspace: WorkspaceId,
        from: u64,
        by: StateAuthor,
        now: Timestamp,
    ) -> Result<StateVersion, PutStateError> {
        let content = self.state_version(workspace, from).await?.ok_or(PutStateError::NoVersion(from))?;
        for attempt in 0..RACES_MAX {
            let idle = self.idle(workspace).await?;
            let newest = match &idle.newest {
                Some(newest) => self.head(newest).await?.serial,
                None => 0,
            };
            let bytes = Bytes::from(with_serial(&content, newest + 1)?);
            let head = StateHead::read(&bytes)?;
            let mut arrival = Arrival::of(bytes, head).await?;
            let origin = StateOrigin::Restored { by: by.clone(), from };
            if let Some(version) = self.replaced(idle, &mut arrival, origin, now).await? {
                return Ok(version);
            }
            pause(attempt).await;
        }
        Err(TableError::Contention(workspace.to_string()).into())
    }

    /// The versions of a workspace's state, oldest first. One Query; one more read for a workspace whose newest state was kept before
    /// versions had rows.
    ///
    /// # Errors
    /// When the table fails.
    pub async fn state_versions(&self, workspace: WorkspaceId) -> Result<Vec<StateVersion>, TableError> {
        let range = Range::of(workspace::partition(workspace), Bound::Prefix(STATE.to_owned()));
        let versions: Vec<_> = self.table.query(range).await?.into_iter().map(|row: Row<StateVersion>| row.value).collect();
        if versions.is_empty() { Ok(self.only_version(workspace).await?.into_iter().collect()) } else { Ok(versions) }
    }

    /// The state of a workspace that has this number. A read and a blob.
    ///
    /// # Errors
    /// When the blob is missing or damaged, or the table fails.
    pub async fn state_version(&self, workspace: WorkspaceId, serial: u64) -> Result<Option<Bytes>, TableError> {
        let version = match self.table.get::<StateVersion>(&key(workspace, serial)).await? {
            Some(row) => Some(row.value),
            None => self.only_version(workspace).await?.filter(|version| version.pointer.serial == serial),
        };
        self.state_at(version.map(|version| version.pointer).as_ref()).await
    }

    /// The newest Terraform state as a build's job sees it. A blob.
    ///
    /// # Errors
    /// When the blob is missing or damaged, or the disk fails.
    pub async fn job_state(&self, job: &JobRecord) -> Result<Option<Bytes>, TableError> {
        self.state_at(job.state.as_ref()).await
    }

    /// The newest Terraform state of a workspace, also one that a running build pushed. Two reads and a blob.
    ///
    /// # Errors
    /// When the table or the disk fails.
    pub async fn state(&self, id: WorkspaceId) -> Result<Option<Bytes>, TableError> {
        let Some(workspace) = self.workspace(id).await? else { return Ok(None) };
        let job = self.job(JobId::Build(workspace.latest_build.id)).await?;
        self.state_at(job.and_then(|job| job.state).or(workspace.state).as_ref()).await
    }

    /// The Terraform state that a pointer names; `None` without a pointer. A blob.
    ///
    /// # Errors
    /// When the blob is missing or damaged, or the disk fails.
    pub async fn state_at(&self, pointer: Option<&StatePointer>) -> Result<Option<Bytes>, TableError> {
        let Some(pointer) = pointer else { return Ok(None) };
        let bytes = self.blobs.get(&pointer.key).await?.ok_or_else(|| BlobError::Missing(pointer.key.clone()))?;
        if digest(bytes.clone()).await? != pointer.sha256 {
            return Err(BlobError::Damaged(pointer.key.clone()).into());
        }
        Ok(Some(bytes))
    }

    /// What the newest state says of itself. No read, but for a pointer of before that was kept.
    async fn head(&self, newest: &StatePointer) -> Result<StateHead, TableError> {
        if let Some(head) = &newest.head {
            return Ok(head.clone());
        }
        let damaged = || BlobError::Damaged(newest.key.clone());
        let bytes = self.state_at(Some(newest)).await?.ok_or_else(damaged)?;
        StateHead::read(&bytes).map_err(|_| damaged().into())
    }

    /// Writes the blob of a state that comes after `newest`, unless the try before this one did.
    async fn keep(
        &self,
        arrival: &mut Arrival,
        (workspace, build): (WorkspaceId, BuildId),
        newest: Option<&StatePointer>,
    ) -> Result<StatePointer, TableError> {
        let serial = newest.map_or(1, |newest| newest.serial + 1);
        let key = blob_key(workspace, build, serial, &arrival.sha256);
        if arrival.kept.as_ref() != Some(&key) {
            self.blobs.put(&key, arrival.bytes.clone()).await?;
            arrival.kept = Some(key.clone());
        }
        let (size, sha256) = (arrival.bytes.len() as u64, arrival.sha256.clone());
        Ok(StatePointer { serial, key, size, sha256, head: Some(arrival.head.clone()) })
    }

    /// A workspace that is there and whose latest build has ended.
    async fn idle(&self, id: WorkspaceId) -> Result<Idle, PutStateError> {
        let row = self.table.get::<Workspace>(&workspace::key(id)).await?;
        let workspace = row.filter(|row| !row.value.deleted).ok_or(PutStateError::Missing(id))?;
        let latest = &workspace.value.latest_build;
        let (build, number) = (latest.id, latest.number);
        if latest.job.status.is_active() {
            return Err(PutStateError::Busy { build, number });
        }
        let job = self.job_row(JobId::Build(build)).await?.ok_or_else(|| contention(JobId::Build(build)))?;
        let newest = workspace.value.state.clone();
        Ok(Idle { workspace, job, newest })
    }

    /// Makes an arrived state the newest of an idle workspace; `None` when something changed meanwhile.
    async fn replaced(
        &self,
        idle: Idle,
        arrival: &mut Arrival,
        origin: StateOrigin,
        now: Timestamp,
    ) -> Result<Option<StateVersion>, TableError> {
        let Idle { mut workspace, mut job, newest } = idle;
        let (id, build) = (workspace.value.id, &workspace.value.latest_build);
        let (build, build_number) = (build.id, build.number);
        let pointer = self.keep(arrival, (id, build), newest.as_ref()).await?;
        let version = StateVersion { pointer, build, build_number, created_at: now, origin };
        workspace.value.state = Some(version.pointer.clone());
        // The ended build is what Coder's routes read a workspace's state by.
        job.value.state = Some(version.pointer.clone());
        let writes = vec![
            workspace::replace(workspace.version, &workspace.value)?,
            lease::replace(job.version, &job.value)?,
            Write::insert(key(id, version.pointer.serial), &version)?,
        ];
        Ok(self.transacted(writes).await?.then_some(version))
    }

    /// The newest version of a workspace whose versions have no rows yet: states were kept before their versions were.
    async fn only_version(&self, id: WorkspaceId) -> Result<Option<StateVersion>, TableError> {
        let Some(workspace) = self.workspace(id).await? else { return Ok(None) };
        let build = workspace.latest_build;
        Ok(workspace.state.filter(|pointer| pointer.head.is_none()).map(|pointer| StateVersion {
            pointer,
            build: build.id,
            build_number: build.number,
            created_at: build.job.completed_at.unwrap_or(build.updated_at),
            origin: StateOrigin::Build,
        }))
    }
}

/// A workspace between two builds.
struct Idle {
    workspace: Row<Workspace>,
    job: Row<JobRecord>,
    newest: Option<StatePointer>,
}
