//! Template versions: an archive, imported once by a job of the same id, immutable after.

use berth_domain::{
    ExternalAuth, FileId, JobStatus, Parameter, Preset, Secret, TemplateId, Timestamp, UserId, Username, Variable, VersionId,
};
use berth_wire::runner;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

use crate::{
    Home, Job, JobId, JobRecord, Resource, Store, TableError, Template, lease,
    table::{Bound, Key, RACES_MAX, Range, WriteError, pause},
    template,
    write::{Guard, Write},
};

/// A template version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Version {
    /// Identifier; also its import job's.
    pub id: VersionId,
    /// Its template; `None` until one is made of it.
    pub template: Option<TemplateId>,
    /// Its name, unique in its template.
    pub name: String,
    /// What changed.
    pub message: String,
    /// The archive.
    pub file: FileId,
    /// Who pushed it.
    pub created_by: UserId,
    /// Their name.
    pub created_by_name: Username,
    /// When it was pushed.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// The values of Terraform variables that were given with it.
    pub variables: BTreeMap<String, Secret>,
    /// Its import.
    pub job: Job,
    /// Whether it is put away: hidden from lists, and not for new workspaces.
    #[serde(default)]
    pub archived: bool,
    /// What its import found; empty until then.
    #[serde(flatten)]
    pub imported: Imported,
}

/// What the import of a version found and keeps.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Imported {
    /// README.md of the archive.
    pub readme: String,
    /// What it asks, in the order of a form.
    pub parameters: Vec<Parameter>,
    /// Answers that go together, in the order of the template's text.
    pub presets: Vec<Preset>,
    /// The Terraform variables it declares, in the order of the template's text.
    #[serde(rename = "declared_variables")]
    pub variables: Vec<Variable>,
    /// The tags that choose the runner of a build.
    pub tags: BTreeMap<String, String>,
    /// The accounts elsewhere that it wants linked.
    pub external_auth: Vec<ExternalAuth>,
    /// What a workspace is made of while it runs.
    #[serde(rename = "start_resources")]
    pub start: Vec<Resource>,
    /// What is left of one that is stopped.
    #[serde(rename = "stop_resources")]
    pub stop: Vec<Resource>,
    /// The dependency lock file that builds use; empty when no provider but ours is used.
    pub lock: String,
    /// SHA-256 of the tar of its modules, hexadecimal, see [`Store::put_modules`]; `None` when there are none to fetch.
    pub modules: Option<String>,
    /// Things its author should know.
    pub warnings: Vec<String>,
}

impl Imported {
    /// What version `id` keeps of a runner's report; its modules are kept already. No script and no environment is among it.
    pub(crate) fn remembered(id: VersionId, found: &runner::Imported, modules: Option<String>, now: Timestamp) -> Self {
        let remember = |resources: &[runner::Resource], first: usize| {
            let placed = (first..).zip(resources);
            placed.map(|(position, resource)| Resource::remembered(id.0, position, resource, now)).collect()
        };
        let found = found.clone();
        Self {
            start: remember(&found.start, 0),
            stop: remember(&found.stop, found.start.len()),
            readme: found.readme,
            parameters: found.parameters,
            presets: found.presets,
            variables: found.variables,
            tags: found.tags,
            external_auth: found.external_auth,
            lock: found.lock,
            modules,
            warnings: found.warnings,
        }
    }
}

/// Why a version was not made.
#[derive(Debug, thiserror::Error)]
pub enum CreateVersionError {
    /// Another version of the template has the name.
    #[error("the template already has a version named {0}")]
    NameTaken(String),
    /// The template is unknown or deleted.
    #[error("template {0} does not exist")]
    TemplateMissing(TemplateId),
    /// The table failed.
    #[error("cannot write the template version")]
    Table(#[from] TableError),
}

/// Why a version was not changed.
#[derive(Debug, thiserror::Error)]
pub enum UpdateVersionError {
    /// No such version.
    #[error("template version {0} does not exist")]
    Missing(VersionId),
    /// Another version of the template has the name.
    #[error("the template already has a version named {0}")]
    NameTaken(String),
    /// The table failed.
    #[error("cannot change the template version")]
    Table(#[from] TableError),
}

/// Why a version was not put away or brought back.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveVersionError {
    /// No such version, or it belongs to no template.
    #[error("template version {0} does not exist")]
    Missing(VersionId),
    /// New workspaces get it.
    #[error("version {0} is the template's active one")]
    Active(String),
    /// The table failed.
    #[error("cannot archive the template version")]
    Table(#[from] TableError),
}

pub(crate) fn key(id: VersionId) -> Key {
    Key::new(format!("VERSION#{id}"), "VERSION")
}

pub(crate) fn name_key(template: TemplateId, name: &str) -> Key {
    Key::new(format!("TEMPLATE#{template}"), format!("VERSION#{}", name.to_lowercase()))
}

/// The version's row with another value, listed under its template.
pub(crate) fn replace(at: u64, version: &Version) -> Result<Write, TableError> {
    Ok(listed(Write::replace(key(version.id), at, version)?, version))
}

fn listed(write: Write, version: &Version) -> Write {
    match version.template {
        Some(template) => {
            write.listed(format!("VERSIONS#{template}"), format!("{:015}#{}", version.created_at.as_millisecond(), version.id))
        }
        None => write,
    }
}

impl Store {
    /// Makes a version and queues its import. One transaction.
    ///
    /// # Errors
    /// When its template does not exist or has a version of that name.
    pub async fn create_version(&self, version: &Version) -> Result<(), CreateVersionError> {
        let job = JobRecord::queued(JobId::Import(version.id), Home::Version(version.id), None, version.job.created_at);
        let mut writes = vec![listed(Write::insert(key(version.id), version)?, version), lease::insert(&job)?];
        if let Some(template) = version.template {
            writes.push(Write::insert(name_key(template, &version.name), &version.id)?);
            writes.push(Write::check(template::key(template), Guard::Listed));
        }
        match (self.table.transact(writes).await, version.template) {
            (Ok(()), _) => Ok(()),
            (Err(WriteError::Refused { at: 3 }), Some(template)) => Err(CreateVersionError::TemplateMissing(template)),
            (Err(WriteError::Refused { .. }), _) => Err(CreateVersionError::NameTaken(version.name.clone())),
            (Err(WriteError::Table(error)), _) => Err(error.into()),
        }
    }

    /// The version with this id. One read.
    ///
    /// # Errors
    /// When the table fails.
    pub async fn version(&self, id: VersionId) -> Result<Option<Version>, TableError> {
        Ok(self.table.get(&key(id)).await?.map(|row| row.value))
    }

    /// The version of a template with this name. Two reads.
    ///
    /// # Errors
    /// When the table fails.
    pub async fn version_by_name(&self, template: TemplateId, name: &str) -> Result<Option<Version>, TableError> {
        self.pointed(&name_key(template, name), key).await
    }

    /// Gives a version another name or message; `None` leaves it. A read and a write; another name makes it a transaction.
    ///
    /// # Errors
    /// When there is none, or another version of the template has the name.
    pub async fn update_version(
        &self,
        id: VersionId,
        name: Option<&str>,
        message: Option<&str>,
        now: Timestamp,
    ) -> Result<Version, UpdateVersionError> {
        for attempt in 0..RACES_MAX {
            let row = self.table.get::<Version>(&key(id)).await?.ok_or(UpdateVersionError::Missing(id))?;
            let before = row.value;
            let next = Version {
                name: name.unwrap_or(&before.name).to_owned(),
                message: message.unwrap_or(&before.message).to_owned(),
                updated_at: now,
                ..before.clone()
            };
            let mut writes = vec![replace(row.version, &next)?];
            if let Some(template) = next.template {
                let (taken, freed) = (name_key(template, &next.name), name_key(template, &before.name));
                if taken != freed {
                    writes.extend([Write::insert(taken, &id)?, Write::delete(freed)]);
                }
            }
            match self.table.transact(writes).await {
                Ok(()) => return Ok(next),
                Err(WriteError::Refused { at: 1 }) => return Err(UpdateVersionError::NameTaken(next.name)),
                Err(WriteError::Refused { .. }) => pause(attempt).await,
                Err(WriteError::Table(error)) => return Err(error.into()),
            }
        }
        Err(TableError::Contention(id.to_string()).into())
    }

    /// Puts a version away, or brings it back. The active one cannot be put away: the transaction holds the template as it was read.
    /// Two reads and a transaction.
    ///
    /// # Errors
    /// When there is none, or it is the active one.
    pub async fn archive_version(&self, id: VersionId, archived: bool, now: Timestamp) -> Result<Version, ArchiveVersionError> {
        for attempt in 0..RACES_MAX {
            let row = self.table.get::<Version>(&key(id)).await?.ok_or(ArchiveVersionError::Missing(id))?;
            let version = row.value;
            if version.archived == archived {
                return Ok(version);
            }
            let template = template::key(version.template.ok_or(ArchiveVersionError::Missing(id))?);
            let of = self.table.get::<Template>(&template).await?.filter(|of| !of.value.deleted);
            let of = of.ok_or(ArchiveVersionError::Missing(id))?;
            if archived && of.value.active_version == id {
                return Err(ArchiveVersionError::Active(version.name));
            }
            let next = Version { archived, updated_at: now, ..version };
            let writes = vec![replace(row.version, &next)?, Write::check(template, Guard::Version(of.version))];
            if self.transacted(writes).await? {
                return Ok(next);
            }
            pause(attempt).await;
        }
        Err(TableError::Contention(id.to_string()).into())
    }

    /// Puts the versions of a template away that nothing uses: those whose import ended badly, and with `all` every one that is neither
    /// active nor what the newest build of some workspace uses. Says which. Two Queries, and per version what archiving it costs.
    ///
    /// # Errors
    /// When the table fails. What was put away until then is.
    pub async fn archive_unused(&self, template: TemplateId, all: bool, now: Timestamp) -> Result<Vec<VersionId>, TableError> {
        let used: BTreeSet<VersionId> =
            self.workspaces(None).await?.into_iter().map(|workspace| workspace.latest_build.version).collect();
        let is_over = |status| matches!(status, JobStatus::Failed | JobStatus::Canceled);
        let mut archived = Vec::new();
        for version in self.versions_of(template).await? {
            let status = version.job.status;
            if version.archived || used.contains(&version.id) || status.is_active() || !(all || is_over(status)) {
                continue;
            }
            match self.archive_version(version.id, true, now).await {
                Ok(_) => archived.push(version.id),
                Err(ArchiveVersionError::Active(_) | ArchiveVersionError::Missing(_)) => {}
                Err(ArchiveVersionError::Table(error)) => return Err(error),
            }
        }
        Ok(archived)
    }

    /// All versions of a template, archived ones too, oldest first. One Query.
    ///
    /// # Errors
    /// When the table fails.
    pub async fn versions_of(&self, template: TemplateId) -> Result<Vec<Version>, TableError> {
        let rows = self.table.query(Range::index(format!("VERSIONS#{template}"), Bound::All)).await?;
        Ok(rows.into_iter().map(|row| row.value).collect())
    }
}
