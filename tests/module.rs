//! Templates in the shape of the registry's modules, with what they are about: the real code-server and the real JupyterLab.

use crate::{
    harness::{Berth, eventually, finish, repository, template},
    moto::installed,
};
use serde_json::Value;
use std::{fs, net::TcpListener};

/// What starts code-server, which needs a newer Node than Debian's.
fn code_server() -> Option<String> {
    let (node, code_server) = (installed("tools/node")?, installed("tools/code-server")?);
    Some(format!("{}/bin/node {}/node_modules/code-server/out/node/entry.js", node.display(), code_server.display()))
}

/// What starts JupyterLab.
fn jupyterlab() -> Option<String> {
    Some(format!("{}/bin/jupyter-lab", installed("tools/jupyter")?.display()))
}

fn free_ports<const N: usize>() -> [u16; N] {
    // All are held until all are known: none comes twice.
    let held = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    held.each_ref().map(|listener| listener.local_addr().unwrap().port())
}

/// What a module of this kind is: a script that starts something and leaves it in the background, and an app with a health check.
fn service(slug: &str, (port, check): (u16, &str), script: &str) -> String {
    format!(
        r#"
resource "coder_script" "{slug}" {{
  agent_id     = coder_agent.main.id
  display_name = "{slug}"
  icon         = "/icon/{slug}.svg"
  run_on_start = true
  script       = <<-EOT
    #!/usr/bin/env bash
    {script} > "$HOME/{slug}.log" 2>&1 &
  EOT
}}
resource "coder_app" "{slug}" {{
  agent_id     = coder_agent.main.id
  slug         = "{slug}"
  display_name = "{slug}"
  icon         = "/icon/{slug}.svg"
  url          = "http://localhost:{port}/?folder=/"
  subdomain    = true
  share        = "owner"
  healthcheck {{
    url       = "http://localhost:{port}{check}"
    interval  = 1
    threshold = 60
  }}
}}
"#
    )
}

/// A repository that is cloned before anyone comes, programs that are installed where everybody finds them, and variables in three ways.
fn around(origin: &str, port: u16) -> String {
    format!(
        r#"
resource "coder_script" "git_clone" {{
  agent_id           = coder_agent.main.id
  display_name       = "Git Clone"
  run_on_start       = true
  start_blocks_login = true
  script             = <<-EOT
    #!/bin/bash
    set -euo pipefail
    sleep 1
    git clone --quiet "{origin}" "$HOME/project"
  EOT
}}
resource "coder_script" "files" {{
  agent_id     = coder_agent.main.id
  display_name = "File Browser"
  run_on_start = true
  script       = <<-EOT
    printf '#!/bin/sh\nexec python3 -m http.server --bind 127.0.0.1 "$@"\n' > "$CODER_SCRIPT_BIN_DIR/files"
    chmod +x "$CODER_SCRIPT_BIN_DIR/files"
    echo kept > "$CODER_SCRIPT_DATA_DIR/settings"
    files {port} > /dev/null 2>&1 &
  EOT
}}
resource "coder_app" "files" {{
  agent_id = coder_agent.main.id
  slug     = "files"
  url      = "http://localhost:{port}"
  healthcheck {{
    url       = "http://localhost:{port}/"
    interval  = 1
    threshold = 2
  }}
}}
resource "coder_env" "editor" {{
  agent_id = coder_agent.main.id
  name     = "EDITOR"
  value    = "vim"
}}
resource "coder_env" "path" {{
  agent_id       = coder_agent.main.id
  name           = "PATH"
  value          = "$HOME/.tools:$PATH"
  merge_strategy = "append"
}}
"#
    )
}

fn agent(berth: &Berth) -> Value {
    let shown = berth.json(&["show", "dev"]);
    let resources = shown["latest_build"]["resources"].as_array().unwrap().clone();
    resources.iter().find_map(|resource| resource["agents"].as_array()?.first().cloned()).expect("an agent")
}

fn health(berth: &Berth, slug: &str) -> String {
    let agent = agent(berth);
    let apps = agent["apps"].as_array().unwrap();
    let app = apps.iter().find(|app| app["slug"] == slug).unwrap_or_else(|| panic!("no app {slug}: {apps:?}"));
    app["health"].as_str().unwrap().to_owned()
}

/// A repository with one file in it.
fn repository_with_readme(berth: &Berth) -> String {
    let origin = berth.home().join("origin");
    fs::create_dir(&origin).unwrap();
    fs::write(origin.join("README"), "the project\n").unwrap();
    for arguments in [&["init", "-q"][..], &["add", "README"], &["commit", "-qm", "first"]] {
        let who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com", "-C", origin.to_str().unwrap()];
        let answer = finish(berth.program("git").args(who).args(arguments));
        assert_eq!(answer.code, Some(0), "{answer:?}");
    }
    format!("file://{}", origin.display())
}

fn push_and_create(berth: &Berth, parts: &[String]) {
    let local = fs::read_to_string(repository().join("templates/local/main.tf")).unwrap();
    let directory = template(berth, "modules", &format!("{local}\n{}", parts.join("\n")));
    berth.ok(&["templates", "push", "modules", "--directory", &directory, "--yes"]);
    berth.ok(&["create", "dev", "--template", "modules", "--yes"]);
}

#[test]
fn code_server_and_jupyterlab_run_as_their_modules_start_them_and_turn_healthy() {
    let (Some(code_server), Some(jupyterlab)) = (code_server(), jupyterlab()) else {
        eprintln!("SKIPPED: code-server and JupyterLab are not installed, so no real app runs; `cargo xtask test` installs them");
        return;
    };
    let berth = Berth::signed_in();
    let [code, lab] = free_ports();
    let code_server = format!("{code_server} --auth none --disable-telemetry --bind-addr 127.0.0.1:{code}");
    let base = "/@ada/dev/apps/jupyterlab";
    let jupyterlab = format!(
        "{jupyterlab} --allow-root --no-browser --ServerApp.ip=127.0.0.1 --ServerApp.port={lab} --ServerApp.token='' \
         --ServerApp.password='' --ServerApp.allow_remote_access=True --ServerApp.base_url={base}"
    );
    let lab_check = format!("{base}/api");
    let parts = [service("code-server", (code, "/healthz"), &code_server), service("jupyterlab", (lab, &lab_check), &jupyterlab)];
    push_and_create(&berth, &parts);
    for slug in ["code-server", "jupyterlab"] {
        eventually(&format!("{slug} is healthy"), || (health(&berth, slug) == "healthy").then_some(()));
    }
    let asked = |url: &str| berth.ok(&["ssh", "dev", "--", "curl", "-sfL", url]);
    let page = asked(&format!("http://127.0.0.1:{code}/"));
    assert!(page.contains("workbench"), "code-server's page: {page}");
    let page = asked(&format!("http://127.0.0.1:{lab}{base}/lab"));
    assert!(page.contains("JupyterLab"), "JupyterLab's page: {page}");
    berth.ok(&["stop", "dev", "--yes"]);
    assert_eq!(berth.workspace_processes(), []);
}

#[test]
fn what_modules_rely_on_is_there_and_an_app_that_ends_turns_unhealthy() {
    let berth = Berth::signed_in();
    let origin = repository_with_readme(&berth);
    let [port] = free_ports();
    push_and_create(&berth, &[around(&origin, port)]);
    // Nobody asks for it: the template says that people wait for the clone.
    assert_eq!(berth.ok(&["ssh", "dev", "--", "cat", "project/README"]), "the project\n");
    let variables = berth.ok(&["ssh", "dev", "--", "echo $EDITOR; echo $PATH; command -v files"]);
    let lines: Vec<_> = variables.lines().collect();
    assert_eq!(lines[0], "vim");
    let path: Vec<_> = lines[1].split(':').collect();
    assert!(lines[2].starts_with(path[0]) && path[1].ends_with("/.tools") && path.contains(&"/usr/bin"), "{lines:?}");
    eventually("the app's health", || (health(&berth, "files") == "healthy").then_some(()));
    berth.ok(&["ssh", "dev", "--", "pkill -f '[h]ttp.server.* {port}'".replace("{port}", &port.to_string()).as_str()]);
    eventually("the app's end", || (health(&berth, "files") == "unhealthy").then_some(()));
    let timings = berth.json(&["builds", "timings", "dev"]);
    let scripts = timings["agent_script_timings"].as_array().unwrap();
    let mut told: Vec<_> =
        scripts.iter().map(|run| (run["display_name"].as_str().unwrap(), run["status"].as_str().unwrap())).collect();
    told.sort_unstable();
    assert_eq!(told, [("File Browser", "ok"), ("Git Clone", "ok"), ("Startup Script", "ok")]);
}
