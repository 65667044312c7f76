//! Users: the first one, sign-in and sign-out, and the user admin's list.

use crate::{
    Api, Shared,
    answer::{Raw, WithCookie},
    body::{Json, Segment},
    error::{Answer, ApiError, bad_name},
    password::NewPassword,
    session::{Authenticated, SESSION_COOKIE, SignedIn},
    token, view,
};
use axum::{
    extract::{ConnectInfo, FromRequestParts, State},
    response::IntoResponse,
};
use berth_domain::{OrganizationId, Role, Secret, UserId, Username};
use berth_store::{SessionKind, User, UserChange};
use berth_wire::{
    deployment::Message,
    user::{
        AuthMethod, AuthMethods, ChangePassword, CreateFirstUser, CreateUser, CreatedFirstUser, LoggedIn, Login, Organization,
        Users,
    },
};
use http::{HeaderValue, StatusCode, header::SET_COOKIE, request::Parts};
use std::net::{IpAddr, SocketAddr};

/// The longest e-mail address and full name, in bytes (RFC 5321, section 4.5.3.1).
const EMAIL_BYTES_MAX: usize = 254;
const FULL_NAME_BYTES_MAX: usize = 128;

/// The client's address, when the server was told to note it.
pub(crate) struct Peer(pub(crate) Option<IpAddr>);

impl<S: Sync> FromRequestParts<S> for Peer {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Ok(Self(parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip())))
    }
}

/// 200 when somebody has set the deployment up, 404 when not: that is how clients ask.
pub(crate) async fn has_first(State(api): State<Shared>) -> Answer<Json<Message>> {
    match api.store().has_first_user().await? {
        true => Ok(Json("the first user exists".into())),
        false => Err(ApiError::new(StatusCode::NOT_FOUND, "the first user does not exist yet: run `berth login` to make it")),
    }
}

/// Makes the first user, an owner. Of two that try at once, one wins and the other is told to sign in.
pub(crate) async fn create_first(
    State(api): State<Shared>,
    Json(body): Json<CreateFirstUser>,
) -> Answer<(StatusCode, Json<CreatedFirstUser>)> {
    if api.store().has_first_user().await? {
        return Err(berth_store::FirstUserError::AlreadyExists.into());
    }
    let draft = Draft { email: body.email, username: body.username, name: body.name, password: body.password };
    let user = draft.user(&api, vec![Role::Owner]).await?;
    api.store().create_first_user(&user).await?;
    tracing::info!(user.name = %user.username, "the first user is made");
    Ok((StatusCode::CREATED, Json(CreatedFirstUser { user_id: user.id.0, organization_id: OrganizationId::DEFAULT.0 })))
}

/// What a person gave of a new user.
struct Draft {
    email: String,
    username: String,
    name: String,
    password: Secret,
}

impl Draft {
    async fn user(self, api: &Api, roles: Vec<Role>) -> Answer<User> {
        let username = Username::parse(&self.username).map_err(bad_name("username"))?;
        let email = parse_email(&self.email)?;
        if self.name.len() > FULL_NAME_BYTES_MAX {
            return Err(ApiError::field("name", format!("is longer than {FULL_NAME_BYTES_MAX} bytes")));
        }
        let password_hash = Some(api.passwords.hash(NewPassword::parse(self.password)?).await?);
        let now = api.now();
        let id = UserId::new(now, rand::random());
        let times = (now, now, now);
        let (created_at, updated_at, last_seen_at) = times;
        Ok(User {
            id,
            username,
            email,
            name: self.name,
            roles,
            password_hash,
            suspended: false,
            created_at,
            updated_at,
            last_seen_at,
        })
    }
}

/// One `@` with something on both sides, and nothing that could break a header or a page. Whether it exists, only mail can tell.
fn parse_email(text: &str) -> Answer<String> {
    let text = text.trim();
    let well_formed = text.len() <= EMAIL_BYTES_MAX
        && text.split_once('@').is_some_and(|(user, host)| !user.is_empty() && !host.is_empty() && !host.contains('@'))
        && !text.chars().any(|character| character.is_whitespace() || character.is_control() || "<>\"'`,;\\".contains(character));
    if well_formed { Ok(text.to_owned()) } else { Err(ApiError::field("email", "is not an e-mail address")) }
}

/// Says how one may sign in.
pub(crate) async fn auth_methods() -> Json<AuthMethods> {
    let off = AuthMethod::default();
    Json(AuthMethods { password: AuthMethod { enabled: true }, github: off.clone(), oidc: off })
}

/// Signs in. Unknown addresses, wrong passwords and suspended users get the same answer after the same work.
pub(crate) async fn login(
    State(api): State<Shared>,
    Peer(peer): Peer,
    Json(body): Json<Login>,
) -> Answer<Raw<WithCookie<LoggedIn>>> {
    let session_token = sign_in(&api, peer, &body.email, body.password).await?;
    let cookie = cookie(&api, session_token.expose(), "")?;
    let mut response = (StatusCode::CREATED, Json(LoggedIn { session_token })).into_response();
    response.headers_mut().append(SET_COOKIE, cookie);
    Ok(response.into())
}

/// A new session for whoever knows the password.
pub(crate) async fn sign_in(api: &Api, peer: Option<IpAddr>, email: &str, password: Secret) -> Answer<Secret> {
    let email = email.trim();
    let attempt = api.logins.attempt(peer, email, api.now())?;
    let user = match parse_email(email) {
        Ok(email) => api.store().user_by_email(&email).await?,
        Err(_) => None, // No key of the table, and nobody's.
    };
    let stored = user.as_ref().and_then(|user| user.password_hash.clone());
    let right = api.passwords.verify(password, stored).await?;
    let Some(user) = user.filter(|user| right && !user.suspended) else {
        tracing::info!(peer = peer.map(tracing::field::display), "a sign-in was refused");
        return Err(ApiError::new(StatusCode::UNAUTHORIZED, "the e-mail address or the password is wrong"));
    };
    attempt.succeeded();
    let session = token::issue_session(api, user.id).await?;
    tracing::info!(user.name = %user.username, peer = peer.map(tracing::field::display), "signed in");
    let seen = UserChange { last_seen_at: Some(api.now()), ..UserChange::default() };
    api.store().update_user(user.id, seen, api.now()).await?;
    Ok(session)
}

/// Ends the session that the request came with, on the server: all tabs are signed out.
pub(crate) async fn logout(State(api): State<Shared>, Authenticated(caller): Authenticated) -> Answer<Raw<WithCookie<Message>>> {
    if caller.session.kind != SessionKind::Session {
        return Err(ApiError::bad("an API token is not signed out but deleted"));
    }
    token::end_session(&api, caller.session.id).await?;
    let mut response = Json(Message::from("signed out")).into_response();
    response.headers_mut().append(SET_COOKIE, cookie(&api, "", "; Max-Age=0")?);
    Ok(response.into())
}

fn cookie(api: &Api, value: &str, more: &str) -> Answer<HeaderValue> {
    let secure = if api.app.config.access_url.starts_with("https://") { "; Secure" } else { "" };
    let text = format!("{SESSION_COOKIE}={value}; Path=/; HttpOnly; SameSite=Lax{secure}{more}");
    HeaderValue::from_str(&text).map_err(|error| ApiError::internal("make a cookie", &error))
}

/// The user whom a path names by `me`, id or name. Not found and not permitted look the same, which the caller's check decides.
pub(crate) async fn find(api: &Api, caller: &SignedIn, text: &str) -> Answer<Option<User>> {
    if text == "me" || caller.user.username.key() == text.to_ascii_lowercase() || text.parse() == Ok(caller.user.id) {
        return Ok(Some(caller.user.clone()));
    }
    if let Ok(id) = text.parse()
        && let Some(user) = api.store().user(id).await?
    {
        return Ok(Some(user));
    }
    match Username::parse(text) {
        Ok(name) => Ok(api.store().user_by_name(&name).await?),
        Err(_) => Ok(None),
    }
}

/// The user whom a path names, when the caller may manage them.
pub(crate) async fn managed(api: &Api, caller: &SignedIn, text: &str) -> Answer<User> {
    let user = find(api, caller, text).await?.filter(|user| caller.actor.may_manage_user(user.id).is_ok());
    user.ok_or_else(|| ApiError::missing("user"))
}

/// The caller, when that is whom the path names. What acts in a person's name is made by that person alone, whatever another's role.
pub(crate) async fn oneself(api: &Api, caller: &SignedIn, text: &str) -> Answer<User> {
    let user = find(api, caller, text).await?.filter(|user| user.id == caller.user.id);
    user.ok_or_else(|| ApiError::missing("user"))
}

/// Shows a user, by id, by name, or as `me`.
pub(crate) async fn show(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Segment(text): Segment<String>,
) -> Answer<Json<berth_wire::user::User>> {
    Ok(Json(view::user(managed(&api, &caller, &text).await?)))
}

/// Lists a user's organizations; there is one.
pub(crate) async fn organizations(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Segment(text): Segment<String>,
) -> Answer<Json<Vec<Organization>>> {
    managed(&api, &caller, &text).await?;
    Ok(Json(vec![view::organization()]))
}

/// All users.
pub(crate) async fn list(State(api): State<Shared>, Authenticated(caller): Authenticated) -> Answer<Json<Users>> {
    may_manage_users(&caller)?;
    let users: Vec<_> = api.store().users().await?.into_iter().map(view::user).collect();
    Ok(Json(Users { count: users.len(), users }))
}

fn may_manage_users(caller: &SignedIn) -> Answer<()> {
    // Nobody's own id: only the roles that manage everyone pass.
    caller.actor.may_manage_user(UserId(uuid::Uuid::nil()))?;
    Ok(())
}

/// Makes a user. Roles are given by owners only: a user admin must not make someone mightier than themselves.
pub(crate) async fn create(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Json(body): Json<CreateUser>,
) -> Answer<(StatusCode, Json<berth_wire::user::User>)> {
    may_manage_users(&caller)?;
    let roles: Result<Vec<Role>, String> = body.roles.iter().map(|role| role.parse()).collect();
    let roles = roles.map_err(|why| ApiError::field("roles", why))?;
    if !roles.is_empty() && !caller.actor.roles.contains(&Role::Owner) {
        return Err(ApiError::forbidden("only an owner may give roles"));
    }
    let draft = Draft { email: body.email, username: body.username, name: body.name, password: body.password };
    let user = draft.user(&api, roles).await?;
    api.store().create_user(&user).await?;
    tracing::info!(user.name = %user.username, by = %caller.user.username, "a user is made");
    Ok((StatusCode::CREATED, Json(view::user(user))))
}

/// Sets a new password. The old one is asked for, so that a stolen session cannot lock its owner out; all other sessions end.
pub(crate) async fn change_password(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Peer(peer): Peer,
    Segment(text): Segment<String>,
    Json(body): Json<ChangePassword>,
) -> Answer<StatusCode> {
    let user = oneself(&api, &caller, &text).await?;
    let attempt = api.logins.attempt(peer, &user.email, api.now())?;
    let new = NewPassword::parse(body.password)?;
    if !api.passwords.verify(body.old_password, user.password_hash).await? {
        return Err(ApiError::field("old_password", "is wrong"));
    }
    attempt.succeeded();
    let password_hash = Some(api.passwords.hash(new).await?);
    api.store().update_user(user.id, UserChange { password_hash, ..UserChange::default() }, api.now()).await?;
    for session in api.store().sessions_of(user.id).await? {
        if session.id != caller.session.id && session.kind == SessionKind::Session {
            token::end_session(&api, session.id).await?;
        }
    }
    Ok(StatusCode::NO_CONTENT)
}
