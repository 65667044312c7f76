//! Stories with real Terraform, most of them served by reattach without `init`. They need `terraform` on PATH, or what
//! `BERTH_TERRAFORM_BIN` names (OpenTofu, say), and Linux's `/proc`.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test that cannot go on panics")]

#[path = "terraform/bench.rs"]
mod bench;
#[path = "terraform/diagnostic.rs"]
mod diagnostic;
#[path = "terraform/import.rs"]
mod import;
#[path = "terraform/plugin.rs"]
mod plugin;
#[path = "terraform/schema.rs"]
mod schema;

use std::collections::BTreeSet;
use std::fs;

use berth_provider::{end_strays, parameter_env_name};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value as Json, json};

use bench::{Bench, text, until};

const EVERY_TYPE: &str = include_str!("terraform/every_type.tf");

/// A directory and a process whose command is given, as a starter template has them.
fn process_template(command: &str) -> String {
    format!(
        r#"
        data "coder_workspace" "me" {{}}
        resource "berth_directory" "home" {{}}
        resource "berth_process" "workspace" {{
          count              = data.coder_workspace.me.start_count
          command            = ["/bin/sh", "-c", <<-EOT
            {command}
            EOT
          ]
          dir                = berth_directory.home.path
          stop_grace_seconds = 5
        }}
        terraform {{
          required_providers {{
            berth = {{ source = "berth/berth" }}
          }}
        }}
        "#
    )
}

fn end(pid: &Json) {
    kill(Pid::from_raw(i32::try_from(pid.as_i64().unwrap()).unwrap()), Signal::SIGKILL).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_with_every_type_builds_and_the_next_build_changes_nothing() {
    let mut bench = Bench::new(EVERY_TYPE).await;
    bench.tell("CODER_EXTERNAL_AUTH_ACCESS_TOKEN_github", "gh-token");
    bench.tell("CODER_SECRET_ENV_NPM_TOKEN", "npm-token");
    bench.tell(&parameter_env_name("tools"), "[\"jq\"]");
    let said = bench.build("start").await;
    assert_eq!(said.diagnostics(), "");

    let agent = bench.attributes("coder_agent.main");
    assert_eq!(agent["init_script"], "fetch http://berth.test:7080/bin auth=token");
    assert_eq!(agent["startup_script"], "echo hello ada");
    assert_eq!(
        agent["display_apps"],
        json!([{"vscode": true, "vscode_insiders": false, "web_terminal": false, "port_forwarding_helper": true, "ssh_helper": true}])
    );
    assert_eq!(agent["metadata"][1]["display_name"], "RAM");
    let workspace = bench.attributes("data.coder_workspace.me");
    assert_eq!((&workspace["access_port"], &workspace["owner_email"]), (&json!(7080), &json!("ada@example.com")));
    assert_eq!(bench.attributes("data.coder_workspace_owner.me")["rbac_roles"][0]["name"], "member");
    assert_eq!(bench.attributes("data.coder_parameter.tools")["value"], "[\"jq\"]");
    let size = bench.attributes("data.coder_parameter.size");
    assert_eq!((&size["value"], &size["optional"], &size["form_type"]), (&json!("10"), &json!(true), &json!("input")));
    assert_eq!(size["validation"][0]["min_disabled"], false);
    assert_eq!(size["validation"][0]["regex"], "");
    assert_eq!(bench.attributes("data.coder_external_auth.github")["access_token"], "gh-token");
    assert_eq!(bench.attributes("data.coder_secret.npm")["value"], "npm-token");
    assert_eq!(bench.attributes("data.coder_workspace_preset.small")["id"], "Small");
    let items = &bench.attributes("coder_metadata.workspace")["item"];
    assert_eq!(items[2], json!({"key": "none", "value": "", "sensitive": false, "is_null": true}));
    assert_eq!(items[0]["is_null"], false);
    assert!(bench.attributes("coder_devcontainer.app")["subagent_id"].is_string());

    let environment = text(&bench.path(&format!("root/{}/home/environment", bench.id)));
    let token = agent["token"].as_str().unwrap();
    for expected in [format!("AGENT_TOKEN={token}"), format!("HOME={}", bench.path(&format!("root/{}/home", bench.id)).display())] {
        assert!(environment.lines().any(|line| line == expected), "{expected} in {environment}");
    }
    assert!(environment.contains("LANG=C.UTF-8") && !environment.contains("CARGO"), "{environment}");

    let again = bench.build("start").await;
    assert_eq!(again.changes(), Vec::<String>::new());
    assert_eq!(bench.attributes("coder_agent.main")["token"], token);
    let plan = bench.terraform(&["plan", "-json", "-detailed-exitcode", "-input=false"]).await;
    assert!(plan.success, "{}", plan.text);

    bench.build("delete").await;
    assert_eq!(bench.processes(), Vec::<i32>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_without_required_providers_builds_too() {
    let template = r#"
        data "coder_workspace" "me" {}
        resource "coder_agent" "main" {
          os   = "linux"
          arch = "arm64"
        }
        resource "berth_directory" "home" { name = "data" }
        output "path" { value = "${berth_directory.home.path} ${coder_agent.main.init_script}" }
    "#;
    let mut bench = Bench::new(template).await;
    bench.build("start").await;
    assert!(bench.path(&format!("root/{}/data", bench.id)).is_dir());
    bench.build("delete").await;
    assert!(!bench.path(&format!("root/{}", bench.id)).exists());
}

/// As articles about the public provider's first version have it: the owner is read from the workspace.
const ARTICLE: &str = include_str!("terraform/article.tf");

#[tokio::test(flavor = "multi_thread")]
async fn a_template_that_reads_the_owner_from_the_workspace_builds_and_stops() {
    let mut bench = Bench::new(ARTICLE).await;
    bench.tell("CODER_WORKSPACE_OWNER_NAME", "Ada Lovelace");
    bench.tell("CODER_WORKSPACE_OWNER_ID", "77");
    let said = bench.build("start").await;
    assert_eq!(said.diagnostics(), "");
    let instance = bench.attributes("terraform_data.instance");
    let tags = &instance["input"]["value"]["tags"];
    assert_eq!(tags["Name"], "coder-ada-dev");
    assert_eq!((&tags["Owner"], &tags["Email"], &tags["Id"]), (&json!("Ada Lovelace"), &json!("ada@example.com"), &json!("77")));
    assert_eq!(tags["Groups"], "math");
    let user_data = instance["input"]["value"]["user_data"].as_str().unwrap();
    assert!(user_data.contains("sudo -u coder sh -c 'fetch http://berth.test:7080/bin auth=token'"), "{user_data}");

    bench.build("stop").await;
    let stopped = bench.attributes("terraform_data.instance");
    assert!(stopped["input"]["value"]["user_data"].as_str().unwrap().contains("shutdown"), "{stopped}");
    assert_eq!(bench.attributes("coder_app.code"), Json::Null);
    bench.build("delete").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_address_of_both_registries_reaches_the_provider() {
    let address = |host: &&str| berth_provider::SOURCES.iter().map(|source| format!("{host}/{source}")).collect::<Vec<_>>();
    let addresses: Vec<_> = berth_provider::HOSTS.iter().flat_map(address).collect();
    let required = |(index, address): (usize, &String)| format!("p{index} = {{ source = {address:?} }}\n");
    let read = |index: usize| format!("data \"coder_workspace\" \"w{index}\" {{\nprovider = p{index}\n}}\n");
    let required: String = addresses.iter().enumerate().map(required).collect();
    let read: String = (0..addresses.len()).map(read).collect();
    let mut bench = Bench::new(&format!("terraform {{\nrequired_providers {{\n{required}}}\n}}\n{read}")).await;
    bench.build("start").await;
    assert_eq!(addresses.len(), 8);
    for (index, address) in addresses.iter().enumerate() {
        assert_eq!(bench.attributes(&format!("data.coder_workspace.w{index}"))["name"], "dev", "{address}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_larger_than_four_megabytes_passes() {
    let template = r#"
        resource "coder_agent" "main" {
          os             = "linux"
          arch           = "amd64"
          startup_script = join("", [for number in range(1024) : format("%05d", number) == "" ? "" : file("block")])
        }
    "#;
    let mut bench = Bench::new(template).await;
    fs::write(bench.path("template/block"), "0123456789abcdef".repeat(512)).unwrap();
    bench.build("start").await;
    assert_eq!(bench.attributes("coder_agent.main")["startup_script"].as_str().unwrap().len(), 8 << 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_was_killed_is_started_again_by_the_next_build() {
    let mut bench = Bench::new(&process_template("exec sleep 1000")).await;
    bench.build("start").await;
    let first = bench.attributes("berth_process.workspace");
    assert_eq!(bench.processes(), [i32::try_from(first["pid"].as_i64().unwrap()).unwrap()]);

    end(&first["pid"]);
    until("the process is gone", || bench.processes().is_empty()).await;
    let said = bench.build("start").await;
    assert_eq!(said.changes(), ["create berth_process.workspace[0]"]);
    let second = bench.attributes("berth_process.workspace");
    assert_ne!(first["pid"], second["pid"]);
    assert_eq!(bench.processes().len(), 1);

    bench.build("stop").await;
    assert_eq!(bench.processes(), Vec::<i32>::new());
    assert_eq!(bench.attributes("berth_process.workspace"), Json::Null);
    bench.build("delete").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_process_left_behind_is_ended_by_the_next_build() {
    // A grandchild in a session of its own, and one in the same session.
    let command = "setsid sh -c 'setsid sleep 1000 & setsid sleep 1001' & sleep 1002 & echo > $HOME/ready; exec sleep 1003";
    let mut bench = Bench::new(&process_template(command)).await;
    bench.build("start").await;
    until("all have started", || bench.processes().len() >= 5).await;

    for transition in ["start", "stop"] {
        let before = bench.processes();
        end(&bench.attributes("berth_process.workspace")["pid"]);
        until("the leader is gone", || bench.processes().len() < before.len()).await;
        let said = bench.build(transition).await;
        let expected = if transition == "start" { "replace" } else { "delete" };
        assert_eq!(said.changes(), [format!("{expected} berth_process.workspace[0]")], "{}", said.text);
        let left: Vec<_> = bench.processes().into_iter().filter(|pid| before.contains(pid)).collect();
        assert_eq!(left, Vec::<i32>::new(), "after {transition}");
        if transition == "start" {
            until("all have started again", || bench.processes().len() >= 5).await;
        }
    }
    assert_eq!(bench.processes(), Vec::<i32>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_daemonised_and_stubborn_processes_and_keeps_the_directory() {
    // One daemon that ignores SIGTERM, one in a new session, one that dropped its environment.
    let bare = format!("1000.{}", std::process::id());
    let command = format!(
        "setsid sh -c \"trap '' TERM; while :; do sleep 0.1; done\" & setsid sleep 1000 & env -i setsid sleep {bare} & \
        echo kept > $HOME/file; exec sleep 1001"
    );
    let bare = format!("sleep\u{0}{bare}\u{0}");
    let mut bench = Bench::new(&process_template(&command).replace("= 5", "= 1")).await;
    bench.build("start").await;
    let home = bench.path(&format!("root/{}/home", bench.id));
    until("the file is written", || !text(&home.join("file")).is_empty()).await;
    until("all have started", || bench.processes().len() >= 3 && count_of(&bare) == 1).await;

    bench.build("stop").await;
    assert_eq!(bench.processes(), Vec::<i32>::new());
    assert_eq!(count_of(&bare), 0);
    assert_eq!(text(&home.join("file")), "kept\n");

    bench.build("start").await;
    bench.build("delete").await;
    assert_eq!(bench.processes(), Vec::<i32>::new());
    assert!(!home.parent().unwrap().exists(), "{:?}", fs::read_dir(home.parent().unwrap()).map(Iterator::collect::<Vec<_>>));
}

/// How many processes have exactly this command line.
fn count_of(line: &str) -> usize {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter(|entry| fs::read(entry.path().join("cmdline")).is_ok_and(|found| found == line.as_bytes())).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_outlives_the_server_that_started_it() {
    let mut bench = Bench::new(&process_template("exec sleep 1000")).await;
    bench.build("start").await;
    let before = bench.processes();
    let other = berth_provider::serve(&bench.path("other"), bench.environment.clone().into()).await.unwrap();
    std::mem::replace(&mut bench.served, other).shutdown().await;
    assert!(!bench.path("s").exists());
    assert_eq!(bench.build("start").await.changes(), Vec::<String>::new());
    assert_eq!(bench.processes(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_fails_at_once_shows_its_output_and_leaves_nothing() {
    for (command, expected) in [
        ("setsid sleep 1000 & echo cannot find the frob >&2; exit 3", "exit status: 3; its last output:\ncannot find the frob"),
        ("kill -9 $$", "signal: 9"),
    ] {
        let bench = Bench::new(&process_template(command)).await;
        let said = bench.terraform(&["apply", "-json", "-auto-approve"]).await;
        assert!(!said.success && said.diagnostics().contains(expected), "{}", said.text);
        assert_eq!(bench.processes(), Vec::<i32>::new());
    }
    let template = process_template("true").replace("\"/bin/sh\"", "\"/no/such/program\"");
    let said = Bench::new(&template).await.terraform(&["apply", "-json", "-auto-approve"]).await;
    assert!(said.diagnostics().contains("cannot start process: \"/no/such/program\": No such file"), "{}", said.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_without_a_place_for_processes_says_so() {
    let mut bench = Bench::new(&process_template("exec sleep 1000")).await;
    bench.tell("BERTH_PROCESS_ROOT", "");
    let said = bench.terraform(&["apply", "-json", "-auto-approve"]).await;
    assert!(!said.success && said.diagnostics().contains("does not run workspaces on its own machine"), "{}", said.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_stop_keeps_the_process_in_the_state_and_the_next_one_ends_it() {
    let command = "trap 'echo > $HOME/told' TERM; while :; do sleep 0.1; done";
    let mut bench = Bench::new(&process_template(command).replace("= 5", "= 600")).await;
    bench.build("start").await;
    bench.tell("CODER_WORKSPACE_TRANSITION", "stop");
    let child = bench.begin(&["apply", "-json", "-auto-approve"]);
    let told = bench.path(&format!("root/{}/home/told", bench.id));
    until("the process was asked to end", || told.exists()).await;
    kill(Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()), Signal::SIGINT).unwrap();
    let said = bench::Said::from(child.wait_with_output().await.unwrap());
    assert!(!said.success && said.diagnostics().contains("interrupted while processes"), "{}", said.text);
    assert!(bench.attributes("berth_process.workspace")["pid"].is_i64());

    end(&bench.attributes("berth_process.workspace")["pid"]);
    bench.build("stop").await;
    assert_eq!(bench.processes(), Vec::<i32>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_longer_grace_updates_in_place_and_another_command_replaces() {
    let mut bench = Bench::new(&process_template("exec sleep 1000")).await;
    bench.build("start").await;
    let pid = bench.attributes("berth_process.workspace")["pid"].clone();
    fs::write(bench.path("template/main.tf"), process_template("exec sleep 1000").replace("= 5", "= 7")).unwrap();
    assert_eq!(bench.build("start").await.changes(), ["update berth_process.workspace[0]"]);
    assert_eq!(bench.attributes("berth_process.workspace")["pid"], pid);
    fs::write(bench.path("template/main.tf"), process_template("exec sleep 2000")).unwrap();
    assert_eq!(bench.build("start").await.changes(), ["replace berth_process.workspace[0]"]);
    assert_eq!(bench.processes().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_no_state_knows_is_a_stray() {
    let mut bench = Bench::new(&process_template("exec sleep 1000")).await;
    bench.build("start").await;
    let id = bench.attributes("berth_process.workspace")["id"].as_str().unwrap().to_owned();
    assert_eq!(end_strays(&bench.id, &BTreeSet::from([id])).await.unwrap(), 0);
    assert_eq!(bench.processes().len(), 1);
    assert_eq!(end_strays("another workspace", &BTreeSet::new()).await.unwrap(), 0);
    assert_eq!(end_strays(&bench.id, &BTreeSet::new()).await.unwrap(), 1);
    assert_eq!(bench.processes(), Vec::<i32>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_whose_place_moved_is_not_removed() {
    let mut bench = Bench::new("resource \"berth_directory\" \"home\" {}").await;
    bench.build("start").await;
    let other = bench.path("elsewhere").display().to_string();
    bench.tell("BERTH_PROCESS_ROOT", &other);
    let said = bench.terraform(&["destroy", "-json", "-auto-approve"]).await;
    assert!(!said.success && said.diagnostics().contains("directory is not ours"), "{}", said.text);
    assert!(bench.path(&format!("root/{}/home", bench.id)).is_dir());
}
