//! What connections cost in memory, processor time and instructions.

use super::{
    Row,
    echo::Way,
    forward::{self, MIB, Server, carry, free_port, wait_until_open},
    median, spread,
    world::{Running, World},
};
use crate::run::{Outcome, has, output, wait_for};
use std::{
    fs,
    process::{Command, Stdio},
    time::Duration,
};

const SESSIONS: usize = 10;
const ROUNDS: usize = 5;
/// How long an agent is watched that has nothing to do.
const IDLE: Duration = Duration::from_secs(60);
/// The kernel counts processor time in these (`USER_HZ`, fixed on Linux).
const TICKS_PER_SECOND: f64 = 100.0;

/// How often an idle agent's threads woke up within a minute, against those of an idle `sshd`. The workspace is of the local template, whose two
/// metadata blocks ran seven times meanwhile.
pub(crate) fn idle(world: &World) -> Outcome<Vec<Row>> {
    let agent = agent(world)?;
    let before = (wake_ups(agent)?, wake_ups(world.sshd())?);
    std::thread::sleep(IDLE);
    let (ours, rival) = (wake_ups(agent)? - before.0, wake_ups(world.sshd())? - before.1);
    Ok(vec![Row {
        what: "wake-ups of an idle agent in 60 s, with 7 runs of metadata",
        ours: ours.to_string(),
        rival: format!("idle sshd {rival}"),
        ratio: String::new(),
        aim: "",
    }])
}

/// How often the threads of a process have waited for something so far: each wait ends in a wake-up (`voluntary_ctxt_switches`, proc(5)).
fn wake_ups(pid: u32) -> Outcome<u64> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).map_err(|error| format!("process {pid}: {error}"))?;
    let count = |thread: std::io::Result<fs::DirEntry>| -> Option<u64> {
        let status = fs::read_to_string(thread.ok()?.path().join("status")).ok()?;
        status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?.trim().parse().ok()
    };
    Ok(threads.filter_map(count).sum())
}

/// The memory of an agent with ten shells on terminals, against the ten `sshd` processes of as many.
pub(crate) fn sessions(world: &World) -> Outcome<Vec<Row>> {
    let agent = agent(world)?;
    let before = memory(&[agent])?;
    let ours = open_sessions(world, World::ssh_berth)?;
    let with = memory(&[agent])?;
    let _rival = open_sessions(world, World::ssh_direct)?;
    let rival = memory(&descendants(world.sshd(), "sshd"))?;
    drop(ours);
    Ok(vec![Row {
        what: "agent with 10 sessions (its share of memory, PSS)",
        ours: format!("{:.1} MB, {:.1} before", with / 1e6, before / 1e6),
        rival: format!("sshd with 10 sessions {:.1} MB", rival / 1e6),
        ratio: format!("{:.2}", with / rival),
        aim: "",
    }])
}

fn open_sessions(world: &World, way: Way) -> Outcome<Vec<Running>> {
    (0..SESSIONS).map(|_| Running::saying(way(world, &["-tt"], &["printf R; exec cat"]), b'R')).collect()
}

/// What the relay spends on a gibibyte, against a process that only copies between two sockets. In a world where everything goes through it.
pub(crate) fn relay(world: &World) -> Outcome<Vec<Row>> {
    if !has("socat") {
        return Err("socat is not on PATH\nhint: apt-get install socat".to_owned());
    }
    let server = Server::start()?;
    let local = free_port()?;
    let _forward = forward::open(world, local, server.port)?;
    let (mut ours, mut rival) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let before = processor_seconds(world.server)?;
        carry(local, b'd')?;
        let relay = processor_seconds(world.server)? - before;
        if relay == 0.0 {
            return Err("the bytes did not go through the relay".to_owned());
        }
        let splice = spliced(server.port)?;
        if round > 0 {
            ours.push(relay);
            rival.push(splice);
        }
    }
    let per_gibibyte = |values: &[f64]| {
        let scale = 1024.0 / f64::from(MIB);
        let (low, high) = spread(values);
        format!("{:.2} ({:.2}-{:.2}) s", median(values.to_vec()) * scale, low * scale, high * scale)
    };
    Ok(vec![Row {
        what: "processor time of the relay per GiB",
        ours: per_gibibyte(&ours),
        rival: format!("socat with 128 KiB buffers {}", per_gibibyte(&rival)),
        ratio: format!("{:.1}", median(ours.iter().zip(&rival).map(|(ours, rival)| ours / rival).collect())),
        aim: "",
    }])
}

fn spliced(port: u16) -> Outcome<f64> {
    let local = free_port()?;
    let mut socat = Command::new("socat");
    socat.args(["-b", "131072", &format!("TCP-LISTEN:{local},bind=127.0.0.1,reuseaddr,fork"), &format!("TCP:127.0.0.1:{port}")]);
    let socat = Running::start(socat)?;
    wait_until_open(local)?;
    let before = processor_seconds(socat.id())?;
    carry(local, b'd')?;
    // Its child has carried the bytes; its time counts once socat has reaped it.
    let gone = || Ok((descendants(socat.id(), "socat").len() == 1).then_some(()));
    wait_for("the end of socat's child", Duration::from_secs(10), gone)?;
    Ok(processor_seconds(socat.id())? - before)
}

/// Instructions from the start of a process to its end, for the least that it can do.
pub(crate) fn start(world: &World) -> Outcome<Vec<Row>> {
    let ours = instructions(&[&world.binary("berth").to_string_lossy(), "--version"])?;
    let rival = instructions(&["ssh", "-V"])?;
    Ok(vec![Row {
        what: "`berth --version`, instructions",
        ours: format!("{:.2} M", ours / 1e6),
        rival: format!("ssh -V {:.2} M", rival / 1e6),
        ratio: format!("{:.2}", ours / rival),
        aim: "at most 1",
    }])
}

fn instructions(command: &[&str]) -> Outcome<f64> {
    if !has("valgrind") {
        return Err("valgrind is not on PATH\nhint: apt-get install valgrind".to_owned());
    }
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).args(command).stdin(Stdio::null());
    let run = valgrind.output().map_err(|error| format!("cannot run valgrind: {error}"))?;
    let said = String::from_utf8_lossy(&run.stderr);
    let count = said.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok());
    count.ok_or(format!("callgrind did not count {command:?}:\n{said}"))
}

/// The agent of this world's workspace: others may run on the machine.
fn agent(world: &World) -> Outcome<u32> {
    let found = output(Command::new("pgrep").args(["-x", "berth-agent"]))?;
    let ours = |pid: &u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        String::from_utf8_lossy(&environment).split('\0').any(|variable| variable.contains(&world.url))
    };
    found.lines().filter_map(|line| line.parse().ok()).find(ours).ok_or_else(|| "no agent runs".to_owned())
}

/// A process and all below it that bear a name.
fn descendants(root: u32, name: &str) -> Vec<u32> {
    let (mut found, mut next) = (Vec::new(), vec![root]);
    while let Some(pid) = next.pop() {
        let Ok(own) = fs::read_to_string(format!("/proc/{pid}/comm")) else { continue };
        if own.trim() == name {
            found.push(pid);
        }
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        next.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
    }
    found
}

/// The share of memory (PSS) of processes, in bytes: pages that several use count in parts.
fn memory(pids: &[u32]) -> Outcome<f64> {
    let share = |pid: &u32| -> Outcome<f64> {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).map_err(|error| format!("process {pid}: {error}"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).ok_or("no Pss")?;
        let kilobytes: f64 = line.trim().trim_end_matches(" kB").trim().parse().map_err(|_| "no number of kilobytes")?;
        Ok(kilobytes * 1024.0)
    };
    pids.iter().map(share).sum()
}

/// User and system time of a process and of its children that have been waited for.
fn processor_seconds(pid: u32) -> Outcome<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).map_err(|error| format!("process {pid}: {error}"))?;
    // Behind the name, which may hold spaces: the state is field 3, the four times are 14 to 17 (proc(5)).
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    let ticks: f64 = fields.skip(11).take(4).filter_map(|field| field.parse::<f64>().ok()).sum();
    Ok(ticks / TICKS_PER_SECOND)
}
