//! `cargo xtask bench`: every figure beside its rival, interleaved, in one run; medians and ratios, since machines are shared and noisy.

mod build;
mod init;
mod request;
mod rival;
mod sizes;
mod ssh;
mod world;

use crate::run::{Outcome, cargo, complain, run, say, step};
use world::World;

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
    ("build", build::overhead),
    ("trivial", build::trivial),
    ("ssh", ssh::round),
    ("bulk", ssh::bulk),
    ("start", sizes::start),
    ("request", request::cpu),
];

/// Runs all benchmarks, or those named, and prints the table in Markdown.
pub(crate) fn bench(arguments: &[String]) -> Outcome {
    let (flags, names): (Vec<String>, Vec<String>) = arguments.iter().cloned().partition(|argument| argument == "--as-built");
    if let Some(unknown) = names.iter().find(|name| *name != INIT && !BENCHES.iter().any(|(known, _)| known == name)) {
        let known: Vec<_> = BENCHES.iter().map(|(name, _)| *name).collect();
        return Err(format!("{unknown:?} is not a benchmark\nhint: one of {}", known.join(", ")));
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
    let world = World::new()?;
    say(HEAD);
    let mut failed = 0;
    for (name, bench) in BENCHES.iter().filter(|(name, _)| names.is_empty() || names.iter().any(|wanted| wanted == name)) {
        match bench(&world) {
            Ok(rows) => rows.iter().for_each(tell),
            Err(error) => {
                failed += 1;
                complain(&format!("{name}: {error}"));
            }
        }
    }
    if failed == 0 { Ok(()) } else { Err(format!("{failed} benchmarks failed")) }
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
