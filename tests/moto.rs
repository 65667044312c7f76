//! AWS on loopback: moto behind real Terraform with the real AWS provider, and where that provider comes from.

use crate::harness::{Berth, binaries, eventually, finish, repository};
use serde_json::Value;
use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

/// Where the stories' AWS is.
const REGION: &str = "eu-central-1";
/// The provider registry that Terraform asks unless it is told of a mirror.
const REGISTRY: &str = "registry.terraform.io";
/// Where Terraform looks for a mirror by itself, below the machine's root; the ones below a home directory come before.
const IMPLIED_MIRRORS: &[&str] = &["/usr/local/share/terraform/plugins", "/usr/share/terraform/plugins"];
/// Where else machines keep one, at a depth of one.
const USUAL_PLACES: &[&str] = &["/opt", "/usr/local/share", "/usr/share", "/var/lib"];

/// A moto server. It ends with this value, or with this process.
pub(crate) struct Moto {
    server: Child,
    python: PathBuf,
    url: String,
    /// What comes before each command, to run it in another network namespace.
    within: Vec<String>,
}

impl Moto {
    /// Starts one. `None`, said loudly, when moto is not installed.
    pub(crate) fn start() -> Option<Self> {
        Self::start_at(None)
    }

    /// The same in a network namespace.
    pub(crate) fn start_at(namespace: Option<&str>) -> Option<Self> {
        let Some(python) = python("moto") else {
            eprintln!("SKIPPED: moto is not installed, so nothing runs against AWS's API; `cargo xtask test` installs it");
            return None;
        };
        let within = namespace.map_or_else(Vec::new, |namespace| ["ip", "netns", "exec", namespace].map(str::to_owned).to_vec());
        let mut command = python_in(&within, &python);
        command.arg(program()).arg("serve").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut server = command.spawn().unwrap();
        let mut url = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut url).unwrap();
        assert!(url.starts_with("http://127.0.0.1:"), "moto did not start; `{} {} serve` says why", python.display(), program());
        Some(Self { server, python, url: url.trim().to_owned(), within })
    }

    /// What makes AWS SDKs and the AWS provider talk to it, with credentials that mean nothing.
    pub(crate) fn environment(&self) -> Vec<(&str, &str)> {
        vec![
            ("AWS_ENDPOINT_URL", &self.url),
            ("AWS_REGION", REGION),
            ("AWS_ACCESS_KEY_ID", "testing"),
            ("AWS_SECRET_ACCESS_KEY", "testing"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ]
    }

    /// One call by the AWS SDK, such as `("ec2", "describe_instances", json!({}))`; the answer as the SDK for Python names it.
    pub(crate) fn call(&self, service: &str, operation: &str, arguments: &Value) -> Value {
        let mut command = python_in(&self.within, &self.python);
        let answer = finish(command.args([&program(), "call", &self.url, service, operation, &arguments.to_string()]));
        assert_eq!(answer.code, Some(0), "{service} {operation} {arguments}: {answer:?}");
        serde_json::from_str(&answer.stdout).unwrap()
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _gone = self.server.kill();
        let _reaped = self.server.wait();
    }
}

/// A server whose builds reach moto through the real AWS provider. `ada` is signed in.
pub(crate) struct Aws {
    // Before moto: a build that is under way when a story fails ends with its server.
    pub(crate) berth: Berth,
    pub(crate) moto: Moto,
    _config: TempDir,
}

impl Aws {
    /// Starts both. `None`, said loudly, when moto is not installed or the provider is not to be had.
    pub(crate) fn start() -> Option<Self> {
        let place = tempfile::tempdir().unwrap();
        let config = provider_config("hashicorp/aws", place.path())?;
        let moto = Moto::start()?;
        let options = ["--terraform-cli-config", &config.to_string_lossy()];
        let berth = Berth::start_with(&options, &moto.environment()).sign_in();
        Some(Self { berth, moto, _config: place })
    }
}

/// A Terraform CLI configuration with which `init` gets this provider: the machine's own, or one written into `place` that names
/// the mirror found. `None`, said loudly, when there is no mirror and the registry does not answer.
pub(crate) fn provider_config(provider: &str, place: &Path) -> Option<PathBuf> {
    if let Some(configured) = own_config() {
        return Some(configured);
    }
    match mirror(provider) {
        Some(mirror) => Some(write_config(&[(provider, mirror)], place)),
        None if registry_answers() => Some(write_config(&[], place)),
        None => {
            eprintln!("SKIPPED: no mirror on this machine has the provider {provider}, and {REGISTRY} does not answer");
            None
        }
    }
}

/// Writes a Terraform CLI configuration by which these providers come from these mirrors and no others.
pub(crate) fn write_config(mirrors: &[(&str, PathBuf)], place: &Path) -> PathBuf {
    let name = |(provider, _): &(&str, PathBuf)| format!("\"{REGISTRY}/{provider}\"");
    let entry = |one: &(&str, PathBuf)| {
        format!("  filesystem_mirror {{\n    path    = \"{}\"\n    include = [{}]\n  }}\n", one.1.display(), name(one))
    };
    let entries: String = mirrors.iter().map(entry).collect();
    let names = mirrors.iter().map(name).collect::<Vec<_>>().join(", ");
    let file = place.join("terraform.rc");
    fs::write(&file, format!("provider_installation {{\n{entries}  direct {{\n    exclude = [{names}]\n  }}\n}}\n")).unwrap();
    file
}

/// The configuration that the person who runs the tests gave Terraform.
fn own_config() -> Option<PathBuf> {
    let named = std::env::var_os("TF_CLI_CONFIG_FILE").map(PathBuf::from);
    let usual = std::env::var_os("HOME").map(|home| Path::new(&home).join(".terraformrc"));
    let installs = |file: &PathBuf| fs::read_to_string(file).is_ok_and(|text| text.contains("provider_installation"));
    [named, usual].into_iter().flatten().find(installs)
}

/// A directory that Terraform can install this provider from: one that the person's configuration names, one where Terraform looks
/// by itself, or one at a usual place.
pub(crate) fn mirror(provider: &str) -> Option<PathBuf> {
    let below = |name: &str, tail: &str| std::env::var_os(name).map(|base| Path::new(&base).join(tail));
    let of_home = [below("HOME", ".terraform.d/plugins"), below("XDG_DATA_HOME", "terraform/plugins")].into_iter().flatten();
    let configured = own_config().and_then(|file| fs::read_to_string(file).ok()).unwrap_or_default();
    let named = configured.lines().filter(|line| line.trim_start().starts_with("path")).filter_map(|line| line.split('"').nth(1));
    let usual = USUAL_PLACES.iter().flat_map(|place| fs::read_dir(place).into_iter().flatten().flatten()).map(|entry| entry.path());
    let implied = IMPLIED_MIRRORS.iter().map(PathBuf::from);
    let mut candidates = named.map(PathBuf::from).chain(of_home).chain(implied).chain(usual);
    candidates.find(|directory| directory.join(REGISTRY).join(provider).is_dir())
}

/// Whether the registry answers within a few seconds.
fn registry_answers() -> bool {
    let url = format!("https://{REGISTRY}/.well-known/terraform.json");
    finish(Command::new("curl").args(["--silent", "--fail", "--max-time", "5", "--output", "/dev/null"]).arg(url)).code == Some(0)
}

/// The Python of one of the environments that `cargo xtask test` keeps below the target directory.
pub(crate) fn python(environment: &str) -> Option<PathBuf> {
    Some(installed(environment)?.join("bin/python"))
}

/// Where `cargo xtask test` installed something of this name, whole.
pub(crate) fn installed(name: &str) -> Option<PathBuf> {
    let home = binaries().parent().unwrap().join(name);
    let mut versions: Vec<_> = fs::read_dir(home).ok()?.flatten().map(|entry| entry.path()).collect();
    versions.retain(|version| version.join("complete").is_file());
    versions.sort();
    versions.pop()
}

fn python_in(within: &[String], python: &Path) -> Command {
    let Some((first, rest)) = within.split_first() else { return Command::new(python) };
    let mut command = Command::new(first);
    command.args(rest).arg(python);
    command
}

fn program() -> String {
    repository().join("tests/aws.py").to_string_lossy().into_owned()
}

#[test]
fn moto_takes_what_aws_takes() {
    let Some(moto) = Moto::start() else { return };
    let started = moto.call(
        "ec2",
        "run_instances",
        &serde_json::json!({
            "ImageId": "ami-0beb000000000a001", "InstanceType": "t3.medium", "MinCount": 1, "MaxCount": 1, "UserData": "first",
        }),
    );
    let id = started["Instances"][0]["InstanceId"].clone();
    let modify = serde_json::json!({ "InstanceId": id, "UserData": { "Value": "#!/bin/sh\npoweroff\n" } });
    let mut running = Command::new(&moto.python);
    let refused = finish(running.args([&program(), "call", &moto.url, "ec2", "modify_instance_attribute", &modify.to_string()]));
    assert!(refused.stderr.contains("IncorrectInstanceState"), "{refused:?}");
    moto.call("ec2", "stop_instances", &serde_json::json!({ "InstanceIds": [id] }));
    eventually("the instance's stop", || {
        let said = moto.call("ec2", "describe_instances", &serde_json::json!({ "InstanceIds": [id] }));
        (said["Reservations"][0]["Instances"][0]["State"]["Name"] == "stopped").then_some(())
    });
    moto.call("ec2", "modify_instance_attribute", &modify);
    let said = moto.call("ec2", "describe_instance_attribute", &serde_json::json!({ "InstanceId": id, "Attribute": "userData" }));
    assert_eq!(said["UserData"]["Value"], "IyEvYmluL3NoCnBvd2Vyb2ZmCg==");
}
