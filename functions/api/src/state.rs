//! Terraform states of a workspace: its versions, any of them, a new one by hand, and the way back to an old one.
//!
//! A state holds secrets: it is for those only who may build the workspace. To push one is to say what the next build destroys: that
//! is for those who manage templates ([`berth_domain::Actor::may_push_state`]).

use crate::{
    Api, Shared, Topic,
    answer::{Raw, StateText},
    body::{Json, Segment, Unread, parse, whole},
    build,
    error::{Answer, ApiError},
    session::{Authenticated, SignedIn},
    upload::Sent,
    workspace::permit,
};
use axum::{extract::State, response::IntoResponse};
use base64::{Engine, engine::general_purpose::STANDARD};
use berth_domain::{Actor, BuildId, Transition, WorkspaceId, limit::STATE_BYTES_MAX};
use berth_store::{JobId, StateAuthor, StateOrigin, StateVersion, Workspace};
use berth_wire::state::{self as wire, UpdateState};
use bytes::Bytes;
use http::{StatusCode, header};
use std::collections::HashMap;

/// The largest body that carries a state in base64, in bytes.
const UPDATE_BYTES_MAX: usize = STATE_BYTES_MAX / 3 * 4 + 4096;

/// A workspace, also a deleted one, that the caller may read.
async fn workspace(api: &Api, caller: &SignedIn, id: WorkspaceId) -> Answer<Workspace> {
    let workspace = api.store().workspace(id).await?.ok_or_else(|| ApiError::missing("workspace"))?;
    permit(&caller.actor, workspace.owner, Actor::may_read_workspace)?;
    Ok(workspace)
}

/// The versions of a workspace's state, oldest first.
pub(crate) async fn list(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Segment(id): Segment<WorkspaceId>,
) -> Answer<Json<Vec<wire::StateVersion>>> {
    let workspace = workspace(&api, &caller, id).await?;
    permit(&caller.actor, workspace.owner, Actor::may_build_workspace)?;
    let versions = api.store().state_versions(id).await?;
    let builds = api.store().builds_of(id).await?.into_iter().map(|build| (build.id, build.transition)).collect();
    Ok(Json(versions.into_iter().map(|version| view(version, &builds)).collect()))
}

/// The bytes of one version.
pub(crate) async fn show(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Segment((id, number)): Segment<(WorkspaceId, u64)>,
) -> Answer<Raw<StateText>> {
    let workspace = workspace(&api, &caller, id).await?;
    permit(&caller.actor, workspace.owner, Actor::may_build_workspace)?;
    let state = api.store().state_version(id, number).await?;
    Ok(answer(Some(state.ok_or_else(|| ApiError::missing("state version"))?)))
}

/// Takes a state from a person. It must follow the newest one, and no build may be active.
pub(crate) async fn push(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Segment(id): Segment<WorkspaceId>,
    body: Sent,
) -> Answer<(StatusCode, Json<wire::StateVersion>)> {
    let workspace = workspace(&api, &caller, id).await?;
    permit(&caller.actor, workspace.owner, Actor::may_push_state)?;
    let body = body.open(&api, caller.user.id.0).await?;
    let version = put(&api, &caller, &workspace, whole(body, STATE_BYTES_MAX).await?).await?;
    Ok((StatusCode::CREATED, Json(view(version, &of_latest(&workspace)))))
}

/// Makes the content of an earlier version the newest again.
pub(crate) async fn restore(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Segment((id, number)): Segment<(WorkspaceId, u64)>,
) -> Answer<(StatusCode, Json<wire::StateVersion>)> {
    let workspace = workspace(&api, &caller, id).await?;
    permit(&caller.actor, workspace.owner, Actor::may_build_workspace)?;
    let version = api.store().restore_state(id, number, author(&caller), api.now()).await?;
    api.app.changes.poke(Topic::Workspace(id));
    Ok((StatusCode::CREATED, Json(view(version, &of_latest(&workspace)))))
}

/// The state that a build left.
pub(crate) async fn of_build(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Segment(id): Segment<BuildId>,
) -> Answer<Raw<StateText>> {
    let build = build::readable(&api, &caller, id).await?;
    permit(&caller.actor, build.owner, Actor::may_build_workspace)?;
    let job = api.store().job(JobId::Build(id)).await?.ok_or_else(|| ApiError::missing("build"))?;
    Ok(answer(api.store().job_state(&job).await?))
}

/// Takes a state the way Coder does. Older builds keep what they left.
pub(crate) async fn push_to_build(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Segment(id): Segment<BuildId>,
    body: Unread<UpdateState>,
) -> Answer<StatusCode> {
    let build = build::readable(&api, &caller, id).await?;
    permit(&caller.actor, build.owner, Actor::may_push_state)?;
    let UpdateState { state } = parse(&body.whole(UPDATE_BYTES_MAX).await?)?;
    let state = STANDARD.decode(state).map_err(|_| ApiError::field("state", "is not base64"))?;
    if state.len() > STATE_BYTES_MAX {
        return Err(ApiError::too_large(format!("the state is larger than {STATE_BYTES_MAX} bytes")));
    }
    let workspace = workspace(&api, &caller, build.workspace).await?;
    if workspace.latest_build.id != id {
        let newest = workspace.latest_build.number;
        return Err(ApiError::conflict(format!("build {} is not the newest: push the state to build {newest}", build.number)));
    }
    put(&api, &caller, &workspace, state.into()).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn put(api: &Api, caller: &SignedIn, workspace: &Workspace, state: Bytes) -> Answer<StateVersion> {
    let version = api.store().put_state(workspace.id, state, author(caller), api.now()).await?;
    api.app.changes.poke(Topic::Workspace(workspace.id));
    Ok(version)
}

fn author(caller: &SignedIn) -> StateAuthor {
    StateAuthor { id: caller.user.id, name: caller.user.username.clone() }
}

/// A Terraform state, or 204 when there is none.
pub(crate) fn answer(state: Option<Bytes>) -> Raw<StateText> {
    let response = match state {
        Some(state) => ([(header::CONTENT_TYPE, "application/json")], state).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    };
    response.into()
}

fn of_latest(workspace: &Workspace) -> HashMap<BuildId, Transition> {
    HashMap::from([(workspace.latest_build.id, workspace.latest_build.transition)])
}

fn view(version: StateVersion, builds: &HashMap<BuildId, Transition>) -> wire::StateVersion {
    let StateVersion { pointer, build, build_number, created_at, origin } = version;
    let (origin, author, restored_from) = match origin {
        StateOrigin::Build => (wire::StateOrigin::Build, String::new(), None),
        StateOrigin::Pushed(by) => (wire::StateOrigin::Push, by.name.to_string(), None),
        StateOrigin::Restored { by, from } => (wire::StateOrigin::Restore, by.name.to_string(), Some(from)),
    };
    let (serial, lineage) = pointer.head.map(|head| (head.serial, head.lineage)).unwrap_or_default();
    wire::StateVersion {
        number: pointer.serial,
        serial,
        lineage,
        size: pointer.size,
        sha256: pointer.sha256,
        build_id: build.0,
        build_number,
        transition: builds.get(&build).copied(),
        created_at,
        origin,
        author,
        restored_from,
    }
}
