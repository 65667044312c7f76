//! Files, templates, versions and their import logs.

use crate::{
    Client, Follow, Result, follow,
    http::{TRANSFER, segment},
    upload::CHUNK_BYTES,
};
use berth_wire::{
    build::{Job, JobLog},
    domain::limit::ARCHIVE_BYTES_MAX,
    resource::Resource,
    template::{
        ActivateVersion, ArchiveVersions, ArchivedVersions, CreateDryRun, CreateTemplate, CreateVersion, ExternalAuth, Preset,
        RichParameter, Template, UpdateTemplate, UpdateVersion, UploadedFile, Variable, Version,
    },
};
use bytes::Bytes;
use futures_util::StreamExt;
use reqwest::{Body, Method, header::CONTENT_TYPE};
use tokio::io::{AsyncRead, AsyncSeek};
use tokio_util::io::ReaderStream;
use uuid::Uuid;

/// The name by which every deployment's one organization can be addressed.
const ORGANIZATION: &str = "default";

impl Client {
    /// Uploads a tar of `length` bytes; `sent` hears the number of bytes handed to the network so far. The archive is never whole in memory.
    ///
    /// # Errors
    /// Any [`crate::ClientError`]; 413 when it is too large.
    pub async fn upload_file<R, P>(&self, archive: R, length: u64, sent: P) -> Result<UploadedFile>
    where
        R: AsyncRead + AsyncSeek + Unpin + Send + 'static,
        P: Fn(u64) + Send + Sync + 'static,
    {
        let body = |archive| {
            let mut total = 0;
            Body::wrap_stream(ReaderStream::with_capacity(archive, CHUNK_BYTES).inspect(move |chunk| {
                if let Ok(chunk) = chunk {
                    total += chunk.len() as u64;
                    sent(total);
                }
            }))
        };
        let request = self.request(Method::POST, &["files"]).timeout(TRANSFER).header(CONTENT_TYPE, "application/x-tar");
        self.json(self.with_file(request, archive, length, body).await?).await
    }

    /// Downloads an uploaded archive.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn download_file(&self, id: Uuid) -> Result<Bytes> {
        let response = self.send(self.request(Method::GET, &["files", &segment(id)]).timeout(TRANSFER)).await?;
        self.read(response, ARCHIVE_BYTES_MAX).await
    }

    /// Makes a template version of an uploaded archive and starts its import job.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn create_version(&self, version: &CreateVersion) -> Result<Version> {
        self.post(&["organizations", ORGANIZATION, "templateversions"], version).await
    }

    /// A version with its import job.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn version(&self, id: Uuid) -> Result<Version> {
        self.get(&["templateversions", &segment(id)]).await
    }

    /// Asks a version's import to end.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn cancel_version(&self, id: Uuid) -> Result<()> {
        self.done(self.request(Method::PATCH, &["templateversions", &segment(id), "cancel"])).await
    }

    /// The lines of an import's log after line `after`.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn version_logs(&self, id: Uuid, after: u64) -> Result<Vec<JobLog>> {
        let request = self.request(Method::GET, &["templateversions", &segment(id), "logs"]);
        self.json(request.query(&[("after", after)])).await
    }

    /// The same, and what comes, until the import ends.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn version_logs_follow(&self, id: Uuid, after: u64) -> Result<Follow<JobLog>> {
        let mut url = self.url(&["templateversions", &segment(id), "logs"]);
        url.query_pairs_mut().append_pair("follow", "true").append_pair("after", &after.to_string());
        self.follow(url, follow::one).await
    }

    /// What a version asks of those who make a workspace of it.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn version_parameters(&self, id: Uuid) -> Result<Vec<RichParameter>> {
        self.get(&["templateversions", &segment(id), "rich-parameters"]).await
    }

    /// Plans a workspace of a version without making it. Follow its log, then ask for its resources.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn create_dry_run(&self, version: Uuid, wish: &CreateDryRun) -> Result<Job> {
        self.post(&["templateversions", &segment(version), "dry-run"], wish).await
    }

    /// A dry run's job.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn dry_run(&self, version: Uuid, id: Uuid) -> Result<Job> {
        self.get(&["templateversions", &segment(version), "dry-run", &segment(id)]).await
    }

    /// What an ended dry run would have made.
    ///
    /// # Errors
    /// Any [`crate::ClientError`]; 400 until it has ended.
    pub async fn dry_run_resources(&self, version: Uuid, id: Uuid) -> Result<Vec<Resource>> {
        self.get(&["templateversions", &segment(version), "dry-run", &segment(id), "resources"]).await
    }

    /// The lines of a dry run's log after line `after`.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn dry_run_logs(&self, version: Uuid, id: Uuid, after: u64) -> Result<Vec<JobLog>> {
        let request = self.request(Method::GET, &["templateversions", &segment(version), "dry-run", &segment(id), "logs"]);
        self.json(request.query(&[("after", after)])).await
    }

    /// The same, and what comes, until the dry run ends.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn dry_run_logs_follow(&self, version: Uuid, id: Uuid, after: u64) -> Result<Follow<JobLog>> {
        let mut url = self.url(&["templateversions", &segment(version), "dry-run", &segment(id), "logs"]);
        url.query_pairs_mut().append_pair("follow", "true").append_pair("after", &after.to_string());
        self.follow(url, follow::one).await
    }

    /// Asks a dry run to end.
    ///
    /// # Errors
    /// Any [`crate::ClientError`]; 409 when it has ended.
    pub async fn cancel_dry_run(&self, version: Uuid, id: Uuid) -> Result<()> {
        self.done(self.request(Method::PATCH, &["templateversions", &segment(version), "dry-run", &segment(id), "cancel"])).await
    }

    /// Gives a version another name or message.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn update_version(&self, id: Uuid, update: &UpdateVersion) -> Result<Version> {
        self.json(self.request(Method::PATCH, &["templateversions", &segment(id)]).json(update)).await
    }

    /// Puts a version away, or brings it back.
    ///
    /// # Errors
    /// Any [`crate::ClientError`]; 409 when it is the active one.
    pub async fn archive_version(&self, id: Uuid, archived: bool) -> Result<Version> {
        let verb = if archived { "archive" } else { "unarchive" };
        self.json(self.request(Method::POST, &["templateversions", &segment(id), verb])).await
    }

    /// Puts the versions of a template away that nothing uses: those whose import ended badly, or all.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn archive_unused_versions(&self, template: Uuid, all: bool) -> Result<ArchivedVersions> {
        self.post(&["templates", &segment(template), "versions", "archive"], &ArchiveVersions { all }).await
    }

    /// A version's Terraform variables. For those who manage templates.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn version_variables(&self, id: Uuid) -> Result<Vec<Variable>> {
        self.get(&["templateversions", &segment(id), "variables"]).await
    }

    /// What a version's workspaces are made of, running and stopped.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn version_resources(&self, id: Uuid) -> Result<Vec<Resource>> {
        self.get(&["templateversions", &segment(id), "resources"]).await
    }

    /// The accounts elsewhere that a version wants linked.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn version_external_auth(&self, id: Uuid) -> Result<Vec<ExternalAuth>> {
        self.get(&["templateversions", &segment(id), "external-auth"]).await
    }

    /// A version of a template by name.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn version_by_name(&self, template: Uuid, name: &str) -> Result<Version> {
        self.get(&["templates", &segment(template), "versions", name]).await
    }

    /// Answers that go together, by the version's author.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn version_presets(&self, id: Uuid) -> Result<Vec<Preset>> {
        self.get(&["templateversions", &segment(id), "presets"]).await
    }

    /// Makes a template of an imported version.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn create_template(&self, template: &CreateTemplate) -> Result<Template> {
        self.post(&["organizations", ORGANIZATION, "templates"], template).await
    }

    /// All templates.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn templates(&self) -> Result<Vec<Template>> {
        self.get(&["organizations", ORGANIZATION, "templates"]).await
    }

    /// A template.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn template(&self, id: Uuid) -> Result<Template> {
        self.get(&["templates", &segment(id)]).await
    }

    /// Changes a template's name, texts and settings.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn update_template(&self, id: Uuid, update: &UpdateTemplate) -> Result<Template> {
        self.json(self.request(Method::PATCH, &["templates", &segment(id)]).json(update)).await
    }

    /// A template by name.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn template_by_name(&self, name: &str) -> Result<Template> {
        self.get(&["organizations", ORGANIZATION, "templates", name]).await
    }

    /// Makes a version the one that new workspaces get.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn activate_version(&self, template: Uuid, version: Uuid) -> Result<()> {
        let request = self.request(Method::PATCH, &["templates", &segment(template), "versions"]);
        self.done(request.json(&ActivateVersion { id: version })).await
    }

    /// The versions of a template, oldest first; with `archived` those too that are put away.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn template_versions(&self, template: Uuid, archived: bool) -> Result<Vec<Version>> {
        let request = self.request(Method::GET, &["templates", &segment(template), "versions"]);
        self.json(request.query(&[("include_archived", archived)])).await
    }

    /// Deletes a template that no workspace uses.
    ///
    /// # Errors
    /// Any [`crate::ClientError`].
    pub async fn delete_template(&self, id: Uuid) -> Result<()> {
        self.done(self.request(Method::DELETE, &["templates", &segment(id)])).await
    }
}
