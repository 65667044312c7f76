//! The runner's routes: a claim with a one-time token, then everything with the session it gave. The store checks the session with
//! each verb; here its job is held to the path's.

use crate::{
    Api, Shared,
    agent::{check_batch, cut},
    answer::{Raw, StateText, Tar},
    body::{Json, Segment, whole},
    error::{Answer, ApiError},
    file,
    session::CallingRunner,
    state,
    upload::Sent,
};
use axum::{extract::State, response::IntoResponse};
use base64::{Engine, engine::general_purpose::STANDARD};
use berth_domain::{
    BuildId, DryRunId, FileId, RepairId, Secret, TemplateId, TokenHash, Transition, UserId, VersionId,
    limit::{ENCLOSED_BYTES_MAX, MODULES_BYTES_MAX, STATE_BYTES_MAX},
};
use berth_store::{ClaimError, DryRun, JobId, Record, RunnerSession, StatePointer, Template, Version, Workspace};
use berth_wire::runner::{Build, Claim, Claimed, Enclosed, Finish, Frozen, Heartbeat, Import, Job, LogLine, Owner, Repair};
use http::StatusCode;
use std::time::Duration;
use uuid::Uuid;

/// Which job a bare id may be, the most frequent kind first. Only a claim must ask; everyone else brings a session that says it.
const fn kinds(id: Uuid) -> [JobId; 4] {
    [JobId::Build(BuildId(id)), JobId::Import(VersionId(id)), JobId::Repair(RepairId(id)), JobId::DryRun(DryRunId(id))]
}

/// Redeems a one-time token: of a thousand that come with it, one gets the session.
pub(crate) async fn claim(State(api): State<Shared>, Segment(id): Segment<Uuid>, Json(body): Json<Claim>) -> Answer<Json<Claimed>> {
    let secret = Secret::new(hex::encode(rand::random::<[u8; 16]>()));
    let hash = TokenHash::of(secret.expose());
    let (job, claim) = redeem(&api, id, &body, hash).await?;
    api.poke_job(job);
    let session = RunnerSession { job, fence: claim.fence, secret };
    let session = Secret::new(session.expose());
    let (job, enclosed) = work(&api, claim.record).await?;
    Ok(Json(Claimed { session, fence: claim.fence.0, lease_ends: claim.lease_ends, job, enclosed }))
}

async fn redeem(api: &Api, id: Uuid, body: &Claim, session: TokenHash) -> Answer<(JobId, berth_store::Claim)> {
    for job in kinds(id) {
        match api.store().claim(job, body.token.expose(), body.task, session, api.now()).await {
            Err(ClaimError::Missing(_)) => {}
            claimed => return Ok((job, claimed?)),
        }
    }
    Err(ApiError::missing("job"))
}

async fn work(api: &Api, record: Record) -> Answer<(Job, Enclosed)> {
    match record {
        Record::Version(version) => {
            let (archive, import) = tokio::join!(archive_along(api, version.file), import(api, *version));
            Ok((Job::Import(Box::new(import?)), Enclosed { archive, state: None }))
        }
        Record::Workspace(workspace) => {
            let version = version(api, workspace.latest_build.version).await?;
            let pointer = workspace.state.clone();
            let (archive, state, build) =
                tokio::join!(archive_along(api, version.file), state_along(api, pointer.as_ref()), build(api, *workspace, version));
            Ok((Job::Build(Box::new(build?)), Enclosed { archive, state }))
        }
        Record::Repair(pair) => {
            let (repair, workspace) = *pair;
            let version = version(api, workspace.latest_build.version).await?;
            let build = Build { transition: Transition::Start, ..build(api, workspace, version).await? };
            Ok((Job::Repair(Box::new(Repair { build, delete: repair.delete })), Enclosed::default()))
        }
        Record::DryRun(dry_run) => Ok((Job::DryRun(Box::new(planned(api, *dry_run).await?)), Enclosed::default())),
    }
}

/// The archive, if it is small. Whatever is wrong with it, the runner learns when it fetches it: the claim stands.
async fn archive_along(api: &Api, file: FileId) -> Option<Secret> {
    let bytes = api.store().small_file_bytes(file, ENCLOSED_BYTES_MAX).await;
    let bytes = bytes.inspect_err(|error| tracing::warn!(%error, file = %file, "an archive does not come along with a claim"));
    bytes.ok().flatten().map(|bytes| Secret::new(STANDARD.encode(bytes)))
}

/// The newest state, if it is small, as [`archive_along`].
async fn state_along(api: &Api, pointer: Option<&StatePointer>) -> Option<Secret> {
    if pointer.is_some_and(|pointer| pointer.size > ENCLOSED_BYTES_MAX) {
        return None;
    }
    let bytes = api.store().state_at(pointer).await;
    let bytes = bytes.inspect_err(|error| tracing::warn!(%error, "a state does not come along with a claim"));
    bytes.ok().map(|bytes| Secret::new(STANDARD.encode(bytes.unwrap_or_default())))
}

async fn version(api: &Api, id: VersionId) -> Answer<Version> {
    api.store().version(id).await?.ok_or_else(|| ApiError::missing("template version"))
}

async fn template(api: &Api, id: TemplateId) -> Answer<Template> {
    api.store().template(id).await?.ok_or_else(|| ApiError::missing("template"))
}

async fn import(api: &Api, version: Version) -> Answer<Import> {
    let template = match version.template {
        Some(id) => api.store().template(id).await?,
        None => None,
    };
    Ok(Import {
        version_id: version.id.0,
        version_name: version.name,
        template_name: template.map(|template| template.name.to_string()).unwrap_or_default(),
        variables: version.variables,
        access_url: api.app.config.access_url(),
        owner: owner(api, version.created_by).await?,
    })
}

async fn build(api: &Api, workspace: Workspace, version: Version) -> Answer<Build> {
    let build = workspace.latest_build;
    let (template, owner) = tokio::try_join!(template(api, workspace.template), owner(api, workspace.owner))?;
    Ok(Build {
        build_id: build.id.0,
        build_number: build.number,
        transition: build.transition,
        orphan: build.orphan,
        imports: build.imports,
        log_level: build.log_level,
        workspace_id: workspace.id.0,
        workspace_name: workspace.name.to_string(),
        owner,
        template_id: workspace.template.0,
        template_name: template.name.to_string(),
        version_name: build.version_name,
        parameters: build.parameters,
        previous_parameters: build.previous_parameters,
        variables: version.variables,
        frozen: Frozen { lock: version.imported.lock, modules: version.imported.modules },
        access_url: api.app.config.access_url(),
        gate: build.gate,
        timeout_ms: milliseconds(build.policy.timeout()),
        silence_ms: milliseconds(build.policy.silence()),
    })
}

/// A dry run is the first start of a workspace that is not there: its own id stands for that workspace's.
async fn planned(api: &Api, dry_run: DryRun) -> Answer<Build> {
    let version = version(api, dry_run.version).await?;
    let template = template(api, version.template.ok_or_else(|| ApiError::missing("template"))?).await?;
    let policy = template.settings.policy();
    Ok(Build {
        build_id: dry_run.id.0,
        build_number: 1,
        transition: Transition::Start,
        orphan: false,
        imports: Vec::new(),
        log_level: None,
        workspace_id: dry_run.id.0,
        workspace_name: dry_run.workspace_name.to_string(),
        owner: owner(api, dry_run.created_by).await?,
        template_id: template.id.0,
        template_name: template.name.to_string(),
        version_name: version.name,
        parameters: dry_run.parameters,
        previous_parameters: Vec::new(),
        variables: dry_run.variables,
        frozen: Frozen { lock: version.imported.lock, modules: version.imported.modules },
        access_url: api.app.config.access_url(),
        gate: None,
        timeout_ms: milliseconds(policy.timeout()),
        silence_ms: milliseconds(policy.silence()),
    })
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

async fn owner(api: &Api, id: UserId) -> Answer<Owner> {
    let user = api.store().user(id).await?.ok_or_else(|| ApiError::missing("user"))?;
    Ok(Owner {
        id: user.id.0,
        username: user.username.to_string(),
        name: user.name,
        email: user.email,
        groups: Vec::new(),
        login_type: "password".to_owned(),
    })
}

/// A session is good for its own job only.
fn check_job(session: &RunnerSession, id: Uuid) -> Answer<()> {
    if session.job.uuid() == id { Ok(()) } else { Err(ApiError::missing("job")) }
}

/// Renews a job's lease, and tells whether the job is to be canceled.
pub(crate) async fn heartbeat(
    State(api): State<Shared>,
    CallingRunner(session): CallingRunner,
    Segment(id): Segment<Uuid>,
) -> Answer<Json<Heartbeat>> {
    check_job(&session, id)?;
    let berth_store::Heartbeat { cancel, lease_ends } = api.store().heartbeat(&session, api.now()).await?;
    Ok(Json(Heartbeat { cancel, lease_ends }))
}

/// Takes lines of a job's log.
pub(crate) async fn logs(
    State(api): State<Shared>,
    CallingRunner(session): CallingRunner,
    Segment(id): Segment<Uuid>,
    Json(mut lines): Json<Vec<LogLine>>,
) -> Answer<StatusCode> {
    check_job(&session, id)?;
    check_batch(lines.len())?;
    for line in &mut lines {
        cut(&mut line.output);
        cut(&mut line.stage);
    }
    if !lines.is_empty() {
        api.store().append_runner_logs(&session, lines).await?;
        api.poke_job(session.job);
    }
    Ok(StatusCode::NO_CONTENT)
}

/// The template archive of the job's version.
pub(crate) async fn archive(
    State(api): State<Shared>,
    CallingRunner(session): CallingRunner,
    Segment(id): Segment<Uuid>,
) -> Answer<Raw<Tar>> {
    check_job(&session, id)?;
    let job = api.store().job_by_session(&session).await?;
    let missing = || ApiError::missing("template version");
    let of_build = |workspace: Workspace| workspace.latest_build.version;
    let version = match api.store().record(&job).await?.ok_or_else(missing)? {
        Record::Version(version) => version.id,
        Record::Workspace(workspace) => of_build(*workspace),
        Record::Repair(pair) => of_build(pair.1),
        Record::DryRun(dry_run) => dry_run.version,
    };
    let file = self::version(&api, version).await?.file;
    Ok(file::tar(api.store().file_bytes(file).await?.ok_or_else(|| ApiError::missing("file"))?))
}

/// The newest Terraform state of the build's workspace, this build's own pushes included.
pub(crate) async fn newest_state(
    State(api): State<Shared>,
    CallingRunner(session): CallingRunner,
    Segment(id): Segment<Uuid>,
) -> Answer<Raw<StateText>> {
    check_job(&session, id)?;
    let job = api.store().job_by_session(&session).await?;
    Ok(state::answer(api.store().job_state(&job).await?))
}

/// Keeps a new state. One that does not follow the newest is refused with 400: 409 would say that the lease is lost.
pub(crate) async fn push_state(
    State(api): State<Shared>,
    CallingRunner(session): CallingRunner,
    Segment(id): Segment<Uuid>,
    body: Sent,
) -> Answer<StatusCode> {
    check_job(&session, id)?;
    let state = whole(body.open(&api, id).await?, STATE_BYTES_MAX).await?;
    api.store().push_state(&session, state, api.now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Keeps the modules that the import fetched.
pub(crate) async fn put_modules(
    State(api): State<Shared>,
    CallingRunner(session): CallingRunner,
    Segment(id): Segment<Uuid>,
    body: Sent,
) -> Answer<StatusCode> {
    check_job(&session, id)?;
    if !matches!(session.job, JobId::Import(_)) {
        return Err(ApiError::conflict("only an import keeps modules"));
    }
    let modules = whole(body.open(&api, id).await?, MODULES_BYTES_MAX).await?;
    api.store().put_modules(&session, modules).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The modules that the import of the build's version kept.
pub(crate) async fn modules(
    State(api): State<Shared>,
    CallingRunner(session): CallingRunner,
    Segment(id): Segment<Uuid>,
) -> Answer<Raw<Tar>> {
    check_job(&session, id)?;
    let job = api.store().job_by_session(&session).await?;
    let modules = match api.store().record(&job).await? {
        Some(Record::Workspace(workspace)) => api.store().modules(workspace.latest_build.version).await?,
        Some(Record::Repair(pair)) => api.store().modules(pair.1.latest_build.version).await?,
        Some(Record::DryRun(dry_run)) => api.store().modules(dry_run.version).await?,
        Some(Record::Version(_)) | None => None,
    };
    Ok(modules.map_or_else(|| StatusCode::NO_CONTENT.into_response().into(), file::tar))
}

/// Ends the job. Told again by the same session, it is answered the same.
pub(crate) async fn finish(
    State(api): State<Shared>,
    CallingRunner(session): CallingRunner,
    Segment(id): Segment<Uuid>,
    Json(body): Json<Finish>,
) -> Answer<StatusCode> {
    check_job(&session, id)?;
    api.store().finish(&session, body, api.now()).await?;
    api.poke_job(session.job);
    Ok(StatusCode::NO_CONTENT)
}
