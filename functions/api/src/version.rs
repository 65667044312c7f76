//! Template versions and their imports.

use crate::{
    Api, Shared,
    body::{Asked, Json, Segment},
    buildinfo::check_organization,
    error::{Answer, ApiError},
    markdown,
    session::{Authenticated, SignedIn},
    template, view,
};
use axum::extract::State;
use berth_domain::{FileId, Parameter, Secret, TemplateId, Timestamp, Transition, VersionId, limit::MESSAGE_BYTES_MAX};
use berth_store::{Imported, Job, JobId, Template, Version, Workspace};
use berth_wire::{
    deployment::Message,
    template::{
        ArchiveVersions, ArchivedVersions, CreateVersion, ExternalAuth, Preset, RichParameter, UpdateVersion, VariableValue,
    },
};
use http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;

/// The longest version name, in bytes.
const NAME_BYTES_MAX: usize = 64;
/// The most Terraform variables of one version.
const VARIABLES_MAX: usize = 256;

/// Queues the import of an uploaded archive.
pub(crate) async fn create(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Segment(organization): Segment<String>,
    Json(body): Json<CreateVersion>,
) -> Answer<(StatusCode, Json<berth_wire::template::Version>)> {
    check_organization(&organization)?;
    caller.actor.may_manage_templates()?;
    let file = FileId(body.file_id);
    if api.store().file(file).await?.is_none() {
        return Err(ApiError::field("file_id", "names no uploaded file"));
    }
    let mut version = draft(&api, &caller, body)?;
    keep_variables(&api, &mut version).await?;
    api.store().create_version(&version).await?;
    api.announce(JobId::Import(version.id)).await; // If it is lost, the sweep announces again.
    Ok((StatusCode::CREATED, Json(view::version(version))))
}

fn draft(api: &Api, caller: &SignedIn, body: CreateVersion) -> Answer<Version> {
    if !matches!(body.provisioner.as_str(), "" | "terraform") {
        return Err(ApiError::field("provisioner", "must be terraform"));
    }
    if !matches!(body.storage_method.as_str(), "" | "file") {
        return Err(ApiError::field("storage_method", "must be file"));
    }
    check_message(&body.message)?;
    let now = api.now();
    Ok(Version {
        id: VersionId::new(now, rand::random()),
        template: body.template_id.map(TemplateId),
        name: if body.name.is_empty() { made_name(now, rand::random()) } else { check_name(body.name)? },
        message: body.message,
        file: FileId(body.file_id),
        created_by: caller.user.id,
        created_by_name: caller.user.username.clone(),
        created_at: now,
        updated_at: now,
        variables: given_variables(body.user_variable_values)?,
        job: Job::queued(now),
        imported: Imported::default(),
        archived: false,
    })
}

/// A new version of a template has the values that its active version was pushed with, as far as that one declares them: whoever pushes
/// a small change need not know a password. What is given with it wins.
async fn keep_variables(api: &Api, version: &mut Version) -> Answer<()> {
    let Some(template) = version.template else { return Ok(()) };
    let Some(template) = api.store().template(template).await? else { return Ok(()) };
    let Some(before) = api.store().version(template.active_version).await? else { return Ok(()) };
    let declared = |name: &String| before.imported.variables.iter().any(|variable| variable.name == *name);
    for (name, value) in before.variables.clone().into_iter().filter(|(name, _)| declared(name)) {
        version.variables.entry(name).or_insert(value);
    }
    Ok(())
}

fn check_message(message: &str) -> Answer<()> {
    if message.len() > MESSAGE_BYTES_MAX {
        return Err(ApiError::field("message", format!("is longer than {MESSAGE_BYTES_MAX} bytes")));
    }
    Ok(())
}

/// A name that people can read and that nobody has: `2026-08-01-1f3c`.
fn made_name(now: Timestamp, random: u16) -> String {
    format!("{}-{random:04x}", now.strftime("%Y-%m-%d"))
}

fn check_name(name: String) -> Answer<String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.+".contains(&byte);
    let well_formed = name.len() <= NAME_BYTES_MAX
        && name.bytes().all(allowed)
        && name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let why =
        format!("must begin with a letter or digit, hold only letters, digits and -_.+, and be {NAME_BYTES_MAX} bytes or shorter");
    if well_formed { Ok(name) } else { Err(ApiError::field("name", why)) }
}

pub(crate) fn given_variables(values: Vec<VariableValue>) -> Answer<BTreeMap<String, Secret>> {
    if values.len() > VARIABLES_MAX {
        return Err(ApiError::field("user_variable_values", format!("has more than {VARIABLES_MAX} variables")));
    }
    let mut variables = BTreeMap::new();
    for value in values {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if value.name.is_empty() || !value.name.bytes().all(allowed) {
            return Err(ApiError::field("user_variable_values", format!("{:?} is not a variable's name", value.name)));
        }
        if let Some(_earlier) = variables.insert(value.name.clone(), Secret::new(value.value)) {
            return Err(ApiError::field("user_variable_values", format!("{:?} is given twice", value.name)));
        }
    }
    Ok(variables)
}

/// A version that the caller may read: one of a template is everybody's, one of none is its managers'.
pub(crate) async fn readable(api: &Api, caller: &SignedIn, id: VersionId) -> Answer<Version> {
    let may_read = |version: &Version| version.template.is_some() || caller.actor.may_manage_templates().is_ok();
    api.store().version(id).await?.filter(may_read).ok_or_else(|| ApiError::missing("template version"))
}

/// Shows a version and its import.
pub(crate) async fn show(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Segment(id): Segment<VersionId>,
) -> Answer<Json<berth_wire::template::Version>> {
    Ok(Json(view::version(readable(&api, &caller, id).await?)))
}

/// Asks the import of a version to end.
pub(crate) async fn cancel(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Segment(id): Segment<VersionId>,
) -> Answer<Json<Message>> {
    caller.actor.may_manage_templates()?;
    api.store().cancel(JobId::Import(id), api.now()).await?;
    api.poke_job(JobId::Import(id));
    Ok(Json("the import will be canceled".into()))
}

/// Gives a version another name or message. What it holds never changes.
pub(crate) async fn update(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Segment(id): Segment<VersionId>,
    Json(body): Json<UpdateVersion>,
) -> Answer<Json<berth_wire::template::Version>> {
    caller.actor.may_manage_templates()?;
    let name = body.name.map(check_name).transpose()?;
    body.message.as_deref().map_or(Ok(()), check_message)?;
    let version = api.store().update_version(id, name.as_deref(), body.message.as_deref(), api.now()).await?;
    Ok(Json(view::version(version)))
}

/// Puts a version away: no new workspace is made of it.
pub(crate) async fn archive(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Segment(id): Segment<VersionId>,
) -> Answer<Json<berth_wire::template::Version>> {
    caller.actor.may_manage_templates()?;
    Ok(Json(view::version(api.store().archive_version(id, true, api.now()).await?)))
}

/// Takes a version back that was put away.
pub(crate) async fn unarchive(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Segment(id): Segment<VersionId>,
) -> Answer<Json<berth_wire::template::Version>> {
    caller.actor.may_manage_templates()?;
    Ok(Json(view::version(api.store().archive_version(id, false, api.now()).await?)))
}

/// Puts away the versions of a template that nothing uses.
pub(crate) async fn archive_unused(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Segment(id): Segment<TemplateId>,
    Json(body): Json<ArchiveVersions>,
) -> Answer<Json<ArchivedVersions>> {
    caller.actor.may_manage_templates()?;
    template::existing(&api, id).await?;
    let archived = api.store().archive_unused(id, body.all, api.now()).await?;
    Ok(Json(ArchivedVersions { template_id: id.0, archived_ids: archived.into_iter().map(|id| id.0).collect() }))
}

/// Lists the Terraform variables of a version. No sensitive value is among them.
pub(crate) async fn variables(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Segment(id): Segment<VersionId>,
) -> Answer<Json<Vec<berth_wire::template::Variable>>> {
    caller.actor.may_manage_templates()?;
    Ok(Json(view::variables(&readable(&api, &caller, id).await?)))
}

/// Lists what a version's workspaces are made of while they run, then what is left of them while they are stopped.
pub(crate) async fn resources(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Segment(id): Segment<VersionId>,
) -> Answer<Json<Vec<berth_wire::resource::Resource>>> {
    Ok(Json(view::version_resources(&readable(&api, &caller, id).await?)))
}

/// The accounts that a version wants. Linking them is not there yet, so nobody has.
pub(crate) async fn external_auth(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Segment(id): Segment<VersionId>,
) -> Answer<Json<Vec<ExternalAuth>>> {
    let version = readable(&api, &caller, id).await?;
    let shown = |wanted: berth_domain::ExternalAuth| ExternalAuth {
        kind: wanted.id.clone(),
        display_name: wanted.id.clone(),
        display_icon: String::new(),
        authenticate_url: String::new(),
        authenticated: false,
        optional: wanted.optional,
        id: wanted.id,
    };
    Ok(Json(version.imported.external_auth.into_iter().map(shown).collect()))
}

/// Lists what a version asks.
pub(crate) async fn rich_parameters(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Segment(id): Segment<VersionId>,
) -> Answer<Json<Vec<RichParameter>>> {
    let version = readable(&api, &caller, id).await?;
    let shown = |parameter: Parameter| {
        let description_plaintext = markdown::plain(&parameter.description);
        RichParameter { description_plaintext, ..RichParameter::from(parameter) }
    };
    Ok(Json(version.imported.parameters.into_iter().map(shown).collect()))
}

/// Lists the presets of a version.
pub(crate) async fn presets(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Segment(id): Segment<VersionId>,
) -> Answer<Json<Vec<Preset>>> {
    let version = readable(&api, &caller, id).await?;
    Ok(Json(version.imported.presets.into_iter().map(Preset::from).collect()))
}

/// A page of a list.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Page {
    pub(crate) limit: Option<usize>,
    pub(crate) offset: Option<usize>,
}

impl Page {
    /// The page's items. A limit of 0 is none, as in Coder.
    pub(crate) fn of<T>(&self, items: impl IntoIterator<Item = T>) -> impl Iterator<Item = T> {
        let limit = self.limit.filter(|limit| *limit > 0).unwrap_or(usize::MAX);
        items.into_iter().skip(self.offset.unwrap_or(0)).take(limit)
    }
}

/// What of a template's versions is asked for.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct Query {
    #[serde(default)]
    include_archived: bool,
    limit: Option<usize>,
    offset: Option<usize>,
}

/// A template's versions, oldest first; those that are put away only when they are asked for.
pub(crate) async fn list(
    State(api): State<Shared>,
    Segment(id): Segment<TemplateId>,
    Asked(query): Asked<Query>,
) -> Answer<Json<Vec<berth_wire::template::Version>>> {
    template::existing(&api, id).await?;
    let versions = api.store().versions_of(id).await?.into_iter().filter(|version| query.include_archived || !version.archived);
    let page = Page { limit: query.limit, offset: query.offset };
    Ok(Json(page.of(versions).map(view::version).collect()))
}

/// Whether a new workspace may be made of this version of this template.
///
/// # Errors
/// 400 when the template is deprecated or the version put away; 403 when only the active one may be used.
pub(crate) fn may_make(caller: &SignedIn, template: &Template, version: &Version) -> Answer<()> {
    if template.settings.is_deprecated() {
        let why = template.settings.deprecation_message.trim();
        return Err(ApiError::bad(format!("template {} is deprecated: {why}", template.name)));
    }
    if version.archived {
        let why = format!("version {} is archived: choose another, or none for the active one", version.name);
        return Err(ApiError::field("template_version_id", why));
    }
    if template.settings.require_active_version
        && version.id != template.active_version
        && caller.actor.may_manage_templates().is_err()
    {
        return Err(ApiError::forbidden(format!("template {} lets you use its active version only", template.name)));
    }
    Ok(())
}

/// Whether a workspace may be built with this version of its template. One that is put away stays good for those who have it.
///
/// # Errors
/// 400 when the version is put away and not the workspace's; 403 when it would be started with another than the active one.
pub(crate) fn may_build(
    caller: &SignedIn,
    template: &Template,
    (workspace, version): (&Workspace, &Version),
    transition: Transition,
) -> Answer<()> {
    let name = &workspace.name;
    if version.archived && version.id != workspace.latest_build.version {
        return Err(ApiError::field("template_version_id", format!("version {} is archived: choose another", version.name)));
    }
    let is_free = !template.settings.require_active_version || version.id == template.active_version;
    if is_free || transition != Transition::Start || caller.actor.may_manage_templates().is_ok() {
        return Ok(());
    }
    let template = &template.name;
    Err(ApiError::forbidden(format!(
        "template {template} lets workspaces start with its active version only: `berth update {name}`"
    )))
}

/// Shows a version of a template by its name.
pub(crate) async fn by_name(
    State(api): State<Shared>,
    Segment((id, name)): Segment<(TemplateId, String)>,
) -> Answer<Json<berth_wire::template::Version>> {
    template::existing(&api, id).await?;
    let missing = || ApiError::missing("template version");
    let name = check_name(name).map_err(|_| missing())?;
    Ok(Json(view::version(api.store().version_by_name(id, &name).await?.ok_or_else(missing)?)))
}
