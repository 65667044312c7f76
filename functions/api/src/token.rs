//! Sessions and API tokens. The text is shown once; the store has its hash.

use crate::{
    Api, Shared, Topic,
    body::{Json, Segment, Unread, parse},
    error::{Answer, ApiError},
    session::{Authenticated, SignedIn},
    user, view,
};
use axum::extract::State;
use berth_domain::{
    Secret, SessionToken, TokenId, UserId,
    limit::{API_TOKEN_SECONDS, API_TOKEN_SECONDS_MAX, BODY_BYTES_MAX, SESSION_SECONDS},
};
use berth_store::{Session, SessionKind};
use berth_wire::user::{ApiKey, CreateToken, CreatedToken};
use http::StatusCode;
use jiff::SignedDuration;

/// The longest name of a token, in bytes.
const TOKEN_NAME_BYTES_MAX: usize = 64;

/// A new session of a user who just proved themselves.
pub(crate) async fn issue_session(api: &Api, user: UserId) -> Answer<Secret> {
    issue(api, user, SessionKind::Session, SESSION_SECONDS).await
}

async fn issue(api: &Api, user: UserId, kind: SessionKind, seconds: i64) -> Answer<Secret> {
    let now = api.now();
    let token = SessionToken::new(TokenId::new(now, rand::random()), rand::random());
    let expires_at = now + SignedDuration::from_secs(seconds);
    api.store().create_session(&Session { id: token.id, user, hash: token.hash(), kind, created_at: now, expires_at }).await?;
    Ok(Secret::new(token.expose()))
}

/// `POST /users/{user}/keys`: another session, for a CLI or an IDE to hold.
pub(crate) async fn create_session_key(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Segment(text): Segment<String>,
) -> Answer<(StatusCode, Json<CreatedToken>)> {
    let user = user::oneself(&api, &caller, &text).await?;
    let key = issue_session(&api, user.id).await?;
    Ok((StatusCode::CREATED, Json(CreatedToken { key })))
}

/// `POST /users/{user}/keys/tokens`: an API token. The body may be left out.
pub(crate) async fn create(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Segment(text): Segment<String>,
    body: Unread<Option<CreateToken>>,
) -> Answer<(StatusCode, Json<CreatedToken>)> {
    let user = user::oneself(&api, &caller, &text).await?;
    let body = body.whole(BODY_BYTES_MAX).await?;
    let wanted: CreateToken = if body.is_empty() { CreateToken::default() } else { parse(&body)? };
    let seconds = lifetime_seconds(wanted.lifetime)?;
    let name = wanted.token_name;
    if name.len() > TOKEN_NAME_BYTES_MAX || name.chars().any(char::is_control) {
        return Err(ApiError::field(
            "token_name",
            format!("must have {TOKEN_NAME_BYTES_MAX} bytes or fewer, and no control characters"),
        ));
    }
    let sessions = api.store().sessions_of(user.id).await?;
    if !name.is_empty()
        && sessions.iter().any(|session| matches!(&session.kind, SessionKind::Token { name: taken } if *taken == name))
    {
        return Err(ApiError::conflict(format!("you already have a token named {name}")).validation("token_name", "is taken"));
    }
    let key = issue(&api, user.id, SessionKind::Token { name }, seconds).await?;
    Ok((StatusCode::CREATED, Json(CreatedToken { key })))
}

/// Nanoseconds, as Coder has it, to seconds.
fn lifetime_seconds(nanoseconds: i64) -> Answer<i64> {
    match nanoseconds / 1_000_000_000 {
        _ if nanoseconds == 0 => Ok(API_TOKEN_SECONDS),
        seconds @ 1..=API_TOKEN_SECONDS_MAX => Ok(seconds),
        _ => Err(ApiError::field("lifetime", format!("must be between 1 s and {} days", API_TOKEN_SECONDS_MAX / 86_400))),
    }
}

/// The API tokens of a user, ended ones left out.
pub(crate) async fn list(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Segment(text): Segment<String>,
) -> Answer<Json<Vec<ApiKey>>> {
    let user = user::managed(&api, &caller, &text).await?;
    let (sessions, now) = (api.store().sessions_of(user.id).await?, api.now());
    let tokens = sessions.into_iter().filter(|session| session.expires_at > now && session.kind != SessionKind::Session);
    Ok(Json(tokens.map(view::api_key).collect()))
}

/// Shows a session or API token by its id or its name, without its secret.
pub(crate) async fn show(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Segment(key): Segment<(String, String)>,
) -> Answer<Json<ApiKey>> {
    Ok(Json(view::api_key(find(&api, &caller, &key).await?)))
}

/// Ends a session or API token at once.
pub(crate) async fn end(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Segment(key): Segment<(String, String)>,
) -> Answer<StatusCode> {
    let session = find(&api, &caller, &key).await?;
    end_session(&api, session.id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends a session, and the sockets that were opened with it.
pub(crate) async fn end_session(api: &Api, id: TokenId) -> Answer<()> {
    api.store().end_session(id).await?;
    api.app.changes.poke(Topic::Session(id));
    Ok(())
}

/// The session or token that a path names by id or, for tokens, by name.
async fn find(api: &Api, caller: &SignedIn, (user, key): &(String, String)) -> Answer<Session> {
    let user = user::managed(api, caller, user).await?;
    let missing = || ApiError::missing("token");
    if let Ok(id) = key.parse() {
        return api.store().session(id).await?.filter(|session| session.user == user.id).ok_or_else(missing);
    }
    let sessions = api.store().sessions_of(user.id).await?;
    let named = |session: &Session| matches!(&session.kind, SessionKind::Token { name } if name == key);
    sessions.into_iter().find(named).ok_or_else(missing)
}
