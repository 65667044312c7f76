//! Apps at their hosts: a real relay, a real agent's end of the tunnel, and servers behind it. What says who may is a stand-in for the API,
//! with tickets of the real key; the stories (`tests/app.rs`) have the real one.

mod corpus;

use super::{Agent, PATIENCE, World, in_seconds};
use crate::{Apps, Certificates, Keys, Port, RelayConfig, Tunnels, Upstream, Web, serve};
use axum::{Json, Router, body::Body, extract::State, routing::post};
use berth_net::{Identity, Tailnet, TailnetConfig, splice};
use berth_wire::{
    app::{ADMISSION_PATH, Admission, AdmissionRequest, Away, Opening, START_PATH, StartRequest, TICKET_PARAMETER, View},
    deployment::Message,
    domain::Secret,
    ticket::{RelayRole, SigningKey, VerifyingKey},
    tunnel::Target,
};
use futures_util::{SinkExt, StreamExt};
use http::Request;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::ServerName;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::{Message as Frame, client::IntoClientRequest};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The cookie of somebody who may see everything of ada's.
const ADA: &str = "the-session-of-ada";
/// What a ticket is redeemed with.
const HOP: &str = "0123456789abcdef0123456789abcdef";

/// A relay with apps, their agent, and what answers in the API's place.
struct Stage {
    world: World,
    agent: Agent,
    desk: Desk,
    tunnels: Tunnels,
    api: Upstream,
    _tasks: JoinSet<()>,
}

/// What stands in for the API: `open--` is public, `stopped--` is stopped, everything else of ada's is ada's. Ports are by slug.
#[derive(Clone)]
struct Desk {
    key: SigningKey,
    relay_url: String,
    agent: Arc<Mutex<String>>,
    ports: Arc<Mutex<HashMap<String, u16>>>,
    roots: Arc<Mutex<HashMap<String, String>>>,
    /// Whether ada is still signed in.
    signed_in: Arc<Mutex<bool>>,
    asked: Arc<Mutex<Vec<AdmissionRequest>>>,
    started: Arc<Mutex<Vec<String>>>,
}

async fn admit(State(desk): State<Desk>, Json(asked): Json<AdmissionRequest>) -> Json<Admission> {
    desk.asked.lock().unwrap().push(asked.clone());
    let (slug, whose) = asked.app.split_once("--").unwrap();
    let entered = asked.entry.is_some_and(|entry| entry.ticket.expose() == "good" && entry.nonce.expose() == HOP);
    let known = asked.session.is_some_and(|session| session.expose() == ADA) && *desk.signed_in.lock().unwrap();
    let port = desk.ports.lock().unwrap().get(slug).copied();
    let view = match port {
        None => View::Missing,
        Some(_) if slug == "stopped" && known => {
            View::Away(Away { workspace: "ada/dev".into(), what: "is stopped".into(), coming: false, may_start: true })
        }
        Some(port) if slug == "open" || (known && whose.ends_with("--ada")) => desk.open(&asked.endpoint_id, slug, port),
        Some(_) => View::SignIn,
    };
    Json(Admission { session: entered.then(|| Secret::new(ADA.to_owned())), view })
}

async fn start(State(desk): State<Desk>, Json(asked): Json<StartRequest>) -> Json<Message> {
    desk.started.lock().unwrap().push(asked.app);
    Json("queued".into())
}

impl Desk {
    fn open(&self, endpoint: &str, slug: &str, port: u16) -> View {
        let agent = self.agent.lock().unwrap().clone();
        let only = Target::Tcp { port };
        let ticket = self.key.agent_only((endpoint, &agent), (Uuid::nil(), "ada"), only, in_seconds(60)).unwrap();
        let token = self.key.relay(endpoint, RelayRole::Client, Uuid::nil(), in_seconds(3600)).unwrap();
        let relay = berth_wire::agent::Relay { url: self.relay_url.clone(), others: Vec::new(), token };
        let ticket = berth_wire::agent::Ticket {
            agent_endpoint_id: agent,
            relay,
            ticket,
            ssh_host_key: String::new(),
            disable_direct_connections: true,
        };
        let root = self.roots.lock().unwrap().get(slug).cloned().unwrap_or_else(|| "/".to_owned());
        View::Open(Box::new(Opening { ticket, port, root }))
    }
}

impl Stage {
    async fn start() -> Self {
        let key = SigningKey::new([7; 32]);
        let mut tasks = JoinSet::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let desk = Desk {
            key: key.clone(),
            relay_url: format!("http://{address}"),
            agent: Arc::default(),
            ports: Arc::default(),
            roots: Arc::default(),
            signed_in: Arc::new(Mutex::new(true)),
            asked: Arc::default(),
            started: Arc::default(),
        };
        let api = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = Upstream::new(&format!("http://{}", api.local_addr().unwrap())).unwrap();
        let routes = Router::new().route(ADMISSION_PATH, post(admit)).route(START_PATH, post(start)).with_state(desk.clone());
        tasks.spawn(async move { axum::serve(api, routes).await.unwrap() });

        let tunnels = Tunnels::default();
        let site = format!("http://apps.localhost:{}", address.port());
        let apps = Apps::new(&site, "http://berth.example/", upstream.clone(), tunnels.clone()).unwrap();
        let web = Web { router: super::router(), apps: Some(apps) };
        let world = World::serving(listener, web, RelayConfig::new(Keys::fixed(vec![key.verifying()])));
        let agent = agent(&world).await;
        *desk.agent.lock().unwrap() = agent.tailnet.endpoint_id();
        Self { world, agent, desk, tunnels, api: upstream, _tasks: tasks }
    }

    /// An app of ada's with this slug.
    fn app(&self, slug: &str, port: u16) -> String {
        self.desk.ports.lock().unwrap().insert(slug.to_owned(), port);
        self.host(&format!("{slug}--dev--ada"))
    }

    fn host(&self, label: &str) -> String {
        format!("{label}.apps.localhost:{}", self.world.address.port())
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.world.address).await.unwrap()
    }

    /// Sends bytes and reads all that comes back.
    async fn raw(&self, request: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// A GET of ada's, by a connection of its own.
    async fn get(&self, host: &str, path: &str, more: &str) -> String {
        let head = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nCookie: berth_app={ADA}\r\nConnection: close\r\n{more}\r\n");
        self.raw(head.as_bytes()).await
    }
}

/// An agent's end: what a stream is for is joined to the port on this machine, as the agent does.
async fn agent(world: &World) -> Agent {
    let (identity, subject) = (Identity::generate(), Uuid::new_v4());
    let relay = world.pass(&identity, RelayRole::Agent, subject);
    let tailnet = Tailnet::bind(TailnetConfig { identity, relay, direct: false, accept: true }).await.unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(accept(tailnet.clone(), world.key.verifying()));
    tailnet.online(PATIENCE).await.unwrap();
    Agent { tailnet, subject, _tasks: tasks }
}

async fn accept(tailnet: Tailnet, key: VerifyingKey) {
    let mut sessions = JoinSet::new();
    while let Some(incoming) = tailnet.accept().await {
        let key = key.clone();
        sessions.spawn(async move {
            let Ok(mut session) = incoming.verify(&key).await else { return };
            let mut streams = JoinSet::new();
            while let Some(request) = session.next().await {
                streams.spawn(async move {
                    let Target::Tcp { port } = *request.target() else { return request.refuse().await };
                    match TcpStream::connect(("127.0.0.1", port)).await {
                        Ok(mut socket) => drop(splice(request.accept().await.unwrap(), &mut socket).await),
                        Err(_) => request.refuse().await,
                    }
                });
            }
        });
    }
}

/// One request as an app saw it, byte for byte.
#[derive(Debug, Clone)]
struct Seen {
    head: String,
    body: Vec<u8>,
    connection: usize,
}

impl Seen {
    fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    /// The values of a header, as they came.
    fn values(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }
}

/// A web server that reads requests as RFC 9112 says and no more, keeps all that it read, and says who it is.
#[derive(Clone, Default)]
struct Server {
    seen: Arc<Mutex<Vec<Seen>>>,
    /// All bytes of all connections.
    bytes: Arc<Mutex<Vec<u8>>>,
}

impl Server {
    /// Its port.
    async fn start(&self, name: &'static str, tasks: &mut JoinSet<()>) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = self.clone();
        tasks.spawn(async move {
            let (mut connections, mut number) = (JoinSet::new(), 0);
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                number += 1;
                connections.spawn(server.clone().serve(socket, name, number));
            }
        });
        port
    }

    async fn serve(self, socket: TcpStream, name: &'static str, connection: usize) {
        let mut socket = BufReader::new(socket);
        while let Some(head) = self.head(&mut socket).await {
            let seen = Seen { head, body: Vec::new(), connection };
            let length: usize = seen.values("content-length").first().and_then(|length| length.parse().ok()).unwrap_or(0);
            let mut body = vec![0; length];
            if !seen.values("transfer-encoding").is_empty() {
                let Some(chunks) = self.chunks(&mut socket).await else { return };
                body = chunks;
            } else if socket.read_exact(&mut body).await.is_err() {
                return;
            }
            self.bytes.lock().unwrap().extend_from_slice(&body);
            self.seen.lock().unwrap().push(Seen { body, ..seen });
            let answer = format!(
                "HTTP/1.1 200 OK\r\nX-Server: {name}\r\nContent-Length: 5\r\nSet-Cookie: own=1; Domain=apps.localhost\r\n\
                Set-Cookie: berth_app=forged\r\nAlt-Svc: clear\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\r\nhello"
            );
            if socket.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }

    async fn head(&self, socket: &mut BufReader<TcpStream>) -> Option<String> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if socket.read_until(b'\n', &mut head).await.ok()? == 0 {
                return None;
            }
        }
        self.bytes.lock().unwrap().extend_from_slice(&head);
        Some(String::from_utf8_lossy(&head).into_owned())
    }

    async fn chunks(&self, socket: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let mut line = String::new();
            socket.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
            let size = usize::from_str_radix(line.trim(), 16).ok()?;
            if size == 0 {
                // Trailers, to the empty line.
                loop {
                    let mut line = String::new();
                    socket.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
                    if line == "\r\n" {
                        return Some(body);
                    }
                    body.extend_from_slice(format!("[{}]", line.trim()).as_bytes());
                }
            }
            let mut chunk = vec![0; size + 2];
            socket.read_exact(&mut chunk).await.ok()?;
            body.extend_from_slice(&chunk[..size]);
        }
    }

    fn last(&self) -> Seen {
        self.seen.lock().unwrap().last().cloned().expect("the app saw a request")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_is_seen_at_its_host_and_never_sees_what_is_ours() {
    let (stage, server, mut tasks) = (Stage::start().await, Server::default(), JoinSet::new());
    let host = stage.app("web", server.start("web", &mut tasks).await);
    let ours = "Coder-Session-Token: secret-t\r\nCookie: own=2; coder_session_token=secret-t\r\nX-Forwarded-For: 6.6.6.6\r\n";
    let answer = stage.get(&host, "/a%2Fb/..//c?x=%31", ours).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello"), "{answer}");
    let seen = server.last();
    assert_eq!(seen.line(), "GET /a%2Fb/..//c?x=%31 HTTP/1.1", "byte for byte");
    assert_eq!(seen.values("host"), [host.as_str()]);
    assert_eq!(seen.values("cookie"), ["own=2"]);
    assert_eq!(seen.values("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!((seen.values("x-forwarded-host"), seen.values("x-forwarded-proto")), (vec![host.as_str()], vec!["http"]));
    let bytes = String::from_utf8_lossy(&server.bytes.lock().unwrap()).into_owned();
    assert!(!bytes.contains(ADA) && !bytes.contains("secret-t"), "{bytes}");
    // And the other way round.
    assert!(answer.contains("set-cookie: own=1\r\n"), "{answer}");
    for gone in ["forged", "alt-svc", "x-hop", "Domain"] {
        assert!(!answer.contains(gone), "{gone}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_of_one_connection_share_one_connection_to_the_app_and_the_crowd_asks_once() {
    let (stage, server, mut tasks) = (Stage::start().await, Server::default(), JoinSet::new());
    let host = stage.app("web", server.start("web", &mut tasks).await);
    let mut stream = BufReader::new(stage.connect().await);
    for number in 0..5 {
        let head = format!("GET /{number} HTTP/1.1\r\nHost: {host}\r\nCookie: berth_app={ADA}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"hello") {
            assert_ne!(timeout(PATIENCE, stream.read_until(b'o', &mut answer)).await.unwrap().unwrap(), 0);
        }
    }
    let connections: Vec<_> = server.seen.lock().unwrap().iter().map(|seen| seen.connection).collect();
    assert_eq!(connections, [1; 5]);
    futures_util::future::join_all((0..20).map(|_| stage.get(&host, "/", ""))).await;
    assert_eq!(server.seen.lock().unwrap().len(), 25);
    assert_eq!(stage.desk.asked.lock().unwrap().len(), 1);
    assert_eq!(stage.tunnels.agents(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_body_is_streamed_and_trailers_come_along() {
    let (stage, server, mut tasks) = (Stage::start().await, Server::default(), JoinSet::new());
    let host = stage.app("web", server.start("web", &mut tasks).await);
    let mut stream = stage.connect().await;
    let head = format!(
        "POST /up HTTP/1.1\r\nHost: {host}\r\nCookie: berth_app={ADA}\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\nTrailer: X-Sum\r\n\
        Connection: close, TE\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = vec![b'x'; 1024 * 1024];
    for _ in 0..24 {
        stream.write_all(b"100000\r\n").await.unwrap();
        stream.write_all(&chunk).await.unwrap();
        stream.write_all(b"\r\n").await.unwrap();
    }
    stream.write_all(b"0\r\nX-Sum: 24\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let seen = server.last();
    let trailer = b"[x-sum: 24]".len();
    assert_eq!(seen.body.len(), 24 * chunk.len() + trailer);
    assert_eq!(seen.body[seen.body.len() - trailer..].to_ascii_lowercase(), b"[x-sum: 24]");
    assert!(seen.values("cookie").is_empty() && seen.values("te") == ["trailers"], "{}", seen.head);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_comes_as_it_is_made() {
    let (stage, mut tasks) = (Stage::start().await, JoinSet::<()>::new());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = stage.app("web", listener.local_addr().unwrap().port());
    let (go, mut goes) = tokio::sync::mpsc::channel::<()>(1);
    tasks.spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        socket.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n").await.unwrap();
        goes.recv().await.unwrap();
        socket.write_all(b"3\r\ntwo\r\n0\r\n\r\n").await.unwrap();
        std::future::pending::<()>().await;
    });
    let mut stream = BufReader::new(stage.connect().await);
    let head = format!("GET /events HTTP/1.1\r\nHost: {host}\r\nCookie: berth_app={ADA}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut first = Vec::new();
    while !first.ends_with(b"one") {
        assert_ne!(timeout(PATIENCE, stream.read_until(b'e', &mut first)).await.unwrap().unwrap(), 0);
    }
    go.send(()).await.unwrap();
    let mut rest = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut rest)).await.unwrap().unwrap();
    assert!(rest.contains("two"), "{rest}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_goes_through_for_the_apps_own_page_and_no_other() {
    let (stage, mut tasks) = (Stage::start().await, JoinSet::<()>::new());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = stage.app("web", listener.local_addr().unwrap().port());
    tasks.spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let mut socket = tokio_tungstenite::accept_async(socket).await.unwrap();
            while let Some(Ok(frame)) = socket.next().await {
                if frame.is_close() || socket.send(frame).await.is_err() {
                    break;
                }
            }
        }
    });
    let connect = async |origin: &str, cookie: &str| {
        let mut request = format!("ws://{}/socket", stage.world.address).into_client_request().unwrap();
        request.headers_mut().insert("host", host.parse().unwrap());
        request.headers_mut().insert("cookie", cookie.parse().unwrap());
        if !origin.is_empty() {
            request.headers_mut().insert("origin", origin.parse().unwrap());
        }
        tokio_tungstenite::connect_async(request).await
    };
    let cookie = format!("berth_app={ADA}");
    let status = |error| match error {
        tokio_tungstenite::tungstenite::Error::Http(response) => response.status().as_u16(),
        other => panic!("{other}"),
    };
    for foreign in ["http://evil.example", "null", &format!("http://{}", stage.host("web--dev--eve")), &format!("https://{host}")] {
        assert_eq!(status(connect(foreign, &cookie).await.unwrap_err()), 403, "{foreign}");
    }
    assert_eq!(status(connect(&format!("http://{host}"), "").await.unwrap_err()), 401);
    let beside = format!("http://{}", stage.host("3000--dev--ada"));
    for origin in [&format!("http://{host}"), &beside, ""] {
        let (mut socket, _) = connect(origin, &cookie).await.unwrap();
        for frame in [Frame::text("hello"), Frame::binary(vec![7; 300_000])] {
            socket.send(frame.clone()).await.unwrap();
            assert_eq!(timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap(), frame);
        }
        socket.close(None).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_known_is_sent_to_the_sign_in_and_comes_back_to_a_clean_address() {
    let (stage, server, mut tasks) = (Stage::start().await, Server::default(), JoinSet::new());
    let host = stage.app("web", server.start("web", &mut tasks).await);
    let ask = async |path: &str, more: &str| {
        stage.raw(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{more}\r\n").as_bytes()).await
    };
    let page = "Accept: text/html\r\n";
    let sent = ask("/a?b=c", page).await;
    let location = sent.lines().find_map(|line| line.strip_prefix("location: ")).unwrap();
    let address = format!("http%3A//{}%3A{}/a%3Fb%3Dc", host.split(':').next().unwrap(), stage.world.address.port());
    let start = format!("http://berth.example/api/v2/applications/auth-redirect?redirect_uri={address}&state=");
    assert!(sent.starts_with("HTTP/1.1 303") && location.starts_with(&start), "{sent}");
    let hop = sent.lines().find_map(|line| line.strip_prefix("set-cookie: berth_hop=")).unwrap();
    assert!(hop.ends_with("; Path=/; HttpOnly; SameSite=Lax; Max-Age=600"), "{hop}");
    // A second tab keeps the secret of the first.
    let sent = ask("/", &format!("{page}Cookie: berth_hop={HOP}\r\n")).await;
    assert!(sent.contains(&format!("set-cookie: berth_hop={HOP};")), "{sent}");
    // A program is told, and so is a script of a page.
    assert!(ask("/", "").await.starts_with("HTTP/1.1 401"));
    assert!(ask("/", "Accept: text/html\r\nSec-Fetch-Mode: cors\r\n").await.starts_with("HTTP/1.1 401"));

    // Back, with a ticket: only with the secret, and the address is clean.
    let back = ask(&format!("//evil?x=%31&{TICKET_PARAMETER}=good&y"), &format!("{page}Cookie: berth_hop={HOP}\r\n")).await;
    assert!(back.starts_with("HTTP/1.1 303") && back.contains(&format!("location: http://{host}//evil?x=%31&y\r\n")), "{back}");
    assert!(back.contains(&format!("set-cookie: berth_app={ADA}; Path=/; HttpOnly; SameSite=Lax; Max-Age=3600")), "{back}");
    for (ticket, cookie) in [("good", ""), ("good", "Cookie: berth_hop=ffffffffffffffffffffffffffffffff\r\n"), ("bad", "")] {
        let refused = ask(&format!("/?{TICKET_PARAMETER}={ticket}"), &format!("{page}{cookie}")).await;
        assert!(refused.starts_with("HTTP/1.1 401") && !refused.contains("berth_app="), "{refused}");
        assert!(refused.contains(&format!("href=\"http://{host}/\"")), "{refused}");
    }
    assert!(server.seen.lock().unwrap().is_empty(), "no app saw any of it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_workspace_has_a_button_which_only_its_own_page_presses() {
    let stage = Stage::start().await;
    let host = stage.app("stopped", 1);
    let page = stage.get(&host, "/lab", "Accept: text/html\r\n").await;
    assert!(page.starts_with("HTTP/1.1 503") && page.contains("ada/dev is stopped"), "{page}");
    assert!(page.contains("<form method=\"post\" action=\"/.well-known/berth/start\">"), "{page}");
    let press = async |method: &str, more: &str| {
        let head = format!(
            "{method} /.well-known/berth/start HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n{more}\r\n"
        );
        stage.raw(head.as_bytes()).await
    };
    let cookie = format!("Cookie: berth_app={ADA}\r\n");
    let own = format!("Origin: http://{host}\r\n");
    let beside = format!("Origin: http://{}\r\n", stage.host("web--dev--ada"));
    for (method, more, status) in [
        ("GET", format!("{cookie}{own}"), 403),
        ("POST", cookie.clone(), 403),
        ("POST", format!("{cookie}{beside}"), 403),
        ("POST", format!("{cookie}Origin: http://evil.example\r\n"), 403),
        ("POST", own.clone(), 401),
    ] {
        let answer = press(method, &more).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{method} {more}: {answer}");
    }
    assert!(stage.desk.started.lock().unwrap().is_empty());
    let pressed = press("POST", &format!("{cookie}{own}Referer: http://{host}/lab\r\n")).await;
    assert!(pressed.starts_with("HTTP/1.1 303") && pressed.contains(&format!("location: http://{host}/lab\r\n")), "{pressed}");
    assert_eq!(*stage.desk.started.lock().unwrap(), ["stopped--dev--ada"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_answer_is_told_apart() {
    let (stage, server, mut tasks) = (Stage::start().await, Server::default(), JoinSet::new());
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let host = stage.app("web", free);
    let page = stage.get(&host, "/", "Accept: text/html\r\n").await;
    assert!(page.starts_with("HTTP/1.1 502") && page.contains(&format!("Nothing listens on port {free}")), "{page}");
    assert!(page.contains("http-equiv=\"refresh\"") && page.contains("retry-after: 2\r\n"), "{page}");
    // Something that hangs up at once.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let rude = stage.app("rude", listener.local_addr().unwrap().port());
    tasks.spawn(async move {
        loop {
            drop(listener.accept().await);
        }
    });
    let page = stage.get(&rude, "/", "").await;
    assert!(page.starts_with("HTTP/1.1 502") && page.contains("The app did not answer"), "{page}");
    // An app that begins elsewhere.
    let host = stage.app("sub", server.start("sub", &mut tasks).await);
    stage.desk.roots.lock().unwrap().insert("sub".to_owned(), "/lab?folder=/home".to_owned());
    let sent = stage.get(&host, "/", "").await;
    assert!(sent.starts_with("HTTP/1.1 307") && sent.contains(&format!("location: http://{host}/lab?folder=/home\r\n")), "{sent}");
    assert!(stage.get(&host, "/?x", "").await.starts_with("HTTP/1.1 200"));
    // A host that is none, below the domain of the apps.
    let none = stage.get(&stage.host("web"), "/", "Accept: text/html\r\n").await;
    assert!(none.starts_with("HTTP/1.1 404"), "{none}");
    let missing = stage.get(&stage.host("nothing--dev--ada"), "/", "").await;
    assert!(missing.starts_with("HTTP/1.1 404"), "{missing}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_is_good_for_the_one_port_of_its_ticket() {
    let stage = Stage::start().await;
    let (server, mut tasks) = (Server::default(), JoinSet::new());
    let port = server.start("web", &mut tasks).await;
    let endpoint = stage.tunnels.endpoint_id();
    let View::Open(opening) = stage.desk.open(&endpoint, "web", port) else { panic!("not open") };
    let admitted = crate::Admitted::from(opening.ticket.clone());
    let read = async |target: Target| {
        let mut stream = stage.tunnels.open(&admitted, target).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.ok();
        timeout(PATIENCE, stream.read_u8()).await.unwrap().map_err(|error| error.kind())
    };
    assert_eq!(read(Target::Tcp { port }).await, Ok(b'H'));
    // The connection stands, and still every other target is refused.
    for other in [Target::Tcp { port: port.wrapping_add(1) }, Target::Ssh, Target::Unix { path: "/etc/passwd".into() }] {
        assert_eq!(read(other.clone()).await, Err(std::io::ErrorKind::PermissionDenied), "{other:?}");
    }
    assert_eq!(read(Target::Tcp { port }).await, Ok(b'H'), "and none of that ended it");
    assert_eq!(server.seen.lock().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_comes_back_is_found_again() {
    let mut stage = Stage::start().await;
    let (server, mut tasks) = (Server::default(), JoinSet::new());
    let host = stage.app("web", server.start("web", &mut tasks).await);
    assert!(stage.get(&host, "/", "").await.starts_with("HTTP/1.1 200"));
    stage.agent.tailnet.close().await;
    stage.agent = agent(&stage.world).await;
    *stage.desk.agent.lock().unwrap() = stage.agent.tailnet.endpoint_id();
    // The answer of the API that names the old one is believed for 20 seconds.
    let again = async {
        while !stage.get(&host, "/", "").await.starts_with("HTTP/1.1 200") {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    timeout(Duration::from_secs(40), again).await.expect("the app is seen again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_signs_out_is_out_within_the_minute() {
    let (stage, server, mut tasks) = (Stage::start().await, Server::default(), JoinSet::new());
    let host = stage.app("web", server.start("web", &mut tasks).await);
    assert!(stage.get(&host, "/", "").await.starts_with("HTTP/1.1 200"));
    *stage.desk.signed_in.lock().unwrap() = false;
    let signed_out = Instant::now();
    let refused = async {
        while !stage.get(&host, "/", "").await.starts_with("HTTP/1.1 401") {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    timeout(Duration::from_secs(60), refused).await.expect("out within the minute");
    println!("out after {:?}", signed_out.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tls_a_browser_speaks_http2_and_the_cookie_is_of_this_host_alone() {
    let (stage, server, mut tasks) = (Stage::start().await, Server::default(), JoinSet::new());
    stage.app("web", server.start("web", &mut tasks).await);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let host = format!("web--dev--ada.apps.localhost:{}", address.port());
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["web--dev--ada.apps.localhost".to_owned()]).unwrap();
    let certificates = Certificates::default();
    certificates.replace(&cert.pem(), &signing_key.serialize_pem()).unwrap();
    let port = Port { listener, tls: Some(Arc::new(certificates.server_config().unwrap())) };
    let site = format!("https://apps.localhost:{}", address.port());
    let apps = Apps::new(&site, "https://berth.example/", stage.api.clone(), stage.tunnels.clone()).unwrap();
    let web = Web { router: super::router(), apps: Some(apps) };
    tasks.spawn(serve(port, web, stage.world.relay.clone(), CancellationToken::new()));

    let mut config = super::tls::trusting(cert.der());
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let name = ServerName::try_from("web--dev--ada.apps.localhost").unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, TcpStream::connect(address).await.unwrap()).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tasks.spawn(async move { connection.await.unwrap() });
    let ask = async |authority: &str, cookie: &str| {
        let request = Request::get(format!("https://{authority}/x")).header("cookie", cookie).body(Body::empty()).unwrap();
        let answer = timeout(PATIENCE, sender.clone().send_request(request)).await.unwrap().unwrap();
        let (parts, body) = answer.into_parts();
        let body = axum::body::to_bytes(Body::new(body), 1024 * 1024).await.unwrap();
        (parts.status.as_u16(), String::from_utf8(body.to_vec()).unwrap())
    };
    let own = format!("__Host-berth_app={ADA}");
    let many = futures_util::future::join_all((0..20).map(|_| ask(&host, &own))).await;
    assert!(many.iter().all(|answer| *answer == (200, "hello".to_owned())), "{many:?}");
    let seen = server.last();
    assert_eq!(
        (seen.line(), seen.values("host"), seen.values("x-forwarded-proto")),
        ("GET /x HTTP/1.1", vec![host.as_str()], vec!["https"])
    );
    assert!(seen.values("cookie").is_empty(), "{}", seen.head);
    assert_eq!(ask(&host, &format!("berth_app={ADA}")).await.0, 401, "a name that any host of the domain could set");
    assert_eq!(ask("web--dev--ada.apps.localhost:1", &own).await.0, 421);
}
