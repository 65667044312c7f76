//! What the deployment says of itself.

use crate::{
    Shared,
    answer::{Document, Raw},
    binary::names,
    body::{Json, Segment},
    error::{Answer, ApiError},
    view,
};
use axum::{extract::State, response::IntoResponse};
use berth_domain::OrganizationId;
use berth_wire::{
    COMPATIBLE_VERSION,
    deployment::{Appearance, Banner, BuildInfo, Message, SshConfig},
    user::Organization,
};
use http::{HeaderMap, StatusCode, header};
use sha1::{Digest, Sha1};
use std::{collections::BTreeMap, sync::LazyLock};

/// The document of the API, as the handlers say it.
const DOCUMENT: &[u8] = include_bytes!("../../../docs/openapi.json");

/// Whether the process answers. Reads nothing.
pub(crate) async fn health() -> &'static str {
    "OK"
}

/// Says that this is the API.
pub(crate) async fn root() -> Json<Message> {
    Json("Berth's API".into())
}

/// Says which API this is, and where. IDE plugins choose what they ask for by the version.
pub(crate) async fn build_info(State(api): State<Shared>) -> Json<BuildInfo> {
    let external_url = api.app.config.access_url.trim_end_matches('/').to_owned();
    let relay_url = api.app.config.relay_urls.first().cloned().unwrap_or_default();
    Json(BuildInfo { version: COMPATIBLE_VERSION.to_owned(), external_url, product: "Berth".to_owned(), relay_url })
}

/// Gives this document.
pub(crate) async fn openapi(headers: HeaderMap) -> Raw<Document> {
    static ETAG: LazyLock<String> = LazyLock::new(|| hex::encode(Sha1::digest(DOCUMENT)));
    let known = headers.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok()).is_some_and(|tags| names(tags, &ETAG));
    let kept = [(header::ETAG, format!("\"{}\"", *ETAG)), (header::CACHE_CONTROL, "no-cache".to_owned())];
    if known {
        return (StatusCode::NOT_MODIFIED, kept).into_response().into();
    }
    (kept, [(header::CONTENT_TYPE, "application/json")], DOCUMENT).into_response().into()
}

/// Says how `config-ssh` names hosts: `dev.berth`.
pub(crate) async fn ssh() -> Json<SshConfig> {
    Json(SshConfig {
        hostname_prefix: "berth.".to_owned(),
        hostname_suffix: "berth".to_owned(),
        ssh_config_options: BTreeMap::new(),
    })
}

/// Says how clients dress.
pub(crate) async fn appearance() -> Json<Appearance> {
    Json(Appearance {
        application_name: "Berth".to_owned(),
        logo_url: String::new(),
        docs_url: String::new(),
        service_banner: Banner::default(),
        announcement_banners: Vec::new(),
    })
}

/// Lists the organizations; there is one.
pub(crate) async fn organizations() -> Json<Vec<Organization>> {
    Json(vec![view::organization()])
}

/// Shows the organization, by its id or its name.
pub(crate) async fn organization(Segment(name): Segment<String>) -> Answer<Json<Organization>> {
    check_organization(&name)?;
    Ok(Json(view::organization()))
}

/// There is one organization, by its id, its name, or `me`-like `default`.
pub(crate) fn check_organization(text: &str) -> Answer<()> {
    let known = text.eq_ignore_ascii_case(view::ORGANIZATION) || text.parse() == Ok(OrganizationId::DEFAULT);
    if known { Ok(()) } else { Err(ApiError::missing("organization")) }
}
