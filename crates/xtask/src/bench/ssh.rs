//! SSH: a command on a warm agent, a second session, and bulk, against OpenSSH to a local `sshd`.

use super::{
    Row,
    echo::Way,
    median,
    rival::{Duel, milliseconds},
    spread,
    world::{World, quiet},
};
use crate::run::Outcome;
use std::process::{Command, Stdio};

const ROUNDS: usize = 15;
const SECOND_ROUNDS: usize = 31;
const BULK_ROUNDS: usize = 5;
const BULK_MIB: u32 = 512;
/// What `berth config-ssh` prefers, so that both sides use one cipher.
pub(crate) const CIPHER: &str = "Ciphers=aes256-gcm@openssh.com";

/// `berth ssh dev -- true` against `ssh localhost true`, and stock `ssh dev.berth true` besides.
pub(crate) fn round(world: &World) -> Outcome<Vec<Row>> {
    let own = Duel::run(ROUNDS, || world.berth(&["ssh", "dev", "--", "true"]), || world.ssh_direct(&[], &["true"]))?;
    let stock = Duel::run(ROUNDS, || world.ssh_berth(&[], &["true"]), || world.ssh_direct(&[], &["true"]))?;
    let row = |what, duel: &Duel, aim| Row {
        what,
        ours: milliseconds(&duel.ours),
        rival: format!("ssh to sshd {}", milliseconds(&duel.rival)),
        ratio: format!("{:.2}", duel.ratio()),
        aim,
    };
    Ok(vec![row("`berth ssh dev -- true`, warm agent", &own, "at most 2"), row("stock `ssh dev.berth true`", &stock, "")])
}

/// A second session while a first one is open, against OpenSSH that shares its connection (`ControlMaster`).
pub(crate) fn second(world: &World) -> Outcome<Vec<Row>> {
    let socket = format!("ControlPath={}", world.directory("control")?.join("socket").display());
    let mut master = world.ssh_direct(&["-o", &socket, "-o", "ControlMaster=yes", "-N", "-f"], &[]);
    quiet(master.stdout(Stdio::null()))?;
    quiet(&mut world.ssh_berth(&[], &["true"]))?;
    let muxed = || world.ssh_direct(&["-o", &socket], &["true"]);
    let own = Duel::run(SECOND_ROUNDS, || world.berth(&["ssh", "dev", "--", "true"]), muxed);
    let stock = Duel::run(SECOND_ROUNDS, || world.ssh_berth(&[], &["true"]), muxed);
    quiet(&mut world.ssh_direct(&["-o", &socket, "-O", "exit"], &[]))?;
    let row = |what, duel: &Duel| Row {
        what,
        ours: milliseconds(&duel.ours),
        rival: format!("muxed ssh to sshd {}", milliseconds(&duel.rival)),
        ratio: format!("{:.2}", duel.ratio()),
        aim: "at most 1.5",
    };
    Ok(vec![row("second session, `berth ssh dev -- true`", &own?), row("second session, stock `ssh dev.berth true`", &stock?)])
}

/// Bulk through `ssh dev.berth` against OpenSSH direct, same cipher, both ways.
pub(crate) fn bulk(world: &World) -> Outcome<Vec<Row>> {
    let names = ["512 MiB down, `ssh dev.berth`, aes256-gcm", "512 MiB up, `ssh dev.berth`, aes256-gcm"];
    both_ways(world, names, "at least 0.8")
}

/// The same in a world where everything goes through the relay.
pub(crate) fn bulk_relayed(world: &World) -> Outcome<Vec<Row>> {
    both_ways(world, ["512 MiB down, relayed", "512 MiB up, relayed"], "at least 0.5")
}

fn both_ways(world: &World, [down, up]: [&'static str; 2], aim: &'static str) -> Outcome<Vec<Row>> {
    let mut rows = Vec::new();
    for (what, direction) in [(down, Direction::Down), (up, Direction::Up)] {
        let ours = || carry(world, World::ssh_berth, direction);
        let duel = Duel::run(BULK_ROUNDS, ours, || carry(world, World::ssh_direct, direction))?;
        rows.push(Row {
            what,
            ours: rate(&duel.ours),
            rival: format!("ssh to sshd {}", rate(&duel.rival)),
            ratio: format!("{:.2}", 1.0 / duel.ratio()),
            aim,
        });
    }
    Ok(rows)
}

/// Which way the bytes go, as the person sees it.
#[derive(Clone, Copy)]
enum Direction {
    Down,
    Up,
}

/// The bytes are made and dropped by the same programs on both ways. A connection that breaks shows in the exit code.
fn carry(world: &World, way: Way, direction: Direction) -> Command {
    let make = format!("head -c {BULK_MIB}M /dev/zero");
    match direction {
        Direction::Down => way(world, &["-o", CIPHER], &[&make]),
        Direction::Up => {
            let remote = way(world, &["-o", CIPHER], &["cat >/dev/null"]);
            let mut shell = Command::new("sh");
            shell.args(["-c", &format!("{make} | \"$@\""), "sh"]).arg(remote.get_program()).args(remote.get_args());
            shell.envs(remote.get_envs().filter_map(|(name, value)| Some((name, value?))));
            shell
        }
    }
}

/// `median (slowest-fastest)` of the rounds.
fn rate(values: &[f64]) -> String {
    let of = |milliseconds: f64| f64::from(BULK_MIB) / milliseconds * 1000.0;
    let (shortest, longest) = spread(values);
    format!("{:.0} ({:.0}-{:.0}) MiB/s", of(median(values.to_vec())), of(longest), of(shortest))
}
