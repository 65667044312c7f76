//! A workspace for tests: a directory with a template, the provider served beside it, and real Terraform.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use berth_provider::{Environment, SOURCES, Served, plugin, serve};
use serde_json::Value as Json;
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// How long a condition may take to come true.
const DEADLINE: Duration = Duration::from_secs(30);

/// The provider as an executable.
pub(crate) const PLUGIN: &str = env!("CARGO_BIN_EXE_terraform-provider-berth");

/// How Terraform finds the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// By the socket that this process serves, as in a build.
    Reattach,
    /// By the directory of the executable, as an author works on a laptop. Without `init`.
    Overrides,
    /// By a filesystem mirror from which `init` installs the executable.
    Mirror,
}

/// One workspace under test.
pub(crate) struct Bench {
    pub(crate) place: TempDir,
    pub(crate) served: Served,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) id: String,
    door: Door,
}

/// What one Terraform command said with `-json`.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) success: bool,
    pub(crate) lines: Vec<Json>,
    pub(crate) text: String,
}

impl Bench {
    /// A workspace with this template.
    pub(crate) async fn new(template: &str) -> Self {
        Self::through(Door::Reattach, template).await
    }

    /// A workspace whose Terraform finds the provider so; a mirror is installed from.
    pub(crate) async fn through(door: Door, template: &str) -> Self {
        let place = tempfile::tempdir().unwrap();
        let id = uuid::Uuid::new_v4().to_string();
        fs::create_dir(place.path().join("template")).unwrap();
        fs::write(place.path().join("template/main.tf"), template).unwrap();
        fs::write(place.path().join("terraformrc"), installation(door, place.path())).unwrap();
        let root = place.path().join("root").display().to_string();
        let home = place.path().display().to_string();
        let environment: BTreeMap<_, _> = [
            ("CODER_AGENT_URL", "http://berth.test:7080"),
            ("CODER_WORKSPACE_TRANSITION", "start"),
            ("CODER_WORKSPACE_ID", &id),
            ("CODER_WORKSPACE_NAME", "dev"),
            ("CODER_WORKSPACE_BUILD_ID", "b1"),
            ("CODER_WORKSPACE_OWNER", "ada"),
            ("CODER_WORKSPACE_OWNER_EMAIL", "ada@example.com"),
            ("CODER_WORKSPACE_OWNER_GROUPS", "[\"math\"]"),
            ("CODER_WORKSPACE_OWNER_RBAC_ROLES", "[{\"name\":\"member\",\"org_id\":\"\"}]"),
            ("CODER_WORKSPACE_TEMPLATE_ID", "t1"),
            ("CODER_WORKSPACE_TEMPLATE_NAME", "linux"),
            ("CODER_WORKSPACE_TEMPLATE_VERSION", "v1"),
            ("CODER_AGENT_SCRIPT_linux_amd64", "fetch ${ACCESS_URL}bin auth=${AUTH_TYPE}"),
            ("BERTH_PROCESS_ROOT", &root),
            ("BERTH_PROCESS_HOME", &home),
            ("BERTH_PROCESS_ENV_LANG", "C.UTF-8"),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
        let served = serve(&place.path().join("s"), Environment::from(environment.clone())).await.unwrap();
        let bench = Self { place, served, environment, id, door };
        if door == Door::Mirror {
            let said = bench.terraform(&["init", "-input=false", "-no-color"]).await;
            assert!(said.success, "{}", said.text);
        }
        bench
    }

    /// Tells the provider one more thing from now on.
    pub(crate) fn tell(&mut self, name: &str, value: &str) {
        self.environment.insert(name.into(), value.into());
        self.served.set_environment(Environment::from(self.environment.clone()));
    }

    /// Tells the provider one thing less from now on.
    pub(crate) fn forget(&mut self, name: &str) {
        self.environment.remove(name);
        self.served.set_environment(Environment::from(self.environment.clone()));
    }

    /// Runs Terraform to its end.
    pub(crate) async fn terraform(&self, arguments: &[&str]) -> Said {
        Said::from(self.begin(arguments).wait_with_output().await.unwrap())
    }

    /// Starts Terraform.
    pub(crate) fn begin(&self, arguments: &[&str]) -> Child {
        let mut command = Command::new(program());
        match self.door {
            Door::Reattach => command.env("TF_REATTACH_PROVIDERS", self.served.reattach_json()),
            Door::Overrides | Door::Mirror => command.envs(&self.environment),
        };
        command
            .args(arguments)
            .current_dir(self.place.path().join("template"))
            .env("TF_CLI_CONFIG_FILE", self.place.path().join("terraformrc"))
            .env("CHECKPOINT_DISABLE", "1")
            .env("TF_IN_AUTOMATION", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("terraform is on PATH")
    }

    /// Builds with a transition and expects success.
    pub(crate) async fn build(&mut self, transition: &str) -> Said {
        self.tell("CODER_WORKSPACE_TRANSITION", transition);
        let verb = if transition == "delete" { "destroy" } else { "apply" };
        let said = self.terraform(&[verb, "-json", "-auto-approve", "-input=false"]).await;
        assert!(said.success, "{}", said.text);
        said
    }

    /// The attributes of a resource or data source in the state; null when it is not there.
    pub(crate) fn attributes(&self, address: &str) -> Json {
        let state = fs::read(self.place.path().join("template/terraform.tfstate")).unwrap();
        let state: Json = serde_json::from_slice(&state).unwrap();
        let resources = state["resources"].as_array().cloned().unwrap_or_default();
        let found = resources.into_iter().find(|resource| {
            let prefix = if resource["mode"] == "data" { "data." } else { "" };
            format!("{prefix}{}.{}", resource["type"].as_str().unwrap(), resource["name"].as_str().unwrap()) == address
        });
        found.map(|resource| resource["instances"][0]["attributes"].clone()).unwrap_or_default()
    }

    /// The numbers of the processes that belong to the workspace.
    pub(crate) fn processes(&self) -> Vec<i32> {
        let mark = format!("BERTH_PROCESS_WORKSPACE={}", self.id);
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        pids.filter(|pid| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|entry| entry == mark.as_bytes())
        })
        .collect()
    }

    /// The numbers of the processes that serve the provider to this workspace's Terraform.
    pub(crate) fn plugins(&self) -> Vec<i32> {
        let place = format!("{}/", self.place.path().display());
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let line = |pid: &i32| fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let ours =
            |line: String| line.contains("terraform-provider-") && (line.starts_with(&place) || line.starts_with(".terraform/"));
        let in_place = |pid: &i32| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(self.place.path()));
        pids.filter(|pid| ours(String::from_utf8_lossy(&line(pid)).into_owned()) && in_place(pid)).collect()
    }

    /// A path below the place of the test.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }
}

/// The program under test: Terraform, or what `BERTH_TERRAFORM_BIN` names, such as OpenTofu.
pub(crate) fn program() -> std::ffi::OsString {
    std::env::var_os("BERTH_TERRAFORM_BIN").unwrap_or_else(|| "terraform".into())
}

/// Lays out what the door needs and answers Terraform's CLI configuration.
fn installation(door: Door, place: &Path) -> String {
    match door {
        Door::Reattach => String::new(),
        Door::Overrides => {
            for name in ["coder", "berth"] {
                std::os::unix::fs::symlink(PLUGIN, place.join(format!("terraform-provider-{name}"))).unwrap();
            }
            let overrides: String = SOURCES.iter().map(|source| format!("    {source:?} = {place:?}\n")).collect();
            format!("provider_installation {{\n  dev_overrides {{\n{overrides}  }}\n}}\n")
        }
        Door::Mirror => {
            let mirror = place.join("mirror");
            plugin::mirror(&mirror, Path::new(PLUGIN)).unwrap();
            format!("provider_installation {{\n  filesystem_mirror {{\n    path = {mirror:?}\n  }}\n}}\n")
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // A failed test must not leave processes either.
        for pid in self.processes() {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
    }
}

impl Said {
    /// The messages of errors and warnings, with their details.
    pub(crate) fn diagnostics(&self) -> String {
        let of = |line: &Json| {
            let diagnostic = &line["diagnostic"];
            Some(format!(
                "{}: {}: {}",
                diagnostic["severity"].as_str()?,
                diagnostic["summary"].as_str()?,
                diagnostic["detail"].as_str()?
            ))
        };
        self.lines.iter().filter_map(of).collect::<Vec<_>>().join("\n")
    }

    /// What happened to resources, such as `create coder_agent.main`.
    pub(crate) fn changes(&self) -> Vec<String> {
        let planned = self.lines.iter().filter(|line| line["type"] == "planned_change");
        planned
            .map(|line| {
                let change = &line["change"];
                format!("{} {}", change["action"].as_str().unwrap(), change["resource"]["addr"].as_str().unwrap())
            })
            .collect()
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        let lines = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        Self { success: output.status.success(), lines, text }
    }
}

/// Waits until something is true.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    let begin = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    while !condition() {
        assert!(begin.elapsed() < DEADLINE, "never true: {what}");
        ticks.tick().await;
    }
}

/// The text of a file; empty while it does not exist.
pub(crate) fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
