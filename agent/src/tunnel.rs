//! The agent on the tailnet: letting clients in, and staying where they can find it.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use berth_net::{ByteStream, Health, Incoming, Refusal, Request, Resumables, Session, Tailnet};
use berth_wire::agent::{Manifest, Relay};
use berth_wire::ticket::VerifyingKey;
use berth_wire::tunnel::{Service, Target};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use uuid::Uuid;

use crate::control::{Attempts, Control, ControlError};
use crate::ssh::Server;
use crate::terminal::Terminals;
use crate::udp;
use crate::visitor::{Visit, Visitors};

/// At most this often does a ticket that does not verify make the agent ask for the current key.
const DOUBT_PAUSE: Duration = Duration::from_secs(30);

/// How long the last words to a user who may not stay are given to arrive.
const FAREWELL: Duration = Duration::from_millis(250);

/// What clients reach through the tunnel.
#[derive(Clone, Debug)]
pub struct Tunnel {
    /// This end of the tailnet.
    pub tailnet: Tailnet,
    /// Who serves `ssh` streams.
    pub server: Server,
    /// What outlives the streams that look at it.
    pub terminals: Terminals,
    /// The key that tickets are verified with.
    pub key: watch::Receiver<VerifyingKey>,
    /// Told when a ticket does not verify: perhaps the deployment has a new key.
    pub doubt: Arc<Notify>,
    /// Who has something open.
    pub visitors: Visitors,
    /// What serves resumable streams, which outlive the connection they began on.
    pub resumables: Arc<Mutex<JoinSet<()>>>,
}

impl Tunnel {
    /// Lets clients in until this end of the tailnet is closed.
    pub async fn serve(&self) {
        let mut sessions = JoinSet::new();
        loop {
            tokio::select! {
                incoming = self.tailnet.accept() => match incoming {
                    Some(incoming) => drop(sessions.spawn(self.clone().serve_connection(incoming))),
                    None => return,
                },
                Some(_) = sessions.join_next() => {}
            }
        }
    }

    async fn serve_connection(self, incoming: Incoming) {
        let key = self.key.borrow().clone();
        match incoming.verify(&key).await {
            Ok(session) => self.serve_session(session).await,
            Err(refusal) => {
                tracing::warn!(error = &refusal as &dyn std::error::Error, "a connection was refused");
                if matches!(refusal, Refusal::BadTicket { .. }) {
                    self.doubt.notify_one();
                }
            }
        }
    }

    /// The streams end with the connection, except those that can be resumed on another one. Everything ends when its user may not stay.
    async fn serve_session(self, mut session: Session) {
        let (user, id) = (session.claims().name.clone(), session.claims().sub);
        let visit = self.visitors.admit(id, session.key_id());
        tracing::info!(user.name = user, "a client connected");
        let mut streams = JoinSet::new();
        loop {
            tokio::select! {
                request = session.next() => {
                    let Some(request) = request else { break };
                    let admit = {
                        let (visitors, key_id) = (self.visitors.clone(), session.key_id().to_owned());
                        move || visitors.admit(id, &key_id)
                    };
                    match request.target() {
                        Target::Session { .. } => {
                            let serving = serve_stream(request, self.server.clone(), user.clone());
                            self.keep(serve_while_allowed(serving, (self.tailnet.resumables().clone(), id), admit()));
                        }
                        Target::Terminal(_) => drop(streams.spawn(serve_terminal(request, self.terminals.clone(), (id, admit)))),
                        _ => drop(streams.spawn(serve_stream(request, self.server.clone(), user.clone()))),
                    }
                }
                Some(_) = streams.join_next() => {}
                () = visit.revoked() => {
                    // Streams that could be resumed elsewhere hear why they may not, while there is a connection to tell it.
                    self.tailnet.resumables().revoke(id);
                    tokio::time::sleep(FAREWELL).await;
                    session.revoke();
                    break;
                }
            }
        }
        tracing::info!(user.name = user, "a client left");
    }

    fn keep(&self, serving: impl Future<Output = ()> + Send + 'static) {
        let mut resumables = self.resumables.lock().unwrap_or_else(PoisonError::into_inner);
        while resumables.try_join_next().is_some() {}
        resumables.spawn(serving);
    }
}

/// A resumable stream is a visit of its own: it may wait for a connection that its user may not make any more.
async fn serve_while_allowed(serving: impl Future<Output = ()>, (resumables, user): (Resumables, Uuid), visit: Visit) {
    let mut serving = pin!(serving);
    tokio::select! {
        () = &mut serving => {}
        () = visit.revoked() => {
            resumables.revoke(user);
            serving.await;
        }
    }
}

async fn serve_stream(request: Request, server: Server, user: String) {
    let target = request.target().clone();
    let ended = match &target {
        Target::Ssh => serve_ssh(request.accept().await, &server, &user).await,
        Target::Session { of: Service::Ssh } => serve_ssh(request.accept_resumable().await, &server, &user).await,
        Target::Tcp { port } | Target::Session { of: Service::Tcp { port } } => join(request, connect(*port).await).await,
        Target::Unix { path } | Target::Session { of: Service::Unix { path } } => {
            join(request, UnixStream::connect(server.path(path)).await).await
        }
        Target::Udp { port } => udp::serve(request, *port).await,
        // Served by its own, and these the tailnet answers itself.
        Target::Terminal(_) | Target::Ping | Target::Speedtest { .. } | Target::Resume { .. } => Ok(()),
    };
    if let Err(error) = ended {
        tracing::debug!(%error, ?target, user.name = user, "a stream broke off");
    }
}

async fn serve_terminal(request: Request, terminals: Terminals, (user, admit): (Uuid, impl FnOnce() -> Visit)) {
    if let Err(error) = terminals.serve(request, user, admit).await {
        tracing::debug!(%error, user.id = %user, "a terminal's viewer broke off");
    }
}

async fn serve_ssh(
    stream: std::io::Result<impl AsyncRead + AsyncWrite + Unpin + Send + 'static>,
    server: &Server,
    user: &str,
) -> std::io::Result<()> {
    server.serve(stream?, user).await.map_err(std::io::Error::other)
}

/// Joins a stream to what it asked for, or says that this does not answer.
async fn join(request: Request, target: std::io::Result<impl AsyncRead + AsyncWrite + Unpin>) -> std::io::Result<()> {
    let mut target = match target {
        Ok(target) => target,
        Err(error) => {
            request.refuse().await;
            return Err(error);
        }
    };
    match request.target() {
        Target::Session { .. } => splice(request.accept_resumable().await?, &mut target).await,
        _ => splice(request.accept().await?, &mut target).await,
    }
}

async fn splice(stream: impl ByteStream, target: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> std::io::Result<()> {
    berth_net::splice(stream, target).await.map(drop)
}

/// Some programs listen on one loopback address only, and not all on the same.
async fn connect(port: u16) -> std::io::Result<TcpStream> {
    let socket = match TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
        Ok(socket) => socket,
        Err(error) => TcpStream::connect((Ipv6Addr::LOCALHOST, port)).await.map_err(|_| error)?,
    };
    socket.set_nodelay(true)?;
    Ok(socket)
}

/// Keeps the agent at its relay. Silent while all is well; while it is not, asks the control plane for a fresh manifest, which names the relay
/// and holds a new admission. `apply` gets every manifest heard and says where to be found.
///
/// # Errors
/// Ends only with [`ControlError::Superseded`].
pub async fn stay_connected(tunnel: &Tunnel, control: &Control, apply: impl Fn(&Manifest) -> Relay) -> ControlError {
    let mut health = tunnel.tailnet.health();
    let mut was_away = false;
    let mut attempts = Attempts::patient();
    let mut quiet_until = Instant::now();
    loop {
        let now = health.borrow_and_update().clone();
        let is_away = matches!(now, Health::Denied { .. } | Health::Disconnected { .. });
        if is_away && !was_away {
            tracing::warn!(health = ?now, "the agent is not at its relay");
        }
        if is_away {
            tokio::select! {
                () = attempts.pause() => {}
                back = health.wait_for(Health::is_connected) => drop(back),
            }
        }
        // Back again: the control plane may have restarted meanwhile and forgotten who is where, or a newer build may have come.
        let is_back = was_away && now.is_connected();
        if (is_away || is_back)
            && let Err(error) = renew(tunnel, control, &apply).await
        {
            return error;
        }
        if is_back {
            tracing::info!("the agent is back at its relay");
            attempts = Attempts::patient();
        }
        was_away = is_away;
        if is_away {
            continue;
        }
        tokio::select! {
            changed = health.changed() => if changed.is_err() { std::future::pending::<()>().await },
            () = doubted(tunnel, quiet_until) => {
                if let Err(error) = renew(tunnel, control, &apply).await {
                    return error;
                }
                quiet_until = Instant::now() + DOUBT_PAUSE;
            }
        }
    }
}

/// A doubt, this early at the earliest: whoever makes many does not keep the agent from anything else meanwhile.
async fn doubted(tunnel: &Tunnel, quiet_until: Instant) {
    tokio::time::sleep_until(quiet_until).await;
    tunnel.doubt.notified().await;
}

async fn renew(tunnel: &Tunnel, control: &Control, apply: &impl Fn(&Manifest) -> Relay) -> Result<(), ControlError> {
    let manifest = control.manifest().await?;
    if let Err(error) = tunnel.tailnet.update_relay(apply(&manifest)).await {
        tracing::warn!(%error, relay.url = manifest.relay.url, "the relay in the manifest cannot be used");
    }
    Ok(())
}
