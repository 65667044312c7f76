//! Agents: what they say of themselves, what clients read of them, and the ticket that introduces the two.

use crate::{
    Api, Shared, Topic,
    body::{Json, Segment},
    error::{Answer, ApiError},
    host_key::host_key_seed,
    openssh::public_line,
    report,
    session::{Authenticated, CallingAgent, SignedIn},
    view::{self, Agents},
    workspace,
};
use axum::extract::State;
use berth_domain::{
    Actor, AgentId, Lifecycle, Secret, UserId, WorkspaceId,
    limit::{LOG_BATCH_LINES_MAX, LOG_LINE_BYTES_MAX, RELAY_CLIENT_SECONDS, TICKET_SECONDS},
};
use berth_store::{Agent, Build, Workspace};
use berth_wire::{
    agent::{
        CheckedApp, Hello, LifecycleReport, Logs, Manifest, SESSION_USERS_MAX, SessionsAnswer, SessionsRequest, Ticket,
        TicketRequest,
    },
    runner,
    ticket::{RelayRole, TicketError},
    tunnel::Target,
};
use http::StatusCode;
use jiff::SignedDuration;
use std::collections::BTreeSet;
use uuid::Uuid;

/// How long an agent's admission to the relay lasts; it fetches a new one whenever it starts or is refused.
const RELAY_AGENT_SECONDS: i64 = 365 * 24 * 3600;
/// The subject of the admission of a relay's own end, which is nobody's: it is let in to open apps for many.
pub(crate) const RELAYS_OWN_END: Uuid = Uuid::nil();
/// The longest version text of an agent and the longest directory, in bytes.
const VERSION_BYTES_MAX: usize = 64;
const DIRECTORY_BYTES_MAX: usize = 4096;

impl From<TicketError> for ApiError {
    fn from(error: TicketError) -> Self {
        Self::internal("sign a ticket", &error)
    }
}

/// A tailnet key as text: 64 lower-case hexadecimal digits.
pub(crate) fn check_endpoint(text: &str) -> Answer<()> {
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let well_formed = text.len() == 64 && text.bytes().all(digit);
    if well_formed { Ok(()) } else { Err(ApiError::field("endpoint_id", "is not 64 lower-case hexadecimal digits")) }
}

/// An agent says hello and gets all that it needs to know. Writes only when the hello is news.
pub(crate) async fn manifest(
    State(api): State<Shared>,
    CallingAgent(caller): CallingAgent,
    Json(hello): Json<Hello>,
) -> Answer<Json<Manifest>> {
    check_endpoint(&hello.endpoint_id)?;
    if hello.version.len() > VERSION_BYTES_MAX || hello.expanded_directory.len() > DIRECTORY_BYTES_MAX {
        return Err(ApiError::bad("the agent's version or directory is too long"));
    }
    let (agent, workspace) = &*caller;
    let agent = api.store().agent_hello(agent, &hello, api.now()).await?;
    api.app.changes.poke(Topic::Agent(agent.id));
    let ends = api.now() + SignedDuration::from_secs(RELAY_AGENT_SECONDS);
    let token = api.app.signing.relay(&hello.endpoint_id, RelayRole::Agent, agent.id.0, ends)?;
    let key = api.app.signing.verifying();
    let seed = host_key_seed(&api.app.host_key_secret, workspace.id, &agent.definition.name);
    let definition = agent.definition;
    let ports = api.app.config.apps().and_then(|site| site.of_ports(&definition.name, workspace));
    // What nobody can watch here need not be told.
    let watchable = api.app.config.sockets_url.is_none();
    Ok(Json(Manifest {
        agent_id: agent.id.0,
        agent_name: definition.name,
        workspace_id: workspace.id.0,
        workspace_name: workspace.name.to_string(),
        owner_name: workspace.owner_name.to_string(),
        access_url: api.app.config.access_url(),
        env: definition.env,
        directory: definition.directory,
        motd_file: definition.motd_file,
        scripts: definition.scripts,
        metadata: if watchable { definition.metadata } else { Vec::new() },
        apps: definition.apps.into_iter().filter_map(checked).collect(),
        monitors: definition.monitors,
        vs_code_port_proxy_uri: ports.unwrap_or_default(),
        relay: api.app.config.relay(token),
        ticket_key: key.public,
        ticket_key_id: key.id,
        ssh_host_key_seed: Secret::new(hex::encode(seed.expose())),
        disable_direct_connections: api.app.config.disable_direct_connections,
    }))
}

/// The app as its agent needs to know it, if its health is to be looked at.
fn checked(app: runner::App) -> Option<CheckedApp> {
    let runner::App { id, slug, healthcheck, .. } = app;
    (!healthcheck.url.is_empty()).then_some(CheckedApp { id, slug, healthcheck })
}

/// Takes an agent's word that its start-up or its end went on.
pub(crate) async fn lifecycle(
    State(api): State<Shared>,
    CallingAgent(caller): CallingAgent,
    Json(report): Json<LifecycleReport>,
) -> Answer<StatusCode> {
    let agent = api.store().agent_lifecycle(&caller.0, report, api.now()).await?;
    api.app.changes.poke(Topic::Agent(agent.id));
    if report.state == Lifecycle::ShuttingDown {
        report::stop_scripts_run(&api, &caller, report.changed_at).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Takes lines of the agent and its scripts. 413 when the agent's log is full.
pub(crate) async fn logs(
    State(api): State<Shared>,
    CallingAgent(caller): CallingAgent,
    Json(mut logs): Json<Logs>,
) -> Answer<StatusCode> {
    check_batch(logs.logs.len())?;
    for line in &mut logs.logs {
        cut(&mut line.output);
    }
    if !logs.logs.is_empty() {
        report::stop_scripts_say(&api, &caller, (logs.log_source_id, &logs.logs)).await?;
        api.store().append_agent_logs(&caller.0, logs).await?;
        api.app.changes.poke(Topic::Agent(caller.0.id));
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Who of those who have something open in an agent may stay there. One read for the owner, none for others, who may not.
pub(crate) async fn sessions(
    State(api): State<Shared>,
    CallingAgent(caller): CallingAgent,
    Json(asked): Json<SessionsRequest>,
) -> Answer<Json<SessionsAnswer>> {
    if asked.users.len() > SESSION_USERS_MAX {
        return Err(ApiError::too_large(format!("at most {SESSION_USERS_MAX} users may be asked about")));
    }
    let mut end = Vec::new();
    for user in asked.users.into_iter().collect::<BTreeSet<_>>() {
        if !may_stay(&api, UserId(user), &caller.1).await? {
            end.push(user);
        }
    }
    Ok(Json(SessionsAnswer { end, ticket_key_id: api.app.signing.verifying().id }))
}

/// Whether [`ticket`] would introduce this user again.
async fn may_stay(api: &Api, user: UserId, workspace: &Workspace) -> Answer<bool> {
    if user != workspace.owner {
        return Ok(false);
    }
    let Some(user) = api.store().user(user).await?.filter(|user| !user.suspended) else { return Ok(false) };
    let actor = Actor { user: user.id, username: user.username, roles: user.roles };
    Ok(actor.may_enter_workspace(workspace.owner).is_ok())
}

/// Refuses more lines than one request may carry.
pub(crate) fn check_batch(lines: usize) -> Answer<()> {
    if lines <= LOG_BATCH_LINES_MAX {
        return Ok(());
    }
    Err(ApiError::too_large(format!("{lines} lines are more than the {LOG_BATCH_LINES_MAX} that one request may carry")))
}

/// Cuts a line to what is kept of one, at a character's border.
pub(crate) fn cut(line: &mut String) {
    line.truncate(line.floor_char_boundary(LOG_LINE_BYTES_MAX));
}

/// An agent of a workspace that the caller may read.
pub(crate) async fn readable(api: &Api, caller: &SignedIn, id: AgentId) -> Answer<(Agent, Workspace)> {
    let missing = || ApiError::missing("agent");
    let (agent, workspace) = api.store().agent_and_workspace(id).await?.ok_or_else(missing)?;
    caller.actor.may_read_workspace(workspace.owner).map_err(|_| missing())?;
    Ok((agent, workspace))
}

/// An agent of a workspace that the caller may enter.
pub(crate) async fn enterable(api: &Api, caller: &SignedIn, id: AgentId) -> Answer<(Agent, Workspace)> {
    let (agent, workspace) = readable(api, caller, id).await?;
    workspace::permit(&caller.actor, workspace.owner, Actor::may_enter_workspace)?;
    Ok((agent, workspace))
}

/// The build that recorded the agent: the latest one, or, while a newer one runs, the one before.
async fn home(api: &Api, agent: &Agent, workspace: Workspace) -> Answer<Build> {
    if workspace.latest_build.id == agent.build {
        return Ok(workspace.latest_build);
    }
    api.store().build(agent.build).await?.ok_or_else(|| ApiError::missing("agent"))
}

/// Shows an agent, with its apps and whether it can be reached.
pub(crate) async fn show(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Segment(id): Segment<AgentId>,
) -> Answer<Json<berth_wire::resource::Agent>> {
    let (agent, workspace) = readable(&api, &caller, id).await?;
    let build = home(&api, &agent, workspace).await?;
    let agents = Agents::from([(id, agent)]);
    let resources = view::resources(&build, &api.sight(&agents).await);
    let mut shown = resources.into_iter().flat_map(|resource| resource.agents.into_iter().flatten());
    Ok(Json(shown.find(|agent| agent.id == id.0).ok_or_else(|| ApiError::missing("agent"))?))
}

/// Introduces a client to a connected agent. The agent checks the ticket itself; the client checks the host key.
pub(crate) async fn ticket(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Segment(id): Segment<AgentId>,
    Json(body): Json<TicketRequest>,
) -> Answer<Json<Ticket>> {
    let (agent, workspace) = enterable(&api, &caller, id).await?;
    check_endpoint(&body.endpoint_id)?;
    let (workspace_id, last_used_at) = (workspace.id, workspace.last_used_at);
    let relay_url = require_connected(&api, &agent, workspace).await?;
    workspace::note_use(&api, workspace_id, last_used_at).await?; // Whoever is introduced comes to use it.
    let (now, signing) = (api.now(), &api.app.signing);
    let user = (caller.user.id.0, caller.user.username.as_str());
    let after = |seconds| now + SignedDuration::from_secs(seconds);
    let token = signing.relay(&body.endpoint_id, RelayRole::Client, user.0, after(RELAY_CLIENT_SECONDS))?;
    let (ends, (client, agent_key)) = (after(TICKET_SECONDS), (body.endpoint_id.as_str(), agent.endpoint_id.as_str()));
    let ticket = match body.terminal {
        Some(terminal) => signing.agent_only((client, agent_key), user, Target::Terminal(terminal), ends)?,
        None => signing.agent(client, agent_key, user, ends)?,
    };
    Ok(Json(introduction(&api, &agent, (workspace_id, &relay_url), (token, ticket))))
}

/// What a client needs to reach an agent: with admission at the relays, and with a ticket for the agent.
pub(crate) fn introduction(
    api: &Api,
    agent: &Agent,
    (workspace, relay_url): (WorkspaceId, &str),
    (token, ticket): (Secret, Secret),
) -> Ticket {
    let seed = host_key_seed(&api.app.host_key_secret, workspace, &agent.definition.name);
    Ticket {
        agent_endpoint_id: agent.endpoint_id.clone(),
        relay: api.app.config.relay_from(relay_url, token),
        ticket,
        ssh_host_key: public_line(&seed),
        disable_direct_connections: api.app.config.disable_direct_connections,
    }
}

/// The relay that a connected agent is at.
async fn require_connected(api: &Api, agent: &Agent, workspace: Workspace) -> Answer<String> {
    let build = home(api, agent, workspace).await?;
    let since = build.job.completed_at.unwrap_or(agent.created_at);
    let agents = Agents::from([(agent.id, agent.clone())]);
    let sight = api.sight(&agents).await;
    if let Some(seat) = sight.attendance.connected.get(&agent.id) {
        return Ok(seat.relay_url.clone());
    }
    let status = view::status(Some(agent), &agent.definition, since, &sight);
    Err(ApiError::conflict(format!("agent {} is not connected", agent.definition.name)).detail(status.as_str()))
}
