//! From a workspace's name to an open connection: find it, bring it up, wait for its agent, be introduced, connect.

use crate::{
    change,
    failure::{Failure, Outcome},
    name::WorkspaceRef,
    session::{Session, find_workspace},
    signal,
    wait::{self, Detail, Scripts},
};
use berth_client::{Client, ClientError};
use berth_net::{ConnectError, Health, Identity, Peer, Tailnet, TailnetConfig};
use berth_wire::{
    agent::Ticket,
    domain::{BuildReason, Transition, WorkspaceStatus},
    resource::Agent,
    workspace::Workspace,
};
use std::time::Duration;
use tokio::time::Instant;

/// How often a workspace may change under our hands before we give up.
const ROUNDS: usize = 8;
/// How long the farewell to the other side may take.
const FAREWELL: Duration = Duration::from_millis(200);

/// How far to go to reach a workspace.
#[derive(Debug, Clone, Copy)]
pub struct Wishes {
    /// Whether to start a stopped workspace, and the reason to give.
    pub start: Option<BuildReason>,
    /// Whether to wait for start scripts.
    pub scripts: Scripts,
}

/// A connection to an agent.
#[derive(Debug)]
pub struct Connection {
    /// The other end.
    pub peer: Peer,
    /// The introduction.
    pub ticket: Ticket,
    /// The agent.
    pub agent: Agent,
    tailnet: Tailnet,
}

impl Connection {
    /// Does all it takes to reach an agent and says on stderr what it waits for.
    ///
    /// # Errors
    /// When the workspace or the agent does not exist, cannot be brought up or cannot be reached.
    pub async fn open(session: &Session, reference: &WorkspaceRef, wishes: Wishes) -> Outcome<Self> {
        let client = session.client()?;
        let opening = async {
            let agent = ready_agent(session, &client, reference, wishes).await?;
            introduce(session, &client, (agent, reference), wishes.scripts).await
        };
        signal::unless_ended(opening, || {}).await
    }

    /// Our end of the tailnet.
    #[must_use]
    pub const fn tailnet(&self) -> &Tailnet {
        &self.tailnet
    }

    /// Says good-bye to the other side.
    pub async fn close(self) {
        self.peer.close();
        // If it does not hear us, it notices by itself.
        let _heard = tokio::time::timeout(FAREWELL, self.tailnet.close()).await;
    }
}

/// Brings the workspace up if need be and gives its agent, connected.
async fn ready_agent(session: &Session, client: &Client, reference: &WorkspaceRef, wishes: Wishes) -> Outcome<Agent> {
    let typed = reference.typed();
    let mut workspace = find_workspace(client, reference).await?;
    for _ in 0..ROUNDS {
        let build = &workspace.latest_build;
        match build.status {
            WorkspaceStatus::Running => {
                let agent = choose(&workspace, reference)?;
                return wait::agent(session, client, agent, (&typed, wishes.scripts)).await;
            }
            WorkspaceStatus::Stopped => start(session, client, (&workspace, &typed), wishes.start).await?,
            WorkspaceStatus::Failed | WorkspaceStatus::Canceled => return Err(unfinished(&workspace, &typed)),
            WorkspaceStatus::Deleting | WorkspaceStatus::Deleted => {
                return Err(
                    Failure::new(format!("{typed} is {}", build.status)).hint(format!("`berth create {typed}` makes a new one"))
                );
            }
            WorkspaceStatus::Pending | WorkspaceStatus::Starting | WorkspaceStatus::Stopping | WorkspaceStatus::Canceling => {
                wait::build(session, client, build, &typed, Detail::Stages).await?;
            }
        }
        workspace = client.workspace(workspace.id).await?;
    }
    Err(Failure::new(format!("{typed} keeps changing")).hint(format!("`berth show {typed}` tells what goes on")))
}

async fn start(session: &Session, client: &Client, (workspace, typed): (&Workspace, &str), reason: Option<BuildReason>) -> Outcome {
    if reason.is_none() {
        return Err(Failure::new(format!("{typed} is stopped")).hint(format!("`berth start {typed}` starts it")));
    }
    session.printer.say(format_args!("{typed} is stopped; starting it."));
    match client.create_build(workspace.id, &change::request(Transition::Start, reason)).await {
        Ok(build) => wait::build(session, client, &build, typed, Detail::Stages).await,
        // Someone else was faster: the next round follows their build.
        Err(error) if error.is_conflict() => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn unfinished(workspace: &Workspace, typed: &str) -> Failure {
    let build = &workspace.latest_build;
    let error = if build.job.error.is_empty() { String::new() } else { format!(": {}", build.job.error.trim_end()) };
    let ended = if build.status == WorkspaceStatus::Canceled { "was canceled" } else { "failed" };
    Failure::new(format!("the latest {} of {typed} {ended}{error}", build.transition))
        .hint(format!("`berth logs {typed}` shows why, `berth start {typed}` tries to start it"))
}

/// The agent that was named, or the only one.
fn choose(workspace: &Workspace, reference: &WorkspaceRef) -> Outcome<Agent> {
    let agents: Vec<&Agent> = change::agents(&workspace.latest_build).collect();
    let typed = reference.typed();
    let names = || agents.iter().map(|agent| format!("{typed}.{}", agent.name)).collect::<Vec<_>>().join(", ");
    match (&reference.agent, agents.as_slice()) {
        (_, []) => {
            Err(Failure::new(format!("{typed} has no agent")).hint("its template declares no coder_agent, or none while it runs"))
        }
        (None, [only]) => Ok((*only).clone()),
        (None, _) => Err(Failure::usage(format!("{typed} has several agents")).hint(format!("name one: {}", names()))),
        (Some(name), all) => match all.iter().find(|agent| agent.name.eq_ignore_ascii_case(name.as_str())) {
            Some(agent) => Ok((*agent).clone()),
            None => Err(Failure::new(format!("{typed} has no agent {:?}", name.as_str())).hint(format!("it has {}", names()))),
        },
    }
}

/// Gets a ticket for a key of this process's own and connects.
async fn introduce(
    session: &Session,
    client: &Client,
    (mut agent, reference): (Agent, &WorkspaceRef),
    scripts: Scripts,
) -> Outcome<Connection> {
    let typed = reference.typed();
    let identity = Identity::generate();
    for _ in 0..ROUNDS {
        match client.ticket(agent.id, &identity.endpoint_id()).await {
            Ok(ticket) => {
                tracing::info!(agent.id = %agent.id, agent.endpoint = ticket.agent_endpoint_id, "introduced");
                return connect(session, ticket, agent, identity).await;
            }
            // It went away between our look and now.
            Err(error) if error.is_conflict() => {
                let now = client.agent(agent.id).await?;
                agent = wait::agent(session, client, now, (&typed, scripts)).await?;
            }
            Err(error) => return Err(refused(error, &typed)),
        }
    }
    Err(Failure::new(format!("agent {} of {typed} comes and goes", agent.name)).hint(format!("`berth logs {typed}` may tell why")))
}

fn refused(error: ClientError, typed: &str) -> Failure {
    if error.is_forbidden() || error.is_not_found() {
        return Failure::new(format!("you may not enter {typed}: {error}")).hint("a workspace is entered by its owner only");
    }
    error.into()
}

/// The ticket with the one relay that was asked for, if one was.
fn through(wanted: Option<&str>, ticket: Ticket) -> Outcome<Ticket> {
    let Some(wanted) = wanted else { return Ok(ticket) };
    let Some(relay) = ticket.relay.only(wanted) else {
        let known = ticket.relay.urls().collect::<Vec<_>>().join(", ");
        return Err(
            Failure::usage(format!("the deployment has no relay {wanted}")).hint(format!("--relay or BERTH_RELAY may be {known}"))
        );
    };
    Ok(Ticket { relay, ..ticket })
}

async fn connect(session: &Session, ticket: Ticket, agent: Agent, identity: Identity) -> Outcome<Connection> {
    let ticket = through(session.config.relay.as_deref(), ticket)?;
    let direct = session.config.direct && !ticket.disable_direct_connections;
    let config = TailnetConfig { identity, relay: ticket.relay.clone(), direct, accept: false };
    let tailnet = Tailnet::bind(config)
        .await
        .map_err(|error| Failure::new(error.to_string()).hint("does this machine allow UDP sockets?"))?;
    let started = Instant::now();
    let mut health = tailnet.health();
    let denied = async {
        match health.wait_for(|health| matches!(health, Health::Denied { .. })).await.map(|health| health.clone()) {
            Ok(Health::Denied { reason }) => reason,
            _ => std::future::pending().await,
        }
    };
    let peer = tokio::select! {
        peer = tailnet.connect(&ticket) => peer.map_err(|error| unreachable(&error, &tailnet, &agent)),
        reason = denied => {
            Err(Failure::new(format!("the relay refused to let us in: {reason}")).hint("is this machine's clock right? then try again"))
        }
    };
    match peer {
        Ok(peer) => {
            let took_ms = started.elapsed().as_millis();
            tracing::info!(agent.id = %agent.id, relay = %ticket.relay.url, direct_allowed = direct, took_ms, "connected");
            Ok(Connection { peer, ticket, agent, tailnet })
        }
        Err(failure) => {
            let _heard = tokio::time::timeout(FAREWELL, tailnet.close()).await;
            Err(failure)
        }
    }
}

fn unreachable(error: &ConnectError, tailnet: &Tailnet, agent: &Agent) -> Failure {
    if let Health::Disconnected { reason, .. } = &*tailnet.health().borrow() {
        return Failure::new(format!("cannot reach the relay: {reason}"))
            .hint("does a firewall or proxy block the deployment's relay?");
    }
    Failure::new(format!("cannot reach agent {}: {error}", agent.name))
        .hint("try again; if it stays so, `berth restart` the workspace")
}
