//! Crash points: the runner, Terraform or the server gets SIGKILL at every side effect of a build, before and after it. Then: the build has
//! ended, the newest state is the last one that was acknowledged, every resource is in the state or carries its workspace's tag, and a
//! start and a delete leave the cloud empty.
//!
//! The cloud is files ([`cloud.sh`](crash/cloud.sh)), beside a real `berth_directory` and `berth_process`. Between a runner and the API stands
//! a proxy that strikes. `BERTH_CRASH_SEEDS=n` tries each point so many times; `BERTH_CRASH_POINT=text` only those whose name holds the text.

mod proxy;

use crate::harness::{Berth, PATIENCE, binaries};
use berth_client::{Client, ClientError};
use berth_domain::{Secret, Transition};
use proxy::{At, Proxy, When, Whom};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::{runtime::Runtime, sync::Mutex};
use uuid::Uuid;

/// What curl answers when nobody listens, when the answer is empty, and when it breaks off (curl(1), "EXIT CODES").
const COULD_NOT_CONNECT: i32 = 7;
const EMPTY_REPLY: i32 = 52;
const RECEIVE_ERROR: i32 = 56;
/// What the cloud holds of a started workspace.
const RESOURCES: [&str; 3] = ["disk", "network", "machine"];

/// Where in the life of a workspace the crash is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Create,
    Stop,
    Delete,
}

#[derive(Debug, Clone)]
enum Strike {
    /// A request of the runner.
    Runner(At),
    /// A request of the person.
    Person(At),
    /// A call of the cloud: verb, resource, before or after, whom.
    Cloud(&'static str, &'static str, &'static str, &'static str),
    /// The server, as it starts the runner.
    Launch,
    /// The server, this long after it accepted the build.
    Later(Duration),
}

#[derive(Debug, Clone)]
struct Point {
    phase: Phase,
    strike: Strike,
}

impl Point {
    fn name(&self) -> String {
        let phase = format!("{:?}", self.phase).to_lowercase();
        let request =
            |at: &At| format!("{:?} {} {} #{}: {:?}", at.when, at.request.0, at.request.1, at.nth, at.whom).to_lowercase();
        match &self.strike {
            Strike::Runner(at) => format!("{phase}, {}", request(at)),
            Strike::Person(at) => format!("{phase}, {} (asked by the person)", request(at)),
            Strike::Cloud(verb, resource, when, whom) => format!("{phase}, {when} {verb} {resource}: {whom}"),
            Strike::Launch => format!("{phase}, launch: server"),
            Strike::Later(delay) => format!("{phase}, {delay:?} later: server"),
        }
    }
}

/// The side effects that go through the API.
fn requests(phase: Phase, whom: Whom) -> Vec<Point> {
    let requests: &[(&str, &str, u32)] = match phase {
        Phase::Create => &[
            ("POST", "claim", 1),
            ("POST", "logs", 1),
            ("POST", "heartbeat", 1),
            ("PUT", "state", 1),
            ("PUT", "state", 2),
            ("POST", "finish", 1),
        ],
        Phase::Stop => &[("POST", "claim", 1), ("PUT", "state", 1), ("POST", "finish", 1)],
        Phase::Delete => &[("POST", "claim", 1), ("PUT", "state", 1), ("PUT", "state", 2), ("POST", "finish", 1)],
    };
    let mut points = Vec::new();
    for (method, verb, nth) in requests {
        for when in [When::Before, When::After] {
            let strike = Strike::Runner(At { request: (method, verb), nth: *nth, when, whom, delay: Duration::ZERO });
            points.push(Point { phase, strike });
        }
    }
    points
}

/// The side effects in the cloud.
fn calls(phase: Phase, whom: &'static str) -> Vec<Point> {
    let (verb, resources): (_, &[&str]) = match phase {
        Phase::Create => ("create", &RESOURCES),
        Phase::Stop => ("destroy", &["machine"]),
        Phase::Delete => ("destroy", &["machine", "disk"]),
    };
    let both = |resource: &&'static str| ["before", "after"].map(|when| Strike::Cloud(verb, resource, when, whom));
    resources.iter().flat_map(both).map(|strike| Point { phase, strike }).collect()
}

fn points_of_the_runner() -> Vec<Point> {
    let phases = [Phase::Create, Phase::Stop, Phase::Delete];
    let of_phase = |phase| [requests(phase, Whom::Runner), calls(phase, "runner"), calls(phase, "terraform")].concat();
    phases.into_iter().flat_map(of_phase).collect()
}

fn points_of_the_server() -> Vec<Point> {
    let phases = [Phase::Create, Phase::Stop, Phase::Delete];
    let mut points: Vec<Point> = Vec::new();
    for phase in phases {
        points.extend(requests(phase, Whom::Server));
        points.extend(calls(phase, "server"));
        let asked = if phase == Phase::Create { "workspaces" } else { "builds" };
        for when in [When::Before, When::After] {
            let at = At { request: ("POST", asked), nth: 1, when, whom: Whom::Server, delay: Duration::ZERO };
            points.push(Point { phase, strike: Strike::Person(at) });
        }
        points.push(Point { phase, strike: Strike::Launch });
        points.extend([1, 40, 400].map(|delay| Point { phase, strike: Strike::Later(Duration::from_millis(delay)) }));
    }
    // The machine itself goes down.
    points.extend(requests(Phase::Create, Whom::Both));
    points
}

fn main_tf(cloud: &Path) -> String {
    let mut text = String::from(
        r#"
terraform {
  required_providers {
    berth = { source = "berth/berth" }
  }
}
data "coder_workspace" "me" {}
resource "berth_directory" "home" {}
resource "berth_process" "shell" {
  count   = data.coder_workspace.me.start_count
  command = ["sleep", "86400"]
  dir     = berth_directory.home.path
}
"#,
    );
    let mut before = "berth_directory.home";
    for (resource, address) in RESOURCES.iter().zip(["terraform_data.disk", "terraform_data.network", ""]) {
        let count = if *resource == "machine" { "count = data.coder_workspace.me.start_count" } else { "" };
        let script = format!("{}/cloud.sh", cloud.display());
        write!(
            text,
            r#"
resource "terraform_data" "{resource}" {{
  {count}
  depends_on = [{before}]
  input      = {{ id = data.coder_workspace.me.id, name = data.coder_workspace.me.name }}
  provisioner "local-exec" {{ command = "{script} create ${{self.input.id}} ${{self.input.name}} {resource}" }}
  provisioner "local-exec" {{
    when    = destroy
    command = "{script} destroy ${{self.input.id}} ${{self.input.name}} {resource}"
  }}
}}
"#
        )
        .unwrap();
        before = address;
    }
    text
}

/// A server, the proxy before it, its cloud, and a person.
struct Lane {
    berth: Mutex<Berth>,
    proxy: Proxy,
    client: Client,
    template: Uuid,
    cloud: PathBuf,
    launch_marker: PathBuf,
    named: AtomicUsize,
    _binaries: TempDir,
}

type Told<T> = Result<T, String>;

fn told<T, E: std::fmt::Display>(what: &str, result: Result<T, E>) -> Told<T> {
    result.map_err(|error| format!("{what}: {error}"))
}

/// Our executables, with a runner that talks to the proxy, and tells it who it is.
fn with_struck_runner(port: u16) -> TempDir {
    let directory = tempfile::Builder::new().prefix("crash-").tempdir_in(binaries()).unwrap();
    for name in ["berth", "berth-local", "berth-agent"] {
        fs::hard_link(binaries().join(name), directory.path().join(name)).unwrap();
    }
    let marker = directory.path().join("kill-at-launch");
    let script = format!(
        "#!/bin/sh\nif [ -e {marker} ]; then rm {marker}; kill -9 $PPID; fi\n\
         export BERTH_API_URL=http://127.0.0.1:{port}/pid/$$/\nexec {runner} \"$@\"\n",
        marker = marker.display(),
        runner = binaries().join("berth-runner").display()
    );
    let path = directory.path().join("berth-runner");
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    directory
}

impl Lane {
    async fn start() -> Self {
        let proxy = Proxy::start().await;
        let directory = with_struck_runner(proxy.port);
        let berth = tokio::task::block_in_place(|| Berth::start_from(directory.path()).sign_in());
        proxy.serve_for(&berth.url, berth.server_pid());
        let cloud = berth.home().join("cloud");
        for part in ["resources", "points", "struck"] {
            fs::create_dir_all(cloud.join(part)).unwrap();
        }
        fs::write(cloud.join("cloud.sh"), include_str!("crash/cloud.sh")).unwrap();
        fs::set_permissions(cloud.join("cloud.sh"), fs::Permissions::from_mode(0o755)).unwrap();
        let template = crate::harness::template(&berth, "cloudy", &main_tf(&cloud));
        tokio::task::block_in_place(|| berth.ok(&["templates", "push", "cloudy", "--directory", &template, "--yes"]));
        let session = fs::read_to_string(berth.home().join("config/session")).unwrap();
        let client =
            Client::new(&format!("http://127.0.0.1:{}", proxy.port), Some(Secret::new(session.trim().to_owned()))).unwrap();
        let template = client.template_by_name("cloudy").await.unwrap().id;
        proxy.hold_unknown_jobs();
        let launch_marker = directory.path().join("kill-at-launch");
        Self {
            berth: Mutex::new(berth),
            proxy,
            client,
            template,
            cloud,
            launch_marker,
            named: AtomicUsize::new(0),
            _binaries: directory,
        }
    }

    /// Starts the server again if it is dead.
    async fn revive(&self) {
        let mut berth = self.berth.lock().await;
        if berth.server_has_died() {
            tokio::task::block_in_place(|| berth.start_server());
            self.proxy.serve_for(&berth.url, berth.server_pid());
        }
    }

    /// Asks until there is an answer: the server may be dead for a moment.
    async fn ask<T>(&self, what: &str, request: impl AsyncFn() -> Result<T, ClientError>) -> Told<T> {
        let begun = Instant::now();
        loop {
            match request().await {
                Err(error) if error.is_transient() && begun.elapsed() < PATIENCE => self.revive().await,
                result => return told(what, result),
            }
        }
    }

    async fn ended(&self, build: Uuid) -> Told<berth_wire::build::Build> {
        let begun = Instant::now();
        loop {
            self.revive().await;
            let build = self.ask("the build", async || self.client.build(build).await).await?;
            if !build.job.status.is_active() {
                return Ok(build);
            }
            if begun.elapsed() > PATIENCE {
                return Err(format!("stuck: the build is {} after {PATIENCE:?}", build.job.status));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Asks for a build and names it to the proxy. The answer may be lost: then the build is there all the same, or not.
    async fn build(&self, workspace: &mut Option<Uuid>, name: &str, phase: Phase, strike: Option<&Strike>) -> Told<Uuid> {
        let at = match strike {
            Some(Strike::Runner(at)) => Some(*at),
            _ => None,
        };
        loop {
            let asked = match (*workspace, phase) {
                (None, _) => self.create(name).await,
                (Some(id), Phase::Create) => self.transition(id, Transition::Start).await,
                (Some(id), Phase::Stop) => self.transition(id, Transition::Stop).await,
                (Some(id), Phase::Delete) => self.transition(id, Transition::Delete).await,
            };
            let made = match asked {
                Ok((id, build)) => {
                    *workspace = Some(id);
                    build
                }
                Err(error) if error.is_transient() || error.is_conflict() => {
                    self.revive().await;
                    let Some((id, latest)) = self.made_meanwhile(name, phase, *workspace).await? else { continue };
                    *workspace = Some(id);
                    latest
                }
                Err(error) => return Err(format!("{phase:?}: {error}")),
            };
            self.proxy.expect(made, at);
            return Ok(made);
        }
    }

    async fn create(&self, name: &str) -> Result<(Uuid, Uuid), ClientError> {
        let body = serde_json::from_value(json!({"template_id": self.template, "name": name})).expect("a workspace to make");
        let workspace = self.client.create_workspace("me", &body).await?;
        Ok((workspace.id, workspace.latest_build.id))
    }

    async fn transition(&self, workspace: Uuid, transition: Transition) -> Result<(Uuid, Uuid), ClientError> {
        let body = serde_json::from_value(json!({"transition": transition})).expect("a build to make");
        Ok((workspace, self.client.create_build(workspace, &body).await?.id))
    }

    /// The build that was made although its answer was lost.
    async fn made_meanwhile(&self, name: &str, phase: Phase, known: Option<Uuid>) -> Told<Option<(Uuid, Uuid)>> {
        let found = self.ask("the workspace", async || match self.client.workspace_by_name("me", name).await {
            Err(error) if error.is_not_found() => Ok(None),
            result => result.map(Some),
        });
        let Some(workspace) = found.await? else { return Ok(None) };
        let latest = workspace.latest_build;
        let is_it = match phase {
            Phase::Create => latest.transition == Transition::Start,
            Phase::Stop => latest.transition == Transition::Stop,
            Phase::Delete => latest.transition == Transition::Delete,
        };
        let is_new = !self.proxy.knows(latest.id);
        Ok((is_new && (known.is_none() || is_it)).then_some((workspace.id, latest.id)))
    }

    /// The newest state as the API has it. The server may be dying of this very point: then it is asked again once it is back.
    async fn state(&self, build: Uuid) -> Told<Option<Vec<u8>>> {
        let begun = Instant::now();
        loop {
            self.revive().await;
            let output = self.ask_for_state(build).await?;
            let is_away = matches!(output.status.code(), Some(COULD_NOT_CONNECT | EMPTY_REPLY | RECEIVE_ERROR));
            if output.status.success() {
                return Ok(Some(output.stdout).filter(|bytes| !bytes.is_empty()));
            }
            if !is_away || begun.elapsed() > PATIENCE {
                return Err(format!("the state cannot be read: {output:?}"));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn ask_for_state(&self, build: Uuid) -> Told<std::process::Output> {
        let berth = self.berth.lock().await;
        let session = fs::read_to_string(berth.home().join("config/session")).unwrap();
        let url = format!("{}api/v2/workspacebuilds/{build}/state", berth.url);
        let mut curl = berth.program("curl");
        curl.args(["-sf", "-H", &format!("Coder-Session-Token: {}", session.trim())]).arg(url);
        told("curl", curl.output())
    }

    /// The resources of a workspace in the cloud; each must carry its tag.
    fn in_cloud(&self, workspace: Uuid) -> Told<BTreeSet<String>> {
        let mut found = BTreeSet::new();
        for entry in told("the cloud", fs::read_dir(self.cloud.join("resources")))?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some(resource) = name.strip_prefix(&format!("{workspace}.")) else { continue };
            // A file that is being made or was just removed is neither here nor there.
            let tag = fs::read_to_string(entry.path()).unwrap_or_default();
            if tag != workspace.to_string() && entry.path().exists() {
                return Err(format!("{resource} is tagged {tag:?}"));
            }
            found.insert(resource.to_owned());
        }
        Ok(found)
    }
}

/// The instances of `terraform_data` in a state.
fn in_state(state: &[u8]) -> Told<BTreeSet<String>> {
    let state: Value = told("the newest state is not whole", serde_json::from_slice(state))?;
    let resources = state["resources"].as_array().cloned().unwrap_or_default();
    let held = resources.iter().filter(|resource| {
        resource["type"] == "terraform_data" && resource["instances"].as_array().is_some_and(|instances| !instances.is_empty())
    });
    Ok(held.filter_map(|resource| resource["name"].as_str().map(str::to_owned)).collect())
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

/// What was found along the way.
#[derive(Debug, Default)]
struct Tally {
    points: usize,
    failed_builds: usize,
    known_by_tag_only: usize,
}

/// One crash, and what comes after it.
struct Run<'a> {
    lane: &'a Lane,
    point: Point,
    seed: u32,
    name: String,
    workspace: Option<Uuid>,
    /// The newest state that was acknowledged, when there is one.
    before: Option<Vec<u8>>,
    /// What the state held after the crash and the cloud did not.
    believed: BTreeSet<String>,
}

impl Run<'_> {
    async fn run(&mut self) -> Told<Tally> {
        if self.point.phase != Phase::Create {
            let build = self.whole(Phase::Create).await?;
            self.before = self.lane.state(build).await?;
        }
        self.arm();
        let strike = self.delayed();
        let build = self.lane.build(&mut self.workspace, &self.name, self.point.phase, Some(&strike)).await?;
        if let Strike::Later(delay) = strike {
            tokio::time::sleep(delay).await;
            self.lane.berth.lock().await.strike_server();
        }
        let ended = self.lane.ended(build).await?;
        self.was_struck(build).await?;
        let mut tally = self.check(build).await?;
        tally.failed_builds = usize::from(ended.job.status.to_string() != "succeeded");
        let deleted = self.point.phase == Phase::Delete && tally.failed_builds == 0;
        if self.point.phase == Phase::Create {
            let started = self.whole(Phase::Create).await?;
            self.is_complete(started).await?;
        }
        if !deleted {
            self.whole(Phase::Delete).await?;
        }
        self.is_clean().await?;
        Ok(tally)
    }

    /// The seed moves the blow by some milliseconds.
    fn delayed(&self) -> Strike {
        let delay = Duration::from_millis(u64::from(self.seed) * 23);
        match self.point.strike.clone() {
            Strike::Runner(at) => Strike::Runner(At { delay, ..at }),
            Strike::Later(after) => Strike::Later(after + delay),
            other => other,
        }
    }

    fn arm(&self) {
        let line = match &self.point.strike {
            Strike::Cloud(verb, resource, when, whom) => {
                let then = if self.seed.is_multiple_of(2) { "stop" } else { "go" };
                format!("{verb} {resource} {when} {whom} {then}\n")
            }
            // A build must last until the first heartbeat.
            Strike::Runner(at) if at.request.1 == "heartbeat" => "create disk before nobody go\n".to_owned(),
            Strike::Person(at) => return self.lane.proxy.strike_person(Some(*at)),
            Strike::Launch => return fs::write(&self.lane.launch_marker, "").unwrap(),
            _ => return,
        };
        fs::write(self.lane.cloud.join("points").join(&self.name), line).unwrap();
    }

    async fn was_struck(&self, build: Uuid) -> Told<()> {
        let struck = match &self.point.strike {
            Strike::Runner(_) => self.lane.proxy.was_struck(build),
            Strike::Person(_) => self.lane.proxy.person_was_struck(),
            Strike::Cloud(..) => self.lane.cloud.join("struck").join(&self.name).exists(),
            Strike::Launch => !self.lane.launch_marker.exists(),
            Strike::Later(_) => true,
        };
        if struck { Ok(()) } else { Err("the build ended before it came to this point".to_owned()) }
    }

    /// A build that must succeed.
    async fn whole(&mut self, phase: Phase) -> Told<Uuid> {
        let build = self.lane.build(&mut self.workspace, &self.name, phase, None).await?;
        let ended = self.lane.ended(build).await?;
        if ended.job.status.to_string() != "succeeded" {
            return Err(format!("a {phase:?} after the crash {}: {}", ended.job.status, ended.job.error));
        }
        Ok(build)
    }

    fn workspace(&self) -> Uuid {
        self.workspace.unwrap_or_default()
    }

    /// No state is lost, and no resource is unknown.
    async fn check(&mut self, build: Uuid) -> Told<Tally> {
        let newest = self.lane.state(build).await?;
        let (acknowledged, uncertain) = self.lane.proxy.newest_states(build);
        let known = acknowledged.map(|state| state.to_vec()).or_else(|| self.before.clone());
        if newest != known && (uncertain.is_none() || newest != uncertain.map(|state| state.to_vec())) {
            let serial = |state: Option<&Vec<u8>>| {
                state.and_then(|state| serde_json::from_slice::<Value>(state).ok()).map(|state| state["serial"].clone())
            };
            return Err(format!(
                "a state is lost: {:?} was stored, {:?} is there",
                serial(known.as_ref()),
                serial(newest.as_ref())
            ));
        }
        let state = newest.as_deref().map(in_state).transpose()?.unwrap_or_default();
        let cloud = self.lane.in_cloud(self.workspace())?;
        self.believed = state.difference(&cloud).cloned().collect();
        Ok(Tally { points: 1, known_by_tag_only: cloud.difference(&state).count(), failed_builds: 0 })
    }

    /// After a start that succeeded the state holds everything, and so does the cloud, but for what the state believed at the crash:
    /// Terraform writes a `terraform_data` down before its provisioner has run, and cannot look later whether it did.
    async fn is_complete(&self, build: Uuid) -> Told<()> {
        let (state, cloud) = (self.lane.state(build).await?.unwrap_or_default(), self.lane.in_cloud(self.workspace())?);
        let state = in_state(&state)?;
        let missing: Vec<_> = state.difference(&cloud).filter(|resource| !self.believed.contains(*resource)).collect();
        if state == set(&RESOURCES) && missing.is_empty() { Ok(()) } else { Err(format!("state {state:?}, cloud {cloud:?}")) }
    }

    /// After the delete nothing is left anywhere: no resource, no directory, no process.
    async fn is_clean(&self) -> Told<()> {
        let begun = Instant::now();
        let directory = self.lane.berth.lock().await.data().join("workspaces").join(self.workspace().to_string());
        loop {
            let cloud = self.lane.in_cloud(self.workspace())?;
            let marked = self.lane.berth.lock().await.processes(&format!("BERTH_PROCESS_WORKSPACE={}", self.workspace()));
            if cloud.is_empty() && marked.is_empty() && !directory.exists() {
                return Ok(());
            }
            // What a dying Terraform still had in hand may take a moment.
            if begun.elapsed() > Duration::from_secs(20) {
                return Err(format!("left behind: {cloud:?}, processes {marked:?}, {directory:?}: {}", directory.exists()));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn seeds() -> u32 {
    std::env::var("BERTH_CRASH_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(1)
}

/// Each point with each seed, for those that the person at the test is interested in.
fn work(points: Vec<Point>) -> Vec<(Point, u32)> {
    let wanted = std::env::var("BERTH_CRASH_POINT").unwrap_or_default();
    let chosen: Vec<_> = points.into_iter().filter(|point| point.name().contains(&wanted)).collect();
    (0..seeds()).flat_map(|seed| chosen.iter().cloned().map(move |point| (point, seed))).collect()
}

/// Takes the work of a queue until it is empty.
async fn take(lane: Arc<Lane>, queue: Arc<Mutex<Vec<(Point, u32)>>>) -> (Tally, Vec<String>) {
    let (mut tally, mut wrong) = (Tally::default(), Vec::new());
    loop {
        let Some((point, seed)) = queue.lock().await.pop() else { return (tally, wrong) };
        let name = format!("w{}", lane.named.fetch_add(1, Ordering::Relaxed));
        let what = format!("{} (seed {seed}, workspace {name})", point.name());
        let mut run = Run { lane: &lane, point, seed, name, workspace: None, before: None, believed: BTreeSet::new() };
        match run.run().await {
            Ok(one) => {
                tally.points += one.points;
                tally.failed_builds += one.failed_builds;
                tally.known_by_tag_only += one.known_by_tag_only;
            }
            Err(why) => {
                eprintln!("{what}: {why}");
                wrong.push(format!("{what}: {why}"));
            }
        }
    }
}

/// As many workers as there are lanes given, each in a thread of its own; several may share a lane.
fn all(runtime: &Runtime, lanes: Vec<Arc<Lane>>, work: Vec<(Point, u32)>) {
    let (expected, queue) = (work.len(), Arc::new(Mutex::new(work)));
    let start = |lane: Arc<Lane>| {
        let (handle, queue) = (runtime.handle().clone(), Arc::clone(&queue));
        std::thread::spawn(move || handle.block_on(take(lane, queue)))
    };
    let workers: Vec<_> = lanes.into_iter().map(start).collect();
    let (mut points, mut failed, mut tagged, mut wrong) = (0, 0, 0, Vec::new());
    for worker in workers {
        let (tally, mut mistakes) = worker.join().unwrap();
        points += tally.points;
        failed += tally.failed_builds;
        tagged += tally.known_by_tag_only;
        wrong.append(&mut mistakes);
    }
    eprintln!("{points} crashes: {failed} builds failed, {tagged} resources were known by their tag alone until the next start");
    assert!(wrong.is_empty(), "{} of {expected} crashes:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(points, expected);
}

#[test]
fn a_runner_or_terraform_killed_at_any_point_loses_no_state_and_no_resource() {
    let runtime = Runtime::new().unwrap();
    let lane = Arc::new(runtime.block_on(Lane::start()));
    all(&runtime, vec![lane; 4], work(points_of_the_runner()));
}

#[test]
fn a_server_killed_at_any_point_loses_no_state_and_no_resource() {
    let runtime = Runtime::new().unwrap();
    let lanes = (0..3).map(|_| Arc::new(runtime.block_on(Lane::start()))).collect();
    all(&runtime, lanes, work(points_of_the_server()));
}
