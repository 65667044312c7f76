//! The port as its peers meet it, with iroh's own relay client and bare sockets.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use axum::{
    Router,
    extract::ws::{WebSocket, WebSocketUpgrade},
    routing::get,
};
use berth_relay::{Keys, Relay, RelayConfig, serve};
use berth_wire::{
    domain::Timestamp,
    ticket::{RelayRole, SigningKey},
};
use futures_util::{SinkExt, StreamExt};
use iroh::{SecretKey, dns::DnsResolver};
use iroh_relay::{
    client::{Client, ClientBuilder},
    protos::relay::{ClientToRelayMsg, RelayToClientMsg},
    tls::{CaTlsConfig, default_provider},
};
use jiff::SignedDuration;
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Everything must happen within this time, on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// What the tests set where the product waits 10 seconds.
const SOON: Duration = Duration::from_millis(300);

struct World {
    key: SigningKey,
    relay: Relay,
    address: SocketAddr,
    drain: CancellationToken,
    served: JoinSet<()>,
}

impl World {
    async fn start(change: impl FnOnce(&mut RelayConfig)) -> Self {
        let key = SigningKey::new([7; 32]);
        let mut config = RelayConfig::new(Keys::fixed(vec![key.verifying()]));
        change(&mut config);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (relay, address, drain) = (Relay::new(config), listener.local_addr().unwrap(), CancellationToken::new());
        let mut served = JoinSet::new();
        served.spawn(serve(listener, router(), relay.clone(), drain.clone()));
        Self { key, relay, address, drain, served }
    }

    fn token(&self, key: &SecretKey, role: RelayRole, subject: Uuid) -> String {
        let ends = Timestamp::now() + SignedDuration::from_secs(60);
        self.key.relay(&key.public().to_string(), role, subject, ends).unwrap().expose().clone()
    }

    async fn connect(&self, key: &SecretKey, token: Option<String>) -> Result<Client, String> {
        let url: iroh::RelayUrl = format!("http://{}", self.address).parse().unwrap();
        let tls = CaTlsConfig::embedded().client_config(default_provider()).unwrap();
        let mut builder = ClientBuilder::new(url, key.clone(), DnsResolver::new()).tls_client_config(tls);
        if let Some(token) = token {
            builder = builder.auth_token(token);
        }
        let connected = tokio::time::timeout(PATIENCE, builder.connect()).await.unwrap();
        connected.map_err(|error| format!("{error:#}"))
    }

    async fn agent(&self, key: &SecretKey, subject: Uuid) -> Client {
        self.connect(key, Some(self.token(key, RelayRole::Agent, subject))).await.unwrap()
    }

    async fn websocket(&self) -> tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<TcpStream>> {
        tokio_tungstenite::connect_async(format!("ws://{}/ws", self.address)).await.unwrap().0
    }

    async fn raw(&self, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    async fn drained(mut self) -> Duration {
        let started = Instant::now();
        self.drain.cancel();
        tokio::time::timeout(PATIENCE, self.served.join_next()).await.unwrap();
        started.elapsed()
    }
}

fn router() -> Router {
    Router::new()
        .route("/ws", get(|upgrade: WebSocketUpgrade| async move { upgrade.on_upgrade(echo) }))
        .route("/deaf", get(|upgrade: WebSocketUpgrade| async move { upgrade.on_upgrade(deaf) }))
        .route("/hello", get(|| async { "hello" }))
}

async fn echo(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        if socket.send(message).await.is_err() {
            return;
        }
    }
}

/// A handler that looks at neither its socket nor a drain.
async fn deaf(_socket: WebSocket) {
    std::future::pending::<()>().await;
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) -> Duration {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "did not happen: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    started.elapsed()
}

async fn rest(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    // A reset is as good as an end.
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().ok();
    String::from_utf8_lossy(&answer).into_owned()
}

/// That the relay still carries what this client sends: it answers a ping.
async fn assert_served(client: &mut Client) {
    client.send(ClientToRelayMsg::Ping([3; 8])).await.unwrap();
    let answered = async { while !matches!(client.next().await.unwrap().unwrap(), RelayToClientMsg::Pong(_)) {} };
    tokio::time::timeout(PATIENCE, answered).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_without_a_token_is_told_so() {
    let world = World::start(|_| ()).await;
    let me = SecretKey::generate();
    let Err(reason) = world.connect(&me, None).await else { panic!("let in without a token") };
    assert!(reason.contains("there is no relay token"), "{reason}");
    assert_eq!(world.relay.endpoints(), 0);
    assert_served(&mut world.agent(&me, Uuid::new_v4()).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_relay_says_so_and_has_room_again_when_one_leaves() {
    let world = World::start(|config| config.endpoints_max = 1).await;
    let (first, second) = (SecretKey::generate(), SecretKey::generate());
    let token = world.token(&second, RelayRole::Client, Uuid::new_v4());
    let client = world.agent(&first, Uuid::new_v4()).await;
    let Err(reason) = world.connect(&second, Some(token.clone())).await else { panic!("let into a full relay") };
    assert!(reason.contains("the relay is full"), "{reason}");
    drop(client);
    until("the first has left", || world.relay.endpoints() == 0).await;
    assert_served(&mut world.connect(&second, Some(token)).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_whose_process_dies_is_absent_within_a_second() {
    let world = World::start(|_| ()).await;
    let (me, subject) = (SecretKey::generate(), Uuid::new_v4());
    let (id, agent) = (me.public().to_string(), subject.to_string());
    let (presence, mut changes) = (world.relay.presence(), world.relay.presence().changed());
    let mut client = world.agent(&me, subject).await;
    assert_served(&mut client).await;
    assert!(presence.since(&id, &agent).is_some());
    // Dropped without a goodbye, as the kernel does for a killed process.
    drop(client);
    let gone = until("the agent is absent", || presence.since(&id, &agent).is_none()).await;
    assert!(gone < Duration::from_secs(1), "{gone:?}");
    let told = [changes.recv().await.unwrap(), changes.recv().await.unwrap()];
    assert_eq!(told.map(|change| (change.subject, change.connected)), [(agent.clone(), true), (agent, false)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_connection_of_an_agent_takes_over_without_a_gap() {
    let world = World::start(|_| ()).await;
    let (me, subject) = (SecretKey::generate(), Uuid::new_v4());
    let (id, agent) = (me.public().to_string(), subject.to_string());
    let (presence, mut changes) = (world.relay.presence(), world.relay.presence().changed());
    let first = world.agent(&me, subject).await;
    let since = presence.since(&id, &agent).unwrap();
    let mut second = world.agent(&me, subject).await;
    assert_served(&mut second).await;
    drop(first);
    until("the first has left", || world.relay.endpoints() == 1).await;
    assert_eq!(presence.since(&id, &agent), Some(since));
    assert_served(&mut second).await;
    assert!(changes.recv().await.unwrap().connected);
    assert!(changes.try_recv().is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_head_is_cut_off_and_so_is_an_upgrade_without_a_proof() {
    let world = World::start(|config| (config.head_within, config.admission_within) = (SOON, SOON)).await;
    let started = Instant::now();
    let answer = rest(world.raw("GET /hello HTTP/1.1\r\nX-Slow: ").await).await;
    assert!(!answer.contains("200"), "{answer}");
    let head = "GET /relay HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: iroh-relay-v2\r\n\r\n";
    let answer = rest(world.raw(head).await).await;
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    // The example of RFC 6455, section 1.3.
    assert!(answer.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{answer}");
    assert!(started.elapsed() >= SOON * 2, "{:?}", started.elapsed());
    let other = head.replace("iroh-relay-v2", "chess");
    let answer = rest(world.raw(&other).await).await;
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("this relay speaks iroh-relay-v2"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_keeps_its_slot_and_an_endpoint_does_not_need_one() {
    let world = World::start(|config| config.connections_max = 2).await;
    let first = world.websocket().await;
    // Endpoints leave their slot once admitted: more of them than there are slots, beside a websocket.
    let keys: Vec<_> = (0..4).map(|_| SecretKey::generate()).collect();
    let mut endpoints = Vec::new();
    for key in &keys {
        endpoints.push(world.agent(key, Uuid::new_v4()).await);
    }
    let second = world.websocket().await;
    let waiting = world.raw("GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    let mut probe = [0; 1];
    assert!(tokio::time::timeout(SOON, waiting.peek(&mut probe)).await.is_err(), "answered without a slot");
    drop(first);
    let answer = rest(waiting).await;
    assert!(answer.ends_with("hello"), "{answer}");
    drop(second);
    for endpoint in &mut endpoints {
        assert_served(endpoint).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_hangs_up_on_idle_websockets_and_endpoints() {
    let world = World::start(|_| ()).await;
    let mut websocket = world.websocket().await;
    websocket.send(Message::text("hello")).await.unwrap();
    assert_eq!(websocket.next().await.unwrap().unwrap(), Message::text("hello"));
    let (mut deaf, _) = tokio_tungstenite::connect_async(format!("ws://{}/deaf", world.address)).await.unwrap();
    let mut endpoint = world.agent(&SecretKey::generate(), Uuid::new_v4()).await;
    let idle = world.raw("GET /hello HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let mut probe = [0; 1];
    tokio::time::timeout(PATIENCE, idle.peek(&mut probe)).await.unwrap().unwrap();
    let took = world.drained().await;
    assert!(took < Duration::from_secs(5), "{took:?}");
    for websocket in [&mut websocket, &mut deaf] {
        let end = tokio::time::timeout(PATIENCE, websocket.next()).await.unwrap();
        assert!(!matches!(end, Some(Ok(Message::Text(_)))), "{end:?}");
    }
    let ended = async { while let Some(Ok(_)) = endpoint.next().await {} };
    tokio::time::timeout(PATIENCE, ended).await.unwrap();
    assert!(rest(idle).await.ends_with("hello"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_of_endpoints_alone_does_not_wait() {
    let world = World::start(|_| ()).await;
    let _endpoint = world.agent(&SecretKey::generate(), Uuid::new_v4()).await;
    let took = world.drained().await;
    assert!(took < Duration::from_millis(400), "{took:?}");
}
