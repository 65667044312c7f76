//! Who the multiplexer knows: workspaces by name, and a connection to each agent.

use super::{AgentStatus, Introduced, Look, Settings, Told};
use crate::{
    change,
    connection::{self, Reach},
    failure::Failure,
    name::WorkspaceRef,
    wait::Scripts,
};
use berth_client::Client;
use berth_net::{Health, Identity, PathInfo, Peer, Tailnet, TunnelStream};
use berth_wire::{agent::Ticket, tunnel::Target};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::time::{Instant, timeout};
use uuid::Uuid;

/// An agent that was heard so lately is there: it is not asked again.
const FRESH: Duration = Duration::from_secs(2);
/// An agent that takes longer to answer is taken for lost, and the command finds out what became of it.
const ANSWERS_WITHIN: Duration = Duration::from_secs(3);
/// How long it may take to connect again for a stream that was lost.
const RESUMES_WITHIN: Duration = Duration::from_secs(5);
/// A name that was looked up longer ago is looked up again while it is used: a workspace can be renamed, and another one made in its place.
const CONFIRM_AFTER: Duration = Duration::from_secs(60);
/// A connection that nobody has used for so long is closed.
const AGENT_IDLE: Duration = Duration::from_secs(10 * 60);
/// Agents at a time.
const AGENTS_MAX: usize = 64;
/// How long the farewell to all agents may take.
const FAREWELL: Duration = Duration::from_millis(500);

/// Why there is no stream.
#[derive(Debug)]
pub(super) enum Refused {
    /// The command has to find and introduce the agent.
    Unknown,
    /// The agent is not connected any more.
    Away,
    /// It cannot be done.
    Failed(Failure),
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// A stream, and what it counts in while it is open.
pub(super) struct Opened {
    pub(super) stream: TunnelStream,
    pub(super) ssh_host_key: String,
    pub(super) agent: Introduced,
    pub(super) use_of_it: Use,
}

/// Counts one stream of an agent until it is dropped.
pub(super) struct Use(Arc<Slot>);

impl Use {
    fn of(slot: &Arc<Slot>) -> Self {
        slot.streams.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(slot))
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        self.0.touch();
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The desk of one multiplexer.
pub(super) struct Desk {
    settings: Settings,
    client: Client,
    identity: Identity,
    tailnet: tokio::sync::Mutex<Option<Tailnet>>,
    names: Mutex<HashMap<String, Named>>,
    slots: Mutex<HashMap<Uuid, Arc<Slot>>>,
}

/// What a name stands for.
#[derive(Clone)]
struct Named {
    agent: Introduced,
    confirmed: Instant,
}

/// The place of an agent's connection. Only one command at a time makes it; the others wait for that.
struct Slot {
    name: String,
    live: tokio::sync::Mutex<Option<Live>>,
    streams: AtomicUsize,
    used: Mutex<Instant>,
}

struct Live {
    peer: Peer,
    /// What it was made with; for a stream that is resumed it need not be good any more.
    ticket: Ticket,
    heard: Instant,
}

impl Slot {
    fn new(name: &str) -> Self {
        let (live, streams) = (tokio::sync::Mutex::default(), AtomicUsize::default());
        Self { name: name.to_owned(), live, streams, used: Mutex::new(Instant::now()) }
    }

    fn touch(&self) {
        *lock(&self.used) = Instant::now();
    }

    fn is_unused(&self) -> bool {
        self.streams.load(Ordering::Relaxed) == 0 && lock(&self.used).elapsed() > AGENT_IDLE
    }
}

impl Live {
    /// Whether the agent answers. Takes a round trip, unless it was heard a moment ago.
    async fn answers(&mut self) -> bool {
        if !self.peer.is_connected() {
            return false;
        }
        if self.heard.elapsed() < FRESH {
            return true;
        }
        let heard = matches!(timeout(ANSWERS_WITHIN, self.peer.ping()).await, Ok(Ok(_)));
        if heard {
            self.heard = Instant::now();
        }
        heard
    }
}

impl Desk {
    /// Knows nobody yet, and connects to nobody.
    pub(super) fn new(settings: Settings) -> Result<Self, Failure> {
        let client = Client::new(&settings.url, settings.token.clone())?;
        let (tailnet, names, slots) = (tokio::sync::Mutex::default(), Mutex::default(), Mutex::default());
        Ok(Self { settings, client, identity: Identity::generate(), tailnet, names, slots })
    }

    /// A stream to an agent that is known and answers.
    pub(super) async fn open(&self, name: &str, scripts: Scripts, target: Target) -> Result<Opened, Refused> {
        let named = lock(&self.names).get(name).cloned().ok_or(Refused::Unknown)?;
        if scripts.are_wanted(named.agent.is_blocking) && !named.agent.has_started {
            return Err(Refused::Unknown);
        }
        let slot = lock(&self.slots).get(&named.agent.id).cloned().ok_or(Refused::Unknown)?;
        let mut live = slot.live.lock().await;
        let live = live.as_mut().ok_or(Refused::Unknown)?;
        if live.answers().await {
            return stream((&slot, named.agent), live, target).await;
        }
        match target {
            Target::Resume { .. } => self.resume((&slot, named.agent), live, target).await,
            _ => Err(Refused::Unknown),
        }
    }

    /// Connects again to go on with a stream that was lost: neither the API nor a new ticket is needed. Streams that are open keep the old
    /// connection, should it come back.
    async fn resume(&self, (slot, agent): (&Arc<Slot>, Introduced), live: &mut Live, target: Target) -> Result<Opened, Refused> {
        let tailnet = self.tailnet.lock().await.clone().ok_or(Refused::Unknown)?;
        if matches!(&*tailnet.health().borrow(), Health::Denied { .. }) {
            // The relay wants a new admission, which comes with an introduction.
            return Err(Refused::Unknown);
        }
        let lost = |why: String| Refused::Failed(Failure::new(why));
        let made = timeout(RESUMES_WITHIN, tailnet.resume(&live.ticket, target)).await;
        let (peer, stream) =
            made.map_err(|_| lost("the agent does not answer".to_owned()))?.map_err(|error| lost(error.to_string()))?;
        (live.peer, live.heard) = (peer, Instant::now());
        slot.touch();
        Ok(Opened { stream, ssh_host_key: live.ticket.ssh_host_key.clone(), agent, use_of_it: Use::of(slot) })
    }

    /// A stream to an agent that a command has found; connects if need be.
    pub(super) async fn introduce(&self, name: String, agent: Introduced, target: Target) -> Result<Opened, Refused> {
        let slot = self.slot(&name, agent.id)?;
        let mut live = slot.live.lock().await;
        let is_live = match live.as_mut() {
            Some(found) => found.answers().await,
            None => false,
        };
        if !is_live {
            // Until there is another one, the old one's ticket may resume a stream.
            *live = Some(self.connect(&name, &agent).await?);
        }
        lock(&self.names).insert(name, Named { agent: agent.clone(), confirmed: Instant::now() });
        match live.as_mut() {
            Some(found) => stream((&slot, agent), found, target).await,
            None => Err(Refused::Unknown),
        }
    }

    fn slot(&self, name: &str, agent: Uuid) -> Result<Arc<Slot>, Refused> {
        let mut slots = lock(&self.slots);
        if slots.len() >= AGENTS_MAX && !slots.contains_key(&agent) {
            return Err(Failure::new(format!("the multiplexer holds {AGENTS_MAX} connections already"))
                .hint("end some, or go without it: BERTH_MUX=off")
                .into());
        }
        Ok(Arc::clone(slots.entry(agent).or_insert_with(|| Arc::new(Slot::new(name)))))
    }

    async fn connect(&self, name: &str, agent: &Introduced) -> Result<Live, Refused> {
        let ticket = match self.client.ticket(agent.id, &self.identity.endpoint_id()).await {
            Ok(ticket) => ticket,
            Err(error) if error.is_conflict() => return Err(Refused::Away),
            Err(error) => return Err(connection::refused(error, name).into()),
        };
        let ticket = connection::through(self.settings.relay.as_deref(), ticket)?;
        let reach = Reach { ticket: &ticket, agent: &agent.name, direct: self.settings.direct };
        let tailnet = {
            let mut tailnet = self.tailnet.lock().await;
            match &*tailnet {
                Some(tailnet) => reach.renew(tailnet).await?,
                None => *tailnet = Some(reach.bind(self.identity.clone()).await?),
            }
            tailnet.clone()
        };
        let Some(tailnet) = tailnet else { return Err(Refused::Unknown) };
        let peer = reach.connect(&tailnet).await?;
        Ok(Live { peer, ticket, heard: Instant::now() })
    }

    /// Looks up again what a name stands for, if that was long ago. While nobody answers, it stands for what it stood for.
    pub(super) async fn confirm(&self, name: &str) {
        let Some(named) = lock(&self.names).get(name).cloned() else { return };
        let Ok(reference) = name.parse::<WorkspaceRef>() else { return };
        if named.confirmed.elapsed() < CONFIRM_AFTER {
            return;
        }
        let found = self.client.workspace_by_name(reference.owner_or_me(), reference.workspace.as_str()).await;
        let stands = match found {
            Ok(workspace) => change::agents(&workspace.latest_build).any(|agent| agent.id == named.agent.id),
            Err(error) => !error.is_not_found() && !error.is_forbidden() && !error.is_unauthorized(),
        };
        let mut names = lock(&self.names);
        if stands {
            names.entry(name.to_owned()).and_modify(|named| named.confirmed = Instant::now());
        } else {
            tracing::info!(name, "stands for another agent now");
            names.remove(name);
        }
    }

    /// Names stand for nothing any more; connections stay.
    pub(super) fn forget(&self) {
        lock(&self.names).clear();
    }

    /// How the connection to a workspace's agent goes.
    pub(super) async fn look(&self, name: &str) -> Option<Look> {
        let agent = lock(&self.names).get(name)?.agent.id;
        let slot = lock(&self.slots).get(&agent).cloned()?;
        slot.live.lock().await.as_ref()?.peer.path().map(Look::from)
    }

    /// The connections.
    pub(super) async fn status(&self) -> Vec<AgentStatus> {
        let slots: Vec<_> = lock(&self.slots).values().cloned().collect();
        let mut all = Vec::new();
        for slot in slots {
            let path = slot.live.lock().await.as_ref().and_then(|live| live.peer.path()).map(Look::from);
            all.push(AgentStatus { name: slot.name.clone(), streams: slot.streams.load(Ordering::Relaxed), path });
        }
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }

    /// Closes what nobody uses.
    pub(super) fn tidy(&self) {
        lock(&self.slots).retain(|_, slot| !slot.is_unused());
    }

    /// Says good-bye to all agents.
    pub(super) async fn close(&self) {
        lock(&self.slots).clear();
        if let Some(tailnet) = self.tailnet.lock().await.take() {
            // Who does not hear us notices by itself.
            let _heard = timeout(FAREWELL, tailnet.close()).await;
        }
    }
}

async fn stream((slot, agent): (&Arc<Slot>, Introduced), live: &Live, target: Target) -> Result<Opened, Refused> {
    slot.touch();
    match live.peer.open(target).await {
        Ok(stream) => Ok(Opened { stream, ssh_host_key: live.ticket.ssh_host_key.clone(), agent, use_of_it: Use::of(slot) }),
        Err(_) => Err(Refused::Unknown),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl From<PathInfo> for Look {
    fn from(path: PathInfo) -> Self {
        let via = path.remote_addr.map(|address| address.to_string()).or(path.relay_url).unwrap_or_default();
        Self { direct: path.direct, via, milliseconds: path.rtt.as_secs_f64() * 1000.0 }
    }
}

impl From<Failure> for Told {
    fn from(failure: Failure) -> Self {
        Self { clause: failure.to_string(), hint: failure.next().map(str::to_owned) }
    }
}

impl From<Told> for Failure {
    fn from(told: Told) -> Self {
        let failure = Self::new(told.clause);
        match told.hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}
