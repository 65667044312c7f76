//! Templates: a name with a row of immutable versions, one of them active.

use berth_domain::{JobStatus, SettingsError, TemplateId, TemplateName, TemplateSettings, Timestamp, UserId, Username, VersionId};
use berth_wire::template::UpdateTemplate;
use serde::{Deserialize, Serialize};

use crate::{
    Store, TableError, Version,
    table::{Bound, Key, RACES_MAX, Range, WriteError, pause},
    version,
    write::{Guard, Write},
};

/// A template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Template {
    /// Identifier.
    pub id: TemplateId,
    /// Name, unique without regard to case.
    pub name: TemplateName,
    /// For people.
    pub display_name: String,
    /// One line.
    pub description: String,
    /// A picture.
    pub icon: String,
    /// The version that new workspaces get.
    pub active_version: VersionId,
    /// The one that they got before it, to go back to.
    #[serde(default)]
    pub previous_version: Option<VersionId>,
    /// Who made it.
    pub created_by: UserId,
    /// Their name.
    pub created_by_name: Username,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Whether it is gone.
    pub deleted: bool,
    /// What holds for its workspaces.
    #[serde(default)]
    pub settings: TemplateSettings,
}

/// Why a template was not made.
#[derive(Debug, thiserror::Error)]
pub enum CreateTemplateError {
    /// Another template has the name.
    #[error("a template named {0} already exists")]
    NameTaken(TemplateName),
    /// The version is unknown.
    #[error("template version {0} does not exist")]
    VersionMissing(VersionId),
    /// The version's import has not succeeded.
    #[error("template version {version} is not ready: its import is {status}")]
    VersionNotReady {
        /// The version.
        version: VersionId,
        /// Where its import stands.
        status: JobStatus,
    },
    /// The version belongs to another template.
    #[error("template version {version} belongs to template {template}")]
    VersionOfOther {
        /// The version.
        version: VersionId,
        /// Its template.
        template: TemplateId,
    },
    /// The table failed.
    #[error("cannot write the template")]
    Table(#[from] TableError),
}

/// Why a version was not made active.
#[derive(Debug, thiserror::Error)]
pub enum ActivateError {
    /// No such template.
    #[error("template {0} does not exist")]
    Missing(TemplateId),
    /// No such version in this template.
    #[error("the template has no version {0}")]
    VersionMissing(VersionId),
    /// The version's import has not succeeded.
    #[error("template version {version} is not ready: its import is {status}")]
    VersionNotReady {
        /// The version.
        version: VersionId,
        /// Where its import stands.
        status: JobStatus,
    },
    /// The version is put away.
    #[error("version {0} is archived")]
    Archived(String),
    /// The table failed.
    #[error("cannot activate the version")]
    Table(#[from] TableError),
}

/// Why a template was not changed.
#[derive(Debug, thiserror::Error)]
pub enum UpdateTemplateError {
    /// No such template.
    #[error("template {0} does not exist")]
    Missing(TemplateId),
    /// Another template has the name.
    #[error("a template named {0} already exists")]
    NameTaken(TemplateName),
    /// The settings as they would be then will not do.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The table failed.
    #[error("cannot change the template")]
    Table(#[from] TableError),
}

/// Why a template was not deleted.
#[derive(Debug, thiserror::Error)]
pub enum DeleteTemplateError {
    /// No such template.
    #[error("template {0} does not exist")]
    Missing(TemplateId),
    /// Workspaces of it exist.
    #[error("the template is used by {count} workspaces")]
    InUse {
        /// How many.
        count: u64,
    },
    /// The table failed.
    #[error("cannot delete the template")]
    Table(#[from] TableError),
}

pub(crate) fn key(id: TemplateId) -> Key {
    Key::new(format!("TEMPLATE#{id}"), "TEMPLATE")
}

fn name_key(name: &TemplateName) -> Key {
    Key::new(format!("TEMPLATE_NAME#{}", name.key()), "NAME")
}

fn changed(
    template: Template,
    name: Option<&TemplateName>,
    change: &UpdateTemplate,
    now: Timestamp,
) -> Result<Template, SettingsError> {
    let settings = change.settings(&template.settings);
    settings.check()?;
    Ok(Template {
        name: name.cloned().unwrap_or(template.name),
        display_name: change.display_name.clone().unwrap_or(template.display_name),
        description: change.description.clone().unwrap_or(template.description),
        icon: change.icon.clone().unwrap_or(template.icon),
        updated_at: now,
        settings,
        ..template
    })
}

impl Store {
    /// Makes a template of an imported version, which becomes its active one and belongs to it from here on. A read and a transaction.
    ///
    /// # Errors
    /// When the name is taken or the version is not an imported one without a template.
    pub async fn create_template(&self, template: &Template) -> Result<(), CreateTemplateError> {
        let id = template.active_version;
        for attempt in 0..RACES_MAX {
            let row = self.table.get::<Version>(&version::key(id)).await?.ok_or(CreateTemplateError::VersionMissing(id))?;
            let mut version = row.value;
            if let Some(template) = version.template {
                return Err(CreateTemplateError::VersionOfOther { version: id, template });
            }
            if version.job.status != JobStatus::Succeeded {
                return Err(CreateTemplateError::VersionNotReady { version: id, status: version.job.status });
            }
            version.template = Some(template.id);
            version.updated_at = template.created_at;
            let writes = vec![
                Write::insert(name_key(&template.name), &template.id)?,
                Write::insert(key(template.id), template)?.listed("TEMPLATES", template.name.key()),
                version::replace(row.version, &version)?,
                Write::insert(version::name_key(template.id, &version.name), &version.id)?,
            ];
            match self.table.transact(writes).await {
                Ok(()) => return Ok(()),
                Err(WriteError::Refused { at: 0 }) => return Err(CreateTemplateError::NameTaken(template.name.clone())),
                Err(WriteError::Refused { .. }) => pause(attempt).await,
                Err(WriteError::Table(error)) => return Err(error.into()),
            }
        }
        Err(TableError::Contention(id.to_string()).into())
    }

    /// The template with this id, also a deleted one. One read.
    ///
    /// # Errors
    /// When the table fails.
    pub async fn template(&self, id: TemplateId) -> Result<Option<Template>, TableError> {
        Ok(self.table.get(&key(id)).await?.map(|row| row.value))
    }

    /// The template with this name. Two reads.
    ///
    /// # Errors
    /// When the table fails.
    pub async fn template_by_name(&self, name: &TemplateName) -> Result<Option<Template>, TableError> {
        self.pointed(&name_key(name), key).await
    }

    /// All templates, by name. One Query.
    ///
    /// # Errors
    /// When the table fails.
    pub async fn templates(&self) -> Result<Vec<Template>, TableError> {
        let rows = self.table.query(Range::index("TEMPLATES", Bound::All)).await?;
        Ok(rows.into_iter().map(|row| row.value).collect())
    }

    /// Makes an imported version of the template the one that new workspaces get. Two reads and a transaction, which holds the version
    /// as it was read: it must not be archived at the same time.
    ///
    /// # Errors
    /// When there is no such template or version, its import has not succeeded, or it is archived.
    pub async fn activate_version(&self, id: TemplateId, version: VersionId, now: Timestamp) -> Result<Template, ActivateError> {
        for attempt in 0..RACES_MAX {
            let found = self.table.get::<Version>(&version::key(version)).await?.filter(|row| row.value.template == Some(id));
            let found = found.ok_or(ActivateError::VersionMissing(version))?;
            match found.value.job.status {
                JobStatus::Succeeded if found.value.archived => return Err(ActivateError::Archived(found.value.name)),
                JobStatus::Succeeded => {}
                status => return Err(ActivateError::VersionNotReady { version, status }),
            }
            let row = self.table.get::<Template>(&key(id)).await?.filter(|row| !row.value.deleted);
            let row = row.ok_or(ActivateError::Missing(id))?;
            if row.value.active_version == version {
                return Ok(row.value);
            }
            let previous_version = Some(row.value.active_version);
            let template = Template { active_version: version, previous_version, updated_at: now, ..row.value };
            let write = Write::replace(row.key, row.version, &template)?.listed("TEMPLATES", template.name.key());
            if self.transacted(vec![write, Write::check(version::key(version), Guard::Version(found.version))]).await? {
                return Ok(template);
            }
            pause(attempt).await;
        }
        Err(TableError::Contention(id.to_string()).into())
    }

    /// Changes a template: what is `None` in `change` stays, and `name` stands for the one in it. A read and a write; another name
    /// makes it a transaction, after which the old one is free.
    ///
    /// # Errors
    /// When there is none, the name is another's, or the settings will not do.
    pub async fn update_template(
        &self,
        id: TemplateId,
        name: Option<&TemplateName>,
        change: &UpdateTemplate,
        now: Timestamp,
    ) -> Result<Template, UpdateTemplateError> {
        for attempt in 0..RACES_MAX {
            let row = self.table.get::<Template>(&key(id)).await?.filter(|row| !row.value.deleted);
            let row = row.ok_or(UpdateTemplateError::Missing(id))?;
            let next = changed(row.value.clone(), name, change, now)?;
            let write = Write::replace(row.key, row.version, &next)?.listed("TEMPLATES", next.name.key());
            let written = if next.name.key() == row.value.name.key() {
                self.table.write(write).await
            } else {
                let (taken, freed) = (Write::insert(name_key(&next.name), &id)?, Write::delete(name_key(&row.value.name)));
                self.table.transact(vec![write, taken, freed]).await
            };
            match written {
                Ok(()) => return Ok(next),
                Err(WriteError::Refused { at: 1 }) => return Err(UpdateTemplateError::NameTaken(next.name)),
                Err(WriteError::Refused { .. }) => pause(attempt).await,
                Err(WriteError::Table(error)) => return Err(error.into()),
            }
        }
        Err(TableError::Contention(id.to_string()).into())
    }

    /// Deletes a template that no workspace uses; its name is free then. A read and a transaction.
    ///
    /// # Errors
    /// When there is none or workspaces use it.
    pub async fn delete_template(&self, id: TemplateId, now: Timestamp) -> Result<(), DeleteTemplateError> {
        for attempt in 0..RACES_MAX {
            let row = self.table.get::<Template>(&key(id)).await?.filter(|row| !row.value.deleted);
            let row = row.ok_or(DeleteTemplateError::Missing(id))?;
            if row.uses > 0 {
                return Err(DeleteTemplateError::InUse { count: row.uses });
            }
            let template = Template { deleted: true, updated_at: now, ..row.value };
            let deleted = Write::replace(row.key, row.version, &template)?.only_if(Guard::Unused(row.version));
            match self.table.transact(vec![deleted, Write::delete(name_key(&template.name))]).await {
                Ok(()) => return Ok(()),
                Err(WriteError::Refused { .. }) => pause(attempt).await,
                Err(WriteError::Table(error)) => return Err(error.into()),
            }
        }
        Err(TableError::Contention(id.to_string()).into())
    }
}
