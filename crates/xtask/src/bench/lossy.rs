//! Two links: an airplane's (300 ms there and back, 3 % of the packets lost each way, 50 Mbit/s) and a good one from a home to a region (20 ms,
//! 200 Mbit/s). Both rivals use the same link, one after the other, and lose the same of their packets.

use super::{
    Row,
    echo::{self, Way},
    median,
    rival::{milliseconds, wall},
    spread,
    world::World,
};
use crate::run::Outcome;
use std::{
    io::Read,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

const ROUNDS: u64 = 5;
/// How long bulk flows, from its first byte on.
const FLOW: Duration = Duration::from_secs(20);
const SET_UPS: u64 = 11;
const KEYS: usize = 280;

/// Bulk down in a fixed time.
pub(crate) fn bulk(world: &World) -> Outcome<Vec<Row>> {
    flows(world, ["airplane: bulk down, direct", "airplane: bulk down, relayed"], "at least 10")
}

/// The same over [`super::link::HOME`].
pub(crate) fn home_bulk(world: &World) -> Outcome<Vec<Row>> {
    flows(world, ["home: bulk down, direct", "home: bulk down, relayed"], "at least 1")
}

fn flows(world: &World, [by_itself, by_relay]: [&'static str; 2], aim: &'static str) -> Outcome<Vec<Row>> {
    let (mut direct, mut relayed, mut rival) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        reseed(world, round);
        direct.push(flow(world.ssh_berth(&[], &["cat /dev/zero"]))?);
        reseed(world, round);
        relayed.push(flow(world.ssh_relayed(&[], &["cat /dev/zero"]))?);
        reseed(world, round);
        rival.push(flow(world.ssh_direct(&[], &["cat /dev/zero"]))?);
    }
    let row = |what, ours: &[f64]| Row {
        what,
        ours: rate(ours),
        rival: format!("ssh to sshd (cubic) {}", rate(&rival)),
        ratio: format!("{:.2}", median(ours.iter().zip(&rival).map(|(ours, rival)| ours / rival).collect())),
        aim,
    };
    Ok(vec![row(by_itself, &direct), row(by_relay, &relayed)])
}

/// From the start of the process to its end, for a command that does nothing.
pub(crate) fn set_up(world: &World) -> Outcome<Vec<Row>> {
    let ways: [(&'static str, &dyn Fn() -> Command); 3] = [
        ("airplane: `berth ssh dev -- true`", &|| world.berth(&["ssh", "dev", "--", "true"])),
        ("airplane: `ssh dev.berth true`", &|| world.ssh_berth(&[], &["true"])),
        ("airplane: `ssh dev.berth true`, relayed", &|| world.ssh_relayed(&[], &["true"])),
    ];
    let mut ours = ways.map(|_| Vec::new());
    let mut rival = Vec::new();
    for round in 0..SET_UPS {
        for ((_, way), took) in ways.iter().zip(&mut ours) {
            reseed(world, round);
            took.push(wall(&mut way())?);
        }
        reseed(world, round);
        rival.push(wall(&mut world.ssh_direct(&[], &["true"]))?);
    }
    let row = |what, ours: &[f64]| Row {
        what,
        ours: milliseconds(ours),
        rival: format!("ssh to sshd {}", milliseconds(&rival)),
        ratio: format!("{:.2}", median(ours.to_vec()) / median(rival.clone())),
        aim: "at most 0.6",
    };
    Ok(ways.iter().zip(&ours).map(|((what, _), ours)| row(*what, ours)).collect())
}

/// Typing over a link that loses keys.
pub(crate) fn typing(world: &World) -> Outcome<Vec<Row>> {
    let ways: [(&'static str, Way); 2] =
        [("airplane: keystroke echo, direct", World::ssh_berth), ("airplane: keystroke echo, relayed", World::ssh_relayed)];
    let mut ours = ways.map(|_| Vec::new());
    let mut rival = Vec::new();
    for round in 0..ROUNDS {
        for ((_, way), shown) in ways.iter().zip(&mut ours) {
            reseed(world, round);
            shown.extend(echo::rhythm(world, *way, KEYS)?);
        }
        reseed(world, round);
        rival.extend(echo::rhythm(world, World::ssh_direct, KEYS)?);
    }
    let row = |what, ours: &[f64]| echo::row(what, (ours, &rival), echo::P99, "at most 1");
    Ok(ways.iter().zip(&ours).map(|((what, _), ours)| row(*what, ours)).collect())
}

fn reseed(world: &World, seed: u64) {
    if let Some(link) = world.link() {
        link.reseed(seed);
    }
}

fn rate(values: &[f64]) -> String {
    let (low, high) = spread(values);
    format!("{:.2} ({low:.2}-{high:.2}) MB/s", median(values.to_vec()))
}

/// Megabytes per second that arrive during [`FLOW`]. The command never ends by itself.
fn flow(mut command: Command) -> Outcome<f64> {
    let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child = spawned.map_err(|error| format!("cannot run {command:?}: {error}"))?;
    let counted = count(&mut child);
    let _gone = child.kill();
    let _reaped = child.wait();
    let (bytes, took) = counted?;
    #[allow(clippy::cast_precision_loss)]
    let megabytes = bytes as f64 / 1_000_000.0;
    Ok(megabytes / took.as_secs_f64())
}

fn count(child: &mut Child) -> Outcome<(usize, Duration)> {
    let mut stdout = child.stdout.take().ok_or("no pipe to a child")?;
    let (mut sink, mut bytes, mut began) = (vec![0; 64 * 1024], 0, None);
    loop {
        let read = stdout.read(&mut sink).map_err(|error| format!("no bulk: {error}"))?;
        if read == 0 {
            return Err("the bulk ended by itself".to_owned());
        }
        let since = *began.get_or_insert_with(Instant::now);
        bytes += read;
        if since.elapsed() >= FLOW {
            return Ok((bytes, since.elapsed()));
        }
    }
}
