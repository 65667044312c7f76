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
    ("node", "nodejs"),
    ("strip", "binutils"),
];
/// Python environments for the stand-ins of AWS, each in `target/NAME/VERSION`: packages from PyPI, pinned. A change of packages is a
/// change of version.
const ENVIRONMENTS: &[(&str, &str, &[&str])] = &[
    // What templates build against.
    ("moto", "5.2.5", &["moto[server]==5.2.5"]),
    // What our own template is deployed to, see tests/aws/README.md.
    ("bed", "1.5.33", &["ministack==1.5.33", "aws-sam-translator==1.115.0", "boto3==1.43.106"]),
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
    ENVIRONMENTS.iter().try_for_each(|(name, version, packages)| install_python(name, version, packages))
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

/// Installs packages once, into a virtual environment below the target directory. One that was not finished is made anew.
fn install_python(name: &str, version: &str, packages: &[&str]) -> Outcome {
    let home = binaries(name)?.join(version);
    let complete = home.join("complete");
    if complete.is_file() {
        return Ok(());
    }
    step("Installing", &format!("{} (once)", packages.join(", ")));
    let hint = |error| {
        format!("{error}\nhint: the AWS stories need {} from PyPI; is there a network, or a pip mirror?", packages.join(", "))
    };
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&home)).map_err(hint)?;
    let mut pip = Command::new(home.join("bin/python"));
    pip.args(["-m", "pip", "--quiet", "--disable-pip-version-check", "install"]).args(packages);
    run(&mut pip).map_err(hint)?;
    fs::write(&complete, "").map_err(|error| format!("cannot write {}: {error}", complete.display()))
}
