//! The dashboard's own tools: npm and what its lock file names.

use crate::run::{Outcome, has, root, run, step};
use std::{fs, path::Path, process::Command};

/// The first Node that the dashboard's tools run on.
const NODE: &str = "20.19";

/// A program of Node's in the dashboard's directory.
fn node(program: &str) -> Outcome<Command> {
    if !has(program) {
        return Err(format!("{program} is not on PATH\nhint: the dashboard is built with Node {NODE} or newer and its npm"));
    }
    let mut command = Command::new(program);
    command.current_dir(root().join("dashboard"));
    Ok(command)
}

/// Installs what the lock file names, unless that is there already.
fn install() -> Outcome {
    let age = |path: &str| fs::metadata(root().join("dashboard").join(path)).and_then(|file| file.modified()).ok();
    if age("node_modules/.package-lock.json") >= age("package-lock.json") {
        return Ok(());
    }
    step("Installing", "what the dashboard is built with");
    run(node("npm")?.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]))
}

/// Format, lints and types.
pub(crate) fn check() -> Outcome {
    install()?;
    run(node("npm")?.args(["run", "--silent", "check"]))
        .map_err(|error| format!("{error}\nhint: run `npm run format` in dashboard/"))
}

/// Builds the files into a directory. Other things in it stay; files of an earlier build go.
pub(crate) fn build(out: &Path) -> Outcome {
    step("Building", "the dashboard");
    install()?;
    for folder in ["assets", "icon"] {
        let _none_yet = fs::remove_dir_all(out.join(folder));
    }
    let out = std::path::absolute(out).map_err(|error| format!("{} is no path: {error}", out.display()))?;
    let mut vite = node("node")?;
    run(vite.args(["node_modules/vite/bin/vite.js", "build", "--logLevel", "warn", "--outDir"]).arg(out))
}
