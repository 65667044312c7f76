//! The app proxy: a browser at an app's host, and the web app in the workspace that it sees there.
//!
//! ```text
//! host -> head and origin -> ticket in the address? -> cookie -> the API says what there is to see -> app | sign-in | page
//! ```
//!
//! It decides nothing about people: it shows the API what the browser has, for one host, and opens streams with the ticket that comes back.
//! What is ours stays here: our cookies and tokens are taken out of what the app gets and of what it sends (`head.rs`, `cookie.rs`).

mod admit;
mod cookie;
mod head;
mod hop;
mod host;
mod page;
mod proxy;
mod upgrade;

use crate::{
    tunnel::Tunnels,
    upstream::{AskError, Upstream},
};
use admit::Admissions;
use axum::body::Body;
use berth_wire::{
    app::{Admission, START_PATH, StartRequest, View},
    deployment::Message,
    domain::{AppAddress, Secret},
};
use host::Site;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header, request::Parts};
use page::Page;
use std::{net::SocketAddr, sync::Arc};
use tokio_util::task::TaskTracker;

pub use host::SiteError;
pub(crate) use proxy::Kept;

/// Where the button of a page posts to. The one path of an app's host that the app does not get.
const START_BUTTON: &str = "/.well-known/berth/start";

/// The apps of a deployment. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Apps(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    site: Site,
    /// Where people sign in, without a final slash.
    dashboard: String,
    api: Upstream,
    tunnels: Tunnels,
    admissions: Admissions,
    /// What outlives the request that began it: connections to apps, and websockets.
    tasks: TaskTracker,
}

/// Whom a request comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Visitor<'a> {
    pub(crate) peer: SocketAddr,
    /// The connections to apps that are kept for this browser's connection.
    pub(crate) kept: &'a Kept,
}

/// A request that passed the first looks.
struct Visit {
    app: AppAddress,
    /// Scheme, host and port of the app, as a browser says them.
    origin: String,
    head: Parts,
    session: Option<Secret>,
}

impl Apps {
    /// Apps with hosts below `apps_url`, for the deployment whose dashboard is at `access_url`, as `api` permits and by `tunnels`.
    ///
    /// # Errors
    /// [`SiteError`].
    pub fn new(apps_url: &str, access_url: &str, api: Upstream, tunnels: Tunnels) -> Result<Self, SiteError> {
        let site = Site::parse(apps_url, access_url)?;
        let dashboard = access_url.trim_end_matches('/').to_owned();
        let (admissions, tasks) = (Admissions::new(tunnels.endpoint_id()), TaskTracker::new());
        Ok(Self(Arc::new(Inner { site, dashboard, api, tunnels, admissions, tasks })))
    }

    /// Whether a request is for an app's host, or says so in any place that could be taken for its host: then nobody else answers it.
    pub(crate) fn claims<B>(&self, request: &Request<B>) -> bool {
        self.0.site.is_named_in(request)
    }

    /// Answers a request that [`Apps::claims`].
    pub(crate) async fn serve(&self, request: Request<Body>, from: Visitor<'_>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let asks = page::Asks::of(&head);
        self.answer(head, body, from).await.unwrap_or_else(|page| page.answer(asks))
    }

    async fn answer(&self, head: Parts, body: Body, from: Visitor<'_>) -> Result<Response<Body>, Page> {
        let site = &self.0.site;
        let app = site.app(&head)?;
        head::check(&head)?;
        let session = cookie::value(&head.headers, site.cookies().session);
        site.check_origin(&app, &head, session.is_some())?;
        let visit = Visit { origin: site.origin(&app), app, head, session: session.map(Secret::new) };
        if visit.head.uri.path() == START_BUTTON {
            return self.start(&visit).await;
        }
        if let Some((ticket, clean)) = hop::arrival(&visit.head) {
            return self.enter(&visit, ticket, &clean).await;
        }
        let admission = self.ask(&visit.app, visit.session.as_ref()).await?;
        let mut answer = match self.show((visit, body), &admission.view, from).await {
            Ok(response) => response,
            Err((page, asks)) => page.answer(asks),
        };
        if let Some(session) = &admission.session {
            set_cookie(answer.headers_mut(), &site.cookies().kept(session));
        }
        Ok(answer)
    }

    async fn ask(&self, app: &AppAddress, session: Option<&Secret>) -> Result<Arc<Admission>, Page> {
        self.0.admissions.ask(&self.0.api, app, session).await.map_err(|error| Page::api(&error))
    }

    async fn show(
        &self,
        (visit, body): (Visit, Body),
        view: &View,
        from: Visitor<'_>,
    ) -> Result<Response<Body>, (Page, page::Asks)> {
        let asks = page::Asks::of(&visit.head);
        let page = match view {
            View::Open(opening) => return proxy::forward(self, (visit, body), opening, from).await.map_err(|page| (page, asks)),
            View::SignIn if asks.is_navigation => return Ok(hop::begin(&self.0.site, &self.0.dashboard, &visit)),
            View::SignIn => Page::signed_out(),
            View::Missing => Page::missing(&self.0.dashboard),
            View::Unserved { why } => Page::unserved(why),
            View::Away(away) => Page::away(away, &self.0.dashboard),
        };
        Err((page, asks))
    }

    /// A sign-in arrives: its ticket becomes a cookie of this host, and the address is clean again.
    async fn enter(&self, visit: &Visit, ticket: Secret, clean: &str) -> Result<Response<Body>, Page> {
        let cookies = self.0.site.cookies();
        let clean = format!("{}{clean}", visit.origin);
        let nonce = cookie::value(&visit.head.headers, cookies.hop).map(Secret::new);
        let session = match nonce {
            Some(nonce) => {
                let redeemed = self.0.admissions.redeem(&self.0.api, &visit.app, (ticket, nonce)).await;
                redeemed.map_err(|error| Page::api(&error))?.session
            }
            None => None,
        };
        match (session, &visit.session) {
            (Some(session), _) => {
                let mut response = see_other(&clean);
                set_cookie(response.headers_mut(), &cookies.kept(&session));
                Ok(response)
            }
            // An old address that is opened again by someone who is in already.
            (None, Some(_)) => Ok(see_other(&clean)),
            (None, None) => Err(Page::not_arrived(&clean)),
        }
    }

    /// The button of a page was pressed. Only a page of this very host may press it.
    async fn start(&self, visit: &Visit) -> Result<Response<Body>, Page> {
        let headers = &visit.head.headers;
        let is_own = headers.get(header::ORIGIN).is_some_and(|origin| origin.as_bytes() == visit.origin.as_bytes());
        if visit.head.method != Method::POST || !is_own {
            return Err(Page::not_pressed());
        }
        let session = visit.session.clone().ok_or_else(Page::signed_out)?;
        let asked = StartRequest { app: visit.app.to_string(), session };
        match self.0.api.post::<_, Message>(START_PATH, &asked).await {
            // Somebody else was faster: the page says what goes on.
            Ok(_) | Err(AskError::Refused(StatusCode::CONFLICT)) => {}
            Err(AskError::Refused(StatusCode::UNAUTHORIZED)) => return Err(Page::signed_out()),
            Err(AskError::Refused(status)) if status != StatusCode::BAD_REQUEST => return Err(Page::missing(&self.0.dashboard)),
            Err(AskError::Refused(_)) => return Err(Page::not_startable(&self.0.dashboard)),
            Err(error) => return Err(Page::api(&error)),
        }
        self.0.admissions.forget(&visit.app, visit.session.as_ref());
        let page = headers.get(header::REFERER).and_then(|page| page.to_str().ok());
        let back = page.filter(|page| page.strip_prefix(&visit.origin).is_some_and(|path| path.starts_with('/')));
        Ok(see_other(back.unwrap_or(&format!("{}/", visit.origin))))
    }
}

/// To another page of ours. An address that cannot be said leads nowhere.
fn see_other(to: &str) -> Response<Body> {
    redirect(StatusCode::SEE_OTHER, to)
}

fn redirect(status: StatusCode, to: &str) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    let Ok(to) = HeaderValue::from_str(to) else {
        *response.status_mut() = StatusCode::BAD_REQUEST;
        return response;
    };
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, to);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Addresses on the way hold tickets.
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// A cookie is made of what can stand in a header; anything else is left out.
fn set_cookie(headers: &mut HeaderMap, cookie: &str) {
    if let Ok(mut value) = HeaderValue::from_str(cookie) {
        value.set_sensitive(true);
        headers.append(header::SET_COOKIE, value);
    }
}
