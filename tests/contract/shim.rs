//! `berth` installed as `coder`: what the plugins run, as they write it.

use super::{Http, shape::vscode};
use crate::harness::{Answer, Berth, eventually, finish};
use serde::Deserialize;
use std::{fs, os::unix::fs::symlink, path::Path, process::Command};

/// The file that shows how a connection goes; the plugins read these fields and know no others.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "a field is read by being there")]
struct NetworkInfo {
    p2p: bool,
    latency: f64,
    preferred_derp: String,
    derp_latency: std::collections::BTreeMap<String, f64>,
    upload_bytes_sec: u64,
    download_bytes_sec: u64,
    using_coder_connect: bool,
}

/// A person's machine where the plugins found `coder`.
struct Machine<'a> {
    berth: &'a Berth,
    coder: String,
    config: String,
}

impl<'a> Machine<'a> {
    fn new(berth: &'a Berth) -> Self {
        let coder = berth.home().join("coder");
        symlink(crate::harness::binaries().join("berth"), &coder).unwrap();
        let text = |path: &Path| path.to_string_lossy().into_owned();
        Self { berth, coder: text(&coder), config: text(&berth.home().join("ide")) }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.berth.program(&self.coder);
        command.env_remove("BERTH_CONFIG_DIR").args(["--global-config", &self.config]).args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Answer {
        finish(&mut self.command(arguments))
    }

    #[track_caller]
    fn ok(&self, arguments: &[&str]) -> String {
        let answer = self.run(arguments);
        assert_eq!(answer.code, Some(0), "coder {arguments:?}: {answer:?}");
        answer.stdout
    }
}

#[test]
fn an_ide_finds_in_coder_what_it_runs() {
    let berth = Berth::with_workspace();
    let (machine, http) = (Machine::new(&berth), Http::of(&berth));
    let url = berth.url.trim_end_matches('/').to_owned();

    // No download: the version is the deployment's.
    let version: serde_json::Value = serde_json::from_str(&machine.ok(&["version", "--output", "json"])).unwrap();
    let about: vscode::BuildInfo = http.get("/api/v2/buildinfo").read();
    assert_eq!(version["version"], about.version);

    // A token that the IDE has already becomes the session.
    let mut login = machine.command(&["login", "--use-token-as-session", &url]);
    let login = finish(login.env("CODER_SESSION_TOKEN", &http.token));
    assert_eq!(login.code, Some(0), "{login:?}");
    assert_eq!(fs::read_to_string(Path::new(&machine.config).join("url")).unwrap().trim().trim_end_matches('/'), url);
    assert_eq!(fs::read_to_string(Path::new(&machine.config).join("session")).unwrap().trim(), http.token);
    assert_eq!(machine.ok(&["login", "token", "--url", &url]).trim(), http.token);

    // Start is asked for whether or not it runs.
    berth.ok(&["stop", "dev", "--yes"]);
    machine.ok(&["start", "--yes", "--reason", "vscode_connection", "ada/dev"]);
    let dev: vscode::Workspace = http.get("/api/v2/users/ada/workspace/dev").read();
    assert_eq!((dev.latest_build.status, dev.latest_build.reason.as_str()), (vscode::Status::Running, "vscode_connection"));
    machine.ok(&["start", "--yes", "--reason", "jetbrains_connection", "--", "ada/dev"]);
    ssh(&machine);
    machine.ok(&["ping", "-n", "1", "dev"]);
    machine.ok(&["update", "ada/dev"]);

    machine.ok(&["logout", "--url", &url, "--yes"]);
    assert!(!Path::new(&machine.config).join("session").exists());
    assert_ne!(machine.run(&["start", "--yes", "ada/dev"]).code, Some(0));
}

/// OpenSSH with the proxy command that the extension writes.
fn ssh(machine: &Machine<'_>) {
    let (network, logs) = (machine.berth.home().join("network"), machine.berth.home().join("ssh-logs"));
    for directory in [&network, &logs] {
        fs::create_dir(directory).unwrap();
    }
    let proxy = format!(
        "{} --global-config {} ssh --disable-autostart --stdio --usage-app=vscode --network-info-dir {} --log-dir {} -v \
         --ssh-host-prefix coder-vscode.h-- %h",
        machine.coder,
        machine.config,
        network.display(),
        logs.display()
    );
    let host = |name: &str| {
        let mut ssh = machine.berth.program("ssh");
        ssh.args(["-F", "none", "-o", &format!("ProxyCommand={proxy}"), "-o", "StrictHostKeyChecking=no"]);
        ssh.args(["-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", name]);
        ssh
    };
    let said = finish(host("coder-vscode.h--ada--dev.main").arg("echo $CODER_WORKSPACE_NAME"));
    assert_eq!((said.code, said.stdout.as_str()), (Some(0), "dev\n"), "{said:?}");

    // While a session lasts, a file named after the SSH client tells how it goes.
    let mut lasting = host("coder-vscode.h--ada--dev").arg("sleep 60").spawn().unwrap();
    let file = network.join(format!("{}.json", lasting.id()));
    let info = eventually("the network's file", || fs::read_to_string(&file).ok());
    let info: NetworkInfo = serde_json::from_str(&info).unwrap_or_else(|error| panic!("{error}: {info}"));
    assert!(info.latency > 0.0 && !info.using_coder_connect, "{info:?}");
    lasting.kill().unwrap();
    lasting.wait().unwrap();
}
