//! A control plane and a relay on one port, and an agent for them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, patch, post, put};
use axum::{Json, Router};
use berth_net::{Identity, Tailnet, TailnetConfig};
use berth_relay::{RelayConfig, serve};
use berth_wire::ErrorBody;
use berth_wire::agent::{
    AppHealthReport, CheckedApp, Hello, InstanceIdentity, InstanceSession, LifecycleReport, Logs, Manifest, Relay, ScriptCompleted,
    SessionsAnswer, SessionsRequest, Ticket,
};
use berth_wire::domain::{AppHealth, Lifecycle, LogLevel, Secret, Timestamp};
use berth_wire::runner::{Monitors, Script};
use berth_wire::ticket::{RelayRole, SigningKey};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
const TOKEN: &str = "the-agents-token";

/// What the control plane was told.
#[derive(Default)]
pub(crate) struct Heard {
    pub(crate) hellos: Vec<Hello>,
    states: Vec<Lifecycle>,
    logs: Vec<Logs>,
    /// How scripts ran.
    pub(crate) runs: Vec<ScriptCompleted>,
    /// What was said of apps, in order.
    pub(crate) healths: Vec<(Uuid, AppHealth)>,
    /// Whom the agent asked about, and who may not stay.
    pub(crate) asked: Vec<Uuid>,
    pub(crate) unwelcome: Vec<Uuid>,
    /// When set, the key that signs tickets now.
    pub(crate) rotated: Option<SigningKey>,
    /// Whether the question who may stay gets no answer.
    pub(crate) is_away: bool,
    /// How often an instance asked for a token, which it gets the second time: at first its build has not ended.
    pub(crate) introductions: usize,
    refusals: Vec<(StatusCode, &'static str)>,
}

pub(crate) struct Plane {
    pub(crate) home: TempDir,
    pub(crate) address: SocketAddr,
    pub(crate) heard: Arc<Mutex<Heard>>,
    pub(crate) key: SigningKey,
    scripts: Vec<Script>,
    apps: Vec<CheckedApp>,
    serving: Option<(CancellationToken, AbortOnDropHandle<()>)>,
}

#[derive(Clone)]
struct Shared {
    heard: Arc<Mutex<Heard>>,
    scripts: Arc<Vec<Script>>,
    apps: Arc<Vec<CheckedApp>>,
    key: SigningKey,
    address: SocketAddr,
}

type Refused = (StatusCode, Json<ErrorBody>);

async fn say_hello(State(shared): State<Shared>, headers: HeaderMap, Json(hello): Json<Hello>) -> Result<Json<Manifest>, Refused> {
    assert_eq!(headers["coder-session-token"], TOKEN);
    let relay = relay_for(&shared.key, shared.address, (&hello.endpoint_id, RelayRole::Agent));
    let mut heard = shared.heard.lock().unwrap();
    heard.hellos.push(hello);
    let shared = Shared { key: heard.rotated.clone().unwrap_or(shared.key.clone()), ..shared.clone() };
    match heard.refusals.pop() {
        Some((status, message)) => Err((status, Json(ErrorBody { message: message.to_owned(), ..ErrorBody::default() }))),
        None => Ok(Json(manifest(&shared, relay))),
    }
}

async fn who_may_stay(
    State(shared): State<Shared>,
    Json(request): Json<SessionsRequest>,
) -> Result<Json<SessionsAnswer>, StatusCode> {
    let mut heard = shared.heard.lock().unwrap();
    heard.asked.extend(&request.users);
    if heard.is_away {
        return Err(StatusCode::SERVICE_UNAVAILABLE);
    }
    let end = request.users.into_iter().filter(|user| heard.unwelcome.contains(user)).collect();
    Ok(Json(SessionsAnswer { end, ticket_key_id: heard.rotated.as_ref().unwrap_or(&shared.key).verifying().id }))
}

async fn introduce(
    State(shared): State<Shared>,
    Json(identity): Json<InstanceIdentity>,
) -> Result<Json<InstanceSession>, StatusCode> {
    assert_eq!((identity.document.as_str(), identity.signature.as_str()), ("the document", "the signature"));
    let mut heard = shared.heard.lock().unwrap();
    heard.introductions += 1;
    match heard.introductions {
        2 => Ok(Json(InstanceSession { session_token: Secret::new(TOKEN.to_owned()) })),
        _ => Err(StatusCode::UNAUTHORIZED),
    }
}

/// The instance metadata service, which answers to whoever holds a session only (IMDSv2).
fn instance_metadata() -> Router {
    let about = |what: &'static str| {
        get(async move |headers: HeaderMap| match headers.get("x-aws-ec2-metadata-token") {
            Some(session) if session == "a session" => Ok(what),
            _ => Err(StatusCode::UNAUTHORIZED),
        })
    };
    let session = put(async |headers: HeaderMap| match headers.get("x-aws-ec2-metadata-token-ttl-seconds") {
        Some(_) => Ok("a session"),
        None => Err(StatusCode::BAD_REQUEST),
    });
    Router::new()
        .route("/latest/api/token", session)
        .route("/latest/dynamic/instance-identity/document", about("the document"))
        .route("/latest/dynamic/instance-identity/rsa2048", about("the signature"))
}

fn relay_for(key: &SigningKey, address: SocketAddr, (endpoint, role): (&str, RelayRole)) -> Relay {
    let ends = Timestamp::now() + std::time::Duration::from_secs(3600);
    let token = key.relay(endpoint, role, Uuid::from_u128(1), ends).unwrap();
    Relay { url: format!("http://{address}"), others: Vec::new(), token }
}

fn manifest(shared: &Shared, relay: Relay) -> Manifest {
    let verifying = shared.key.verifying();
    Manifest {
        agent_id: Uuid::from_u128(1),
        agent_name: "main".to_owned(),
        workspace_id: Uuid::from_u128(2),
        workspace_name: "dev".to_owned(),
        owner_name: "ada".to_owned(),
        access_url: String::new(),
        env: BTreeMap::from([("FROM_TEMPLATE".to_owned(), "yes".to_owned())]),
        directory: String::new(),
        motd_file: String::new(),
        scripts: shared.scripts.to_vec(),
        metadata: Vec::new(),
        apps: shared.apps.to_vec(),
        monitors: Monitors::default(),
        vs_code_port_proxy_uri: String::new(),
        relay,
        ticket_key: verifying.public,
        ticket_key_id: verifying.id,
        ssh_host_key_seed: Secret::new("07".repeat(32)),
        disable_direct_connections: true,
    }
}

impl Plane {
    pub(crate) async fn start(scripts: Vec<Script>, refusals: &[(StatusCode, &'static str)]) -> Plane {
        Plane::start_with((scripts, Vec::new()), refusals).await
    }

    /// One whose template has apps, too.
    pub(crate) async fn start_with(
        (scripts, apps): (Vec<Script>, Vec<CheckedApp>),
        refusals: &[(StatusCode, &'static str)],
    ) -> Plane {
        let heard = Heard { refusals: refusals.iter().rev().copied().collect(), ..Heard::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut plane = Plane {
            home: tempfile::tempdir().unwrap(),
            address: listener.local_addr().unwrap(),
            heard: Arc::new(Mutex::new(heard)),
            key: SigningKey::new([7; 32]),
            scripts,
            apps,
            serving: None,
        };
        plane.serve_on(listener);
        plane
    }

    fn serve_on(&mut self, listener: TcpListener) {
        let (heard, scripts, apps) = (Arc::clone(&self.heard), Arc::new(self.scripts.clone()), Arc::new(self.apps.clone()));
        let router = router(Shared { heard, scripts, apps, key: self.key.clone(), address: self.address });
        let relay = berth_relay::Relay::new(RelayConfig::new(berth_relay::Keys::fixed(vec![self.key.verifying()])));
        let drain = CancellationToken::new();
        let task = tokio::task::spawn(serve(listener, router, relay, drain.clone()));
        self.serving = Some((drain, AbortOnDropHandle::new(task)));
    }

    /// Ends the control plane and the relay, and brings both back on the same port, knowing nothing of before.
    pub(crate) async fn restart(&mut self) {
        if let Some((drain, serving)) = self.serving.take() {
            drain.cancel();
            serving.await.unwrap();
        }
        let listener = loop {
            match TcpListener::bind(self.address).await {
                Ok(listener) => break listener,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        };
        self.serve_on(listener);
    }

    /// A client on the tailnet and its introduction to the agent.
    pub(crate) async fn client(&self) -> (Tailnet, Ticket) {
        self.client_of(Uuid::nil(), &self.key).await
    }

    /// The same for some user, introduced with this key.
    pub(crate) async fn client_of(&self, user: Uuid, key: &SigningKey) -> (Tailnet, Ticket) {
        let identity = Identity::generate();
        let relay = relay_for(&self.key, self.address, (&identity.endpoint_id(), RelayRole::Client));
        let agent_endpoint_id = self.heard.lock().unwrap().hellos.last().unwrap().endpoint_id.clone();
        let ends = Timestamp::now() + Duration::from_secs(60);
        let ticket = key.agent(&identity.endpoint_id(), &agent_endpoint_id, (user, "ada"), ends).unwrap();
        let ticket = Ticket {
            agent_endpoint_id,
            relay: relay.clone(),
            ticket,
            ssh_host_key: String::new(),
            disable_direct_connections: true,
        };
        (Tailnet::bind(TailnetConfig { identity, relay, direct: false, accept: false }).await.unwrap(), ticket)
    }

    pub(crate) fn agent(&self) -> Child {
        self.agent_with(&[])
    }

    /// One with more environment.
    pub(crate) fn agent_with(&self, environment: &[(&str, &str)]) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_berth-agent"));
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.home.path())
            .env("TMPDIR", self.home.path());
        command.env("BERTH_AGENT_LOG", std::env::var_os("BERTH_AGENT_LOG").unwrap_or_default());
        command.env("CODER_AGENT_URL", format!("http://{}", self.address)).env("CODER_AGENT_TOKEN", TOKEN);
        command.envs(environment.iter().copied());
        command.current_dir(self.home.path()).stdin(Stdio::null()).kill_on_drop(true);
        command.spawn().unwrap()
    }

    /// Waits until the last state told is `state`.
    pub(crate) async fn until(&self, state: Lifecycle) {
        eventually(&format!("{state}"), || self.heard.lock().unwrap().states.last() == Some(&state)).await;
    }

    pub(crate) fn states(&self) -> Vec<Lifecycle> {
        self.heard.lock().unwrap().states.clone()
    }

    /// How one script ran, each time it was told.
    pub(crate) fn runs(&self, script: &Script) -> Vec<ScriptCompleted> {
        self.heard.lock().unwrap().runs.iter().filter(|run| run.script_id == script.id).copied().collect()
    }

    /// The lines of one script.
    pub(crate) fn lines(&self, script: &Script) -> Vec<(LogLevel, String)> {
        let heard = self.heard.lock().unwrap();
        let logs = heard.logs.iter().filter(|logs| logs.log_source_id == script.id);
        logs.flat_map(|logs| logs.logs.iter().map(|line| (line.level, line.output.clone()))).collect()
    }
}

fn router(shared: Shared) -> Router {
    let me = "/api/v2/workspaceagents/me";
    Router::new()
        .route(&format!("{me}/manifest"), post(say_hello))
        .route(&format!("{me}/sessions"), post(who_may_stay))
        .route(
            &format!("{me}/lifecycle"),
            patch(async |State(shared): State<Shared>, Json(report): Json<LifecycleReport>| {
                shared.heard.lock().unwrap().states.push(report.state);
                StatusCode::NO_CONTENT
            }),
        )
        .route(
            &format!("{me}/logs"),
            patch(async |State(shared): State<Shared>, Json(logs): Json<Logs>| {
                shared.heard.lock().unwrap().logs.push(logs);
                StatusCode::NO_CONTENT
            }),
        )
        .route(
            &format!("{me}/script-completed"),
            post(async |State(shared): State<Shared>, Json(run): Json<ScriptCompleted>| {
                shared.heard.lock().unwrap().runs.push(run);
                StatusCode::NO_CONTENT
            }),
        )
        .route(
            &format!("{me}/app-health"),
            post(async |State(shared): State<Shared>, Json(report): Json<AppHealthReport>| {
                shared.heard.lock().unwrap().healths.extend(report.healths);
                StatusCode::NO_CONTENT
            }),
        )
        .route("/api/v2/workspaceagents/aws-instance-identity", post(introduce))
        .with_state(shared)
        .merge(instance_metadata())
}

pub(crate) fn script(number: u128, text: &str) -> Script {
    Script {
        id: Uuid::from_u128(number),
        display_name: format!("script {number}"),
        icon: String::new(),
        script: text.to_owned(),
        log_path: String::new(),
        cron: String::new(),
        start_blocks_login: false,
        run_on_start: true,
        run_on_stop: false,
        timeout_seconds: 0,
    }
}

pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) async fn terminate(mut agent: Child) -> Option<i32> {
    kill(Pid::from_raw(i32::try_from(agent.id().unwrap()).unwrap()), Signal::SIGTERM).unwrap();
    tokio::time::timeout(PATIENCE, agent.wait()).await.expect("the agent ended").unwrap().code()
}
