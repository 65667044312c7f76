//! The agent's own binary against a control plane that a test writes: hello, scripts, reports, and the end.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "helpers of tests; clippy only knows the tests themselves"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{patch, post};
use axum::{Json, Router};
use berth_wire::ErrorBody;
use berth_wire::agent::{Hello, LifecycleReport, Logs, Manifest, Relay};
use berth_wire::domain::{Lifecycle, LogLevel, Secret};
use berth_wire::runner::Script;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(60);
const TOKEN: &str = "the-agents-token";

/// What the control plane was told.
#[derive(Default)]
struct Heard {
    hellos: Vec<Hello>,
    states: Vec<Lifecycle>,
    logs: Vec<Logs>,
    refusals: Vec<(StatusCode, &'static str)>,
}

struct Plane {
    home: TempDir,
    url: String,
    heard: Arc<Mutex<Heard>>,
    _serving: AbortOnDropHandle<()>,
}

#[derive(Clone)]
struct Shared {
    heard: Arc<Mutex<Heard>>,
    manifest: Arc<Manifest>,
}

type Refused = (StatusCode, Json<ErrorBody>);

async fn say_hello(State(shared): State<Shared>, headers: HeaderMap, Json(hello): Json<Hello>) -> Result<Json<Manifest>, Refused> {
    assert_eq!(headers["coder-session-token"], TOKEN);
    let mut heard = shared.heard.lock().unwrap();
    heard.hellos.push(hello);
    match heard.refusals.pop() {
        Some((status, message)) => Err((status, Json(ErrorBody { message: message.to_owned(), ..ErrorBody::default() }))),
        None => Ok(Json(Manifest::clone(&shared.manifest))),
    }
}

impl Plane {
    async fn start(scripts: Vec<Script>, refusals: &[(StatusCode, &'static str)]) -> Plane {
        let home = tempfile::tempdir().unwrap();
        let heard = Arc::new(Mutex::new(Heard { refusals: refusals.iter().rev().copied().collect(), ..Heard::default() }));
        let shared = Shared { heard: Arc::clone(&heard), manifest: Arc::new(manifest(scripts)) };
        let me = "/api/v2/workspaceagents/me";
        let router = Router::new()
            .route(&format!("{me}/manifest"), post(say_hello))
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
            .with_state(shared);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = AbortOnDropHandle::new(tokio::task::spawn(async move { axum::serve(listener, router).await.unwrap() }));
        Plane { home, url, heard, _serving: serving }
    }

    fn agent(&self) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_berth-agent"));
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.home.path())
            .env("TMPDIR", self.home.path());
        command.env("CODER_AGENT_URL", &self.url).env("CODER_AGENT_TOKEN", TOKEN);
        command.current_dir(self.home.path()).stdin(Stdio::null()).kill_on_drop(true);
        command.spawn().unwrap()
    }

    /// Waits until the last state told is `state`.
    async fn until(&self, state: Lifecycle) {
        eventually(&format!("{state}"), || self.heard.lock().unwrap().states.last() == Some(&state)).await;
    }

    fn states(&self) -> Vec<Lifecycle> {
        self.heard.lock().unwrap().states.clone()
    }

    /// The lines of one script.
    fn lines(&self, script: &Script) -> Vec<(LogLevel, String)> {
        let heard = self.heard.lock().unwrap();
        let logs = heard.logs.iter().filter(|logs| logs.log_source_id == script.id);
        logs.flat_map(|logs| logs.logs.iter().map(|line| (line.level, line.output.clone()))).collect()
    }
}

fn manifest(scripts: Vec<Script>) -> Manifest {
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
        scripts,
        metadata: Vec::new(),
        // Nobody answers there: an agent without its relay must do everything else all the same.
        relay: Relay { url: "http://127.0.0.1:9".to_owned(), token: Secret::new("t".to_owned()) },
        ticket_key: String::new(),
        ticket_key_id: String::new(),
        ssh_host_key_seed: Secret::new("07".repeat(32)),
        disable_direct_connections: true,
    }
}

fn script(number: u128, text: &str) -> Script {
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

async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn terminate(mut agent: Child) -> Option<i32> {
    kill(Pid::from_raw(i32::try_from(agent.id().unwrap()).unwrap()), Signal::SIGTERM).unwrap();
    tokio::time::timeout(PATIENCE, agent.wait()).await.expect("the agent ended").unwrap().code()
}

fn is_running(file: &Path) -> bool {
    let pid = fs::read_to_string(file).unwrap();
    fs::read_to_string(format!("/proc/{}/stat", pid.trim())).is_ok_and(|stat| !stat.contains(") Z "))
}

#[tokio::test]
async fn an_agent_starts_reports_and_leaves_nothing_behind() {
    let start = script(
        10,
        "echo hello; echo problem >&2; echo $FROM_TEMPLATE $CODER_WORKSPACE_NAME; nohup sleep 1000 >/dev/null 2>&1 & echo $! > daemon",
    );
    let stop = Script { run_on_start: false, run_on_stop: true, ..script(11, "echo stopped > stopped") };
    let unknown = (StatusCode::UNAUTHORIZED, "unknown token");
    let plane = Plane::start(vec![start.clone(), stop], &[unknown, unknown]).await;
    let agent = plane.agent();
    plane.until(Lifecycle::Ready).await;
    assert_eq!(plane.states(), [Lifecycle::Starting, Lifecycle::Ready]);
    eventually("the lines", || plane.lines(&start).len() == 3).await;
    let lines = plane.lines(&start);
    assert!(
        lines.contains(&(LogLevel::Info, "hello".to_owned())) && lines.contains(&(LogLevel::Error, "problem".to_owned())),
        "{lines:?}"
    );
    assert!(lines.contains(&(LogLevel::Info, "yes dev".to_owned())), "{lines:?}");
    let home = plane.home.path();
    assert!(fs::read_to_string(home.join(format!("coder-script-{}.log", start.id))).unwrap().contains("hello"));
    let hello = plane.heard.lock().unwrap().hellos.last().unwrap().clone();
    assert_eq!(hello.expanded_directory, home.to_str().unwrap());
    assert!(is_running(&home.join("daemon")));
    assert_eq!(terminate(agent).await, Some(0));
    assert!(home.join("stopped").exists());
    assert!(!is_running(&home.join("daemon")), "a detached process ends with the agent");
    assert_eq!(plane.states()[2..], [Lifecycle::ShuttingDown, Lifecycle::Off]);
}

#[tokio::test]
async fn the_worst_script_decides_the_state() {
    let slow = Script { timeout_seconds: 1, ..script(20, "trap 'echo interrupted; exit 0' INT; while :; do sleep 0.05; done") };
    let plane = Plane::start(vec![script(21, "true"), slow.clone()], &[]).await;
    let agent = plane.agent();
    plane.until(Lifecycle::StartTimeout).await;
    eventually("what the script said last", || plane.lines(&slow).iter().any(|(_, line)| line == "interrupted")).await;
    assert_eq!(terminate(agent).await, Some(0));

    let bad = script(22, "exit 9");
    let plane = Plane::start(vec![script(23, "true"), bad.clone()], &[]).await;
    let agent = plane.agent();
    plane.until(Lifecycle::StartError).await;
    eventually("the reason", || plane.lines(&bad) == [(LogLevel::Error, "the script failed: exit status: 9".to_owned())]).await;
    assert_eq!(terminate(agent).await, Some(0));
}

#[tokio::test]
async fn a_script_has_its_interpreter_its_directories_and_its_log() {
    let python = Script {
        log_path: "~/logs/python.log".to_owned(),
        ..script(30, "#!/usr/bin/env python3\nimport os\nprint(os.environ['CODER_SCRIPT_DATA_DIR'])")
    };
    let install = script(
        31,
        "printf '#!/bin/sh\\necho tool works\\n' > $CODER_SCRIPT_BIN_DIR/tool; chmod +x $CODER_SCRIPT_BIN_DIR/tool; tool",
    );
    let plane = Plane::start(vec![python.clone(), install.clone()], &[]).await;
    let agent = plane.agent();
    plane.until(Lifecycle::Ready).await;
    eventually("the lines", || plane.lines(&python).len() == 1 && plane.lines(&install).len() == 1).await;
    assert_eq!(plane.lines(&install)[0].1, "tool works");
    let (_, data) = plane.lines(&python).remove(0);
    assert!(data.ends_with(&python.id.to_string()), "{data}");
    let metadata = fs::metadata(&data).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::mode(&metadata) & 0o777, 0o700);
    assert_eq!(fs::read_to_string(plane.home.path().join("logs/python.log")).unwrap().trim(), data);
    assert_eq!(terminate(agent).await, Some(0));
}

#[tokio::test]
async fn a_replaced_agent_ends_with_a_code_of_its_own() {
    let plane = Plane::start(vec![], &[(StatusCode::FORBIDDEN, "superseded")]).await;
    let mut agent = plane.agent();
    let status = tokio::time::timeout(PATIENCE, agent.wait()).await.expect("the agent ended").unwrap();
    assert_eq!(status.code(), Some(3));
}

#[tokio::test]
async fn an_agent_without_a_token_says_what_is_missing() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_berth-agent"));
    let output = command.env_clear().env("CODER_AGENT_URL", "http://127.0.0.1:9").output().await.unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("CODER_AGENT_TOKEN is not set"));
}

#[tokio::test]
async fn an_agent_nobody_answers_can_still_be_told_to_end() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_berth-agent"));
    let home = tempfile::tempdir().unwrap();
    command
        .env_clear()
        .env("HOME", home.path())
        .env("CODER_AGENT_URL", "http://127.0.0.1:9")
        .env("CODER_AGENT_TOKEN", "x")
        .kill_on_drop(true);
    let agent = command.spawn().unwrap();
    eventually("its key", || {
        fs::read_dir(home.path().join(".local/state/berth")).is_ok_and(|mut entries| entries.next().is_some())
    })
    .await;
    // The handler of the signal is in place before anything else happens.
    assert_eq!(terminate(agent).await, Some(0));
}
