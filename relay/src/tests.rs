//! The relay, the tailnet and our HTTP together, over real sockets on loopback.

mod admission;
mod api;
mod app;
mod flood;
mod http;
mod stolen;
mod tls;
mod tunnel;

use crate::{Keys, Presence, Relay, RelayConfig, Web, serve};
use axum::{Router, extract::ConnectInfo, routing::get};
use berth_net::{Identity, Session, Tailnet, TailnetConfig, splice};
use berth_wire::{
    agent,
    domain::{Secret, Timestamp},
    ticket::{RelayRole, SigningKey},
    tunnel::Target,
};
use jiff::SignedDuration;
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Everything must happen within this time, on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A relay with a router on a loopback port, and the key that signs for it.
pub(super) struct World {
    pub(super) key: SigningKey,
    pub(super) relay: Relay,
    pub(super) address: SocketAddr,
    drain: CancellationToken,
    tasks: JoinSet<()>,
}

impl World {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::on(listener)
    }

    pub(super) fn on(listener: TcpListener) -> Self {
        Self::with(listener, RelayConfig::new(Keys::fixed(vec![SigningKey::new([7; 32]).verifying()])))
    }

    /// With limits of its own; its keys are this world's.
    pub(super) fn with(listener: TcpListener, config: RelayConfig) -> Self {
        Self::serving(listener, router().into(), config)
    }

    /// The same with apps.
    pub(super) fn serving(listener: TcpListener, web: Web, config: RelayConfig) -> Self {
        let key = SigningKey::new([7; 32]);
        let relay = Relay::new(config);
        let address = listener.local_addr().unwrap();
        let drain = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, web, relay.clone(), drain.clone()));
        Self { key, relay, address, drain, tasks }
    }

    /// Drains and waits until the port is free.
    pub(super) async fn stop(mut self) -> SocketAddr {
        self.drain.cancel();
        while self.tasks.join_next().await.is_some() {}
        self.address
    }

    pub(super) fn presence(&self) -> Presence {
        self.relay.presence()
    }

    pub(super) fn pass(&self, identity: &Identity, role: RelayRole, subject: Uuid) -> agent::Relay {
        let token = self.key.relay(&identity.endpoint_id(), role, subject, in_seconds(3600)).unwrap();
        self.with_token(token)
    }

    pub(super) fn with_token(&self, token: Secret) -> agent::Relay {
        agent::Relay { url: format!("http://{}", self.address), others: Vec::new(), token }
    }

    /// An agent that joins what it is asked for to an echo.
    pub(super) async fn agent(&self, direct: bool) -> Agent {
        let (identity, subject) = (Identity::generate(), Uuid::new_v4());
        let relay = self.pass(&identity, RelayRole::Agent, subject);
        self.agent_with(TailnetConfig { identity, relay, direct, accept: true }, subject).await
    }

    /// The same where it is told to be.
    pub(super) async fn agent_at(&self, identity: Identity, relay: agent::Relay, subject: Uuid) -> Agent {
        self.agent_with(TailnetConfig { identity, relay, direct: false, accept: true }, subject).await
    }

    async fn agent_with(&self, config: TailnetConfig, subject: Uuid) -> Agent {
        let tailnet = Tailnet::bind(config).await.unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(accept_all(tailnet.clone(), self.key.verifying()));
        tailnet.online(PATIENCE).await.unwrap();
        Agent { tailnet, subject, _tasks: tasks }
    }

    pub(super) async fn client(&self, direct: bool) -> Tailnet {
        let identity = Identity::generate();
        let relay = self.pass(&identity, RelayRole::Client, Uuid::new_v4());
        Tailnet::bind(TailnetConfig { identity, relay, direct, accept: false }).await.unwrap()
    }

    pub(super) fn ticket(&self, client: &Tailnet, agent: &Agent) -> agent::Ticket {
        let (client_id, agent_id) = (client.endpoint_id(), agent.tailnet.endpoint_id());
        let ticket = self.key.agent(&client_id, &agent_id, (Uuid::nil(), "ada"), in_seconds(60)).unwrap();
        self.ticket_of(client, agent, ticket)
    }

    pub(super) fn ticket_of(&self, client: &Tailnet, agent: &Agent, ticket: Secret) -> agent::Ticket {
        let token = self.key.relay(&client.endpoint_id(), RelayRole::Client, Uuid::nil(), in_seconds(3600)).unwrap();
        agent::Ticket {
            agent_endpoint_id: agent.tailnet.endpoint_id(),
            relay: self.with_token(token),
            ticket,
            ssh_host_key: String::new(),
            disable_direct_connections: false,
        }
    }
}

pub(super) struct Agent {
    pub(super) tailnet: Tailnet,
    pub(super) subject: Uuid,
    _tasks: JoinSet<()>,
}

pub(super) fn in_seconds(seconds: i64) -> Timestamp {
    Timestamp::now() + SignedDuration::from_secs(seconds)
}

/// Waits for a condition, and tells which one did not come.
pub(super) async fn until(what: &str, mut condition: impl FnMut() -> bool) -> Duration {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "did not happen: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    started.elapsed()
}

async fn accept_all(tailnet: Tailnet, key: berth_wire::ticket::VerifyingKey) {
    let mut sessions = JoinSet::new();
    while let Some(incoming) = tailnet.accept().await {
        let key = key.clone();
        sessions.spawn(async move {
            if let Ok(session) = incoming.verify(&key).await {
                serve_session(session).await;
            }
        });
    }
}

/// `ssh` is an echo, TCP port 1 refuses, TCP port 2 prints small lines without end, any other one says its number and hangs up.
async fn serve_session(mut session: Session) {
    use tokio::io::AsyncWriteExt;
    let mut streams = JoinSet::new();
    while let Some(request) = session.next().await {
        streams.spawn(async move {
            match request.target().clone() {
                Target::Tcp { port: 1 } => request.refuse().await,
                Target::Tcp { port: 2 } => {
                    let mut stream = request.accept().await.unwrap();
                    while stream.write_all(tunnel::LINE).await.is_ok() {
                        tokio::task::yield_now().await;
                    }
                }
                Target::Tcp { port } => {
                    let mut stream = request.accept().await.unwrap();
                    stream.write_all(port.to_string().as_bytes()).await.unwrap();
                    stream.shutdown().await.unwrap();
                }
                _ => {
                    let (near, mut far) = tokio::io::duplex(64 * 1024);
                    let (mut reader, mut writer) = tokio::io::split(near);
                    let stream = request.accept().await.unwrap();
                    let echo = async {
                        tokio::io::copy(&mut reader, &mut writer).await.unwrap();
                        writer.shutdown().await.unwrap();
                    };
                    let (spliced, ()) = tokio::join!(splice(stream, &mut far), echo);
                    drop(spliced);
                }
            }
        });
    }
}

fn router() -> Router {
    Router::new()
        .route("/hello", get(|ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.ip().to_string() }))
        .route("/ws", get(|upgrade: axum::extract::WebSocketUpgrade| async move { upgrade.on_upgrade(http::echo) }))
        .route("/slow", get(http::slow))
}
