//! The control plane's runner routes in memory, and the real `berth-runner` binary run against them.

use std::{
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use berth_domain::{Secret, Timestamp, Transition};
use berth_wire::runner::{Build, Claim, Claimed, Enclosed, Finish, Frozen, Heartbeat, Import, Job, LogLine, Owner};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{process::Child, sync::watch, time::timeout};
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

/// How long anything may take in these tests.
const DEADLINE: Duration = Duration::from_secs(90);
const TOKEN: &str = "one-time-token-canary";
const SESSION: &str = "session-canary";

/// What the control plane knows.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) logs: Vec<LogLine>,
    pub(crate) states: Vec<Vec<u8>>,
    pub(crate) finish: Option<Finish>,
    pub(crate) heartbeats: usize,
    pub(crate) cancel: bool,
    pub(crate) lost: bool,
    /// Every answer is 503.
    pub(crate) down: bool,
    /// How long a lease lasts, in seconds; 0 is a minute.
    pub(crate) lease_seconds: u64,
    /// What an import kept.
    pub(crate) modules: Option<Vec<u8>>,
    /// Nothing comes along with the claim.
    pub(crate) encloses_nothing: bool,
    /// How often the archive or the state was fetched.
    pub(crate) fetches: usize,
    claimed: bool,
}

impl Memory {
    /// The whole log as text.
    pub(crate) fn log(&self) -> String {
        self.logs.iter().map(|line| format!("{} {}: {}\n", line.stage, line.level, line.output)).collect()
    }
}

/// A control plane with one job.
pub(crate) struct Api {
    url: String,
    pub(crate) memory: Arc<watch::Sender<Memory>>,
    _server: AbortOnDropHandle<()>,
}

#[derive(Clone)]
struct Shared {
    memory: Arc<watch::Sender<Memory>>,
    job: Arc<Job>,
    archive: Bytes,
    state: Option<Bytes>,
    modules: Option<Bytes>,
}

impl Api {
    /// Serves a build of a version whose import kept these modules.
    pub(crate) async fn serve_frozen(
        build: Build,
        files: &[(&str, &str)],
        state: Option<Vec<u8>>,
        modules: Option<Vec<u8>>,
    ) -> Self {
        Self::serve_with(Job::Build(Box::new(build)), files, state, modules).await
    }

    /// Serves a job whose template has these files and whose workspace has this state.
    pub(crate) async fn serve(job: Job, files: &[(&str, &str)], state: Option<Vec<u8>>) -> Self {
        Self::serve_with(job, files, state, None).await
    }

    async fn serve_with(job: Job, files: &[(&str, &str)], state: Option<Vec<u8>>, modules: Option<Vec<u8>>) -> Self {
        let memory = Arc::new(watch::Sender::new(Memory::default()));
        let shared = Shared {
            memory: Arc::clone(&memory),
            job: Arc::new(job),
            archive: tar(files).into(),
            state: state.map(Into::into),
            modules: modules.map(Into::into),
        };
        let jobs = "/api/v2/runner/jobs/{id}";
        let router = Router::new()
            .route(&format!("{jobs}/claim"), post(claim))
            .route(&format!("{jobs}/heartbeat"), post(heartbeat))
            .route(&format!("{jobs}/logs"), post(logs))
            .route(&format!("{jobs}/archive"), get(archive))
            .route(&format!("{jobs}/state"), get(newest_state))
            .route(&format!("{jobs}/state"), put(put_state))
            .route(&format!("{jobs}/modules"), get(kept_modules).put(put_modules))
            .route(&format!("{jobs}/finish"), post(finish))
            .layer(DefaultBodyLimit::max(64 * 1024 * 1024))
            .with_state(shared);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = AbortOnDropHandle::new(tokio::task::spawn(async move { axum::serve(listener, router).await.unwrap() }));
        Self { url, memory, _server: server }
    }

    /// Waits until the control plane has seen what the test waits for.
    pub(crate) async fn until(&self, what: &str, condition: impl FnMut(&Memory) -> bool) {
        let mut seen = self.memory.subscribe();
        let met = timeout(DEADLINE, seen.wait_for(condition)).await.map(|met| met.is_ok());
        assert!(met.unwrap_or(false), "{what}: never seen. The log:\n{}", self.memory.borrow().log());
    }

    /// The state that a next build would start from.
    pub(crate) fn last_state(&self) -> Option<Vec<u8>> {
        self.memory.borrow().states.last().cloned()
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// Starts the runner.
    pub(crate) fn runner(&self, home: &Path, extra: &[(&str, &str)]) -> Runner {
        std::fs::create_dir_all(home.join("data")).unwrap();
        self.run(tokio::process::Command::new(env!("CARGO_BIN_EXE_berth-runner")), home, extra)
    }

    /// Starts the runner with everything that it and its children send to an address written to `trace`.
    pub(crate) fn traced_runner(&self, home: &Path, extra: &[(&str, &str)], trace: &Path) -> Runner {
        std::fs::create_dir_all(home.join("data")).unwrap();
        let mut command = tokio::process::Command::new("strace");
        command
            .args(["-f", "-qq", "-e", "trace=connect,sendto,sendmsg,sendmmsg,getsockname", "-o"])
            .arg(trace)
            .arg(env!("CARGO_BIN_EXE_berth-runner"));
        self.run(command, home, extra)
    }

    /// Starts the runner as the command does.
    pub(crate) fn run(&self, mut command: tokio::process::Command, home: &Path, extra: &[(&str, &str)]) -> Runner {
        let id = "0190a6a0-0000-7000-8000-000000000001";
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", home).env("BERTH_CANARY", "env-canary");
        command.envs([
            ("BERTH_API_URL", self.url.as_str()),
            ("BERTH_JOB_ID", id),
            ("BERTH_JOB_TOKEN", TOKEN),
            ("BERTH_TASK_ID", id),
        ]);
        command.env("BERTH_DATA_DIR", home.join("data")).env("BERTH_PROCESS_ROOT", home.join("workspaces"));
        command.env("BERTH_HEARTBEAT_SECONDS", "1").env("BERTH_CANCEL_GRACE_SECONDS", "20").envs(extra.iter().copied());
        Runner(command.stdin(Stdio::null()).kill_on_drop(true).spawn().unwrap())
    }
}

/// A runner process.
pub(crate) struct Runner(Child);

impl Runner {
    /// Its end.
    pub(crate) async fn end(mut self) -> ExitStatus {
        timeout(DEADLINE, self.0.wait()).await.expect("the runner must end").unwrap()
    }

    /// Its end, which must be a reported outcome.
    pub(crate) async fn reported(self, api: &Api) -> Finish {
        let status = self.end().await;
        let memory = api.memory.borrow();
        assert!(status.success(), "{status} (signal {:?}); the log:\n{}", status.signal(), memory.log());
        memory.finish.clone().expect("an outcome")
    }

    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.0.id().unwrap()).unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        send(self.pid(), signal);
    }
}

pub(crate) fn send(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

/// The processes whose parent is `parent`.
pub(crate) fn children(parent: i32) -> Vec<i32> {
    processes().filter(|(_, stat)| stat.split_whitespace().nth(1) == Some(&parent.to_string())).map(|(pid, _)| pid).collect()
}

/// The processes that have `text` in their command line.
pub(crate) fn processes_with(text: &str) -> Vec<i32> {
    let has =
        |pid: i32| std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| String::from_utf8_lossy(&line).contains(text));
    processes().filter(|(_, stat)| !stat.starts_with('Z')).map(|(pid, _)| pid).filter(|pid| has(*pid)).collect()
}

/// Every process with its `stat` after the name: state, parent, ...
fn processes() -> impl Iterator<Item = (i32, String)> {
    std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        Some((pid, stat.rsplit_once(") ")?.1.to_owned()))
    })
}

/// Waits until no process has `text` in its command line.
pub(crate) async fn until_gone(text: &str) {
    until(&format!("processes with {text:?} end"), || processes_with(text).is_empty()).await;
}

/// Waits for something that nobody announces.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    let end = std::time::Instant::now() + DEADLINE;
    let mut look = tokio::time::interval(Duration::from_millis(20));
    while !condition() {
        assert!(std::time::Instant::now() < end, "never seen: {what}");
        look.tick().await;
    }
}

fn tar(files: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, text.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

/// A file of the repository.
pub(crate) fn repository_file(path: &str) -> String {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn owner() -> Owner {
    Owner {
        id: Uuid::from_u128(7),
        username: "ada".into(),
        name: "Ada Lovelace".into(),
        email: "ada@example.com".into(),
        groups: vec!["Everyone".into()],
        login_type: "password".into(),
    }
}

/// A build of `ada/dev`.
pub(crate) fn build(transition: Transition) -> Build {
    Build {
        build_id: Uuid::from_u128(1),
        build_number: 1,
        transition,
        orphan: false,
        imports: Vec::new(),
        log_level: None,
        workspace_id: Uuid::from_u128(2),
        workspace_name: "dev".into(),
        owner: owner(),
        template_id: Uuid::from_u128(3),
        template_name: "local".into(),
        version_name: "v1".into(),
        parameters: Vec::new(),
        previous_parameters: Vec::new(),
        variables: [].into(),
        frozen: Frozen::default(),
        access_url: "http://127.0.0.1:1/".into(),
        gate: None,
        timeout_ms: 0,
        silence_ms: 0,
    }
}

pub(crate) fn import(variables: &[(&str, &str)]) -> Job {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), Secret::new((*value).to_owned())));
    Job::Import(Box::new(Import {
        version_id: Uuid::from_u128(4),
        version_name: "v1".into(),
        template_name: String::new(),
        variables: variables.collect(),
        access_url: "http://127.0.0.1:1/".into(),
        owner: owner(),
    }))
}

fn lease_ends(memory: &Memory) -> Timestamp {
    let seconds = if memory.lease_seconds == 0 { 60 } else { memory.lease_seconds };
    Timestamp::now() + Duration::from_secs(seconds)
}

async fn claim(State(shared): State<Shared>, Json(claim): Json<Claim>) -> Response {
    let mut fresh = false;
    shared.memory.send_modify(|memory| fresh = !std::mem::replace(&mut memory.claimed, true));
    if !fresh || claim.token.expose() != TOKEN {
        return StatusCode::CONFLICT.into_response();
    }
    let session = Secret::new(SESSION.to_owned());
    let memory = shared.memory.borrow();
    let enclosed = if memory.encloses_nothing { Enclosed::default() } else { shared.enclosed() };
    let job = (*shared.job).clone();
    Json(Claimed { session, fence: 1, lease_ends: lease_ends(&memory), job, enclosed }).into_response()
}

impl Shared {
    fn enclosed(&self) -> Enclosed {
        let text = |bytes: &Bytes| Secret::new(STANDARD.encode(bytes));
        Enclosed { archive: Some(text(&self.archive)), state: Some(self.state.as_ref().map(text).unwrap_or_default()) }
    }

    /// Whether the session is good; the lease may have been taken away.
    fn refusal(&self, headers: &HeaderMap) -> Option<Response> {
        if headers.get("authorization").and_then(|value| value.to_str().ok()) != Some(&format!("Bearer {SESSION}")) {
            return Some(StatusCode::UNAUTHORIZED.into_response());
        }
        let memory = self.memory.borrow();
        let refusal = if memory.down { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::CONFLICT };
        (memory.down || memory.lost).then(|| refusal.into_response())
    }

    fn change(&self, headers: &HeaderMap, change: impl FnOnce(&mut Memory)) -> Response {
        self.refusal(headers).unwrap_or_else(|| {
            self.memory.send_modify(change);
            StatusCode::NO_CONTENT.into_response()
        })
    }
}

async fn heartbeat(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    let refused = shared.refusal(&headers);
    shared.memory.send_modify(|memory| memory.heartbeats += 1);
    let memory = shared.memory.borrow();
    refused.unwrap_or_else(|| Json(Heartbeat { cancel: memory.cancel, lease_ends: lease_ends(&memory) }).into_response())
}

async fn logs(State(shared): State<Shared>, headers: HeaderMap, Json(lines): Json<Vec<LogLine>>) -> Response {
    shared.change(&headers, |memory| memory.logs.extend(lines))
}

async fn archive(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    shared.memory.send_modify(|memory| memory.fetches += 1);
    shared.refusal(&headers).unwrap_or_else(|| shared.archive.clone().into_response())
}

async fn newest_state(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    shared.memory.send_modify(|memory| memory.fetches += 1);
    let newest = || shared.state.clone().map_or_else(|| StatusCode::NO_CONTENT.into_response(), IntoResponse::into_response);
    shared.refusal(&headers).unwrap_or_else(newest)
}

async fn kept_modules(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    let kept = || shared.modules.clone().map_or_else(|| StatusCode::NO_CONTENT.into_response(), IntoResponse::into_response);
    shared.refusal(&headers).unwrap_or_else(kept)
}

async fn put_modules(State(shared): State<Shared>, headers: HeaderMap, modules: Bytes) -> Response {
    shared.change(&headers, |memory| memory.modules = Some(modules.to_vec()))
}

async fn put_state(State(shared): State<Shared>, headers: HeaderMap, state: Bytes) -> Response {
    shared.change(&headers, |memory| memory.states.push(state.to_vec()))
}

async fn finish(State(shared): State<Shared>, headers: HeaderMap, Json(finish): Json<Finish>) -> Response {
    shared.change(&headers, |memory| memory.finish = Some(finish))
}
