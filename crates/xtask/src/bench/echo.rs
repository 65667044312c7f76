//! Keystrokes: one byte to a remote terminal and its echo back.

use super::{Row, median, world::World};
use crate::run::Outcome;
use std::{
    io::{Read, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

const ROUNDS: usize = 5;
const KEYS: usize = 400;
const KEYS_UNDER_BULK: usize = 60;
/// How fast keys follow each other: quick typing.
const RHYTHM: Duration = Duration::from_millis(150);
/// The terminal itself answers; the program behind it is silent.
const ECHO: &str = "stty raw echo; printf R; exec cat >/dev/null";
/// Up to a hundred times a second a million bytes.
const BULK: &str = "while :; do head -c 1000000 /dev/zero; sleep 0.01; done";

/// `ssh -tt dev.berth` against `ssh -tt` to sshd, on an idle machine and while each side's own bulk runs beside it.
pub(crate) fn echo(world: &World) -> Outcome<Vec<Row>> {
    let idle = one_by_one(world, "keystroke echo, direct")?;
    let (mut ours, mut rival) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.extend(beside_bulk(world, World::ssh_berth)?);
        rival.extend(beside_bulk(world, World::ssh_direct)?);
    }
    Ok(vec![idle, row("keystroke echo while up to 100 MB/s flow beside it", (&ours, &rival), P99, "")])
}

/// On an idle machine, in a world where everything goes through the relay.
pub(crate) fn echo_relayed(world: &World) -> Outcome<Vec<Row>> {
    Ok(vec![one_by_one(world, "keystroke echo, relayed")?])
}

fn one_by_one(world: &World, what: &'static str) -> Outcome<Row> {
    let (mut ours, mut rival) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.extend(typist(world, World::ssh_berth)?.one_by_one(KEYS)?);
        rival.extend(typist(world, World::ssh_direct)?.one_by_one(KEYS)?);
    }
    Ok(row(what, (&ours, &rival), P50, "at most 2"))
}

/// How to reach the workspace or sshd: options, then the command.
pub(crate) type Way = fn(&World, &[&str], &[&str]) -> Command;

fn typist(world: &World, way: Way) -> Outcome<Typist> {
    Typist::sit_down(way(world, &["-tt"], &[ECHO]))
}

fn beside_bulk(world: &World, way: Way) -> Outcome<Vec<f64>> {
    let mut command = way(world, &[], &[BULK]);
    let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut bulk = spawned.map_err(|error| format!("cannot run {command:?}: {error}"))?;
    let mut flood = bulk.stdout.take().ok_or("no pipe to a child")?;
    thread::scope(|scope| {
        let mut sink = vec![0; 128 * 1024];
        flood.read_exact(&mut sink).map_err(|error| format!("no bulk: {error}"))?;
        scope.spawn(move || while flood.read(&mut sink).is_ok_and(|count| count > 0) {});
        let echoes = typist(world, way).and_then(|mut typist| typist.in_rhythm(KEYS_UNDER_BULK));
        let _gone = bulk.kill();
        let _reaped = bulk.wait();
        echoes
    })
}

/// Keys typed at [`RHYTHM`] over either way in turn; the figures are of all keys of all rounds.
pub(crate) fn rhythm(world: &World, way: Way, keys: usize) -> Outcome<Vec<f64>> {
    typist(world, way)?.in_rhythm(keys)
}

/// A share of the keys.
#[derive(Clone, Copy)]
pub(crate) struct Percentile(&'static str, f64);
pub(crate) const P50: Percentile = Percentile("p50", 0.5);
pub(crate) const P99: Percentile = Percentile("p99", 0.99);

/// Compares one percentile and tells the others.
pub(crate) fn row(what: &'static str, (ours, rival): (&[f64], &[f64]), compared: Percentile, aim: &'static str) -> Row {
    let Percentile(which, part) = compared;
    Row {
        what,
        ours: percentiles(ours),
        rival: format!("ssh to sshd {}", percentiles(rival)),
        ratio: format!("{:.2} ({which})", percentile(ours, part) / percentile(rival, part)),
        aim,
    }
}

fn percentiles(values: &[f64]) -> String {
    let at = |part| percentile(values, part);
    let decimals = if median(values.to_vec()) < 50.0 { 2 } else { 0 };
    format!("p50 {:.decimals$}, p90 {:.decimals$}, p99 {:.decimals$} ms", at(0.5), at(0.9), at(0.99))
}

fn percentile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let index = (part * sorted.len() as f64) as usize;
    sorted.get(index.min(sorted.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

/// An open session on a remote terminal. Ended on drop.
struct Typist {
    child: Child,
    keys: ChildStdin,
    screen: ChildStdout,
}

impl Typist {
    /// `command` runs [`ECHO`] on a terminal.
    fn sit_down(mut command: Command) -> Outcome<Self> {
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut child = spawned.map_err(|error| format!("cannot run {command:?}: {error}"))?;
        let (keys, screen) = child.stdin.take().zip(child.stdout.take()).ok_or("no pipes to a child")?;
        let mut typist = Self { child, keys, screen };
        while seen(&mut typist.screen)? != b'R' {}
        Ok(typist)
    }

    /// Each key after the echo of the one before; milliseconds.
    fn one_by_one(&mut self, keys: usize) -> Outcome<Vec<f64>> {
        let mut key = || {
            let pressed = Instant::now();
            press(&mut self.keys)?;
            seen(&mut self.screen)?;
            Ok(milliseconds(pressed))
        };
        (0..keys).map(|_| key()).collect()
    }

    /// A key each [`RHYTHM`], whether or not the last one has shown; milliseconds until each shows.
    fn in_rhythm(&mut self, keys: usize) -> Outcome<Vec<f64>> {
        let Self { keys: keyboard, screen, .. } = self;
        let started = Instant::now();
        let due = |key: usize| started + RHYTHM * u32::try_from(key).unwrap_or(u32::MAX);
        thread::scope(|scope| {
            scope.spawn(move || {
                for key in 0..keys {
                    thread::sleep(due(key).saturating_duration_since(Instant::now()));
                    // The reader notices a session that ended.
                    let _pressed = press(keyboard);
                }
            });
            (0..keys).map(|key| seen(screen).map(|_| milliseconds(due(key)))).collect()
        })
    }
}

impl Drop for Typist {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn press(keyboard: &mut ChildStdin) -> Outcome {
    keyboard.write_all(b"x").map_err(|error| format!("the session ended: {error}"))
}

fn seen(screen: &mut ChildStdout) -> Outcome<u8> {
    let mut byte = [0; 1];
    screen.read_exact(&mut byte).map_err(|error| format!("the session ended: {error}"))?;
    Ok(u8::from_ne_bytes(byte))
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}
