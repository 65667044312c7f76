//! The relay as a process of its own, as on AWS: the API of a laptop asks it who is there, and it asks the API for everything else.

mod live;
mod name;
mod pty;

use crate::harness::{Answer, Berth, binaries, eventually, finish};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs,
    io::{BufRead, BufReader},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// A `berth-relay` process.
pub(crate) struct RelayProcess {
    child: Child,
    log: PathBuf,
    health: u16,
    started: Instant,
    namespace: Option<String>,
}

impl RelayProcess {
    /// Starts one with this environment and nothing else; its log is appended to `log`.
    fn start(log: &Path, environment: &[(&str, &str)]) -> Self {
        Self::start_at(None, log, environment)
    }

    /// The same in a network namespace.
    pub(crate) fn start_at(namespace: Option<&str>, log: &Path, environment: &[(&str, &str)]) -> Self {
        let health = free_port();
        let file = fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
        let mut command = program(namespace);
        command
            .env_clear()
            .env("PATH", std::env::var("PATH").unwrap())
            .envs(environment.iter().copied())
            .env("BERTH_HEALTH_LISTEN", format!("127.0.0.1:{health}"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        let started = Instant::now();
        Self { child: command.spawn().unwrap(), log: log.to_path_buf(), health, started, namespace: namespace.map(str::to_owned) }
    }

    /// What the container's health check says.
    fn check(&self) -> Answer {
        let mut check = program(self.namespace.as_deref());
        finish(
            check
                .arg("--check")
                .env_clear()
                .env("PATH", std::env::var("PATH").unwrap())
                .env("BERTH_HEALTH_LISTEN", format!("127.0.0.1:{}", self.health)),
        )
    }

    /// Waits until it is ready; gives how long that took from its start.
    fn ready(&mut self) -> Duration {
        eventually("the relay is ready", || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the relay ended with {status}:\n{}", self.log());
            }
            (self.check().code == Some(0)).then(|| self.started.elapsed())
        })
    }

    /// What it, and whoever wrote to the same file before, has logged.
    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub(crate) fn logged(&self, text: &str) {
        let what = format!("the relay logs {text:?}");
        let started = Instant::now();
        while !self.log().contains(text) {
            assert!(started.elapsed() < crate::harness::PATIENCE, "{what}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    fn terminate(&self) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    }

    /// Asks it to end and waits for it; gives the exit code.
    fn stop(mut self) -> Option<i32> {
        self.terminate();
        eventually("the relay's end", || self.child.try_wait().unwrap()).code()
    }
}

impl Drop for RelayProcess {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the relay's words ---\n{}", self.log());
        }
    }
}

/// `berth-relay` here or in a network namespace.
fn program(namespace: Option<&str>) -> Command {
    let relay = binaries().join("berth-relay");
    let Some(namespace) = namespace else { return Command::new(relay) };
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace]).arg(relay);
    command
}

/// A port that nobody has at this moment.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A server whose relay is a process of its own, and that relay. Everything goes through the relay.
pub(crate) struct Apart {
    // Before the relay: what it ends on its drop may still want to say goodbye.
    pub(crate) berth: Berth,
    relay: Option<RelayProcess>,
    url: String,
    /// Where the relay listens; its URL may lead there by a detour.
    listen: String,
    logs: TempDir,
}

impl Apart {
    /// `ada` is signed in.
    fn start() -> Self {
        let listen = format!("127.0.0.1:{}", free_port());
        Self::behind(&format!("http://{listen}/"), &listen)
    }

    /// The same, where the relay's URL leads to its address by a detour.
    pub(crate) fn behind(url: &str, listen: &str) -> Self {
        let berth = Berth::start_with(&["--relay-url", url, "--disable-direct-connections"], &[]).sign_in();
        let (url, listen) = (url.to_owned(), listen.to_owned());
        let mut apart = Self { berth, relay: None, url, listen, logs: tempfile::tempdir().unwrap() };
        apart.start_relay();
        apart
    }

    /// Starts the next relay on the address of the one before.
    pub(crate) fn start_relay(&mut self) {
        let environment = [("BERTH_ACCESS_URL", self.berth.url.as_str()), ("BERTH_LISTEN", &self.listen), ("BERTH_TLS", "off")];
        let mut relay = RelayProcess::start(&self.logs.path().join("relay.log"), &environment);
        relay.ready();
        self.relay = Some(relay);
    }

    /// Pulls the relay's plug.
    pub(crate) fn kill_relay(&mut self) {
        drop(self.relay.take());
    }

    /// Signed in, with a running workspace `dev`.
    fn with_workspace() -> Self {
        Self::start().create_workspace()
    }

    /// With a running workspace `dev`.
    pub(crate) fn create_workspace(self) -> Self {
        Self { berth: Berth::with_workspace_on(self.berth), ..self }
    }

    fn agent_status(&self) -> String {
        let shown = self.berth.json(&["show", "dev"]);
        let agent = shown["latest_build"]["resources"].as_array().unwrap().iter().find_map(|one| one["agents"].get(0)).unwrap();
        agent["status"].as_str().unwrap().to_owned()
    }
}

#[test]
fn a_workspace_is_entered_through_a_relay_of_its_own_and_seen_there() {
    let mut apart = Apart::with_workspace();
    assert_eq!(apart.berth.ok(&["ssh", "dev", "--", "echo hello"]), "hello\n");
    assert_eq!(apart.agent_status(), "connected");
    // Without its relay the API still answers, and says that nobody can be reached.
    assert_eq!(apart.relay.take().unwrap().stop(), Some(0));
    assert_ne!(apart.agent_status(), "connected");
    apart.start_relay();
    eventually("the agent is back", || (apart.agent_status() == "connected").then_some(()));
    assert_eq!(apart.berth.ok(&["ssh", "dev", "--", "echo again"]), "again\n");
}

#[test]
fn a_session_outlives_the_relay_it_began_at() {
    let mut apart = Apart::with_workspace();
    let script = "for number in $(seq 1 60); do echo $number; sleep 0.1; done";
    let mut session = apart.berth.berth(&["ssh", "dev", "--", script]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(session.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(lines.next().unwrap(), "1");
    assert_eq!(apart.relay.take().unwrap().stop(), Some(0));
    apart.start_relay();
    let rest: Vec<_> = lines.map(|line| line.parse::<u32>().unwrap()).collect();
    assert_eq!(rest, (2..=60).collect::<Vec<_>>());
    assert_eq!(session.wait().unwrap().code(), Some(0));
}

#[test]
fn a_relay_that_cannot_start_says_which_variable_to_set() {
    let relay = |environment: &[(&str, &str)]| {
        finish(Command::new(binaries().join("berth-relay")).env_clear().envs(environment.iter().copied()))
    };
    let answer = relay(&[]);
    assert_eq!(answer.code, Some(1));
    assert!(answer.stderr.starts_with("error: BERTH_ACCESS_URL is not set\nhint: "), "{answer:?}");
    let url = ("BERTH_ACCESS_URL", "http://127.0.0.1:1/");
    let answer = relay(&[url, ("BERTH_TLS", "off"), ("BERTH_LISTEN", "0.0.0.0:0")]);
    assert!(answer.stderr.contains("not a loopback address\nhint: "), "{answer:?}");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let answer = relay(&[url, ("BERTH_TLS", "off"), ("BERTH_LISTEN", &address)]);
    assert!(answer.stderr.contains(&address) && answer.stderr.contains("hint: set BERTH_LISTEN"), "{answer:?}");
}

#[test]
fn a_relay_is_not_ready_before_the_api_has_told_its_keys() {
    let logs = tempfile::tempdir().unwrap();
    let mut berth = Berth::start();
    let (listen, url) = (format!("127.0.0.1:{}", free_port()), berth.url.clone());
    assert_eq!(berth.stop_server(), Some(0));
    let environment = [("BERTH_ACCESS_URL", url.as_str()), ("BERTH_LISTEN", &listen), ("BERTH_TLS", "off")];
    let mut relay = RelayProcess::start(&logs.path().join("relay.log"), &environment);
    relay.logged("the relay can let nobody in yet");
    let answer = relay.check();
    assert_eq!(answer.code, Some(1));
    assert!(answer.stderr.contains("the API's public keys"), "{answer:?}");
    assert!(TcpStream::connect(&listen).is_ok());
    berth.start_server();
    relay.ready();
}
