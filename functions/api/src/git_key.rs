//! The key of a user for git over SSH: shown to the user, and given whole to the agents of the user's own workspaces.

use crate::{
    Shared,
    body::{Asked, Json, Segment},
    error::{Answer, ApiError},
    openssh,
    session::{Authenticated, CallingAgent},
    user,
};
use axum::extract::State;
use berth_domain::UserId;
use berth_store::Agent;
use berth_wire::{
    agent::{AgentGitKey, ExternalAuth, ExternalAuthQuery},
    user::GitKey,
};
use http::StatusCode;

/// Shows a user's public key; makes the key if there is none yet.
pub(crate) async fn show(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Segment(text): Segment<String>,
) -> Answer<Json<GitKey>> {
    let user = user::oneself(&api, &caller, &text).await?.id;
    Ok(Json(shown(user, &api.store().git_key(user, api.now()).await?)))
}

/// Gives a user another key. Wherever the old one was added, the new one must be.
pub(crate) async fn renew(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Segment(text): Segment<String>,
) -> Answer<Json<GitKey>> {
    let user = user::oneself(&api, &caller, &text).await?.id;
    let key = api.store().renew_git_key(user, api.now()).await?;
    tracing::info!(user.name = %caller.user.username, "the key for git is another one");
    Ok(Json(shown(user, &key)))
}

fn shown(user: UserId, key: &berth_store::GitKey) -> GitKey {
    GitKey {
        user_id: user.0,
        created_at: key.created_at,
        updated_at: key.updated_at,
        public_key: format!("{}\n", openssh::public_line(&key.seed)),
    }
}

/// Gives an agent the key of its workspace's owner. Not that of one who is suspended.
pub(crate) async fn of_owner(State(api): State<Shared>, CallingAgent(caller): CallingAgent) -> Answer<Json<AgentGitKey>> {
    may_have_secrets(&caller.0)?;
    let owner = api.store().user(caller.1.owner).await?.filter(|owner| !owner.suspended);
    let owner = owner.ok_or_else(|| ApiError::forbidden("the workspace's owner may not use it"))?;
    let seed = api.store().git_key(owner.id, api.now()).await?.seed;
    Ok(Json(AgentGitKey { public_key: format!("{}\n", openssh::public_line(&seed)), private_key: openssh::private_text(&seed) }))
}

/// A template may keep its user's secrets from an agent, such as one of a workspace that others enter too (`api_key_scope = "no_user_data"`).
fn may_have_secrets(agent: &Agent) -> Answer<()> {
    match agent.definition.api_key_scope.as_str() {
        "" | "all" => Ok(()),
        _ => Err(ApiError::forbidden("the template keeps its user's secrets from this agent")),
    }
}

/// A token for another service, such as a forge of git over HTTPS. No deployment has such services yet, so there is none.
pub(crate) async fn external_auth(
    CallingAgent(caller): CallingAgent,
    Asked(asked): Asked<ExternalAuthQuery>,
) -> Answer<Json<ExternalAuth>> {
    may_have_secrets(&caller.0)?;
    let wanted = match (asked.id.as_str(), asked.matches.as_str()) {
        ("", "") => return Err(ApiError::bad("one of the query parameters `id` and `match` is wanted")),
        ("", url) => format!("the URL {url:?}"),
        (id, _) => format!("{id:?}"),
    };
    let none = ApiError::new(StatusCode::NOT_FOUND, format!("no external authentication is configured for {wanted}"));
    Err(none.detail("git asks for a password itself, or goes by SSH with your own key: see `coder publickey`"))
}
