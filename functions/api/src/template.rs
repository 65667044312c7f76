//! Templates. Everyone signed in sees them; template admins and owners change them.

use crate::{
    Api, Shared,
    body::{Json, Segment},
    buildinfo::check_organization,
    error::{Answer, ApiError, bad_name},
    session::Authenticated,
    view::{self, Templates},
};
use axum::extract::State;
use berth_domain::{TemplateId, TemplateName, TemplateSettings, Timestamp, VersionId};
use berth_store::Template;
use berth_wire::{
    deployment::Message,
    template::{ActivateVersion, CreateTemplate, UpdateTemplate},
};
use http::StatusCode;
use std::sync::{Arc, Mutex, PoisonError};

/// The longest texts of a template, in bytes.
const DISPLAY_NAME_BYTES_MAX: usize = 64;
const DESCRIPTION_BYTES_MAX: usize = 1024;
const ICON_BYTES_MAX: usize = 256;
/// How long another process's change of a template may go unseen, in milliseconds.
const CACHE_MILLISECONDS: i64 = 2_000;

/// Every template, so that showing a workspace costs no read for its own. Changes in this process are seen at once.
#[derive(Debug, Default)]
pub(crate) struct TemplateCache(Mutex<Cached>);

#[derive(Debug, Default)]
struct Cached {
    generation: u64,
    read: Option<(Timestamp, Arc<Templates>)>,
}

impl TemplateCache {
    /// The templates, at most [`CACHE_MILLISECONDS`] old. One Query when there are none as young.
    pub(crate) async fn read(&self, api: &Api) -> Answer<Arc<Templates>> {
        let now = api.now();
        let generation = {
            let cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((at, templates)) = &cached.read
                && now.duration_since(*at).as_millis() < i128::from(CACHE_MILLISECONDS)
            {
                return Ok(Arc::clone(templates));
            }
            cached.generation
        };
        let templates = api.store().templates().await?;
        let templates: Arc<Templates> = Arc::new(templates.into_iter().map(|template| (template.id, template)).collect());
        let mut cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if cached.generation == generation {
            cached.read = Some((now, Arc::clone(&templates)));
        }
        Ok(templates)
    }

    fn forget(&self) {
        let mut cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cached.generation += 1;
        cached.read = None;
    }
}

/// Lists the templates.
pub(crate) async fn list(State(api): State<Shared>) -> Answer<Json<Vec<berth_wire::template::Template>>> {
    Ok(Json(api.store().templates().await?.into_iter().map(view::template).collect()))
}

/// Lists the templates of the organization.
pub(crate) async fn list_of(
    State(api): State<Shared>,
    Segment(organization): Segment<String>,
) -> Answer<Json<Vec<berth_wire::template::Template>>> {
    check_organization(&organization)?;
    list(State(api)).await
}

/// A template that is not deleted.
pub(crate) async fn existing(api: &Api, id: TemplateId) -> Answer<Template> {
    let template = api.store().template(id).await?.filter(|template| !template.deleted);
    template.ok_or_else(|| ApiError::missing("template"))
}

/// Shows a template.
pub(crate) async fn show(
    State(api): State<Shared>,
    Segment(id): Segment<TemplateId>,
) -> Answer<Json<berth_wire::template::Template>> {
    Ok(Json(view::template(existing(&api, id).await?)))
}

/// Shows a template by its name.
pub(crate) async fn by_name(
    State(api): State<Shared>,
    Segment((organization, name)): Segment<(String, String)>,
) -> Answer<Json<berth_wire::template::Template>> {
    check_organization(&organization)?;
    let missing = || ApiError::missing("template");
    let name = TemplateName::parse(&name).map_err(|_| missing())?;
    Ok(Json(view::template(api.store().template_by_name(&name).await?.ok_or_else(missing)?)))
}

/// Makes a template of an imported version, which becomes its active one.
pub(crate) async fn create(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Segment(organization): Segment<String>,
    Json(body): Json<CreateTemplate>,
) -> Answer<(StatusCode, Json<berth_wire::template::Template>)> {
    check_organization(&organization)?;
    caller.actor.may_manage_templates()?;
    let name = TemplateName::parse(&body.name).map_err(bad_name("name"))?;
    check_texts(Some(&body.display_name), Some(&body.description), Some(&body.icon))?;
    let settings = body.settings(&TemplateSettings::default());
    settings.check()?;
    let now = api.now();
    let template = Template {
        id: TemplateId::new(now, rand::random()),
        name,
        display_name: body.display_name,
        description: body.description,
        icon: body.icon,
        active_version: VersionId(body.template_version_id),
        previous_version: None,
        created_by: caller.user.id,
        created_by_name: caller.user.username.clone(),
        created_at: now,
        updated_at: now,
        deleted: false,
        settings,
    };
    api.store().create_template(&template).await?;
    tracing::info!(template.name = %template.name, by = %caller.user.username, "a template is made");
    api.templates.forget();
    Ok((StatusCode::CREATED, Json(view::template(template))))
}

fn check_texts(display_name: Option<&String>, description: Option<&String>, icon: Option<&String>) -> Answer<()> {
    let limits = [
        ("display_name", display_name, DISPLAY_NAME_BYTES_MAX),
        ("description", description, DESCRIPTION_BYTES_MAX),
        ("icon", icon, ICON_BYTES_MAX),
    ];
    match limits.into_iter().find(|(_, text, limit)| text.is_some_and(|text| text.len() > *limit)) {
        Some((field, _, limit)) => Err(ApiError::field(field, format!("is longer than {limit} bytes"))),
        None => Ok(()),
    }
}

/// Changes a template's name, texts and settings; what the body leaves out stays.
pub(crate) async fn update(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Segment(id): Segment<TemplateId>,
    Json(body): Json<UpdateTemplate>,
) -> Answer<Json<berth_wire::template::Template>> {
    caller.actor.may_manage_templates()?;
    check_texts(body.display_name.as_ref(), body.description.as_ref(), body.icon.as_ref())?;
    let name = body.name.as_deref().map(TemplateName::parse).transpose().map_err(bad_name("name"))?;
    let template = api.store().update_template(id, name.as_ref(), &body, api.now()).await?;
    api.templates.forget();
    Ok(Json(view::template(template)))
}

/// Deletes a template that no workspace uses.
pub(crate) async fn remove(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Segment(id): Segment<TemplateId>,
) -> Answer<Json<Message>> {
    caller.actor.may_manage_templates()?;
    api.store().delete_template(id, api.now()).await?;
    tracing::info!(template.id = %id, by = %caller.user.username, "a template is deleted");
    api.templates.forget();
    Ok(Json("the template is deleted".into()))
}

/// Makes a version the one that new workspaces get.
pub(crate) async fn activate(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Segment(id): Segment<TemplateId>,
    Json(body): Json<ActivateVersion>,
) -> Answer<Json<Message>> {
    caller.actor.may_manage_templates()?;
    api.store().activate_version(id, VersionId(body.id), api.now()).await?;
    api.templates.forget();
    Ok(Json("the version is active".into()))
}
