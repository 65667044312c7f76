//! The client's side of a connection.

use crate::{
    link::{Code, Counted, Link, explain},
    open,
    stream::{TunnelStream, connection_error},
    tailnet::Tailnet,
};
use berth_wire::{
    agent::Ticket,
    domain::Secret,
    tunnel::{ALPN, Open, Target},
};
use iroh::{EndpointAddr, EndpointId, TransportAddr};
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Mutex,
    time::Instant,
};

/// How long an agent that the control plane calls connected may take to answer. The relay drops packets to the absent without a word.
const CONNECT_WITHIN: Duration = Duration::from_secs(20);

/// Why an agent cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The introduction is not usable.
    #[error("the ticket names {0:?}, which is not an endpoint or a relay")]
    Ticket(String),
    /// This end was closed.
    #[error("this end of the tailnet is closed")]
    Closed,
    /// Nobody answered in time.
    #[error("the agent did not answer within {} seconds", CONNECT_WITHIN.as_secs())]
    Silent,
    /// The connection could not be made.
    #[error("cannot connect to the agent: {0}")]
    Failed(String),
}

/// A connection to an agent. Cheap to clone; it closes when the last clone and the last stream are gone.
#[derive(Debug, Clone)]
pub struct Peer {
    link: Arc<Link>,
    hello: Arc<Mutex<TunnelStream>>,
    pings: Arc<AtomicU64>,
}

/// How a connection goes at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathInfo {
    /// Whether it is direct, not through the relay.
    pub direct: bool,
    /// The relay, when it goes through one.
    pub relay_url: Option<String>,
    /// The other end's address, when it is direct.
    pub remote_addr: Option<std::net::SocketAddr>,
    /// The round trip as QUIC estimates it.
    pub rtt: Duration,
}

impl Tailnet {
    /// Connects to the agent of a ticket and shows the ticket at once; a refusal shows at the first read or at [`Peer::admitted`]. The
    /// connection begins through the relay and moves to a direct path when one is found. Takes two round trips.
    ///
    /// # Errors
    /// [`ConnectError`]. An agent that is not there shows only as [`ConnectError::Silent`], after 20 seconds.
    pub async fn connect(&self, ticket: &Ticket) -> Result<Peer, ConnectError> {
        let link = self.link(ticket).await?;
        let hello = open_stream(&link, Some(&ticket.ticket), Target::Ping).await;
        Ok(Peer::new(link, hello.map_err(|error| ConnectError::Failed(error.to_string()))?))
    }

    /// Connects to the agent of a ticket that may have run out, with a [`Target::Resume`] in its place. The streams of the [`Peer`] are those of
    /// whoever the resumed one belongs to. Takes one round trip; when the agent does not know the id, the stream says so and the connection
    /// ends.
    ///
    /// # Errors
    /// As [`Tailnet::connect`].
    pub async fn resume(&self, ticket: &Ticket, target: Target) -> Result<(Peer, TunnelStream), ConnectError> {
        let link = self.link(ticket).await?;
        let failed = |error: io::Error| ConnectError::Failed(error.to_string());
        let stream = open_stream(&link, None, target).await.map_err(failed)?;
        let hello = open_stream(&link, None, Target::Ping).await.map_err(failed)?;
        Ok((Peer::new(link, hello), stream))
    }

    async fn link(&self, ticket: &Ticket) -> Result<Arc<Link>, ConnectError> {
        let id: EndpointId =
            ticket.agent_endpoint_id.parse().map_err(|_| ConnectError::Ticket(ticket.agent_endpoint_id.clone()))?;
        let relays = self.learn_relays(&ticket.relay).await.map_err(|_| ConnectError::Ticket(ticket.relay.url.clone()))?;
        // Before the endpoint is looked at: one that is in use is not replaced.
        let counted = Counted::new(self.links());
        let endpoint = self.endpoint();
        if endpoint.is_closed() {
            return Err(ConnectError::Closed);
        }
        // The first packets go to all; the one that is answered is the one that stays.
        let address = relays.into_iter().fold(EndpointAddr::new(id), EndpointAddr::with_relay_url);
        let connection = tokio::time::timeout(CONNECT_WITHIN, endpoint.connect(address, ALPN))
            .await
            .map_err(|_| ConnectError::Silent)?
            .map_err(|error| ConnectError::Failed(format!("{error:#}")))?;
        Ok(Link::new(connection, counted))
    }
}

impl Peer {
    fn new(link: Arc<Link>, hello: TunnelStream) -> Self {
        Self { link, hello: Arc::new(Mutex::new(hello)), pings: Arc::default() }
    }

    /// Opens a stream to `target`. Returns without waiting for the agent: write at once, and a refusal shows as an error of the first read
    /// (`PermissionDenied`, `ConnectionRefused`, `Unsupported`).
    ///
    /// # Errors
    /// When the connection is over.
    pub async fn open(&self, target: Target) -> io::Result<TunnelStream> {
        open_stream(&self.link, None, target).await
    }

    /// The same with a ticket of its own, in the name of the same user: one that is good for this target alone.
    ///
    /// # Errors
    /// As [`Peer::open`]; a ticket that the agent refuses shows at the first read, as `PermissionDenied`.
    pub async fn open_with(&self, ticket: &Secret, target: Target) -> io::Result<TunnelStream> {
        open_stream(&self.link, Some(ticket), target).await
    }

    /// Sends a few bytes to the agent and back; how long that took. The first one also waits for the agent's answer to the ticket.
    ///
    /// # Errors
    /// `PermissionDenied` when the agent refused the ticket; others when the connection is over.
    pub async fn ping(&self) -> io::Result<Duration> {
        let mut hello = self.hello.lock().await;
        let number = self.pings.fetch_add(1, Ordering::Relaxed);
        let started = Instant::now();
        hello.write_u64(number).await?;
        // An earlier ping whose caller gave up may still be on its way back.
        while hello.read_u64().await? != number {}
        Ok(started.elapsed())
    }

    /// Whether the agent answers within this time. One that was made or asked a moment ago is worth asking only if something hints at a loss.
    pub async fn answers(&self, within: Duration) -> bool {
        self.is_connected() && tokio::time::timeout(within, self.ping()).await.is_ok_and(|answer| answer.is_ok())
    }

    /// Waits until the agent has accepted the ticket.
    ///
    /// # Errors
    /// As [`Peer::ping`].
    pub async fn admitted(&self) -> io::Result<()> {
        self.ping().await.map(drop)
    }

    /// How the connection goes at the moment; `None` when it is over.
    #[must_use]
    pub fn path(&self) -> Option<PathInfo> {
        let paths = self.link.connection().paths();
        let path = paths.iter().find(|path| path.is_selected()).or_else(|| paths.iter().next())?;
        let (mut relay_url, mut remote_addr) = (None, None);
        match path.remote_addr() {
            TransportAddr::Relay(url) => relay_url = Some(url.to_string()),
            TransportAddr::Ip(address) => remote_addr = Some(*address),
            _ => {}
        }
        Some(PathInfo { direct: path.is_ip(), relay_url, remote_addr, rtt: path.rtt() })
    }

    /// Waits for the end of the connection and tells why it ended.
    pub async fn closed(&self) -> String {
        explain(&self.link.connection().closed().await).1
    }

    /// Whether the connection is up.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.link.connection().close_reason().is_none()
    }

    /// Ends the connection and all its streams now. What is still on its way is lost.
    pub fn close(&self) {
        self.link.close(Code::Done, "done");
    }
}

/// Opens a stream and writes its first frame. A ticket goes with the first stream of a connection: the agent reads that one first, whatever
/// order they arrive in.
async fn open_stream(link: &Arc<Link>, ticket: Option<&Secret>, target: Target) -> io::Result<TunnelStream> {
    let opened = link.connection().open_bi().await;
    let (mut send, recv) = opened.map_err(|error| connection_error(&error))?;
    let frame = open::encode(&Open { ticket: ticket.cloned(), target })?;
    send.write_all(&frame).await?;
    Ok(TunnelStream::new(Arc::clone(link), send, recv, true))
}
