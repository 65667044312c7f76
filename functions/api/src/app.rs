//! Web apps: which relay may open which one for whom, and how a sign-in gets to an app's host.
//!
//! A browser is at the relay, which holds no right of its own: it shows what the browser has and is told what there is to see. The session
//! is looked at each time, so that signing out or being suspended ends apps at the next question.

mod door;
mod viewer;

use crate::{
    Shared,
    agent::check_endpoint,
    answer::{Elsewhere, Raw},
    body::{Asked, Json},
    build,
    error::{Answer, ApiError},
    session::{Authenticated, Visitor},
};
use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use berth_domain::{AppAddress, Transition, limit::APP_TICKET_SECONDS};
use berth_store::Workspace;
use berth_wire::{
    app::{Admission, AdmissionRequest, AppHost, StartRequest, TICKET_PARAMETER, query_value},
    build::CreateBuild,
    deployment::Message,
};
use http::{HeaderValue, StatusCode, Uri, header};
use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::Deserialize;
use uuid::Uuid;

/// The longest address that a browser comes back to, in bytes.
const ADDRESS_BYTES_MAX: usize = 8 * 1024;
/// The length of a state: a SHA-256 in hexadecimal.
const STATE_CHARS: usize = 64;

/// Says where apps have their hosts.
pub(crate) async fn host(State(api): State<Shared>, _: Authenticated) -> Answer<Json<AppHost>> {
    let pattern = |site: Site<'_>| format!("*.{}", site.authority);
    Ok(Json(AppHost { host: api.app.config.apps().map(pattern).unwrap_or_default() }))
}

/// Where a browser is to go back to, and what binds the way to it.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct Return {
    /// The address of an app of this deployment.
    redirect_uri: String,
    /// The SHA-256, in hexadecimal, of a secret that the app's host keeps in the browser's cookie.
    #[serde(default)]
    state: String,
}

/// Sends a browser back to an app's host with a ticket that says who it is; one that is not signed in, to the sign-in first.
pub(crate) async fn auth_redirect(
    State(api): State<Shared>,
    Visitor(caller): Visitor,
    uri: Uri,
    Asked(query): Asked<Return>,
) -> Answer<Raw<Elsewhere>> {
    let site = api.app.config.apps().ok_or_else(|| ApiError::new(StatusCode::NOT_FOUND, "this deployment serves no apps"))?;
    let refused = || ApiError::field("redirect_uri", "is not the address of an app of this deployment");
    let (app, path) = site.place(&query.redirect_uri).ok_or_else(refused)?;
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if query.state.len() != STATE_CHARS || !query.state.bytes().all(is_digit) {
        return Err(ApiError::field("state", "is not 64 lower-case hexadecimal digits"));
    }
    let Some(caller) = caller else {
        let here = uri.path_and_query().map_or("/", |path| path.as_str());
        return see_other(&format!("/login?redirect={}", query_value(here)));
    };
    let app = app.to_string();
    let ends = api.now() + SignedDuration::from_secs(APP_TICKET_SECONDS);
    let whose = (caller.session.id.0, caller.user.id.0);
    let ticket = api.app.signing.app_ticket(Uuid::new_v4(), (&app, &query.state), whose, ends)?;
    let joint = if path.contains('?') { '&' } else { '?' };
    see_other(&format!("{}://{app}.{}{path}{joint}{TICKET_PARAMETER}={}", site.scheme, site.authority, ticket.expose()))
}

/// Says what a browser gets to see at an app's host, on behalf of which a relay asks. An app that it may open comes with a ticket for the
/// relay, good for this app's port alone.
pub(crate) async fn admit(State(api): State<Shared>, Json(asked): Json<AdmissionRequest>) -> Answer<Json<Admission>> {
    check_endpoint(&asked.endpoint_id)?;
    let address = parsed(&asked.app)?;
    // What is let in here meets agents: nobody but a relay, who keeps the rules of the web.
    if !api.app.presence.is_relay(&asked.endpoint_id).await {
        return Err(ApiError::forbidden("this is for the relays of the deployment"));
    }
    let viewer = viewer::of(&api, &address, &asked).await?;
    let actor = viewer.as_ref().map(|viewer| &viewer.caller.actor);
    let view = door::view(&api, &address, actor, &asked.endpoint_id).await?;
    Ok(Json(Admission { session: viewer.and_then(|viewer| viewer.fresh), view }))
}

/// Queues a start of an app's workspace, for a viewer who pressed the button at the app's host.
pub(crate) async fn start(State(api): State<Shared>, Json(asked): Json<StartRequest>) -> Answer<(StatusCode, Json<Message>)> {
    let address = parsed(&asked.app)?;
    let viewer = viewer::with_session(&api, &address, &asked.session).await?.ok_or_else(ApiError::unauthenticated)?;
    let (workspace, _) = door::workspace(&api, &address).await?.ok_or_else(|| ApiError::missing("workspace"))?;
    let started = build::queue(&api, &viewer.caller, workspace.id, CreateBuild::new(Transition::Start)).await?;
    Ok((StatusCode::CREATED, Json(format!("build {} of {} is queued", started.number, workspace.name).into())))
}

fn parsed(label: &str) -> Answer<AppAddress> {
    AppAddress::parse(label).map_err(|error| ApiError::field("app", error.to_string()))
}

fn see_other(to: &str) -> Answer<Raw<Elsewhere>> {
    let to = HeaderValue::from_str(to).map_err(|error| ApiError::internal("say where to go", &error))?;
    let response: Response = (StatusCode::SEE_OTHER, [(header::LOCATION, to)]).into_response();
    Ok(response.into())
}

/// Where the apps of a deployment have their hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Site<'a> {
    scheme: &'a str,
    /// The domain, and the port unless it is the scheme's own.
    authority: &'a str,
}

impl<'a> Site<'a> {
    /// Of a URL like `https://apps.example.com`, a final slash or not.
    pub(crate) fn of(url: &'a str) -> Option<Self> {
        let (scheme, authority) = url.trim_end_matches('/').split_once("://")?;
        Some(Self { scheme, authority })
    }

    /// Where any port of an agent is, with `{{port}}` in place of the port; none when the agent's name cannot be part of a host.
    pub(crate) fn of_ports(&self, agent: &str, workspace: &Workspace) -> Option<String> {
        let whose = format!("{agent}--{}--{}", workspace.name, workspace.owner_name).to_ascii_lowercase();
        AppAddress::parse(&format!("1--{whose}")).ok()?;
        Some(format!("{}://{{{{port}}}}--{whose}.{}", self.scheme, self.authority))
    }

    /// The app that an address leads to, and the path and query in it. Scheme, domain and port must be this site's, as text and whole.
    fn place(&self, address: &str) -> Option<(AppAddress, String)> {
        if address.len() > ADDRESS_BYTES_MAX {
            return None;
        }
        let rest = address.strip_prefix(self.scheme)?.strip_prefix("://")?;
        let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let label = authority.strip_suffix(self.authority)?.strip_suffix('.')?;
        let app = AppAddress::parse(label).ok()?;
        let path = path.split('#').next().unwrap_or_default();
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let is_plain = path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
        is_plain.then_some((app, path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_apps_are_gone_back_to() {
        let site = Site::of("https://apps.example.com/").unwrap();
        let place = |address: &str| site.place(address).map(|(app, path)| format!("{app} {path}"));
        assert_eq!(place("https://web--dev--ada.apps.example.com"), Some("web--dev--ada /".into()));
        assert_eq!(place("https://Web--main--dev--ada.apps.example.com/a?b=c#d"), Some("web--main--dev--ada /a?b=c".into()));
        assert_eq!(place("https://web--dev--ada.apps.example.com?x"), Some("web--dev--ada /?x".into()));
        for foreign in [
            "http://web--dev--ada.apps.example.com/",
            "https://apps.example.com/",
            "https://web--dev--ada.apps.example.com.evil/",
            "https://web--dev--ada.apps.example.com:444/",
            "https://web--dev--ada.apps.example.com@evil/",
            "https://evil\\.web--dev--ada.apps.example.com/",
            "https://evil/web--dev--ada.apps.example.com",
            "https://evil#web--dev--ada.apps.example.com",
            "https://evil?web--dev--ada.apps.example.com",
            "https://user@web--dev--ada.apps.example.com/",
            "https://a.web--dev--ada.apps.example.com/",
            "https://evilapps.example.com/",
            "https://web--dev--ada.apps.example.com/\\evil",
            "https://web--dev--ada.apps.example.com/a b",
            "https://web--dev--ada.apps.example.com/\r\nSet-Cookie: a=b",
            "//web--dev--ada.apps.example.com/",
            "javascript:alert(1)",
            "",
        ] {
            assert_eq!(place(foreign), None, "{foreign}");
        }
    }
}
