//! Template versions and their imports.

use crate::{
    Api, Shared,
    body::{Asked, Json, Segment},
    buildinfo::check_organization,
    error::{Answer, ApiError},
    session::{Authenticated, SignedIn},
    template, view,
};
use axum::extract::State;
use berth_domain::{FileId, Secret, TemplateId, Timestamp, VersionId, limit::MESSAGE_BYTES_MAX};
use berth_store::{Imported, Job, JobId, Version};
use berth_wire::template::{CreateVersion, RichParameter, VariableValue};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
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
    let version = draft(&api, &caller, body)?;
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
    if body.message.len() > MESSAGE_BYTES_MAX {
        return Err(ApiError::field("message", format!("is longer than {MESSAGE_BYTES_MAX} bytes")));
    }
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
        variables: variables(body.user_variable_values)?,
        job: Job::queued(now),
        imported: Imported::default(),
        archived: false,
    })
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

fn variables(values: Vec<VariableValue>) -> Answer<BTreeMap<String, Secret>> {
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

pub(crate) async fn show(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Segment(id): Segment<VersionId>,
) -> Answer<Json<berth_wire::template::Version>> {
    Ok(Json(view::version(readable(&api, &caller, id).await?)))
}

pub(crate) async fn cancel(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Segment(id): Segment<VersionId>,
) -> Answer<Json<Value>> {
    caller.actor.may_manage_templates()?;
    api.store().cancel(JobId::Import(id), api.now()).await?;
    api.poke_job(JobId::Import(id));
    Ok(Json(json!({ "message": "the import will be canceled" })))
}

pub(crate) async fn rich_parameters(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Segment(id): Segment<VersionId>,
) -> Answer<Json<Vec<RichParameter>>> {
    let version = readable(&api, &caller, id).await?;
    Ok(Json(version.imported.parameters.into_iter().map(RichParameter::from).collect()))
}

/// Lists that a version has none of (yet): resources before a build, variables, presets, external authentication.
pub(crate) async fn nothing(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Segment(id): Segment<VersionId>,
) -> Answer<Json<[u8; 0]>> {
    readable(&api, &caller, id).await?;
    Ok(Json([]))
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

/// A template's versions, oldest first.
pub(crate) async fn list(
    State(api): State<Shared>,
    Segment(id): Segment<TemplateId>,
    Asked(page): Asked<Page>,
) -> Answer<Json<Vec<berth_wire::template::Version>>> {
    template::existing(&api, id).await?;
    let versions = api.store().versions_of(id).await?;
    Ok(Json(page.of(versions).map(view::version).collect()))
}

pub(crate) async fn by_name(
    State(api): State<Shared>,
    Segment((id, name)): Segment<(TemplateId, String)>,
) -> Answer<Json<berth_wire::template::Version>> {
    template::existing(&api, id).await?;
    let missing = || ApiError::missing("template version");
    let name = check_name(name).map_err(|_| missing())?;
    Ok(Json(view::version(api.store().version_by_name(id, &name).await?.ok_or_else(missing)?)))
}
