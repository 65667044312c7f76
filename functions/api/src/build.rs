//! Builds of a workspace: start, stop, delete, cancel, history.

use crate::{
    Api, Shared, Topic,
    body::{Asked, Json, Segment},
    error::{Answer, ApiError},
    parameter::{self, Given, Resolved},
    repair,
    session::{Authenticated, SignedIn},
    version::{self, Page},
    view::{self, Agents},
    workspace::{self, permit},
};
use axum::extract::State;
use berth_domain::{
    Actor, AutomaticUpdates, BuildId, BuildReason, DateTime, ParameterValue, Policy, Timestamp, Transition, VersionId, WorkspaceId,
};
use berth_store::{Build, Job, JobId, Template, Version, Workspace};
use berth_wire::{
    build::{CreateBuild, Timings},
    deployment::Message,
};
use http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;
use uuid::Uuid;

/// A build that the caller may read.
pub(crate) async fn readable(api: &Api, caller: &SignedIn, id: BuildId) -> Answer<Build> {
    let missing = || ApiError::missing("build");
    let build = api.store().build(id).await?.ok_or_else(missing)?;
    caller.actor.may_read_workspace(build.owner).map_err(|_| missing())?;
    Ok(build)
}

/// The rows of the agents of some builds of one workspace.
async fn agents(api: &Api, workspace: WorkspaceId) -> Answer<Agents> {
    let found = api.store().workspace_and_agents(workspace).await?;
    Ok(found.map(|(_, agents)| workspace::by_id(agents)).unwrap_or_default())
}

async fn shown(api: &Api, build: &Build) -> Answer<Json<berth_wire::build::Build>> {
    let agents = if build.resources.iter().all(|resource| resource.agents.is_empty()) {
        Agents::new()
    } else {
        agents(api, build.workspace).await?
    };
    Ok(Json(view::build(build, &api.sight(&agents).await)))
}

/// Shows a build.
pub(crate) async fn show(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Segment(id): Segment<BuildId>,
) -> Answer<Json<berth_wire::build::Build>> {
    shown(&api, &readable(&api, &caller, id).await?).await
}

/// Shows a build of the workspace that owner and name mean.
pub(crate) async fn by_number(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Segment((user, name, number)): Segment<(String, String, u64)>,
) -> Answer<Json<berth_wire::build::Build>> {
    let workspace = workspace::named(&api, &caller, &user, &name).await?;
    let build = api.store().build_by_number(workspace.id, number).await?;
    shown(&api, &build.ok_or_else(|| ApiError::missing("build"))?).await
}

/// A workspace's builds, newest first.
pub(crate) async fn list(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Segment(id): Segment<WorkspaceId>,
    Asked(query): Asked<Query>,
) -> Answer<Json<Vec<berth_wire::build::Build>>> {
    let (_, agents) = workspace::readable(&api, &caller, id).await?;
    let builds = api.store().builds_of(id).await?;
    let sight = api.sight(&agents).await;
    Ok(Json(query.of(builds).iter().map(|build| view::build(build, &sight)).collect()))
}

/// Lists the answers that a build was made with.
pub(crate) async fn parameters(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Segment(id): Segment<BuildId>,
) -> Answer<Json<Vec<ParameterValue>>> {
    Ok(Json(readable(&api, &caller, id).await?.parameters))
}

/// Lists what a build made, with the agents on it.
pub(crate) async fn resources(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Segment(id): Segment<BuildId>,
) -> Answer<Json<Vec<berth_wire::resource::Resource>>> {
    let Json(build) = shown(&api, &readable(&api, &caller, id).await?).await?;
    Ok(Json(build.resources))
}

/// Queues a build: start, stop or delete. One at a time per workspace; 409 names the active one.
pub(crate) async fn create(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Segment(id): Segment<WorkspaceId>,
    Json(body): Json<CreateBuild>,
) -> Answer<(StatusCode, Json<berth_wire::build::Build>)> {
    let build = queue(&api, &caller, id, body).await?;
    Ok((StatusCode::CREATED, Json(view::build(&build, &api.sight(&Agents::new()).await))))
}

/// Records a build that the caller may ask for, and announces it.
pub(crate) async fn queue(api: &Api, caller: &SignedIn, id: WorkspaceId, body: CreateBuild) -> Answer<Build> {
    let workspace = api.store().workspace(id).await?.filter(|workspace| !workspace.deleted);
    let workspace = workspace.ok_or_else(|| ApiError::missing("workspace"))?;
    permit(&caller.actor, workspace.owner, Actor::may_build_workspace)?;
    check_extras(caller, &body)?;
    let template = api.store().template(workspace.template).await?.ok_or_else(|| ApiError::missing("template"))?;
    let version = version(api, &workspace, &template, &body).await?;
    version::may_build(caller, &template, (&workspace, &version), body.transition)?;
    repair::check_imports(api, caller, &workspace, &body).await?;
    let answers = answers(&workspace, &version, &body)?;
    let draft = Build { policy: template.settings.policy(), ..draft(api, caller, &workspace, (&version, answers, body)) };
    let build = api.store().create_build(draft).await?.latest_build;
    api.announce(JobId::Build(build.id)).await; // If it is lost, the sweep announces again.
    api.app.changes.poke(Topic::Workspace(id));
    Ok(build)
}

/// Orphaning leaves resources that nobody pays attention to, and debug logs may show secrets of the template: for its managers.
fn check_extras(caller: &SignedIn, body: &CreateBuild) -> Answer<()> {
    if body.orphan && body.transition != Transition::Delete {
        return Err(ApiError::field("orphan", "is for delete only"));
    }
    match body.log_level.as_deref() {
        None | Some("") => {}
        Some("debug") => {
            caller.actor.may_manage_templates()?;
        }
        Some(_) => return Err(ApiError::field("log_level", "must be debug or left out")),
    }
    if body.orphan {
        caller.actor.may_manage_templates()?;
    }
    Ok(())
}

/// The version that is asked for; else for a start of a workspace that is to follow its template the active one, else its own.
async fn version(api: &Api, workspace: &Workspace, template: &Template, body: &CreateBuild) -> Answer<Version> {
    let field = "template_version_id";
    let follows = workspace.automatic_updates == AutomaticUpdates::Always && body.transition == Transition::Start;
    let own = if follows { template.active_version } else { workspace.latest_build.version };
    let id = body.template_version_id.map_or(own, VersionId);
    let version = api.store().version(id).await?.filter(|version| version.template == Some(workspace.template));
    let version = version.ok_or_else(|| ApiError::field(field, "is no version of the workspace's template"))?;
    workspace::ready(field, &version)?;
    Ok(version)
}

/// A start answers all that the version asks. What only takes down keeps the answers it came up with: a question that a newer
/// version asks must not stand between a person and the end of their bill.
fn answers(workspace: &Workspace, version: &Version, body: &CreateBuild) -> Answer<Resolved> {
    let previous = &workspace.latest_build.parameters;
    let given = Given { values: &body.rich_parameter_values, preset: body.template_version_preset_id };
    let taking_down = body.transition != Transition::Start;
    if taking_down && given.is_nothing() && version.id == workspace.latest_build.version {
        return Ok(parameter::kept(version, previous));
    }
    given.resolve(version, Some(previous))
}

fn draft(api: &Api, caller: &SignedIn, workspace: &Workspace, asked: (&Version, Resolved, CreateBuild)) -> Build {
    let (version, answers, body) = asked;
    let now = api.now();
    Build {
        id: BuildId::new(now, rand::random()),
        workspace: workspace.id,
        workspace_name: workspace.name.clone(),
        owner: workspace.owner,
        owner_name: workspace.owner_name.clone(),
        number: 0,
        transition: body.transition,
        version: version.id,
        version_name: version.name.clone(),
        template: workspace.template,
        template_name: workspace.template_name.clone(),
        parameters: answers.values,
        preset: answers.preset,
        ephemeral: answers.ephemeral,
        previous_parameters: Vec::new(),
        orphan: body.orphan,
        log_level: body.log_level.filter(|level| !level.is_empty()),
        reason: body.reason.unwrap_or(BuildReason::Initiator),
        initiator: caller.user.id,
        initiator_name: caller.user.username.clone(),
        created_at: now,
        updated_at: now,
        job: Job::queued(now),
        resources: Vec::new(),
        allow_replace: body.allow_replace,
        imports: body.imports,
        policy: Policy::default(), // Its template's, which the caller knows.
        gate: None,
        deadline: None,
        max_deadline: None,
    }
}

/// What of a list of builds is asked for.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct Query {
    /// Builds asked for later than this.
    #[schemars(with = "Option<DateTime>")]
    since: Option<Timestamp>,
    /// Builds that the list has after this one.
    after_id: Option<Uuid>,
    limit: Option<usize>,
    offset: Option<usize>,
}

impl Query {
    fn of(&self, builds: Vec<Build>) -> Vec<Build> {
        let behind = self.after_id.map_or(Some(0), |id| builds.iter().position(|build| build.id.0 == id).map(|at| at + 1));
        let since = self.since;
        let wanted = builds
            .into_iter()
            .skip(behind.unwrap_or(usize::MAX))
            .filter(move |build| since.is_none_or(|since| build.created_at > since));
        Page { limit: self.limit, offset: self.offset }.of(wanted).collect()
    }
}

/// Where the time of a build went. What is told of agents is told while they are this build's.
pub(crate) async fn timings(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Segment(id): Segment<BuildId>,
) -> Answer<Json<Timings>> {
    let build = readable(&api, &caller, id).await?;
    let agents = agents(&api, build.workspace).await?;
    Ok(Json(view::timings(id, api.store().timings(id).await?, &agents)))
}

/// Asks a build to end: a queued one at once, a running one by way of its runner's next heartbeat. A template may keep that to those who
/// can tidy up what a half-done build leaves.
pub(crate) async fn cancel(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Segment(id): Segment<BuildId>,
) -> Answer<Json<Message>> {
    let build = readable(&api, &caller, id).await?;
    permit(&caller.actor, build.owner, Actor::may_build_workspace)?;
    let template = api.store().template(build.template).await?;
    if template.is_some_and(|template| !template.settings.allow_user_cancel_workspace_jobs)
        && caller.actor.may_manage_templates().is_err()
    {
        let message = format!("template {} does not let people cancel builds: ask a template admin, or wait", build.template_name);
        return Err(ApiError::forbidden(message));
    }
    let status = api.store().cancel(JobId::Build(id), api.now()).await?;
    api.poke_job(JobId::Build(id));
    api.app.changes.poke(Topic::Workspace(build.workspace));
    Ok(Json(format!("the build is {status}").into()))
}
