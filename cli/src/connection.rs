//! From a workspace's name to an open connection: find it, bring it up, wait for its agent, be introduced, connect.

use crate::{
    change,
    dial::{ASK_WITHIN, Introducer, OwnEndpoint, over},
    failure::{Failure, Outcome},
    mux::{Found, Introduced, Look, Multiplexer, Pipe},
    name::WorkspaceRef,
    session::{Session, find_workspace},
    signal,
    wait::{self, Detail, Scripts},
};
use berth_client::{Client, ClientError};
use berth_net::{ConnectError, Dial, DialError, Health, Identity, Peer, Tailnet, TailnetConfig, TunnelStream};
use berth_wire::{
    agent::Ticket,
    domain::{BuildReason, Transition, WorkspaceStatus},
    resource::Agent,
    tunnel::Target,
    workspace::Workspace,
};
use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::UnixStream,
    time::Instant,
};

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

/// A stream to an agent, over a connection of this process's own or the multiplexer's.
#[derive(Debug)]
pub enum Stream {
    /// Ours.
    Own(TunnelStream),
    /// The multiplexer's.
    Multiplexed(Pipe<UnixStream>),
}

/// A stream, and who is at its other end.
#[derive(Debug)]
pub struct Opened {
    /// The stream.
    pub stream: Stream,
    /// The SSH host key of the agent.
    pub ssh_host_key: String,
}

/// The way to an agent. It is found when the first stream is opened, and again whenever it is lost.
#[derive(Debug)]
pub struct Connection {
    session: Session,
    reference: WorkspaceRef,
    wishes: Wishes,
    multiplexer: Option<Multiplexer>,
    own: Mutex<Option<Own>>,
    /// The agent that was found last.
    agent: Mutex<Option<Introduced>>,
    /// A stream that was opened before it was dialled.
    prepared: Mutex<Option<(Target, Stream)>>,
    /// One at a time looks for the agent; the others then know it. Whether one was found before: a workspace that was stopped since is not
    /// started again by a connection that was lost.
    finding: tokio::sync::Mutex<bool>,
}

/// A connection of this process's own.
#[derive(Debug, Clone)]
struct Own {
    endpoint: Arc<OwnEndpoint>,
    ssh_host_key: String,
}

impl Connection {
    /// The way to the agent of a workspace. Connects to nothing yet.
    ///
    /// # Errors
    /// When no deployment is known, or nobody is signed in.
    pub fn to(session: &Session, reference: WorkspaceRef, wishes: Wishes) -> Outcome<Self> {
        let (session, multiplexer) = (session.clone(), Multiplexer::of(session)?);
        let (own, agent, prepared) = (Mutex::default(), Mutex::default(), Mutex::default());
        Ok(Self { session, reference, wishes, multiplexer, own, agent, prepared, finding: tokio::sync::Mutex::default() })
    }

    /// Does all it takes to open a stream to the agent and says on stderr what it waits for.
    ///
    /// # Errors
    /// When the workspace or the agent does not exist, cannot be brought up or cannot be reached.
    pub async fn open(&self, target: &Target) -> Outcome<Opened> {
        if let Some(opened) = self.known(target).await? {
            return Ok(opened);
        }
        let mut was_found = self.finding.lock().await;
        if let Some(opened) = self.known(target).await? {
            return Ok(opened);
        }
        let client = self.session.client()?;
        let wishes = Wishes { start: self.wishes.start.filter(|_| !*was_found), ..self.wishes };
        for _ in 0..ROUNDS {
            let agent = ready_agent(&self.session, &client, &self.reference, wishes).await?;
            let words = format!("Connecting to agent {} of {}", agent.name, self.reference.typed());
            let introduced = self.session.printer.patiently(words, self.introduce(&client, &agent, target)).await;
            if let Some(opened) = introduced? {
                *was_found = true;
                return Ok(opened);
            }
            // It went away between our look and now.
        }
        let typed = self.reference.typed();
        Err(Failure::new(format!("the agent of {typed} comes and goes")).hint(format!("`berth logs {typed}` may tell why")))
    }

    /// As [`Connection::open`], for a command that has nothing else to do: a signal ends it.
    ///
    /// # Errors
    /// As [`Connection::open`]; silent when a signal came.
    pub async fn open_first(&self, target: &Target) -> Outcome<Opened> {
        signal::unless_ended(self.open(target), || {}).await
    }

    /// Opens a stream as [`Connection::open_first`] does, for the first [`Dial::dial`] of the same target; gives the agent's SSH host key.
    ///
    /// # Errors
    /// As [`Connection::open_first`].
    pub async fn prepare(&self, target: &Target) -> Outcome<String> {
        let Opened { stream, ssh_host_key } = self.open_first(target).await?;
        lock(&self.prepared).replace((target.clone(), stream));
        Ok(ssh_host_key)
    }

    /// How the way goes at the moment, if there is one.
    pub async fn look(&self) -> Option<Look> {
        let own = lock(&self.own).as_ref().map(|own| own.endpoint.peer());
        match (own, &self.multiplexer) {
            (Some(peer), _) => peer.path().map(Look::from),
            (None, Some(multiplexer)) => multiplexer.look(&self.reference.to_string()).await,
            (None, None) => None,
        }
    }

    /// Says good-bye to the other side, if the connection is ours.
    pub async fn close(&self) {
        let own = lock(&self.own).take();
        if let Some(own) = own {
            // If it does not hear us, it notices by itself.
            let _heard = tokio::time::timeout(FAREWELL, own.endpoint.close()).await;
        }
    }

    /// A stream to an agent that we, or the multiplexer, are connected to already.
    async fn known(&self, target: &Target) -> Outcome<Option<Opened>> {
        let own = lock(&self.own).clone();
        if let Some(own) = own {
            return Ok(own.open(target).await);
        }
        let Some(multiplexer) = &self.multiplexer else { return Ok(None) };
        let name = self.reference.to_string();
        let opening = multiplexer.open(&name, self.wishes.scripts, target);
        let found = self.session.printer.patiently("Waiting for the agent to answer", opening).await;
        heard(found).map_or(Ok(None), |found| found.map(|found| self.remember(found)))
    }

    /// A stream that the multiplexer gave, and whose it is.
    fn remember(&self, found: Found) -> Option<Opened> {
        match found {
            Found::Opened { pipe, ssh_host_key, agent } => {
                lock(&self.agent).replace(agent);
                Some(Opened { stream: Stream::Multiplexed(pipe), ssh_host_key })
            }
            Found::Unknown | Found::Away => None,
        }
    }

    /// Connects to an agent that was found. None when it is not there any more.
    async fn introduce(&self, client: &Client, agent: &Agent, target: &Target) -> Outcome<Option<Opened>> {
        let introduced = Introduced {
            id: agent.id,
            name: agent.name.clone(),
            has_started: agent.lifecycle_state.has_started(),
            is_blocking: wait::is_blocking(agent),
        };
        lock(&self.agent).replace(introduced.clone());
        if let Some(multiplexer) = &self.multiplexer {
            let found = multiplexer.introduce(&self.reference.to_string(), introduced.clone(), target).await;
            if let Some(found) = heard(found) {
                return found.map(|found| self.remember(found));
            }
        }
        let Some(own) = self.connect(client, &introduced).await? else { return Ok(None) };
        Ok(own.open(target).await)
    }

    /// Gets a ticket for a key of this process's own and connects. None when the agent is not there any more.
    async fn connect(&self, client: &Client, agent: &Introduced) -> Outcome<Option<Own>> {
        let before = lock(&self.own).take();
        let identity = Identity::generate();
        let ticket = match client.ticket(agent.id, &identity.endpoint_id()).await {
            Ok(ticket) => ticket,
            Err(error) if error.is_conflict() => return Ok(None),
            Err(error) => return Err(refused(error, &self.reference.typed())),
        };
        tracing::info!(agent.id = %agent.id, agent.endpoint = ticket.agent_endpoint_id, "introduced");
        let ticket = through(self.session.config.relay.as_deref(), ticket)?;
        let reach = Reach { ticket: &ticket, agent: &agent.name, direct: self.session.config.direct };
        let tailnet = reach.bind(identity).await?;
        let connected = reach.connect(&tailnet).await;
        if let Some(before) = before {
            let _heard = tokio::time::timeout(FAREWELL, before.endpoint.close()).await;
        }
        let peer = match connected {
            Ok(peer) => peer,
            Err(failure) => {
                let _heard = tokio::time::timeout(FAREWELL, tailnet.close()).await;
                return Err(failure);
            }
        };
        let ssh_host_key = ticket.ssh_host_key.clone();
        let introducer = Introducer { client: client.clone(), agent: agent.id, relay: self.session.config.relay.clone() };
        let own = Own { endpoint: Arc::new(OwnEndpoint::new(tailnet, introducer, (ticket, peer))), ssh_host_key };
        lock(&self.own).replace(own.clone());
        Ok(Some(own))
    }

    /// Gets a stream without a word to the person, for one that was lost.
    async fn redial(&self, target: Target) -> Result<Stream, DialError> {
        let own = lock(&self.own).clone();
        if let Some(own) = own {
            return own.endpoint.dial(target).await.map(Stream::Own);
        }
        let Some(agent) = lock(&self.agent).clone() else { return Err(DialError::Away("no agent was found".to_owned())) };
        if let Some(multiplexer) = &self.multiplexer {
            let name = self.reference.to_string();
            let mut found = multiplexer.open(&name, Scripts::No, &target).await;
            if let Ok(Ok(Found::Unknown | Found::Away)) = found {
                found = multiplexer.introduce(&name, agent.clone(), &target).await;
            }
            match heard(found) {
                Some(Ok(Found::Opened { pipe, .. })) => return Ok(Stream::Multiplexed(pipe)),
                Some(Ok(Found::Unknown | Found::Away)) => return Err(self.judge(&agent, "the agent is not connected").await),
                Some(Err(failure)) => return Err(self.judge(&agent, &failure.to_string()).await),
                None => {}
            }
        }
        let client = self.session.client().map_err(|failure| DialError::Over(failure.to_string()))?;
        match self.connect(&client, &agent).await {
            Ok(Some(own)) => own.endpoint.dial(target).await.map(Stream::Own),
            Ok(None) => Err(self.judge(&agent, "the agent is not connected").await),
            Err(failure) => Err(self.judge(&agent, &failure.to_string()).await),
        }
    }

    /// Whether an agent that cannot be reached may come back. When the deployment does not answer, nothing is known.
    async fn judge(&self, agent: &Introduced, reason: &str) -> DialError {
        let Ok(client) = self.session.client() else { return DialError::Away(reason.to_owned()) };
        match tokio::time::timeout(ASK_WITHIN, client.agent(agent.id)).await {
            Ok(Err(error)) if error.is_not_found() || error.is_forbidden() || error.is_unauthorized() => over(&error),
            _ => DialError::Away(reason.to_owned()),
        }
    }
}

impl Dial for Connection {
    type Stream = Stream;

    async fn dial(&self, target: Target) -> Result<Stream, DialError> {
        let prepared = lock(&self.prepared).take();
        match prepared {
            Some((prepared, stream)) if prepared == target => Ok(stream),
            _ => self.redial(target).await,
        }
    }

    async fn improved(&self) {
        let own = lock(&self.own).clone();
        match own {
            Some(own) => own.endpoint.improved().await,
            // The multiplexer answers when it is asked again.
            None => std::future::pending().await,
        }
    }
}

/// What the multiplexer said; none when there is no multiplexer to be had.
fn heard(found: io::Result<Outcome<Found>>) -> Option<Outcome<Found>> {
    found.inspect_err(|error| tracing::info!(%error, "without the multiplexer")).ok()
}

impl Own {
    /// None when the connection is over.
    async fn open(&self, target: &Target) -> Option<Opened> {
        let stream = self.endpoint.dial(target.clone()).await.ok()?;
        Some(Opened { stream: Stream::Own(stream), ssh_host_key: self.ssh_host_key.clone() })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Stream {
    /// Gives it up: the other end reads an error instead of an end.
    pub fn abort(self) {
        match self {
            Self::Own(stream) => stream.abort(),
            Self::Multiplexed(pipe) => pipe.abort(),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Own(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Multiplexed(pipe) => Pin::new(pipe).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Own(stream) => Pin::new(stream).poll_write(cx, data),
            Self::Multiplexed(pipe) => Pin::new(pipe).poll_write(cx, data),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Own(stream) => Pin::new(stream).poll_flush(cx),
            Self::Multiplexed(pipe) => Pin::new(pipe).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Own(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Multiplexed(pipe) => Pin::new(pipe).poll_shutdown(cx),
        }
    }
}

/// Brings the workspace up if need be and gives its agent, connected.
pub(crate) async fn ready_agent(session: &Session, client: &Client, reference: &WorkspaceRef, wishes: Wishes) -> Outcome<Agent> {
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
pub(crate) fn choose(workspace: &Workspace, reference: &WorkspaceRef) -> Outcome<Agent> {
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

/// Why a ticket was refused.
pub(crate) fn refused(error: ClientError, typed: &str) -> Failure {
    if error.is_forbidden() || error.is_not_found() {
        return Failure::new(format!("you may not enter {typed}: {error}")).hint("a workspace is entered by its owner only");
    }
    error.into()
}

/// The ticket with the one relay to go by: the one that was asked for, else the one that the agent is at. An endpoint that knew the others too
/// might make its home at one of them, and keep asking there when it is gone.
pub(crate) fn through(wanted: Option<&str>, ticket: Ticket) -> Outcome<Ticket> {
    let found = wanted.map_or_else(|| Some(ticket.relay.first()), |wanted| ticket.relay.only(wanted));
    let Some(relay) = found else {
        let wanted = wanted.unwrap_or_default();
        let known = ticket.relay.urls().collect::<Vec<_>>().join(", ");
        return Err(
            Failure::usage(format!("the deployment has no relay {wanted}")).hint(format!("--relay or BERTH_RELAY may be {known}"))
        );
    };
    Ok(Ticket { relay, ..ticket })
}

/// What it takes to connect to an agent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reach<'a> {
    /// The introduction.
    pub(crate) ticket: &'a Ticket,
    /// The agent's name.
    pub(crate) agent: &'a str,
    /// Whether direct connections are wanted.
    pub(crate) direct: bool,
}

impl Reach<'_> {
    /// Makes this end of the tailnet.
    pub(crate) async fn bind(&self, identity: Identity) -> Outcome<Tailnet> {
        let direct = self.direct && !self.ticket.disable_direct_connections;
        let config = TailnetConfig { identity, relay: self.ticket.relay.clone(), direct, accept: false };
        let bound = Tailnet::bind(config).await;
        bound.map_err(|error| Failure::new(error.to_string()).hint("does this machine allow UDP sockets?"))
    }

    /// Shows a relay that has refused us the new admission.
    pub(crate) async fn renew(&self, tailnet: &Tailnet) -> Outcome {
        let is_denied = matches!(&*tailnet.health().borrow(), Health::Denied { .. });
        if !is_denied {
            return Ok(());
        }
        let renewed = tailnet.update_relay(self.ticket.relay.clone()).await;
        renewed.map_err(|error| Failure::new(error.to_string()).hint("does this machine allow UDP sockets?"))
    }

    /// Connects to the agent and waits until it has accepted the ticket.
    pub(crate) async fn connect(&self, tailnet: &Tailnet) -> Outcome<Peer> {
        let started = Instant::now();
        let mut health = tailnet.health();
        let denied = async {
            match health.wait_for(|health| matches!(health, Health::Denied { .. })).await.map(|health| health.clone()) {
                Ok(Health::Denied { reason }) => reason,
                _ => std::future::pending().await,
            }
        };
        let peer = tokio::select! {
            peer = tailnet.connect(self.ticket) => peer.map_err(|error| self.unreachable(&error, tailnet))?,
            reason = denied => {
                return Err(Failure::new(format!("the relay refused to let us in: {reason}"))
                    .hint("is this machine's clock right? then try again"));
            }
        };
        tracing::info!(agent.name = self.agent, relay = %self.ticket.relay.url, took_ms = started.elapsed().as_millis(), "connected");
        Ok(peer)
    }

    fn unreachable(&self, error: &ConnectError, tailnet: &Tailnet) -> Failure {
        if let Health::Disconnected { reason, .. } = &*tailnet.health().borrow() {
            return Failure::new(format!("cannot reach the relay: {reason}"))
                .hint("does a firewall or proxy block the deployment's relay? `berth netcheck` looks from here");
        }
        let relay = &self.ticket.relay.url;
        Failure::new(format!("cannot reach agent {} through {relay}: {error}", self.agent)).hint(
            "try again: an agent whose relay failed is at another within a minute; `berth doctor` tells how the relay is, and if it \
             is well, `berth restart` the workspace",
        )
    }
}
