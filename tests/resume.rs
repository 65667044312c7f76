//! Sessions that outlive their connections: stock OpenSSH, git and our own client, over a cable that is pulled, a relay that is killed, an API
//! that is away. Everything goes through the relay, so that the cable carries all there is.

mod cable;

use crate::{
    harness::{Answer, Berth, PATIENCE, eventually, finish},
    relay::{Apart, free_port},
};
use cable::Cable;
use nix::sys::signal::{Signal, kill};
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Longer than it takes to notice, so that another connection is needed, and shorter than a story may take.
const OUTAGE: Duration = Duration::from_secs(9);
/// What a closed lid, a lift and a train have in common.
const LONG_OUTAGE: Duration = Duration::from_secs(60);
/// An agent that keeps what its clients have not received stays below this.
const AGENT_RSS_MAX: u64 = 200 << 20;

/// A workspace `dev` whose relay is at the other end of a cable, for the agent and for the person.
struct Journey {
    apart: Apart,
    cable: Cable,
}

impl Journey {
    fn start() -> Self {
        let listen = format!("127.0.0.1:{}", free_port());
        let cable = Cable::to(&listen);
        let apart = Apart::behind(&format!("http://127.0.0.1:{}/", cable.port), &listen);
        let apart = apart.create_workspace();
        apart.berth.ok(&["config-ssh", "--yes"]);
        Self { apart, cable }
    }

    fn berth(&self) -> &Berth {
        &self.apart.berth
    }

    /// A file of so many megabytes here, and another one and a repository there; gives the workspace's home directory.
    fn prepare(&self, megabytes: u64) -> PathBuf {
        let ssh = |command: &str| finish(self.berth().ssh_client("ssh").args(["dev.berth", command]));
        let there = PathBuf::from(ssh("pwd").stdout.trim());
        write_pattern(&self.berth().home().join("file"), megabytes);
        write_pattern(&there.join("other"), 48);
        let commit =
            "git init -q repo && cp other repo && cd repo && git add other && git -c user.name=a -c user.email=a@b commit -qm one";
        assert_eq!(ssh(commit).code, Some(0));
        there
    }

    /// Waits until so many more bytes went over the cable.
    fn carry(&self, bytes: u64) {
        let before = self.cable.carried();
        eventually("bytes on the cable", || (self.cable.carried() > before + bytes).then_some(()));
    }
}

/// Bytes that no compression and no lost block leaves as they are.
fn write_pattern(path: &Path, megabytes: u64) {
    let mut file = std::io::BufWriter::new(fs::File::create(path).unwrap());
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    for _ in 0..megabytes * (1 << 17) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        file.write_all(&state.to_le_bytes()).unwrap();
    }
}

fn same(one: &Path, other: &Path) {
    assert_eq!(finish(Command::new("cmp").arg(one).arg(other)).code, Some(0), "{} is not {}", one.display(), other.display());
}

/// How much a process keeps in memory, in bytes.
fn resident(pid: nix::unistd::Pid) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    kilobytes.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// A program that lives through what happens, and ends well.
struct Survivor(&'static str, Child);

impl Survivor {
    fn start(name: &'static str, command: &mut Command) -> Self {
        Self(name, command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    fn ends_well(self) {
        let output = self.1.wait_with_output().unwrap();
        assert!(output.status.success(), "{}: {output:?}", self.0);
    }
}

/// `berth ssh dev` in a terminal of its own.
struct Shell<'a> {
    berth: &'a Berth,
    socket: PathBuf,
}

impl<'a> Shell<'a> {
    fn start(berth: &'a Berth) -> Self {
        let shell = Self { berth, socket: berth.home().join("tmux") };
        let path = berth.berth(&[]).get_program().to_string_lossy().into_owned();
        let line = format!("HOME={home} BERTH_CONFIG_DIR={home}/config {path} ssh dev", home = berth.home().display());
        assert_eq!(shell.tmux(&["new-session", "-d", "-s", "shell", "-x", "100", "-y", "30", &line]).code, Some(0));
        shell.types("kept=here; echo is $kept");
        shell.sees("is here");
        shell
    }

    fn tmux(&self, arguments: &[&str]) -> Answer {
        finish(self.berth.program("tmux").arg("-S").arg(&self.socket).args(arguments))
    }

    fn types(&self, line: &str) {
        self.tmux(&["send-keys", "-t", "shell", line, "Enter"]);
    }

    fn sees(&self, text: &str) {
        eventually(text, || self.tmux(&["capture-pane", "-p", "-t", "shell"]).stdout.contains(text).then_some(()));
    }
}

impl Drop for Shell<'_> {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}

/// Lines go in and come back the same, one at a time.
struct Echo {
    child: Child,
    back: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Echo {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let back = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, back }
    }

    fn say(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    fn hear(&mut self, line: &str) {
        assert_eq!(self.back.next().unwrap().unwrap(), line);
    }

    fn end(mut self) {
        drop(self.child.stdin.take());
        assert!(self.back.next().is_none());
        assert!(self.child.wait().unwrap().success());
    }
}

#[test]
fn what_a_person_does_goes_on_after_a_minute_without_network_and_api() {
    let journey = Journey::start();
    let megabytes = if std::env::var_os("BERTH_STORIES_LONG").is_some() { 1024 } else { 256 };
    let there = journey.prepare(megabytes);
    let berth = journey.berth();
    let shell = Shell::start(berth);
    let mut echo = Echo::start(berth.ssh_client("ssh").args(["dev.berth", "cat"]));
    let mut own = Echo::start(berth.berth(&["ssh", "dev", "--", "cat"]).stderr(Stdio::null()));
    let (put, get) = (berth.home().join("put"), berth.home().join("get"));
    fs::write(&put, format!("put {} by-sftp\n", berth.home().join("file").display())).unwrap();
    fs::write(&get, format!("get other {}\n", berth.home().join("back").display())).unwrap();
    let sftp = |batch: &Path| Survivor::start("sftp", berth.ssh_client("sftp").arg("-b").arg(batch).arg("dev.berth"));
    let survivors =
        [sftp(&put), sftp(&get), Survivor::start("git", berth.ssh_client("git").args(["clone", "-q", "dev.berth:repo", "cloned"]))];
    let endless = Survivor::start("yes", berth.ssh_client("ssh").args(["dev.berth", "yes | head -c 30000000"]));
    for echo in [&mut echo, &mut own] {
        echo.say("before");
        echo.hear("before");
    }
    journey.carry(8 << 20);
    // Neither the network nor the API is there; the API does not come back at all.
    journey.cable.pull();
    let agent = berth.agents()[0];
    berth.strike_server();
    let (pulled, mut resident_max) = (Instant::now(), 0);
    echo.say("typed without network");
    own.say("typed without network");
    shell.sees("connection lost; trying again");
    while pulled.elapsed() < LONG_OUTAGE {
        resident_max = resident_max.max(resident(agent));
        thread::sleep(Duration::from_millis(200));
    }
    journey.cable.plug();
    echo.hear("typed without network");
    own.hear("typed without network");
    let away = pulled.elapsed() - LONG_OUTAGE;
    assert!(away < Duration::from_secs(20), "back {away:?} after the network");
    shell.sees("back after");
    shell.types("echo still $kept");
    shell.sees("still here");
    survivors.into_iter().chain([endless]).for_each(Survivor::ends_well);
    same(&berth.home().join("file"), &there.join("by-sftp"));
    same(&there.join("other"), &berth.home().join("back"));
    same(&there.join("other"), &berth.home().join("cloned/other"));
    [echo, own].into_iter().for_each(Echo::end);
    assert!(resident_max < AGENT_RSS_MAX, "the agent kept {} MiB", resident_max >> 20);
}

#[test]
fn a_relay_that_is_killed_costs_no_byte() {
    let mut journey = Journey::start();
    let there = journey.prepare(64);
    let berth = journey.berth();
    let batch = berth.home().join("batch");
    let (file, back) = (berth.home().join("file"), berth.home().join("back"));
    fs::write(&batch, format!("put {} by-sftp\nget by-sftp {}\n", file.display(), back.display())).unwrap();
    let mut echo = Echo::start(berth.ssh_client("ssh").args(["dev.berth", "cat"]));
    let sftp = Survivor::start("sftp", berth.ssh_client("sftp").arg("-b").arg(&batch).arg("dev.berth"));
    for round in 0..2 {
        echo.say("before");
        echo.hear("before");
        journey.carry(4 << 20);
        journey.apart.kill_relay();
        echo.say("typed without a relay");
        thread::sleep(OUTAGE * round);
        journey.apart.start_relay();
        echo.hear("typed without a relay");
    }
    sftp.ends_well();
    echo.end();
    same(&file, &there.join("by-sftp"));
    same(&file, &back);
}

#[test]
fn a_session_that_has_nothing_to_come_back_to_ends_and_says_why() {
    let journey = Journey::start();
    let berth = journey.berth();
    let session = |command: &mut Command| {
        let mut session = Echo::start(command.stderr(Stdio::piped()));
        session.hear("up");
        session
    };
    let ends = |session: Echo| {
        let began = Instant::now();
        let output = session.child.wait_with_output().unwrap();
        assert!(began.elapsed() < PATIENCE, "it ended by itself");
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    // The agent is gone without a word, and then the workspace is stopped: nobody at the relay can tell, but the deployment does.
    let own = session(&mut berth.berth(&["ssh", "dev", "--", "echo up; cat"]));
    let stock = session(berth.ssh_client("ssh").args(["dev.berth", "echo up; cat"]));
    for agent in berth.agents() {
        kill(agent, Signal::SIGKILL).unwrap();
    }
    berth.ok(&["stop", "dev", "--yes"]);
    let (code, text) = ends(own);
    assert_eq!(code, Some(255), "{text}");
    assert!(text.contains("error: cannot go on with the session in dev: the workspace was stopped"), "{text}");
    assert!(text.contains("hint: `berth ssh dev` begins a new one"), "{text}");
    let (code, text) = ends(stock);
    assert_eq!(code, Some(255), "{text}");
    assert!(text.contains("the workspace was stopped, or built anew"), "{text}");
}

#[test]
fn a_session_in_a_workspace_that_stops_ends_at_once() {
    let journey = Journey::start();
    let berth = journey.berth();
    let mut echo = Echo::start(berth.ssh_client("ssh").args(["dev.berth", "cat"]));
    let mut forward = Echo::start(berth.berth(&["ssh", "--stdio", "dev"]).stderr(Stdio::piped()));
    echo.say("before");
    echo.hear("before");
    assert!(forward.back.next().unwrap().unwrap().starts_with("SSH-2.0-Berth"));
    berth.ok(&["stop", "dev", "--yes"]);
    let stopped = Instant::now();
    assert!(echo.back.next().is_none());
    assert!(!echo.child.wait().unwrap().success());
    let output = forward.child.wait_with_output().unwrap();
    assert!(stopped.elapsed() < Duration::from_secs(3), "{:?}", stopped.elapsed());
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("error: the workspace of dev stopped"), "{text}");
}
