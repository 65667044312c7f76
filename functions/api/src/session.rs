//! Who calls: a person with a session or API token, an agent with its token, or a runner with its job's session.
//!
//! [`admit`] stands before every route of the table and leaves its finding in the request; the extractors only pick it up, so
//! a handler cannot be reached by a route that forgot to ask.

use crate::{Api, Shared, error::ApiError, guard, route::Access};
use axum::{
    extract::{FromRequestParts, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use berth_domain::{
    Actor, SessionToken, Timestamp, TokenId,
    limit::{SESSION_SECONDS, SESSION_SECONDS_MAX},
};
use berth_store::{Agent, AgentTokenError, RunnerSession, Session, SessionKind, User, Workspace};
use berth_wire::SESSION_HEADER;
use http::{HeaderMap, Method, StatusCode, header, request::Parts};
use jiff::SignedDuration;
use std::sync::Arc;
use uuid::Uuid;

/// The cookie that carries a session token for browsers.
pub(crate) const SESSION_COOKIE: &str = "coder_session_token";

/// A person who is signed in.
#[derive(Debug)]
pub(crate) struct SignedIn {
    /// What decides permission.
    pub(crate) actor: Actor,
    /// Their row.
    pub(crate) user: User,
    /// The session or API token they came with.
    pub(crate) session: Session,
}

/// The person who calls. Only [`admit`] puts one into a request.
#[derive(Debug, Clone)]
pub(crate) struct Authenticated(pub(crate) Arc<SignedIn>);

/// Whoever calls: a person, or nobody that is known.
#[derive(Debug, Clone)]
pub(crate) struct Visitor(pub(crate) Option<Arc<SignedIn>>);

/// The agent that calls, with its workspace.
#[derive(Debug, Clone)]
pub(crate) struct CallingAgent(pub(crate) Arc<(Agent, Workspace)>);

/// The runner that calls. The session's form is checked; that it holds its job, the store checks with each verb.
#[derive(Debug, Clone)]
pub(crate) struct CallingRunner(pub(crate) RunnerSession);

/// Whoever asks where to put a large body.
#[derive(Debug, Clone)]
pub(crate) enum Uploader {
    /// A person.
    Person(Actor),
    /// The runner that holds the job of this id.
    Runner(Uuid),
}

macro_rules! from_extensions {
    ($($caller:ident),+) => {$(
        impl<S: Sync> FromRequestParts<S> for $caller {
            type Rejection = ApiError;
            async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
                parts.extensions.get::<Self>().cloned().ok_or_else(ApiError::unauthenticated)
            }
        }
    )+};
}
from_extensions!(Authenticated, Visitor, CallingAgent, CallingRunner, Uploader);

/// Finds out who calls and refuses those that the route is not for. What the caller may do with which object, the handler asks.
pub(crate) async fn admit(State((api, access)): State<(Shared, Access)>, mut request: Request, next: Next) -> Response {
    match caller(&api, access, &mut request).await {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

async fn caller(api: &Api, access: Access, request: &mut Request) -> Result<(), ApiError> {
    match access {
        Access::Public => {}
        Access::Visitor => {
            let visitor = match person(api, request.method(), request.headers()).await {
                Ok(signed_in) => Visitor(Some(Arc::new(signed_in))),
                Err(error) if error.status() == StatusCode::UNAUTHORIZED => Visitor(None),
                Err(error) => return Err(error),
            };
            request.extensions_mut().insert(visitor);
        }
        Access::Agent => {
            let caller = agent(api, request.headers()).await?;
            request.extensions_mut().insert(caller);
        }
        Access::Runner => {
            let token = token(request.headers()).ok_or_else(ApiError::unauthenticated)?;
            let session = RunnerSession::parse(token.text).ok_or_else(ApiError::unauthenticated)?;
            request.extensions_mut().insert(CallingRunner(session));
        }
        Access::Upload => {
            // A runner's session has another form than a person's.
            let session = token(request.headers()).and_then(|token| RunnerSession::parse(token.text));
            let uploader = match session {
                Some(session) => Uploader::Runner(api.store().job_by_session(&session).await?.id.uuid()),
                None => Uploader::Person(person(api, request.method(), request.headers()).await?.actor),
            };
            request.extensions_mut().insert(uploader);
        }
        _ => {
            let signed_in = person(api, request.method(), request.headers()).await?;
            request.extensions_mut().insert(Authenticated(Arc::new(signed_in)));
        }
    }
    Ok(())
}

struct Token<'a> {
    text: &'a str,
    from_cookie: bool,
}

/// The token of a request: the session header, else a bearer token, else the cookie.
fn token(headers: &HeaderMap) -> Option<Token<'_>> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let bearer =
        || text("authorization").and_then(|value| value.split_once(' ')).filter(|(kind, _)| kind.eq_ignore_ascii_case("bearer"));
    if let Some(text) = text(SESSION_HEADER) {
        return Some(Token { text, from_cookie: false });
    }
    if let Some((_, text)) = bearer() {
        return Some(Token { text: text.trim(), from_cookie: false });
    }
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(';'));
    let mut ours = cookies.filter_map(|cookie| cookie.trim().split_once('=')).filter(|(name, _)| *name == SESSION_COOKIE);
    match (ours.next(), ours.next()) {
        (Some((_, text)), None) => Some(Token { text, from_cookie: true }),
        _ => None, // Two cookies of the name: one was tossed in by a sibling host.
    }
}

async fn person(api: &Api, method: &Method, headers: &HeaderMap) -> Result<SignedIn, ApiError> {
    let presented = token(headers).ok_or_else(ApiError::unauthenticated)?;
    if presented.from_cookie && !method.is_safe() && !guard::from_own_page(headers) {
        return Err(ApiError::forbidden("a request that changes something was sent by a page of another site"));
    }
    let presented = SessionToken::parse(presented.text).ok_or_else(ApiError::unauthenticated)?;
    let found = standing(api, presented.id).await?.filter(|found| found.session.hash.matches(presented.secret.expose()));
    let signed_in = found.ok_or_else(ApiError::unauthenticated)?;
    renew(api, &signed_in.session, api.now()).await;
    Ok(signed_in)
}

/// Whose session this is, while it stands. Nothing is proven by its id: the caller knows it from a secret, or from a ticket of ours.
pub(crate) async fn standing(api: &Api, id: TokenId) -> Result<Option<SignedIn>, ApiError> {
    let found = api.store().session_and_user(id).await?;
    let now = api.now();
    Ok(found.filter(|(session, user)| session.expires_at > now && !user.suspended).map(|(session, user)| {
        let actor = Actor { user: user.id, username: user.username.clone(), roles: user.roles.clone() };
        SignedIn { actor, user, session }
    }))
}

/// Lengthens a sign-in that is past half of its life: one write in days, never beyond its greatest age.
async fn renew(api: &Api, session: &Session, now: Timestamp) {
    let half = SignedDuration::from_secs(SESSION_SECONDS / 2);
    let last = session.created_at + SignedDuration::from_secs(SESSION_SECONDS_MAX);
    let wanted = (now + SignedDuration::from_secs(SESSION_SECONDS)).min(last);
    if session.kind != SessionKind::Session || session.expires_at.duration_since(now) > half || wanted <= session.expires_at {
        return;
    }
    if let Err(error) = api.store().extend_session(session.id, wanted).await {
        tracing::warn!(session.id = %session.id, %error, "cannot lengthen a session; it ends at its time");
    }
}

async fn agent(api: &Api, headers: &HeaderMap) -> Result<CallingAgent, ApiError> {
    let token = token(headers).filter(|token| !token.from_cookie).ok_or_else(ApiError::unauthenticated)?;
    match api.store().agent_by_token(token.text).await {
        Ok(found) => Ok(CallingAgent(Arc::new(found))),
        Err(AgentTokenError::Unknown) => Err(ApiError::unauthenticated()),
        Err(AgentTokenError::Superseded(_)) => {
            Err(ApiError::new(StatusCode::FORBIDDEN, "superseded").detail("a newer build of the workspace replaced this agent"))
        }
        Err(AgentTokenError::Table(error)) => Err(error.into()),
    }
}

impl SignedIn {
    /// Whether the session still stands; open sockets ask now and then, so that signing out ends them too.
    pub(crate) async fn still_stands(&self, api: &Api) -> bool {
        match api.store().session_and_user(self.session.id).await {
            Ok(Some((session, user))) => session.expires_at > api.now() && !user.suspended && user.roles == self.user.roles,
            Ok(None) => false,
            Err(_) => true, // The table is away for a moment: no reason to cut people off.
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(headers: &[(&str, &str)]) -> Option<String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(http::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        token(&map).map(|token| token.text.to_owned())
    }

    #[test]
    fn a_token_is_found_in_header_bearer_or_cookie() {
        assert_eq!(found(&[("coder-session-token", "a"), ("authorization", "Bearer b")]).as_deref(), Some("a"));
        assert_eq!(found(&[("authorization", "bearer b"), ("cookie", "coder_session_token=c")]).as_deref(), Some("b"));
        assert_eq!(found(&[("cookie", "x=1; coder_session_token=c; y=2")]).as_deref(), Some("c"));
        assert_eq!(found(&[("cookie", "coder_session_token=c"), ("cookie", "coder_session_token=d")]), None);
        assert_eq!(found(&[("authorization", "Basic b")]), None);
        assert_eq!(found(&[]), None);
    }
}
