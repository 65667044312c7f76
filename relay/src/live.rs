//! Live routes of the API, served here because a function cannot hold a socket: followed logs, watched workspaces, terminals.
//!
//! The relay asks the API's own plain routes again and again, with the caller's own credentials, and sends the frames that the API of a
//! laptop sends on these routes. It decides nothing: what the caller may not read, the API does not tell it either, and a session that
//! ended ends its sockets at the next question. A request on these paths that follows nothing is handed on to the API.

mod limit;
mod log;
mod outlet;
mod pace;
mod terminal;
mod watch;

use crate::{
    presence::Presence,
    refusal::Refusal,
    upstream::{self, AskError, Credentials, Upstream},
};
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Response, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::IntoResponse,
    routing::get,
};
use limit::{Followers, Place};
use std::{sync::Arc, time::Duration};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

pub use limit::FollowersMax;

/// The most requests that are being handed on at a time; further ones are told to come again.
const PASSING_MAX: usize = 256;
/// The API may be away for this long before its followers are given up.
const AWAY: Duration = Duration::from_secs(60);

/// The live routes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Live(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    api: Upstream,
    pages: Pages,
    presence: Presence,
    followers: Followers,
    passing: Arc<Semaphore>,
    drain: CancellationToken,
}

/// The only pages that may open sockets.
#[derive(Debug)]
enum Pages {
    /// Those of the deployment's own origin. Through a CDN, the host of a request is the relay's.
    Of(String),
    /// Those of the host that the request is for, which has been checked.
    OfItsHost,
}

impl Live {
    /// Routes that ask `api`, look again when `presence` tells of an agent, and end on `drain`.
    #[must_use]
    pub fn new(api: Upstream, presence: Presence, max: FollowersMax, drain: CancellationToken) -> Self {
        let pages = Pages::Of(api.origin());
        Self::of(api, pages, (presence, max), drain)
    }

    /// The same in one process with the API, where each host of a request is the server's own.
    #[must_use]
    pub fn beside_the_api(api: Upstream, presence: Presence, max: FollowersMax, drain: CancellationToken) -> Self {
        Self::of(api, Pages::OfItsHost, (presence, max), drain)
    }

    fn of(api: Upstream, pages: Pages, (presence, max): (Presence, FollowersMax), drain: CancellationToken) -> Self {
        let (followers, passing) = (Followers::new(max), Arc::new(Semaphore::new(PASSING_MAX)));
        Self(Arc::new(Inner { api, pages, presence, followers, passing, drain }))
    }

    /// The routes.
    pub fn router(self) -> Router {
        let guard = from_fn_with_state(self.clone(), guard);
        Router::new()
            .route("/api/v2/workspacebuilds/{build}/logs", get(log::of_job))
            .route("/api/v2/templateversions/{version}/logs", get(log::of_job))
            .route("/api/v2/templateversions/{version}/dry-run/{dry_run}/logs", get(log::of_job))
            .route("/api/v2/repairs/{repair}/logs", get(log::of_job))
            .route("/api/v2/workspaceagents/{agent}/logs", get(log::of_agent))
            .route("/api/v2/workspaces/{workspace}/watch", get(watch::events))
            .route("/api/v2/workspaces/{workspace}/watch-ws", get(watch::socket))
            .layer(guard)
            .with_state(self)
    }

    fn seat(&self, caller: &Credentials) -> Result<Place, Refusal> {
        let full = |text: String| Refusal::new(StatusCode::TOO_MANY_REQUESTS, text);
        self.0.followers.seat(caller.holder()).map_err(|refused| full(refused.to_string()))
    }

    /// Hands a request on as it is. The limit counts until the answer begins.
    async fn pass(&self, path: &str, query: &str, headers: &HeaderMap) -> Result<Response<Body>, Refusal> {
        let busy = || Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the relay is busy; try again");
        let _passing = Arc::clone(&self.0.passing).try_acquire_owned().map_err(|_| busy())?;
        self.0.api.pass(path, query, headers).await.map_err(|error| refusal(&error))
    }
}

/// Refuses sockets of pages that are not the deployment's own (cross-site websocket hijacking), and requests that a relay sent, which
/// would go round for ever.
async fn guard(State(live): State<Live>, request: Request, next: Next) -> Response<Body> {
    let headers = request.headers();
    if upstream::is_relayed(headers) {
        let text = "the relay's own question came back to it: what follows nothing must go to the API, not to the relay";
        return Refusal::new(StatusCode::LOOP_DETECTED, text).into_response();
    }
    if headers.get(header::ORIGIN).is_some_and(|origin| !live.0.pages.include(origin, headers)) {
        return Refusal::new(StatusCode::FORBIDDEN, "the request was sent by a page of another site").into_response();
    }
    next.run(request).await
}

impl Pages {
    /// Whether a page of this origin is one of them. Hosts are compared whole, port included.
    fn include(&self, origin: &HeaderValue, headers: &HeaderMap) -> bool {
        let Ok(origin) = origin.to_str() else { return false };
        match self {
            Self::Of(own) => origin.eq_ignore_ascii_case(own),
            Self::OfItsHost => {
                let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
                let named = ["http://", "https://"].iter().find_map(|scheme| origin.strip_prefix(scheme));
                named.zip(host).is_some_and(|(named, host)| named.eq_ignore_ascii_case(host))
            }
        }
    }
}

/// The API's no as ours. Its words are lost, its status is not.
fn refusal(error: &AskError) -> Refusal {
    match error {
        AskError::Refused(status) if *status == StatusCode::UNAUTHORIZED => Refusal::new(*status, "you are signed out"),
        AskError::Refused(status) if *status == StatusCode::NOT_FOUND => {
            Refusal::new(*status, "there is no such thing, or it is not yours")
        }
        AskError::Refused(status) => Refusal::new(*status, error.to_string()),
        AskError::Away(_) | AskError::Malformed(_) => {
            tracing::warn!(%error, "cannot ask the API for a follower");
            Refusal::new(StatusCode::BAD_GATEWAY, "the API does not answer the relay; try again")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_deployments_own_pages_may_follow() {
        let pages = Pages::Of("https://berth.example.com".to_owned());
        let from = |origin: &str| pages.include(&HeaderValue::from_str(origin).unwrap(), &HeaderMap::new());
        assert!(from("https://berth.example.com") && from("https://BERTH.example.com"));
        for foreign in [
            "https://berth.example.com.evil.com",
            "http://berth.example.com",
            "https://berth.example.com:444",
            "null",
            "",
            "https://relay.berth.example.com",
        ] {
            assert!(!from(foreign), "{foreign}");
        }
    }

    #[test]
    fn beside_the_api_a_page_may_follow_at_the_host_it_came_from() {
        let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static("localhost:7090"))]);
        let from = |origin: &str| Pages::OfItsHost.include(&HeaderValue::from_str(origin).unwrap(), &headers);
        assert!(from("http://localhost:7090") && from("https://Localhost:7090"));
        for foreign in ["http://localhost:7091", "http://localhost", "http://evil@localhost:7090", "null", "", "localhost:7090"] {
            assert!(!from(foreign), "{foreign}");
        }
        assert!(!Pages::OfItsHost.include(&HeaderValue::from_static("http://localhost:7090"), &HeaderMap::new()));
    }
}
