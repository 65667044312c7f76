//! How big and how quick our executables are.

use super::{
    Row,
    rival::{Duel, milliseconds},
    world::World,
};
use crate::run::Outcome;
use std::{fs, process::Command};

/// `berth --version` against `ssh -V`.
pub(crate) fn start(world: &World) -> Outcome<Vec<Row>> {
    let rival = || {
        let mut command = Command::new("ssh");
        command.arg("-V");
        command
    };
    let duel = Duel::run(41, || world.berth(&["--version"]), rival)?;
    let ratio = format!("{:.2}", duel.ratio());
    Ok(vec![Row {
        what: "`berth --version`",
        ours: milliseconds(&duel.ours),
        rival: format!("ssh -V {}", milliseconds(&duel.rival)),
        ratio,
        aim: "at most 1",
    }])
}

/// Stripped sizes, and the idle agent's resident memory against an idle `sshd`'s.
pub(crate) fn sizes(world: &World) -> Outcome<Vec<Row>> {
    let mut rows = Vec::new();
    let sshd = fs::metadata("/usr/sbin/sshd").map_err(|error| error.to_string())?.len();
    for (what, name) in [("size of `berth`", "berth"), ("size of `berth-agent`", "berth-agent")] {
        let size = fs::metadata(world.binary(name)).map_err(|error| error.to_string())?.len();
        rows.push(Row {
            what,
            ours: megabytes(size),
            rival: format!("sshd (dynamic) {}", megabytes(sshd)),
            ratio: format!("{:.1}", ratio(size, sshd)),
            aim: "under 15 MB",
        });
    }
    let (agent, rival) = (resident("berth-agent")?, resident("sshd")?);
    rows.push(Row {
        what: "idle agent, resident",
        ours: megabytes(agent),
        rival: format!("idle sshd {}", megabytes(rival)),
        ratio: format!("{:.1}", ratio(agent, rival)),
        aim: "15 MB",
    });
    Ok(rows)
}

#[allow(clippy::cast_precision_loss)]
fn ratio(a: u64, b: u64) -> f64 {
    a as f64 / b as f64
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", ratio(bytes, 1_000_000))
}

/// Resident memory in bytes of the newest process with this name.
fn resident(name: &str) -> Outcome<u64> {
    let pids = Command::new("pgrep").args(["-n", "-x", name]).output().map_err(|error| error.to_string())?;
    let pid = String::from_utf8_lossy(&pids.stdout).trim().to_owned();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).map_err(|_| format!("no process {name} runs"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).ok_or("no VmRSS")?;
    let kilobytes: u64 = line.split_whitespace().nth(1).and_then(|word| word.parse().ok()).ok_or("no VmRSS")?;
    Ok(kilobytes * 1024)
}
