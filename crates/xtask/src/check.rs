//! `cargo xtask check`: formatting, lints, documentation, dependencies; the dashboard's own too.

use crate::{
    dashboard,
    run::{Outcome, binaries, cargo, root, run, step},
};
use std::{path::PathBuf, process::Command};

/// Tools from crates.io, pinned; built once into the target directory.
const DENY: (&str, &str) = ("cargo-deny", "0.20.2");
const MACHETE: (&str, &str) = ("cargo-machete", "0.9.2");

/// Runs every check; stops at the first that fails.
pub(crate) fn check() -> Outcome {
    step("Checking", "formatting");
    run(cargo().args(["fmt", "--all", "--check"])).map_err(|error| format!("{error}\nhint: run `cargo fmt --all`"))?;
    step("Checking", "lints");
    run(cargo().args(["clippy", "--workspace", "--all-targets", "--quiet", "--", "--deny", "warnings"]))?;
    step("Checking", "the dashboard");
    dashboard::check()?;
    step("Checking", "documentation");
    run(cargo().args(["doc", "--workspace", "--no-deps", "--quiet"]).env("RUSTDOCFLAGS", "--deny warnings"))?;
    step("Checking", "unused dependencies");
    run(Command::new(tool(MACHETE)?).current_dir(root()).arg("--with-metadata"))?;
    step("Checking", "bans, licences and sources of dependencies");
    run(Command::new(tool(DENY)?).current_dir(root()).args([
        "--log-level",
        "error",
        "check",
        "--hide-inclusion-graph",
        "bans",
        "licenses",
        "sources",
    ]))
}

/// The path of a tool, installed on first use.
fn tool((name, version): (&str, &str)) -> Outcome<PathBuf> {
    let home = binaries("tools")?.join(format!("{name}-{version}"));
    let program = home.join("bin").join(name);
    if !program.is_file() {
        step("Installing", &format!("{name} {version} (once)"));
        let mut install = cargo();
        install.args(["install", "--quiet", "--locked", "--debug", "--no-default-features", "--version", version, "--root"]);
        install.arg(&home).arg(name).env("CARGO_PROFILE_DEV_DEBUG", "0");
        run(&mut install)?;
    }
    Ok(program)
}
