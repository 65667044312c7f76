//! Dry runs: the plan of a workspace that is not made. For whoever may make one, to see before what they would get.

use crate::{
    Api, Shared,
    body::{Json, Segment},
    error::{Answer, ApiError, bad_name},
    parameter::Given,
    session::{Authenticated, SignedIn},
    template, version, view, workspace,
};
use axum::extract::State;
use berth_domain::{DryRunId, Transition, VersionId, WorkspaceName};
use berth_store::{DryRun, Job, JobId};
use berth_wire::{build, deployment::Message, resource::Resource, template::CreateDryRun};
use http::StatusCode;

/// What a workspace is named whose name is left out.
const NAME: &str = "dry-run";

/// A dry run of a version that the caller may see: who asked for it, and those who manage templates.
pub(crate) async fn readable(api: &Api, caller: &SignedIn, (version, id): (VersionId, DryRunId)) -> Answer<DryRun> {
    let may_read = |dry_run: &DryRun| {
        dry_run.version == version && (dry_run.created_by == caller.user.id || caller.actor.may_manage_templates().is_ok())
    };
    api.store().dry_run(id).await?.filter(may_read).ok_or_else(|| ApiError::missing("dry run"))
}

fn shown(dry_run: &DryRun) -> build::Job {
    view::job(JobId::DryRun(dry_run.id), uuid::Uuid::nil(), &dry_run.job)
}

/// Queues a dry run. Values for Terraform variables are their managers' to give.
pub(crate) async fn create(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Segment(id): Segment<VersionId>,
    Json(body): Json<CreateDryRun>,
) -> Answer<(StatusCode, Json<build::Job>)> {
    let dry_run = draft(&api, &caller, id, body).await?;
    api.store().create_dry_run(&dry_run).await?;
    api.announce(JobId::DryRun(dry_run.id)).await; // If it is lost, the sweep announces again.
    Ok((StatusCode::CREATED, Json(shown(&dry_run))))
}

async fn draft(api: &Api, caller: &SignedIn, id: VersionId, body: CreateDryRun) -> Answer<DryRun> {
    let version = version::readable(api, caller, id).await?;
    workspace::ready("version", &version)?;
    let template = version.template.ok_or_else(|| ApiError::bad("the version belongs to no template yet"))?;
    version::may_make(caller, &template::existing(api, template).await?, &version)?;
    let name = if body.workspace_name.is_empty() { NAME } else { &body.workspace_name };
    let workspace_name = WorkspaceName::parse(name).map_err(bad_name("workspace_name"))?;
    let given = Given { values: &body.rich_parameter_values, preset: body.template_version_preset_id };
    let parameters = given.resolve(&version, None)?.values;
    if !body.user_variable_values.is_empty() {
        caller.actor.may_manage_templates()?;
    }
    let mut variables = version.variables;
    variables.extend(version::given_variables(body.user_variable_values)?);
    let now = api.now();
    Ok(DryRun {
        id: DryRunId::new(now, rand::random()),
        version: id,
        workspace_name,
        parameters,
        variables,
        created_by: caller.user.id,
        created_at: now,
        updated_at: now,
        job: Job::queued(now),
        resources: Vec::new(),
    })
}

/// Shows the job of a dry run.
pub(crate) async fn show(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Segment(ids): Segment<(VersionId, DryRunId)>,
) -> Answer<Json<build::Job>> {
    Ok(Json(shown(&readable(&api, &caller, ids).await?)))
}

/// What would be made; 400 until it is known.
pub(crate) async fn resources(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Segment(ids): Segment<(VersionId, DryRunId)>,
) -> Answer<Json<Vec<Resource>>> {
    let dry_run = readable(&api, &caller, ids).await?;
    if dry_run.job.status.is_active() {
        return Err(ApiError::bad("the dry run has not ended: follow its log, then ask again"));
    }
    let planned = |resource| view::planned(dry_run.id.0, Transition::Start, resource);
    Ok(Json(dry_run.resources.iter().map(planned).collect()))
}

/// Asks a dry run to end.
pub(crate) async fn cancel(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Segment(ids): Segment<(VersionId, DryRunId)>,
) -> Answer<Json<Message>> {
    let id = JobId::DryRun(readable(&api, &caller, ids).await?.id);
    let status = api.store().cancel(id, api.now()).await?;
    api.poke_job(id);
    Ok(Json(format!("the dry run is {status}").into()))
}
