//! Streams from this process to agents, for browsers, which have no end of the tailnet of their own.
//!
//! This process has one, with a key of its own that a restart replaces, and a connection to each agent that somebody looks at. It may open
//! nothing by itself: each stream carries a ticket that the API made for this key, this agent and this target ([`Admitted`]), and the agent
//! reads it.

use crate::presence::lock;
use berth_net::{BindError, ConnectError, Health, Identity, Peer, Tailnet, TailnetConfig, TunnelStream};
use berth_wire::{agent::Ticket, tunnel::Target};
use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, Weak},
    time::Duration,
};
use tokio::{
    sync::{Mutex as Turn, OnceCell},
    task::JoinSet,
    time::{Instant, timeout},
};

/// The most agents that are connected at a time; beyond it, the one that was used longest ago makes room.
const AGENTS_MAX: usize = 1_024;
/// A connection that nobody opens a stream of for this time is let go of. Streams that are open keep theirs.
const IDLE: Duration = Duration::from_secs(300);
/// How often those are looked for.
const TIDY: Duration = Duration::from_secs(60);
/// A connection that answered this recently is taken to be up.
const FRESH: Duration = Duration::from_secs(5);
/// How long a connection has to answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);
/// How long a connection may take to stand, those who wait for another's attempt included.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// How long a stream may take to open: longer only when the agent has as many as it takes.
const OPEN_WITHIN: Duration = Duration::from_secs(5);

/// The API's word that this process may open streams of one target at one agent. Made of its answer, and of nothing else.
#[derive(Debug, Clone)]
pub struct Admitted(Ticket);

impl From<Ticket> for Admitted {
    fn from(ticket: Ticket) -> Self {
        Self(ticket)
    }
}

/// Why there is no stream to an agent.
#[derive(Debug, thiserror::Error)]
pub enum TunnelError {
    /// This process has no end of the tailnet.
    #[error("cannot join the tailnet")]
    Bind(#[from] BindError),
    /// The agent cannot be reached.
    #[error("cannot reach the agent")]
    Connect(#[from] ConnectError),
    /// Nobody answered in time.
    #[error("the agent did not answer within {} seconds", CONNECT_WITHIN.as_secs())]
    Silent,
    /// The agent has as many streams open as it takes.
    #[error("the agent has too many streams open")]
    Busy,
    /// The connection ended.
    #[error("the connection to the agent ended")]
    Lost(#[source] io::Error),
}

/// This process's end of the tailnet, and its connections. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tunnels(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    identity: Identity,
    /// Made when it is first needed: where the relays are is in the first ticket.
    tailnet: OnceCell<Tailnet>,
    agents: Mutex<HashMap<String, Arc<Lane>>>,
    /// Lets go of connections that nobody uses.
    tidying: Mutex<JoinSet<()>>,
}

/// The way to one agent.
#[derive(Debug)]
struct Lane {
    /// Held while connecting, so that many who want the same agent connect once.
    peer: Turn<Option<Connected>>,
    used: Mutex<Instant>,
}

#[derive(Debug)]
struct Connected {
    peer: Peer,
    answered: Instant,
}

impl Default for Tunnels {
    fn default() -> Self {
        Self(Arc::new(Inner {
            identity: Identity::generate(),
            tailnet: OnceCell::new(),
            agents: Mutex::default(),
            tidying: Mutex::default(),
        }))
    }
}

impl Tunnels {
    /// The name of this process's end on the tailnet: what the API makes tickets out to.
    #[must_use]
    pub fn endpoint_id(&self) -> String {
        self.0.identity.endpoint_id()
    }

    /// Opens a stream to `target`, which must be the one of the API's ticket. Connects if need be, in two round trips, 10 seconds at the most;
    /// on a connection that is up, costs none. That the agent refuses shows at the first read: `PermissionDenied`, or `ConnectionRefused`
    /// when nothing listens there.
    ///
    /// # Errors
    /// [`TunnelError`].
    pub async fn open(&self, agent: &Admitted, target: Target) -> Result<TunnelStream, TunnelError> {
        let lane = self.lane(&agent.0.agent_endpoint_id);
        *lock(&lane.used) = Instant::now();
        let peer = timeout(CONNECT_WITHIN, self.peer(&lane, agent)).await.map_err(|_| TunnelError::Silent)??;
        let opened = timeout(OPEN_WITHIN, peer.open_with(&agent.0.ticket, target)).await.map_err(|_| TunnelError::Busy)?;
        opened.map_err(TunnelError::Lost)
    }

    /// Says goodbye to all agents.
    pub async fn close(&self) {
        lock(&self.0.agents).clear();
        if let Some(tailnet) = self.0.tailnet.get() {
            tailnet.close().await;
        }
    }

    fn lane(&self, agent: &str) -> Arc<Lane> {
        let mut agents = lock(&self.0.agents);
        if let Some(lane) = agents.get(agent) {
            return Arc::clone(lane);
        }
        if agents.len() >= AGENTS_MAX {
            let oldest = agents.iter().min_by_key(|(_, lane)| *lock(&lane.used)).map(|(agent, _)| agent.clone());
            if let Some(oldest) = oldest {
                agents.remove(&oldest);
            }
        }
        let lane = Arc::new(Lane { peer: Turn::default(), used: Mutex::new(Instant::now()) });
        agents.insert(agent.to_owned(), Arc::clone(&lane));
        lane
    }

    /// The connection to an agent: the one that is up, or a new one.
    async fn peer(&self, lane: &Lane, agent: &Admitted) -> Result<Peer, TunnelError> {
        let mut connected = lane.peer.lock().await;
        if let Some(known) = connected.as_mut() {
            if known.peer.is_connected() && known.answered.elapsed() < FRESH {
                return Ok(known.peer.clone());
            }
            // An agent that was killed says nothing: its connection looks up for minutes.
            if known.peer.answers(ANSWERS_WITHIN).await {
                known.answered = Instant::now();
                return Ok(known.peer.clone());
            }
        }
        *connected = None;
        let peer = self.tailnet(&agent.0).await?.connect(&agent.0).await?;
        *connected = Some(Connected { peer: peer.clone(), answered: Instant::now() });
        Ok(peer)
    }

    async fn tailnet(&self, ticket: &Ticket) -> Result<&Tailnet, TunnelError> {
        let bind = async {
            lock(&self.0.tidying).spawn(tidy(Arc::downgrade(&self.0)));
            let (identity, relay) = (self.0.identity.clone(), ticket.relay.clone());
            let direct = !ticket.disable_direct_connections;
            Tailnet::bind(TailnetConfig { identity, relay, direct, accept: false }).await
        };
        let tailnet = self.0.tailnet.get_or_try_init(|| bind).await?;
        // Its admission has run out: the ticket has a new one.
        if matches!(&*tailnet.health().borrow(), Health::Denied { .. }) {
            tailnet.update_relay(ticket.relay.clone()).await?;
        }
        Ok(tailnet)
    }

    #[cfg(test)]
    pub(crate) fn agents(&self) -> usize {
        lock(&self.0.agents).len()
    }
}

/// Lets go of what nobody used for a while, until all users of the tunnels are gone.
async fn tidy(tunnels: Weak<Inner>) {
    loop {
        tokio::time::sleep(TIDY).await;
        let Some(tunnels) = tunnels.upgrade() else { return };
        lock(&tunnels.agents).retain(|_, lane| lock(&lane.used).elapsed() < IDLE);
    }
}
