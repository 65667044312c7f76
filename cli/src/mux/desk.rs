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
use futures_util::future::join_all;
use std::{
    collections::{BTreeMap, HashMap},
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
/// How long it may take to be introduced again for such a stream, and to connect: the packets of a longer attempt come ever more rarely.
const REINTRODUCED_WITHIN: Duration = Duration::from_secs(8);
/// After so many attempts in vain the deployment is asked where the agent is, although the relay answers.
const RESUMED_IN_VAIN_MAX: u32 = 2;
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
    /// An end of the tailnet for each relay that an agent is at, by the relay's URL: with several, an endpoint would make its home at any.
    tailnets: tokio::sync::Mutex<BTreeMap<String, Tailnet>>,
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
    tailnet: Tailnet,
    peer: Peer,
    /// What it was made with; for a stream that is resumed it need not be good any more.
    ticket: Ticket,
    heard: Instant,
    /// How often it could not be resumed since.
    failures: u32,
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
    fn is_fresh(&self) -> bool {
        self.peer.is_connected() && self.heard.elapsed() < FRESH
    }

    /// Whether the agent answers. Takes a round trip, unless it was heard a moment ago.
    async fn answers(&mut self) -> bool {
        if self.is_fresh() {
            return true;
        }
        if !self.peer.is_connected() {
            return false;
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
        let (tailnets, names, slots) = (tokio::sync::Mutex::default(), Mutex::default(), Mutex::default());
        Ok(Self { settings, client, tailnets, names, slots })
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

    /// Connects again to go on with a stream that was lost: neither the API nor a new ticket is needed while the agent is at its relay.
    /// Streams that are open keep the old connection, should it come back.
    async fn resume(&self, (slot, agent): (&Arc<Slot>, Introduced), live: &mut Live, target: Target) -> Result<Opened, Refused> {
        if matches!(&*live.tailnet.health().borrow(), Health::Denied { .. }) {
            // The relay wants a new admission, which comes with an introduction.
            return Err(Refused::Unknown);
        }
        let made = timeout(RESUMES_WITHIN, live.tailnet.resume(&live.ticket, target)).await;
        let why = match made {
            Ok(Ok((peer, stream))) => {
                (live.peer, live.heard, live.failures) = (peer, Instant::now(), 0);
                slot.touch();
                return Ok(Opened { stream, ssh_host_key: live.ticket.ssh_host_key.clone(), agent, use_of_it: Use::of(slot) });
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => silence(),
        };
        live.failures += 1;
        if live.failures >= RESUMED_IN_VAIN_MAX || !live.tailnet.health().borrow().is_connected() {
            // The agent may be at another relay by now: which one comes with an introduction.
            return Err(Refused::Unknown);
        }
        Err(Refused::Failed(Failure::new(why)))
    }

    /// A stream to an agent that a command has found; connects if need be.
    pub(super) async fn introduce(&self, name: String, agent: Introduced, target: Target) -> Result<Opened, Refused> {
        let (slot, is_resumed) = (self.slot(&name, agent.id)?, matches!(target, Target::Resume { .. }));
        let mut live = slot.live.lock().await;
        let is_live = match live.as_mut() {
            // One that is resumed has just been found not to answer.
            Some(found) if is_resumed => found.is_fresh(),
            Some(found) => found.answers().await,
            None => false,
        };
        if !is_live {
            let patience = if is_resumed { REINTRODUCED_WITHIN } else { Duration::MAX };
            let connected = timeout(patience, self.connect(&name, &agent)).await;
            // Until there is another one, the old one's ticket may resume a stream.
            *live = Some(connected.map_err(|_| Failure::new(silence()))??);
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
        let known = self.tailnets.lock().await.clone();
        // Most likely the agent is where others are.
        let guessed = known.values().find(|tailnet| tailnet.health().borrow().is_connected()).or_else(|| known.values().next());
        let identity = Identity::generate();
        let ticket = self.ticket(name, agent, &guessed.map_or_else(|| identity.endpoint_id(), Tailnet::endpoint_id)).await?;
        let url = ticket.relay.url.clone();
        let endpoint_id = known.get(&url).map_or_else(|| identity.endpoint_id(), Tailnet::endpoint_id);
        let is_right = guessed.is_none_or(|guessed| guessed.endpoint_id() == endpoint_id);
        let ticket = if is_right { ticket } else { self.ticket(name, agent, &endpoint_id).await? };
        if ticket.relay.url != url {
            // It has moved on meanwhile: the command looks again.
            return Err(Refused::Unknown);
        }
        let reach = Reach { ticket: &ticket, agent: &agent.name, direct: self.settings.direct };
        let tailnet = self.tailnet(&reach, identity).await?;
        if tailnet.endpoint_id() != endpoint_id {
            // Another command has made this end meanwhile, and the ticket is for a key that is not used.
            return Err(Refused::Unknown);
        }
        let peer = reach.connect(&tailnet).await?;
        Ok(Live { tailnet, peer, ticket, heard: Instant::now(), failures: 0 })
    }

    /// A ticket for this end's key, with the one relay to go by.
    async fn ticket(&self, name: &str, agent: &Introduced, endpoint_id: &str) -> Result<Ticket, Refused> {
        match self.client.ticket(agent.id, endpoint_id).await {
            Ok(ticket) => Ok(connection::through(self.settings.relay.as_deref(), ticket)?),
            Err(error) if error.is_conflict() => Err(Refused::Away),
            Err(error) => Err(connection::refused(error, name).into()),
        }
    }

    /// This end of the tailnet at the relay of a ticket. It has a key for each relay: an agent knows a key by the relay where it last saw it, and
    /// would answer there.
    async fn tailnet(&self, reach: &Reach<'_>, identity: Identity) -> Result<Tailnet, Failure> {
        let mut tailnets = self.tailnets.lock().await;
        if let Some(tailnet) = tailnets.get(&reach.ticket.relay.url) {
            reach.renew(tailnet).await?;
            return Ok(tailnet.clone());
        }
        let tailnet = reach.bind(identity).await?;
        tailnets.insert(reach.ticket.relay.url.clone(), tailnet.clone());
        Ok(tailnet)
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
        let tailnets = std::mem::take(&mut *self.tailnets.lock().await);
        // Who does not hear us notices by itself.
        let _heard = timeout(FAREWELL, join_all(tailnets.values().map(Tailnet::close))).await;
    }
}

fn silence() -> String {
    "the agent does not answer".to_owned()
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
