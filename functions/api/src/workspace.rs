//! Workspaces: create, list by query, show, schedule.

use crate::{
    Api, Shared, Topic,
    body::{Asked, Json, Segment},
    buildinfo::check_organization,
    error::{Answer, ApiError, bad_name},
    parameter::{Given, Resolved},
    session::{Authenticated, SignedIn},
    user,
    version::{self, Page},
    view::{self, Agents, Templates},
};
use axum::extract::State;
use berth_domain::{
    Actor, AutomaticUpdates, BuildId, BuildReason, Denied, TemplateId, Timestamp, Transition, UserId, VersionId, WorkspaceId,
    WorkspaceName, WorkspaceSearch, WorkspaceStatus,
    limit::{TTL_MILLISECONDS_MAX, TTL_MILLISECONDS_MIN},
    search::Searched,
};
use berth_store::{Agent, Build, Job, JobId, Template, User, Version, Workspace, WorkspaceChange};
use berth_wire::{
    deployment::Message,
    workspace::{CreateWorkspace, Extend, RenameWorkspace, SetAutomaticUpdates, SetAutostart, SetTtl, Workspaces},
};
use http::StatusCode;
use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::Deserialize;
use uuid::Uuid;

/// The longest schedule, in bytes.
const SCHEDULE_BYTES_MAX: usize = 128;
/// Use is noted at most this often: a keystroke must not be a write.
const USED_SECONDS: i64 = 60;

/// What a list is asked for.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct Query {
    #[serde(default)]
    q: String,
    limit: Option<usize>,
    offset: Option<usize>,
}

/// A check about a workspace of some owner. One that may not even read it is told that it does not exist.
pub(crate) fn permit<T>(actor: &Actor, owner: UserId, check: fn(&Actor, UserId) -> Result<T, Denied>) -> Answer<T> {
    match (check(actor, owner), actor.may_read_workspace(owner)) {
        (Ok(permit), _) => Ok(permit),
        (Err(denied), Ok(_)) => Err(denied.into()),
        (Err(_), Err(_)) => Err(ApiError::missing("workspace")),
    }
}

/// A workspace that the caller may read, with its live agents. One Query.
pub(crate) async fn readable(api: &Api, caller: &SignedIn, id: WorkspaceId) -> Answer<(Workspace, Agents)> {
    let found = api.store().workspace_and_agents(id).await?;
    let (workspace, agents) = found.ok_or_else(|| ApiError::missing("workspace"))?;
    permit(&caller.actor, workspace.owner, Actor::may_read_workspace)?;
    Ok((workspace, by_id(agents)))
}

/// Agents by id.
pub(crate) fn by_id(agents: Vec<Agent>) -> Agents {
    agents.into_iter().map(|agent| (agent.id, agent)).collect()
}

/// A workspace as clients see it.
pub(crate) async fn shown(api: &Api, workspace: &Workspace, agents: &Agents) -> Answer<berth_wire::workspace::Workspace> {
    let templates = api.templates.read(api).await?;
    Ok(view::workspace(workspace, templates.get(&workspace.template), &api.sight(agents).await))
}

/// Shows a workspace.
pub(crate) async fn show(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Segment(id): Segment<WorkspaceId>,
) -> Answer<Json<berth_wire::workspace::Workspace>> {
    let (workspace, agents) = readable(&api, &caller, id).await?;
    shown(&api, &workspace, &agents).await.map(Json)
}

/// The workspace that `/users/{user}/workspace/{name}` names, when the caller may read it.
pub(crate) async fn named(api: &Api, caller: &SignedIn, user: &str, name: &str) -> Answer<Workspace> {
    let missing = || ApiError::missing("workspace");
    let owner = user::find(api, caller, user).await?.ok_or_else(missing)?;
    permit(&caller.actor, owner.id, Actor::may_read_workspace)?;
    let name = WorkspaceName::parse(name).map_err(|_| missing())?;
    api.store().workspace_by_name(owner.id, &name).await?.ok_or_else(missing)
}

/// Shows the workspace that owner and name mean.
pub(crate) async fn by_name(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Segment((user, name)): Segment<(String, String)>,
) -> Answer<Json<berth_wire::workspace::Workspace>> {
    let workspace = named(&api, &caller, &user, &name).await?;
    let agents = api.store().agents_of(std::slice::from_ref(&workspace)).await?;
    shown(&api, &workspace, &agents).await.map(Json)
}

/// The workspaces that the caller may read and the query wants; a page of them, and how many there are.
pub(crate) async fn list(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Asked(query): Asked<Query>,
) -> Answer<Json<Workspaces>> {
    let search = WorkspaceSearch::parse(&query.q).map_err(|error| ApiError::field("q", error.to_string()))?;
    let me = caller.user.username.as_str();
    let mine = search.owner.as_deref().is_some_and(|owner| owner == "me" || owner.eq_ignore_ascii_case(me));
    let others_too = caller.actor.may_read_workspace(UserId(Uuid::nil())).is_ok();
    let of = if mine || !others_too { Some(caller.user.id) } else { None };
    let templates = api.templates.read(&api).await?;
    let wanted = |workspace: &Workspace| search.matches(me, &searched(workspace, &templates));
    let found: Vec<_> = api.store().workspaces(of).await?.into_iter().filter(wanted).collect();
    let count = found.len();
    let page: Vec<_> = Page { limit: query.limit, offset: query.offset }.of(found).collect();
    let agents = api.store().agents_of(&page).await?;
    let sight = api.sight(&agents).await;
    let view = |workspace: &Workspace| view::workspace(workspace, templates.get(&workspace.template), &sight);
    Ok(Json(Workspaces { workspaces: page.iter().map(view).collect(), count }))
}

fn searched<'a>(workspace: &'a Workspace, templates: &'a Templates) -> Searched<'a> {
    let build = &workspace.latest_build;
    Searched {
        owner: workspace.owner_name.as_str(),
        name: workspace.name.as_str(),
        template: templates.get(&workspace.template).map_or(&workspace.template_name, |template| template.name.as_str()),
        status: WorkspaceStatus::of(build.transition, build.job.status),
        outdated: templates.get(&workspace.template).is_some_and(|template| template.active_version != build.version),
    }
}

/// Makes a workspace of a template, and queues its first build.
pub(crate) async fn create(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Segment(user): Segment<String>,
    Json(body): Json<CreateWorkspace>,
) -> Answer<(StatusCode, Json<berth_wire::workspace::Workspace>)> {
    make(&api, &caller, &user, body).await
}

/// Makes a workspace of a template in the organization, and queues its first build.
pub(crate) async fn create_in(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Segment((organization, user)): Segment<(String, String)>,
    Json(body): Json<CreateWorkspace>,
) -> Answer<(StatusCode, Json<berth_wire::workspace::Workspace>)> {
    check_organization(&organization)?;
    make(&api, &caller, &user, body).await
}

/// Records a new workspace and announces its first build. The build runs later.
async fn make(
    api: &Api,
    caller: &SignedIn,
    user: &str,
    body: CreateWorkspace,
) -> Answer<(StatusCode, Json<berth_wire::workspace::Workspace>)> {
    let missing = || ApiError::missing("user");
    let owner = user::find(api, caller, user).await?.ok_or_else(missing)?;
    let permit = caller.actor.may_create_workspace(owner.id).map_err(|_| missing())?;
    let name = WorkspaceName::parse(&body.name).map_err(bad_name("name"))?;
    let schedule = check_schedule("autostart_schedule", body.autostart_schedule.clone())?;
    let ttl = check_ttl(body.ttl_ms)?;
    let (template, version) = chosen(api, &body).await?;
    version::may_make(caller, &template, &version)?;
    let given = Given { values: &body.rich_parameter_values, preset: body.template_version_preset_id };
    let answers = given.resolve(&version, None)?;
    let mut workspace = draft(api, &Draft { caller, owner: &owner, name: &name, template: &template, version: &version }, answers);
    workspace.autostart_schedule = schedule;
    workspace.ttl_ms = ttl;
    workspace.automatic_updates = body.automatic_updates;
    let workspace = api.store().create_workspace(&permit, workspace).await?;
    api.announce(JobId::Build(workspace.latest_build.id)).await; // If it is lost, the sweep announces again.
    Ok((StatusCode::CREATED, Json(shown(api, &workspace, &Agents::new()).await?)))
}

struct Draft<'a> {
    caller: &'a SignedIn,
    owner: &'a User,
    name: &'a WorkspaceName,
    template: &'a Template,
    version: &'a Version,
}

fn draft(api: &Api, draft: &Draft<'_>, answers: Resolved) -> Workspace {
    let Draft { caller, owner, name, template, version } = draft;
    let now = api.now();
    let id = WorkspaceId::new(now, rand::random());
    let build = Build {
        id: BuildId::new(now, rand::random()),
        workspace: id,
        workspace_name: (*name).clone(),
        owner: owner.id,
        owner_name: owner.username.clone(),
        number: 1,
        transition: Transition::Start,
        version: version.id,
        version_name: version.name.clone(),
        template: template.id,
        template_name: template.name.to_string(),
        parameters: answers.values,
        preset: answers.preset,
        ephemeral: answers.ephemeral,
        previous_parameters: Vec::new(),
        orphan: false,
        log_level: None,
        reason: BuildReason::Initiator,
        initiator: caller.user.id,
        initiator_name: caller.user.username.clone(),
        created_at: now,
        updated_at: now,
        job: Job::queued(now),
        resources: Vec::new(),
        allow_replace: false,
        imports: Vec::new(),
        policy: template.settings.policy(),
        gate: None,
        deadline: None,
        max_deadline: None,
    };
    Workspace {
        id,
        owner: owner.id,
        owner_name: owner.username.clone(),
        name: (*name).clone(),
        template: template.id,
        template_name: template.name.to_string(),
        template_display_name: template.display_name.clone(),
        template_icon: template.icon.clone(),
        created_at: now,
        updated_at: now,
        last_used_at: now,
        autostart_schedule: None,
        ttl_ms: None,
        automatic_updates: AutomaticUpdates::Never,
        deleted: false,
        latest_build: build,
        state: None,
        live_build: None,
        repair: None,
    }
}

/// The template and version that a new workspace is to be made of.
async fn chosen(api: &Api, body: &CreateWorkspace) -> Answer<(Template, Version)> {
    let unknown = |field: &str| ApiError::field(field, "does not exist");
    match (body.template_id, body.template_version_id) {
        (Some(id), None) => {
            let template = api.store().template(TemplateId(id)).await?.filter(|template| !template.deleted);
            let template = template.ok_or_else(|| unknown("template_id"))?;
            let version = api.store().version(template.active_version).await?.ok_or_else(|| unknown("template_id"))?;
            Ok((template, version))
        }
        (None, Some(id)) => {
            let version = api.store().version(VersionId(id)).await?;
            let template = version.as_ref().and_then(|version| version.template);
            let (Some(version), Some(template)) = (version, template) else { return Err(unknown("template_version_id")) };
            ready("template_version_id", &version)?;
            let template = api.store().template(template).await?.filter(|template| !template.deleted);
            Ok((template.ok_or_else(|| unknown("template_version_id"))?, version))
        }
        (Some(_), Some(_)) => {
            Err(ApiError::field("template_version_id", "is given together with template_id: give one of the two"))
        }
        (None, None) => Err(ApiError::field("template_id", "is required, or template_version_id")),
    }
}

/// Refuses a version whose import has not succeeded.
pub(crate) fn ready(field: &str, version: &Version) -> Answer<()> {
    match version.job.status {
        berth_domain::JobStatus::Succeeded => Ok(()),
        status => Err(ApiError::field(field, format!("version {} is not ready: its import is {status}", version.name))),
    }
}

fn check_ttl(ttl_ms: Option<i64>) -> Answer<Option<i64>> {
    match ttl_ms {
        None | Some(0) => Ok(ttl_ms),
        Some(ttl @ TTL_MILLISECONDS_MIN..=TTL_MILLISECONDS_MAX) => Ok(Some(ttl)),
        Some(_) => Err(ApiError::field("ttl_ms", "must be between one minute and 30 days, or 0 for none")),
    }
}

/// Five cron fields, the time zone before them or not. Empty text is none.
fn check_schedule(field: &str, schedule: Option<String>) -> Answer<Option<String>> {
    let Some(schedule) = schedule.filter(|schedule| !schedule.trim().is_empty()) else { return Ok(None) };
    let mut words = schedule.split_whitespace().peekable();
    let zone = words.next_if(|word| word.starts_with("CRON_TZ=") || word.starts_with("TZ="));
    let zone = zone.and_then(|zone| zone.split_once('=')).map(|(_, zone)| zone);
    if schedule.len() > SCHEDULE_BYTES_MAX || words.clone().count() != 5 {
        return Err(ApiError::field(field, "must be five cron fields, as in CRON_TZ=Europe/Berlin 0 9 * * 1-5"));
    }
    if let Some(zone) = zone
        && jiff::tz::TimeZone::get(zone).is_err()
    {
        return Err(ApiError::field(field, format!("{zone:?} is not a time zone")));
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"*,-/".contains(&byte);
    if !words.all(|word| word.bytes().all(allowed)) {
        return Err(ApiError::field(field, "has a character that cron does not know"));
    }
    Ok(Some(schedule))
}

/// Refuses callers who may not change the workspace.
async fn buildable(api: &Api, caller: &SignedIn, id: WorkspaceId) -> Answer<()> {
    let workspace = api.store().workspace(id).await?.ok_or_else(|| ApiError::missing("workspace"))?;
    permit(&caller.actor, workspace.owner, Actor::may_build_workspace).map(drop)
}

async fn change(api: &Api, caller: &SignedIn, id: WorkspaceId, change: WorkspaceChange) -> Answer<StatusCode> {
    buildable(api, caller, id).await?;
    api.store().update_workspace(id, change, api.now()).await?;
    api.app.changes.poke(Topic::Workspace(id));
    Ok(StatusCode::NO_CONTENT)
}

/// Says when a workspace is started by itself; without a schedule, never.
pub(crate) async fn set_autostart(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Segment(id): Segment<WorkspaceId>,
    Json(body): Json<SetAutostart>,
) -> Answer<StatusCode> {
    let autostart_schedule = Some(check_schedule("schedule", body.schedule)?);
    change(&api, &caller, id, WorkspaceChange { autostart_schedule, ..WorkspaceChange::default() }).await
}

/// Says how long a workspace runs after a start; without a time, until someone stops it.
pub(crate) async fn set_ttl(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Segment(id): Segment<WorkspaceId>,
    Json(body): Json<SetTtl>,
) -> Answer<StatusCode> {
    // Here none is never, as in Coder; that a workspace goes by its template's default is how it begins.
    let ttl_ms = Some(check_ttl(body.ttl_ms.or(Some(0)))?);
    change(&api, &caller, id, WorkspaceChange { ttl_ms, ..WorkspaceChange::default() }).await
}

/// Says whether each start moves a workspace to its template's active version.
pub(crate) async fn set_automatic_updates(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Segment(id): Segment<WorkspaceId>,
    Json(body): Json<SetAutomaticUpdates>,
) -> Answer<StatusCode> {
    let automatic_updates = Some(body.automatic_updates);
    change(&api, &caller, id, WorkspaceChange { automatic_updates, ..WorkspaceChange::default() }).await
}

/// Puts off the stop of a running workspace, or brings it forward.
pub(crate) async fn extend(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Segment(id): Segment<WorkspaceId>,
    Json(body): Json<Extend>,
) -> Answer<Json<Message>> {
    buildable(&api, &caller, id).await?;
    api.store().extend(id, body.deadline, api.now()).await?;
    api.app.changes.poke(Topic::Workspace(id));
    Ok(Json(format!("the workspace stops at {}", body.deadline).into()))
}

/// Gives a workspace another name.
pub(crate) async fn rename(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Segment(id): Segment<WorkspaceId>,
    Json(body): Json<RenameWorkspace>,
) -> Answer<StatusCode> {
    buildable(&api, &caller, id).await?;
    let name = WorkspaceName::parse(&body.name).map_err(bad_name("name"))?;
    api.store().rename_workspace(id, &name, api.now()).await?;
    api.app.changes.poke(Topic::Workspace(id));
    Ok(StatusCode::NO_CONTENT)
}

/// Notes that a workspace is used. At most one write a minute, however often it is told.
pub(crate) async fn used(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Segment(id): Segment<WorkspaceId>,
) -> Answer<StatusCode> {
    let workspace = api.store().workspace(id).await?.ok_or_else(|| ApiError::missing("workspace"))?;
    permit(&caller.actor, workspace.owner, Actor::may_enter_workspace)?;
    note_use(&api, id, workspace.last_used_at).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Notes that a workspace is used now, which may put off its stop, unless that was noted a moment ago.
pub(crate) async fn note_use(api: &Api, id: WorkspaceId, last_used_at: Timestamp) -> Answer<()> {
    let now = api.now();
    if now.duration_since(last_used_at) >= SignedDuration::from_secs(USED_SECONDS) {
        let change = WorkspaceChange { last_used_at: Some(now), ..WorkspaceChange::default() };
        api.store().update_workspace(id, change, now).await?;
    }
    Ok(())
}
