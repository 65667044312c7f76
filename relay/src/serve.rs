//! One port for the relay and our HTTP.
//!
//! Our own accept loop: `axum::serve` has no limits and forgets a connection once it is upgraded.

use crate::{
    Relay, RelayConfig,
    app::{Apps, Kept, Visitor},
    channel::Channel,
    socket::{Socket, Sockets, Voice},
    upgrade::Upgrade,
};
use axum::{Router, body::Body, extract::ConnectInfo};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinSet,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

/// The largest head of a request.
const HEAD_BYTES_MAX: u32 = 32 * 1024;
/// The most headers of a request.
const HEADERS_MAX: usize = 100;
/// The most requests at a time of one connection over HTTP/2.
const STREAMS_MAX: u32 = 100;
/// A connection over HTTP/2 that says nothing for this time is asked whether it is there, and has as long to answer.
const SIGN_OF_LIFE: Duration = Duration::from_secs(20);
/// A connection over HTTP/2 on which nothing was asked for this time is ended: whoever answers our questions must not keep a place for ever.
const UNUSED: Duration = Duration::from_secs(120);
/// How long a websocket has to say goodbye once the requests are done, and again after it was hung up on.
const GOODBYE: Duration = Duration::from_millis(500);
/// Pause after an accept that failed for want of file descriptors, so that the loop does not spin.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// How many connections the kernel holds until they are taken in: a whole organization's, whose relay has just come back.
const BACKLOG: u32 = 4096;

/// Listens for [`serve`]. The kernel holds more connections for it than for other listeners, if `net.core.somaxconn` allows.
///
/// # Errors
/// When the address cannot be had.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A port whose last user has just gone can be had again at once.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Where we listen, and whether TLS ends here.
#[derive(Debug)]
pub struct Port {
    /// The socket.
    pub listener: TcpListener,
    /// The certificates; none on loopback, or behind something that ends TLS.
    pub tls: Option<Arc<ServerConfig>>,
}

impl From<TcpListener> for Port {
    fn from(listener: TcpListener) -> Self {
        Self { listener, tls: None }
    }
}

/// Who answers over HTTP.
#[derive(Debug, Clone)]
pub struct Web {
    /// Our own routes.
    pub router: Router,
    /// The hosts of apps, if there are any: what is for them goes nowhere else.
    pub apps: Option<Apps>,
}

impl From<Router> for Web {
    fn from(router: Router) -> Self {
        Self { router, apps: None }
    }
}

/// Serves `web` and `relay` on `port` until `drain` is cancelled; then takes no more connections, lets running requests end (see
/// [`RelayConfig::drain_within`]), disconnects the endpoints, hangs up on the websockets that have not ended within half a second, and
/// returns. At the hosts of apps everything is the apps'; elsewhere `/relay`, `/ping` and `/generate_204` are the relay's, everything else is
/// the router's, websockets included. Handlers find the
/// peer's address as [`ConnectInfo<SocketAddr>`].
pub async fn serve(port: impl Into<Port>, web: impl Into<Web>, relay: Relay, drain: CancellationToken) {
    let web = web.into();
    let Port { listener, tls } = port.into();
    let sockets = Sockets::new(relay.config().connections_max);
    let (mut connections, mut next) = (JoinSet::new(), None);
    loop {
        let accepted = tokio::select! {
            () = drain.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &sockets, &mut next) => accepted,
        };
        match accepted {
            Ok((socket, peer)) => {
                let (web, relay, voice) = (web.clone(), relay.clone(), socket.voice());
                let connection = Connection {
                    web,
                    relay,
                    peer,
                    voice,
                    kept: Kept::default(),
                    asked: AtomicU64::new(0),
                    upgrade: Mutex::default(),
                };
                connections.spawn(connection.serve(socket, tls.clone(), drain.clone()));
            }
            // The peer's doing, and no reason to wait.
            Err(error) if is_aborted(&error) => tracing::debug!(%error, "a connection ended before it was accepted"),
            Err(error) => {
                tracing::warn!(%error, connections = sockets.count(), "cannot accept a connection");
                let _drained = tokio::time::timeout(ACCEPT_AGAIN, drain.cancelled()).await;
            }
        }
    }
    drop(listener);
    close(connections, &sockets, &relay).await;
}

/// Ends everything: requests, then endpoints, then websockets.
async fn close(mut connections: JoinSet<()>, sockets: &Sockets, relay: &Relay) {
    let finished = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(relay.config().drain_within, finished).await.is_err() {
        tracing::warn!(connections = connections.len(), "requests cut off after the grace period");
        connections.shutdown().await;
    }
    relay.shutdown().await;
    if tokio::time::timeout(GOODBYE, sockets.none()).await.is_err() {
        tracing::info!(connections = sockets.count(), "hanging up on websockets");
        sockets.hang_up();
        // A handler that looks at neither its socket nor the drain ends with the process.
        let _ended = tokio::time::timeout(GOODBYE, sockets.none()).await;
    }
}

/// The next connection, in a slot. `next` is the one that waits for a slot; it stays there when this future is dropped. Those behind it wait in
/// the kernel's queue.
async fn accept(
    listener: &TcpListener,
    sockets: &Sockets,
    next: &mut Option<(TcpStream, SocketAddr)>,
) -> io::Result<(Socket, SocketAddr)> {
    let waiting = match next.take() {
        Some(waiting) => waiting,
        None => listener.accept().await?,
    };
    // Only now that somebody waits does anybody have to make room.
    *next = Some(waiting);
    let slot = sockets.slot().await.ok_or(io::ErrorKind::BrokenPipe)?;
    let (stream, peer) = next.take().ok_or(io::ErrorKind::BrokenPipe)?;
    tune(&stream, peer);
    Ok((sockets.open(stream, slot)?, peer))
}

fn is_aborted(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// No Nagle; and BBR where the kernel has it, which carries 30 times as much as cubic over a lossy long link. Both are best effort.
fn tune(stream: &TcpStream, peer: SocketAddr) {
    stream.set_nodelay(true).ok();
    #[cfg(target_os = "linux")]
    if !peer.ip().is_loopback() {
        rustix::net::sockopt::set_tcp_congestion(stream, "bbr").ok();
    }
    #[cfg(not(target_os = "linux"))]
    let _ = peer;
}

/// One TCP connection.
struct Connection {
    web: Web,
    relay: Relay,
    peer: SocketAddr,
    voice: Option<Voice>,
    /// Connections to apps that wait for this one's next request.
    kept: Kept,
    /// How many requests there have been.
    asked: AtomicU64,
    /// Set once an endpoint's request was answered.
    upgrade: Mutex<Option<Upgrade>>,
}

impl Connection {
    async fn serve(self, socket: Socket, tls: Option<Arc<ServerConfig>>, drain: CancellationToken) {
        let this = Arc::new(self);
        let Some(channel) = this.shake_hands(socket, tls, &drain).await else { return };
        this.answer_all(channel, &drain).await;
        let upgrade = crate::presence::lock(&this.upgrade).take();
        if let Some(upgrade) = upgrade {
            this.admit(upgrade, &drain).await;
        }
    }

    /// Whoever does not finish the handshake in time, or speaks no TLS, is hung up on.
    async fn shake_hands(&self, socket: Socket, tls: Option<Arc<ServerConfig>>, drain: &CancellationToken) -> Option<Channel> {
        let accepted = tokio::time::timeout(self.relay.config().head_within, Channel::accept(socket, tls));
        match drain.run_until_cancelled(accepted).await? {
            Ok(Ok(channel)) => Some(channel),
            Ok(Err(error)) => {
                tracing::debug!(%error, peer = %self.peer, "no TLS connection");
                None
            }
            Err(_) => None,
        }
    }

    /// Answers requests until the peer hangs up, is told to, or upgrades.
    async fn answer_all(self: &Arc<Self>, channel: Channel, drain: &CancellationToken) {
        let this = Arc::clone(self);
        let service = service_fn(move |request| {
            let this = Arc::clone(&this);
            async move { Ok::<_, Infallible>(this.answer(request).await) }
        });
        let result = if channel.is_http2() {
            let tasks = TaskTracker::new();
            let connection = many(Streams(tasks.clone())).serve_connection(TokioIo::new(channel), service);
            let mut connection = std::pin::pin!(connection);
            let over = async {
                tokio::select! { () = drain.cancelled() => {}, () = self.unused(&tasks) => {} }
            };
            tokio::select! {
                result = connection.as_mut() => result,
                () = over => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            }
        } else {
            let connection = http(self.relay.config()).serve_connection(TokioIo::new(channel), service).with_upgrades();
            let mut connection = std::pin::pin!(connection);
            tokio::select! {
                result = connection.as_mut() => result,
                () = drain.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            }
        };
        if let Err(error) = result {
            // A peer that hangs up, is slow, or speaks something else: its own business.
            tracing::debug!(%error, peer = %self.peer, "connection ended");
        }
    }

    async fn admit(&self, upgrade: Upgrade, drain: &CancellationToken) {
        let admitted = tokio::time::timeout(self.relay.config().admission_within, upgrade.admit(&self.relay));
        match drain.run_until_cancelled(admitted).await {
            None | Some(Ok(Ok(()))) => {}
            // Why a token was refused is logged at the gate.
            Some(Ok(Err(error))) => tracing::debug!(%error, peer = %self.peer, "endpoint not admitted"),
            Some(Err(_)) => tracing::info!(peer = %self.peer, "an endpoint that did not prove itself in time was hung up on"),
        }
    }

    /// Waits until nothing was asked for [`UNUSED`], and no answer is on its way.
    async fn unused(&self, answers: &TaskTracker) {
        loop {
            let asked = self.asked.load(Ordering::Relaxed);
            tokio::time::sleep(UNUSED).await;
            if answers.is_empty() && asked == self.asked.load(Ordering::Relaxed) {
                return;
            }
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.voice.iter().for_each(Voice::spoke);
        if let Some(apps) = self.web.apps.as_ref().filter(|apps| apps.claims(&request)) {
            return apps.serve(request.map(Body::new), Visitor { peer: self.peer, kept: &self.kept }).await;
        }
        match (request.method(), request.uri().path()) {
            // The second one goes the way of the live routes, through a CDN: by it `berth doctor` sees that sockets get through.
            (&Method::GET, "/relay" | "/api/v2/relay/watch") => {
                let (response, upgrade) = Upgrade::answer(request);
                *crate::presence::lock(&self.upgrade) = upgrade;
                response
            }
            (&Method::GET, "/ping") => plain(StatusCode::OK),
            (&Method::GET, "/generate_204") => no_content(&request),
            _ => {
                let mut request = request.map(Body::new);
                request.extensions_mut().insert(ConnectInfo(self.peer));
                name_host(&mut request);
                match self.web.router.clone().oneshot(request).await {
                    Ok(response) => response,
                    Err(never) => match never {},
                }
            }
        }
    }
}

fn http(config: &RelayConfig) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(config.head_within)
        .max_header_size(HEAD_BYTES_MAX as usize)
        .max_headers(HEADERS_MAX);
    builder
}

/// The tasks of a connection over HTTP/2: one for each answer that is being sent.
#[derive(Debug, Clone)]
struct Streams(TaskTracker);

impl<F: Future<Output: Send + 'static> + Send + 'static> hyper::rt::Executor<F> for Streams {
    fn execute(&self, future: F) {
        drop(self.0.spawn(future));
    }
}

fn many(streams: Streams) -> http2::Builder<Streams> {
    let mut builder = http2::Builder::new(streams);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEAD_BYTES_MAX)
        .keep_alive_interval(SIGN_OF_LIFE)
        .keep_alive_timeout(SIGN_OF_LIFE);
    builder
}

/// Over HTTP/2 the host is in the target; our routes look for it where it always was.
fn name_host(request: &mut Request<Body>) {
    let target = request.uri().authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    if let Some(host) = target.filter(|_| !request.headers().contains_key(header::HOST)) {
        request.headers_mut().insert(header::HOST, host);
    }
}

fn plain(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// How clients tell us from a captive portal: the challenge comes back.
fn no_content(request: &Request<Incoming>) -> Response<Body> {
    let mut response = plain(StatusCode::NO_CONTENT);
    let challenge = request.headers().get("X-Iroh-Challenge").and_then(|value| value.to_str().ok());
    let allowed = |character: char| character.is_ascii_alphanumeric() || matches!(character, '.' | '-' | '_');
    if let Some(challenge) = challenge.filter(|text| !text.is_empty() && text.len() < 64 && text.chars().all(allowed))
        && let Ok(value) = format!("response {challenge}").parse()
    {
        response.headers_mut().insert("X-Iroh-Response", value);
    }
    response
}
