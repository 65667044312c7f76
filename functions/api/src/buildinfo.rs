//! What the deployment says of itself.

use crate::{
    Shared,
    body::{Json, Segment},
    error::{Answer, ApiError},
    view,
};
use axum::extract::State;
use berth_domain::OrganizationId;
use berth_wire::{BuildInfo, COMPATIBLE_VERSION, user::Organization};
use serde_json::{Value, json};

/// Whether the process answers. Reads nothing.
pub(crate) async fn health() -> &'static str {
    "OK"
}

pub(crate) async fn root() -> Json<Value> {
    Json(json!({ "message": "Berth's API" }))
}

pub(crate) async fn build_info(State(api): State<Shared>) -> Json<BuildInfo> {
    let external_url = api.app.config.access_url.trim_end_matches('/').to_owned();
    let relay_url = api.app.config.relay_url.clone();
    Json(BuildInfo { version: COMPATIBLE_VERSION.to_owned(), external_url, product: "Berth".to_owned(), relay_url })
}

/// How `config-ssh` names hosts: `dev.berth`.
pub(crate) async fn ssh() -> Json<Value> {
    Json(json!({ "hostname_prefix": "berth.", "hostname_suffix": "berth", "ssh_config_options": {} }))
}

pub(crate) async fn appearance() -> Json<Value> {
    let banner = json!({ "enabled": false });
    Json(
        json!({ "application_name": "Berth", "logo_url": "", "docs_url": "", "service_banner": banner, "announcement_banners": [] }),
    )
}

pub(crate) async fn organizations() -> Json<Vec<Organization>> {
    Json(vec![view::organization()])
}

pub(crate) async fn organization(Segment(name): Segment<String>) -> Answer<Json<Organization>> {
    check_organization(&name)?;
    Ok(Json(view::organization()))
}

/// There is one organization, by its id, its name, or `me`-like `default`.
pub(crate) fn check_organization(text: &str) -> Answer<()> {
    let known = text.eq_ignore_ascii_case(view::ORGANIZATION) || text.parse() == Ok(OrganizationId::DEFAULT);
    if known { Ok(()) } else { Err(ApiError::missing("organization")) }
}
