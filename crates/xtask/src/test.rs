//! `cargo xtask test`: installs what the tests need, then runs all of them.

use crate::run::{Outcome, binaries, cargo, has, run, step};
use std::{
    fs,
    process::{Command, Stdio},
};

/// A program that a test drives, and the Debian package that brings it.
const PROGRAMS: &[(&str, &str)] = &[
    ("ssh", "openssh-client"),
    ("sshd", "openssh-server"),
    ("rsync", "rsync"),
    ("git", "git"),
    ("curl", "curl"),
    ("tmux", "tmux"),
    ("strace", "strace"),
    ("python3", "python3"),
];
/// The stand-in for AWS that stories build against, from PyPI, pinned.
const MOTO: (&str, &str) = ("moto[server]", "5.2.5");

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
    let mut packages: Vec<_> = PROGRAMS.iter().filter(|(program, _)| !has(program)).map(|(_, package)| *package).collect();
    if !has("terraform") && !has("tofu") {
        return Err(
            "neither terraform nor tofu is on PATH\nhint: install one of them (https://developer.hashicorp.com/terraform/install)"
                .into(),
        );
    }
    // Debian's Python leaves out what makes virtual environments.
    if packages.contains(&"python3") || !python(&["-c", "import ensurepip, venv"]) {
        packages.push("python3-venv");
    }
    if !packages.is_empty() {
        apt_install(&packages)?;
    }
    install_moto()
}

fn apt_install(packages: &[&str]) -> Outcome {
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
    apt(&[&["install", "--no-install-recommends"], packages].concat())
}

fn python(arguments: &[&str]) -> bool {
    let mut command = Command::new("python3");
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Installs moto once, into a virtual environment below the target directory. One that was not finished is made anew.
fn install_moto() -> Outcome {
    let (name, version) = MOTO;
    let home = binaries("moto")?.join(version);
    let complete = home.join("complete");
    if complete.is_file() {
        return Ok(());
    }
    step("Installing", &format!("{name} {version} (once)"));
    let hint =
        |error| format!("{error}\nhint: the AWS stories need {name}=={version} from PyPI; is there a network, or a pip mirror?");
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&home)).map_err(hint)?;
    let mut pip = Command::new(home.join("bin/python"));
    pip.args(["-m", "pip", "--quiet", "--disable-pip-version-check", "install", &format!("{name}=={version}")]);
    run(&mut pip).map_err(hint)?;
    fs::write(&complete, "").map_err(|error| format!("cannot write {}: {error}", complete.display()))
}
