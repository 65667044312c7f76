//! The Lambdas: instructions from exec to the first event, against the least function there can be, and the size of their zips.

use super::Row;
use crate::run::{Outcome, binaries, cargo, has, output, run, step};
use std::process::{Command, Stdio};

const FUNCTIONS: [&str; 4] = ["berth-api", "berth-dispatch", "berth-reap", "berth-sweep"];
const RIVAL: &str = "minimal";

/// Builds them for release, one after the other.
pub(crate) fn build() -> Outcome {
    for function in FUNCTIONS {
        step("Building", function);
        run(cargo().args(["build", "--release", "-p", function, "--bin", function]))?;
    }
    run(cargo().args(["build", "--release", "-p", "berth-lambda-bed", "--example", RIVAL]))
}

/// One row for each function. Needs root (port 443 of loopback, a mount namespace).
pub(crate) fn rows() -> Outcome<Vec<Row>> {
    if !has("valgrind") {
        return Err("valgrind is not on PATH\nhint: apt-get install valgrind".to_owned());
    }
    let release = binaries("release")?;
    let rival = release.join("examples").join(RIVAL);
    let programs = FUNCTIONS.map(|function| release.join(function));
    let mut measure = cargo();
    measure.args(["run", "--quiet", "-p", "berth-lambda-bed", "--example", "init", "--"]).arg(&rival).args(&programs);
    let counted = output(&mut measure)?;
    let count = |name: &str| -> Outcome<f64> {
        let line = counted.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.and_then(|count| count.trim().parse().ok()).ok_or(format!("callgrind did not count {name}:\n{counted}"))
    };
    let least = count(RIVAL)?;
    let row = |function: &'static str| {
        let instructions = count(function)?;
        let zipped = zipped(&release.join(function))?;
        Ok(Row {
            what: function,
            ours: format!("{:.1} M instructions to the first event, {:.1} MB zipped", instructions / 1e6, zipped / 1e6),
            rival: format!("least function {:.2} M", least / 1e6),
            ratio: format!("{:.1}", instructions / least),
            aim: "5 M, 4 MB",
        })
    };
    FUNCTIONS.into_iter().map(row).collect()
}

/// The size of a file when it is deflated, as in a zip.
fn zipped(file: &std::path::Path) -> Outcome<f64> {
    let gzip = Command::new("gzip").args(["-9", "-c"]).arg(file).stderr(Stdio::inherit()).output();
    #[allow(clippy::cast_precision_loss)]
    gzip.map(|output| output.stdout.len() as f64).map_err(|error| format!("cannot run gzip: {error}"))
}
