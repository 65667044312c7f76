//! A world to tell stories in: the real router, the real store in memory, a clock and a relay of our own.

use crate::{Announce, ApiConfig, App, Attendance, Changes, Clock, InstanceKeys, Presence, Seat};
use axum::{Router, body::Body};
use berth_domain::{AgentId, Priority, Role, Secret, SessionToken, TaskId, Timestamp, TokenHash, TokenId, UserId, Username};
use berth_store::{JobId, Offer, Session, SessionKind, Store, User};
use berth_wire::ticket::SigningKey;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method, Request, StatusCode};
use jiff::SignedDuration;
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use uuid::Uuid;

/// The endpoint of the agent in these stories, of the relay's own end, and of the client.
pub(super) const AGENT_ENDPOINT: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
pub(super) const RELAY_ENDPOINT: &str = "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee";
/// The relay, as everybody knows it.
pub(super) const RELAY: &str = "https://relay.example.com";
pub(super) const CLIENT_ENDPOINT: &str = "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc";

/// The queue: what was announced, in order.
#[derive(Debug, Default)]
pub(super) struct Queue(pub(super) Mutex<Vec<JobId>>);

impl Announce for Queue {
    fn announce(&self, job: JobId, _: Priority) -> BoxFuture<'_, ()> {
        self.0.lock().unwrap().push(job);
        Box::pin(std::future::ready(()))
    }
}

/// The relay: who is there, and whether another one is silent.
#[derive(Debug, Default)]
pub(super) struct Relay(pub(super) Mutex<HashMap<(AgentId, String), Seat>>, pub(super) AtomicBool);

impl Presence for Relay {
    fn connected<'a>(&'a self, agents: &'a [(AgentId, &'a str)]) -> BoxFuture<'a, Attendance> {
        let there = self.0.lock().unwrap();
        let seat = |&(agent, endpoint): &(AgentId, &str)| Some((agent, there.get(&(agent, endpoint.to_owned()))?.clone()));
        let connected = agents.iter().filter_map(seat).collect();
        Box::pin(std::future::ready(Attendance { connected, is_incomplete: self.1.load(Ordering::Relaxed) }))
    }

    fn is_relay<'a>(&'a self, endpoint_id: &'a str) -> BoxFuture<'a, bool> {
        Box::pin(std::future::ready(endpoint_id == RELAY_ENDPOINT))
    }
}

pub(super) struct World {
    pub(super) app: App,
    pub(super) router: Router,
    pub(super) queue: Arc<Queue>,
    pub(super) relay: Arc<Relay>,
    now: Arc<Mutex<Timestamp>>,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) bytes: Bytes,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|_| panic!("no JSON: {} {:?}", self.status, self.bytes))
    }

    /// The value, when the status is the wanted one.
    #[track_caller]
    pub(super) fn is(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", String::from_utf8_lossy(&self.bytes));
        if self.bytes.is_empty() { Value::Null } else { self.json() }
    }

    /// The envelope's sentence, when the status is the wanted one.
    #[track_caller]
    pub(super) fn refused(self, status: u16) -> String {
        self.is(status)["message"].as_str().unwrap().to_owned()
    }
}

/// A request of one person or machine.
pub(super) struct As<'a> {
    world: &'a World,
    token: Option<String>,
}

impl World {
    pub(super) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(super) async fn with(change: impl FnOnce(&mut ApiConfig)) -> Self {
        // Whole seconds: then all times are written with the same length.
        let now = Arc::new(Mutex::new(Timestamp::from_second(Timestamp::now().as_second()).unwrap()));
        let (queue, relay) = (Arc::new(Queue::default()), Arc::new(Relay::default()));
        let mut config = ApiConfig {
            access_url: "https://berth.example.com".into(),
            relay_urls: vec![RELAY.into()],
            sockets_url: None,
            apps_url: Some("https://apps.example.com".into()),
            binaries: None::<PathBuf>,
            disable_direct_connections: false,
            instance_keys: InstanceKeys::aws(),
        };
        change(&mut config);
        let app = App {
            store: Store::memory().await.unwrap(),
            config,
            signing: SigningKey::new([7; 32]),
            host_key_secret: Secret::new([9; 32]),
            announce: queue.clone(),
            presence: relay.clone(),
            changes: Changes::default(),
            clock: Clock::new({
                let now = now.clone();
                move || *now.lock().unwrap()
            }),
            drain: CancellationToken::new(),
        };
        Self { router: crate::router(app.clone()), app, queue, relay, now }
    }

    pub(super) fn now(&self) -> Timestamp {
        *self.now.lock().unwrap()
    }

    pub(super) fn pass(&self, seconds: i64) {
        *self.now.lock().unwrap() += SignedDuration::from_secs(seconds);
    }

    pub(super) fn store(&self) -> &Store {
        &self.app.store
    }

    pub(super) async fn request(&self, request: Request<Body>) -> Answer {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        crate::openapi::check(&method, &path, (parts.status, &parts.headers, &bytes));
        Answer { status: parts.status, headers: parts.headers, bytes }
    }

    /// A user who is signed in; no password, so no hashing.
    pub(super) async fn user(&self, name: &str, roles: &[Role]) -> String {
        let now = self.now();
        let user = User {
            id: UserId::new(now, rand::random()),
            username: Username::parse(name).unwrap(),
            email: format!("{name}@example.com"),
            name: name.to_uppercase(),
            roles: roles.to_vec(),
            password_hash: None,
            suspended: false,
            created_at: now,
            updated_at: now,
            last_seen_at: now,
        };
        self.store().create_user(&user).await.unwrap();
        let token = SessionToken::new(TokenId::new(now, rand::random()), rand::random());
        let expires_at = now + SignedDuration::from_hours(24 * 7);
        let session =
            Session { id: token.id, user: user.id, hash: token.hash(), kind: SessionKind::Session, created_at: now, expires_at };
        self.store().create_session(&session).await.unwrap();
        token.expose()
    }

    pub(super) fn nobody(&self) -> As<'_> {
        As { world: self, token: None }
    }

    pub(super) fn by<'a>(&'a self, token: &str) -> As<'a> {
        As { world: self, token: Some(token.to_owned()) }
    }

    /// Offers a job as the dispatcher does and claims it over the API; the runner's session.
    pub(super) async fn claim(&self, job: JobId) -> (String, Value) {
        let (task, token) = (TaskId(Uuid::new_v4()), hex::encode(rand::random::<[u8; 16]>()));
        let ends = self.now() + SignedDuration::from_secs(900);
        self.store().offer(job, Offer { task, hash: TokenHash::of(&token), ends }, self.now()).await.unwrap();
        let path = format!("/api/v2/runner/jobs/{}/claim", job.uuid());
        let claimed = self.nobody().post(&path, json!({ "token": token, "task": task })).await.is(200);
        (claimed["session"].as_str().unwrap().to_owned(), claimed)
    }

    /// Claims a job and finishes it.
    pub(super) async fn run(&self, job: JobId, finish: Value) {
        let (session, _) = self.claim(job).await;
        self.by(&session).post(&format!("/api/v2/runner/jobs/{}/finish", job.uuid()), finish).await.is(204);
    }

    /// A template with an imported version; their ids.
    pub(super) async fn template(&self, admin: &str, name: &str, parameters: Value) -> (String, String) {
        let version = self.version(admin, None, parameters).await;
        let body = json!({ "name": name, "display_name": "Linux", "template_version_id": version });
        let template = self.by(admin).post("/api/v2/organizations/default/templates", body).await.is(201);
        (template["id"].as_str().unwrap().to_owned(), version)
    }

    pub(super) async fn version(&self, admin: &str, template: Option<&str>, parameters: Value) -> String {
        self.imported(admin, template, json!({ "parameters": parameters })).await
    }

    /// A version whose import found this.
    pub(super) async fn imported(&self, admin: &str, template: Option<&str>, imported: Value) -> String {
        let file = self.by(admin).upload(archive(&[("main.tf", "terraform {}")])).await;
        assert!(file.status.is_success(), "{file:?}");
        let body = json!({ "file_id": file.json()["hash"], "template_id": template, "storage_method": "file", "provisioner": "terraform" });
        let version = self.by(admin).post("/api/v2/organizations/default/templateversions", body).await.is(201);
        let id = version["id"].as_str().unwrap().to_owned();
        self.run(JobId::Import(id.parse().unwrap()), json!({ "outcome": { "kind": "succeeded" }, "imported": imported })).await;
        id
    }

    /// A workspace that was asked for; its build waits.
    pub(super) async fn workspace(&self, owner: &str, template: &str, name: &str) -> Value {
        self.by(owner).post("/api/v2/users/me/workspaces", json!({ "template_id": template, "name": name })).await.is(201)
    }

    /// Runs a workspace's newest build to its end, with one agent; the agent's token.
    pub(super) async fn up(&self, workspace: &Value) -> (AgentId, String) {
        let (agent, token) = (AgentId(Uuid::new_v4()), Uuid::new_v4().to_string());
        let build = workspace["latest_build"]["id"].as_str().unwrap().parse().unwrap();
        self.run(JobId::Build(build), up(agent, &token)).await;
        (agent, token)
    }

    /// The agent says hello and shows up at the relay.
    pub(super) async fn connect(&self, agent: AgentId, token: &str) -> Value {
        let hello = json!({ "endpoint_id": AGENT_ENDPOINT, "version": "v0.1.0", "expanded_directory": "/home/ada" });
        let manifest = self.by(token).post("/api/v2/workspaceagents/me/manifest", hello).await.is(200);
        self.relay.0.lock().unwrap().insert((agent, AGENT_ENDPOINT.into()), Seat::new(self.now(), RELAY));
        manifest
    }
}

impl As<'_> {
    /// The status alone: an event stream's body has no end.
    pub(super) async fn status(&self, method: Method, path: &str, body: Body) -> u16 {
        self.world.router.clone().oneshot(self.request(method, path, body)).await.unwrap().status().as_u16()
    }

    fn request(&self, method: Method, path: &str, body: Body) -> Request<Body> {
        let mut request = Request::builder().method(method).uri(path).header("host", "berth.example.com");
        if let Some(token) = &self.token {
            request = request.header("Coder-Session-Token", token);
        }
        request.body(body).unwrap()
    }

    pub(super) async fn send(&self, method: Method, path: &str, body: Body) -> Answer {
        self.world.request(self.request(method, path, body)).await
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, Body::empty()).await
    }

    pub(super) async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, path, Body::from(body.to_string())).await
    }

    pub(super) async fn patch(&self, path: &str, body: Value) -> Answer {
        self.send(Method::PATCH, path, Body::from(body.to_string())).await
    }

    pub(super) async fn put(&self, path: &str, body: impl Into<Body>) -> Answer {
        self.send(Method::PUT, path, body.into()).await
    }

    pub(super) async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, Body::empty()).await
    }

    pub(super) async fn upload(&self, archive: Vec<u8>) -> Answer {
        self.send(Method::POST, "/api/v2/files", Body::from(archive)).await
    }
}

/// How a build with one agent ends.
pub(super) fn up(agent: AgentId, token: &str) -> Value {
    json!({
        "outcome": { "kind": "succeeded" },
        "resources": [{
            "type": "berth_process", "name": "dev", "daily_cost": 3,
            "metadata": [{ "key": "region", "value": "here", "sensitive": false }],
            "agents": [{
                "id": agent, "name": "main", "token": token, "auth": "token", "arch": "amd64", "os": "linux",
                "env": { "SECRET": "canary" }, "connection_timeout_seconds": 120, "startup_script_behavior": "non-blocking",
                "scripts": [{ "id": Uuid::new_v4(), "display_name": "Start", "script": "echo canary", "run_on_start": true }],
                "apps": [{ "id": Uuid::new_v4(), "slug": "code", "url": "http://localhost:1", "subdomain": true, "share": "owner" }],
            }],
        }],
    })
}

/// A tar of these files.
pub(super) fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, content.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}
