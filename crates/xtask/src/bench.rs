//! `cargo xtask bench`: every figure beside its rival, interleaved, in one run; medians and ratios, since machines are shared and noisy.

mod build;
mod echo;
mod footprint;
mod forward;
mod init;
mod link;
mod lossy;
mod request;
mod rival;
mod sizes;
mod ssh;
mod world;

use crate::run::{Outcome, cargo, complain, run, say, step};
use link::Link;
use world::{Place, World};

/// One line of the table.
pub(crate) struct Row {
    pub(crate) what: &'static str,
    pub(crate) ours: String,
    pub(crate) rival: String,
    pub(crate) ratio: String,
    pub(crate) aim: &'static str,
}

/// The head of the table.
const HEAD: &str = "| measure | ours | rival | ratio | aim |\n|---|---|---|---|---|";
/// The benchmark of the Lambdas, which stands alone: it takes other binaries and no server.
const INIT: &str = "init";

type Bench = fn(&World) -> Outcome<Vec<Row>>;

/// The sizes come first: an agent is idle before it has carried anything.
const BENCHES: &[(&str, Bench)] = &[
    ("sizes", sizes::sizes),
    ("idle", footprint::idle),
    ("build", build::overhead),
    ("trivial", build::trivial),
    ("ssh", ssh::round),
    ("second", ssh::second),
    ("bulk", ssh::bulk),
    ("forward", forward::forward),
    ("echo", echo::echo),
    ("sessions", footprint::sessions),
    ("start", sizes::start),
    ("instructions", footprint::start),
    ("request", request::cpu),
];
/// Those through the relay.
const RELAYED_BENCHES: &[(&str, Bench)] =
    &[("bulk-relayed", ssh::bulk_relayed), ("echo-relayed", echo::echo_relayed), ("relay", footprint::relay)];
/// Those over a bad link, see [`link::AIRPLANE`].
const LOSSY_BENCHES: &[(&str, Bench)] =
    &[("lossy-bulk", lossy::bulk), ("lossy-setup", lossy::set_up), ("lossy-typing", lossy::typing)];
/// Those over a good line, see [`link::HOME`].
const HOME_BENCHES: &[(&str, Bench)] = &[("home-bulk", lossy::home_bulk)];
/// All that compares a connection to a workspace with OpenSSH.
const CONNECTION: &str = "connection";
const CONNECTION_BENCHES: &[&str] = &[
    "ssh",
    "second",
    "bulk",
    "forward",
    "echo",
    "sessions",
    "instructions",
    "bulk-relayed",
    "echo-relayed",
    "relay",
    "lossy-bulk",
    "lossy-setup",
    "lossy-typing",
    "home-bulk",
];

/// Runs all benchmarks, or those named, and prints the table in Markdown.
pub(crate) fn bench(arguments: &[String]) -> Outcome {
    let (flags, mut names): (Vec<String>, Vec<String>) = arguments.iter().cloned().partition(|argument| argument == "--as-built");
    if let Some(group) = names.iter().position(|name| name == CONNECTION) {
        names.splice(group..=group, CONNECTION_BENCHES.iter().map(|name| (*name).to_owned()));
    }
    let known: Vec<_> = BENCHES
        .iter()
        .chain(RELAYED_BENCHES)
        .chain(LOSSY_BENCHES)
        .chain(HOME_BENCHES)
        .map(|(name, _)| *name)
        .chain([INIT])
        .collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(format!("{unknown:?} is not a benchmark\nhint: one of {}, or {CONNECTION} for a group", known.join(", ")));
    }
    crate::test::install()?;
    if names == [INIT] {
        if flags.is_empty() {
            init::build()?;
        }
        say(HEAD);
        init::rows()?.iter().for_each(tell);
        return Ok(());
    }
    if flags.is_empty() {
        step("Building", "release binaries (whole-program optimization takes some minutes)");
        run(cargo().args([
            "build",
            "--release",
            "-p",
            "berth-cli",
            "-p",
            "berth-local",
            "-p",
            "berth-agent",
            "-p",
            "berth-runner",
            "-p",
            "berth-provider",
        ]))?;
    }
    say(HEAD);
    let mut failed = run_all(BENCHES, &names, || Ok(Place::Loopback))?;
    failed += run_all(RELAYED_BENCHES, &names, || Ok(Place::Relayed))?;
    failed += run_all(LOSSY_BENCHES, &names, || Link::new(link::AIRPLANE).map(Place::Apart))?;
    failed += run_all(HOME_BENCHES, &names, || Link::new(link::HOME).map(Place::Apart))?;
    if failed == 0 { Ok(()) } else { Err(format!("{failed} benchmarks failed")) }
}

/// Runs those of `benches` that were asked for, all in one world; how many failed.
fn run_all(benches: &[(&str, Bench)], names: &[String], place: impl FnOnce() -> Outcome<Place>) -> Outcome<usize> {
    let wanted = |name: &str| names.is_empty() || names.iter().any(|wanted| wanted == name);
    let wanted: Vec<_> = benches.iter().filter(|(name, _)| wanted(name)).collect();
    if wanted.is_empty() {
        return Ok(0);
    }
    let world = World::new(place()?)?;
    let mut failed = 0;
    for (name, bench) in wanted {
        match bench(&world) {
            Ok(rows) => rows.iter().for_each(tell),
            Err(error) => {
                failed += 1;
                complain(&format!("{name}: {error}"));
            }
        }
    }
    Ok(failed)
}

fn tell(row: &Row) {
    say(&format!("| {} | {} | {} | {} | {} |", row.what, row.ours, row.rival, row.ratio, row.aim));
}

/// The middle of the values; with an even number the lower of the two.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}

/// Smallest and largest, to state the noise.
pub(crate) fn spread(values: &[f64]) -> (f64, f64) {
    values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(*value), high.max(*value)))
}
