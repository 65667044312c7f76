//! `cargo xtask test`: installs what the tests need, then runs all of them.

use crate::run::{Outcome, cargo, has, run, step};
use std::process::Command;

/// A program that a test drives, and the Debian package that brings it.
const PROGRAMS: &[(&str, &str)] = &[
    ("ssh", "openssh-client"),
    ("sshd", "openssh-server"),
    ("rsync", "rsync"),
    ("git", "git"),
    ("curl", "curl"),
    ("tmux", "tmux"),
    ("python3", "python3"),
];

/// Installs, builds, tests; then does the main job once.
pub(crate) fn test(arguments: &[String]) -> Outcome {
    install()?;
    step("Building", "the programs and the tests");
    // All targets at once: the same features everywhere, so nothing is compiled twice.
    run(cargo().args(["build", "--workspace", "--all-targets"]))?;
    let arguments = arguments.strip_prefix(&["--".to_owned()]).unwrap_or(arguments);
    run(cargo().args(["test", "--workspace", "--no-fail-fast"]).args(arguments))?;
    if arguments.is_empty() {
        step("Running", "the demo once");
        crate::demo::demo(&crate::demo::Options::once_as_built())?;
    }
    Ok(())
}

/// Installs missing programs with apt where that is possible; says which are missing where it is not.
pub(crate) fn install() -> Outcome {
    let missing: Vec<_> = PROGRAMS.iter().filter(|(program, _)| !has(program)).collect();
    if !has("terraform") && !has("tofu") {
        return Err(
            "neither terraform nor tofu is on PATH\nhint: install one of them (https://developer.hashicorp.com/terraform/install)"
                .into(),
        );
    }
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<_> = missing.iter().map(|(_, package)| *package).collect();
    if !has("apt-get") {
        return Err(format!("the tests need programs that are not on PATH\nhint: install {}", packages.join(", ")));
    }
    step("Installing", &packages.join(" "));
    let apt = |arguments: &[&str]| {
        let mut command = if has("sudo") { Command::new("sudo") } else { Command::new("env") };
        command.arg("apt-get").args(["-qq", "-y", "-o", "Dpkg::Use-Pty=0"]).args(arguments);
        command.stdout(std::process::Stdio::null());
        run(&mut command)
    };
    apt(&["update"])?;
    apt(&[&["install", "--no-install-recommends"], packages.as_slice()].concat())
}
