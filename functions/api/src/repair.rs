//! Repairs: what exists of a workspace and is in no state is found, removed or given to the next build.
//!
//! The names of what is removed or adopted go to Terraform with the runner's rights. So a person names only what the workspace's last
//! repair found by its mark; those who manage templates could run any template with those rights and may adopt anything.

use crate::{
    Api, Shared,
    body::{Json, Segment},
    error::{Answer, ApiError},
    session::{Authenticated, SignedIn},
    view,
    workspace::permit,
};
use axum::extract::State;
use berth_domain::{Actor, Adoption, AdoptionError, RepairId, Stray, StrayRef, Transition, WorkspaceId, limit::ADOPTIONS_MAX};
use berth_store::{Job, JobId, Repair, Workspace};
use berth_wire::{build::CreateBuild, deployment::Message, repair as wire};
use http::StatusCode;

/// A repair of a workspace that the caller may build. What it found names resources: it is not for those who may only read.
pub(crate) async fn readable(api: &Api, caller: &SignedIn, id: RepairId) -> Answer<Repair> {
    let missing = || ApiError::missing("repair");
    let repair = api.store().repair(id).await?.ok_or_else(missing)?;
    caller.actor.may_read_workspace(repair.owner).map_err(|_| missing())?;
    caller.actor.may_build_workspace(repair.owner)?;
    Ok(repair)
}

/// Queues a repair: a look, and the removal of some of what the last look found.
pub(crate) async fn create(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Segment(id): Segment<WorkspaceId>,
    Json(body): Json<wire::CreateRepair>,
) -> Answer<(StatusCode, Json<wire::Repair>)> {
    let workspace = api.store().workspace(id).await?.filter(|workspace| !workspace.deleted);
    let workspace = workspace.ok_or_else(|| ApiError::missing("workspace"))?;
    permit(&caller.actor, workspace.owner, Actor::may_build_workspace)?;
    check_deletes(&api, &workspace, &body.delete).await?;
    let repair = draft(&api, &caller, &workspace, body.delete);
    api.store().create_repair(&repair).await?;
    api.announce(JobId::Repair(repair.id)).await; // If it is lost, the sweep announces again.
    Ok((StatusCode::CREATED, Json(view::repair(&repair))))
}

/// Shows a repair: its job, and what it found.
pub(crate) async fn show(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Segment(id): Segment<RepairId>,
) -> Answer<Json<wire::Repair>> {
    Ok(Json(view::repair(&readable(&api, &caller, id).await?)))
}

/// Asks a repair to end.
pub(crate) async fn cancel(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Segment(id): Segment<RepairId>,
) -> Answer<Json<Message>> {
    readable(&api, &caller, id).await?;
    let status = api.store().cancel(JobId::Repair(id), api.now()).await?;
    api.poke_job(JobId::Repair(id));
    Ok(Json(format!("the repair is {status}").into()))
}

fn draft(api: &Api, caller: &SignedIn, workspace: &Workspace, delete: Vec<StrayRef>) -> Repair {
    let now = api.now();
    Repair {
        id: RepairId::new(now, rand::random()),
        workspace: workspace.id,
        owner: workspace.owner,
        initiator: caller.user.id,
        initiator_name: caller.user.username.clone(),
        created_at: now,
        delete,
        job: Job::queued(now),
        found: Vec::new(),
    }
}

/// What the workspace's last repair found.
async fn found(api: &Api, workspace: &Workspace) -> Answer<Vec<Stray>> {
    let Some(latest) = workspace.repair else { return Ok(Vec::new()) };
    Ok(api.store().repair(latest.id).await?.map(|repair| repair.found).unwrap_or_default())
}

async fn check_deletes(api: &Api, workspace: &Workspace, delete: &[StrayRef]) -> Answer<()> {
    let field = "delete";
    check_count(field, delete.len())?;
    let refused = |error: AdoptionError| ApiError::field(field, error.to_string());
    delete.iter().try_for_each(|stray| stray.check().map_err(refused))?;
    if delete.is_empty() {
        return Ok(());
    }
    let found = found(api, workspace).await?;
    let known = |one: &StrayRef| found.iter().any(|stray| stray.kind == one.kind && stray.id == one.id);
    match delete.iter().find(|one| !known(one)) {
        Some(one) => Err(ApiError::field(field, format!("{} was not found by the workspace's last repair", one.id))),
        None => Ok(()),
    }
}

/// Whether a build may take over what it is told to.
pub(crate) async fn check_imports(api: &Api, caller: &SignedIn, workspace: &Workspace, body: &CreateBuild) -> Answer<()> {
    let (field, imports) = ("imports", &body.imports);
    if imports.is_empty() {
        return Ok(());
    }
    if body.transition != Transition::Start {
        return Err(ApiError::field(field, "are for a start only"));
    }
    check_count(field, imports.len())?;
    imports.iter().try_for_each(|one| one.check().map_err(|error| ApiError::field(field, error.to_string())))?;
    if caller.actor.may_manage_templates().is_ok() {
        return Ok(());
    }
    let found = found(api, workspace).await?;
    let known = |one: &Adoption| found.iter().any(|stray| stray.kind == one.kind() && stray.id == one.id);
    match imports.iter().find(|one| !known(one)) {
        Some(one) => Err(ApiError::field(field, format!("{} was not found by the workspace's last repair", one.id))),
        None => Ok(()),
    }
}

fn check_count(field: &str, count: usize) -> Answer<()> {
    if count <= ADOPTIONS_MAX { Ok(()) } else { Err(ApiError::field(field, format!("are more than {ADOPTIONS_MAX}"))) }
}
