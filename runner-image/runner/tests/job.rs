//! Stories of one job: the real runner, the real Terraform, and the control plane's routes in memory.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::print_stderr, clippy::disallowed_methods)]

#[path = "job/api.rs"]
mod api;
#[path = "job/frozen.rs"]
mod frozen;
#[path = "job/import.rs"]
mod import;
#[path = "job/rules.rs"]
mod rules;
#[path = "job/user.rs"]
mod user;

use std::{os::unix::fs::PermissionsExt, path::Path};

use api::{Api, Runner, build, children, processes_with, repository_file, send, until, until_gone};
use berth_domain::{ParameterValue, Secret, Transition};
use berth_wire::runner::{Build, Job, Outcome};
use rustix::process::Signal;
use serde_json::Value;

fn job(build: Build) -> Job {
    Job::Build(Box::new(build))
}

fn failure(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Failed { error } => error,
        other => panic!("{other:?} is not a failure"),
    }
}

/// An agent that does nothing but run, recognizable by its name.
fn agent_binary(home: &Path, name: &str) -> String {
    let path = home.join(name);
    std::fs::write(&path, "#!/bin/sh\nwhile :; do sleep 1; done\n").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

/// A quick resource, then one that takes as long as the test likes. The marker makes its processes recognizable.
fn slow_template(marker: &str) -> String {
    format!(
        r#"
        resource "terraform_data" "quick" {{
          input = "done"
        }}
        resource "terraform_data" "slow" {{
          input = terraform_data.quick.output
          provisioner "local-exec" {{
            command = "sleep 300 || echo {marker}"
          }}
        }}
        "#
    )
}

/// The process id of a runner's Terraform, which a guard stands between.
fn terraform_of(runner: &Runner) -> i32 {
    let [guard] = children(runner.pid())[..] else { panic!("one guard: {:?}", children(runner.pid())) };
    let [terraform] = children(guard)[..] else { panic!("one terraform: {:?}", children(guard)) };
    terraform
}

fn resources_of(state: &[u8]) -> Vec<String> {
    let state: Value = serde_json::from_slice(state).expect("only whole states are pushed");
    let resources = state["resources"].as_array().unwrap().iter();
    resources.map(|resource| format!("{}.{}", resource["type"].as_str().unwrap(), resource["name"].as_str().unwrap())).collect()
}

#[tokio::test]
async fn the_starter_template_starts_stops_and_goes() {
    let home = tempfile::tempdir().unwrap();
    let agent = agent_binary(home.path(), "starter-agent");
    let extra = [("BERTH_AGENT_BINARY", agent.as_str())];
    let template = repository_file("templates/local/main.tf");
    let files = [("main.tf", template.as_str())];
    let greeting = ParameterValue { name: "greeting".into(), value: "It's me".into() };

    let workspace_id = uuid::Uuid::new_v4();
    let of = |transition| Build { workspace_id, parameters: vec![greeting.clone()], ..build(transition) };
    let api = Api::serve(job(of(Transition::Start)), &files, None).await;
    let finish = api.runner(home.path(), &extra).reported(&api).await;
    assert_eq!(finish.outcome, Outcome::Succeeded, "{}", api.memory.borrow().log());
    let process = finish.resources.iter().find(|resource| resource.kind == "berth_process").expect("the workspace");
    let [agent] = process.agents.as_slice() else { panic!("one agent: {process:?}") };
    assert_eq!((agent.name.as_str(), agent.env["GIT_AUTHOR_NAME"].as_str()), ("main", "Ada Lovelace"));
    assert!(agent.scripts[0].script.contains(r"'It'\''s me'"), "{}", agent.scripts[0].script);
    assert_eq!(process.metadata[0].key, "directory");
    assert!(!processes_with("starter-agent").is_empty(), "the workspace runs after the build");
    let directory = process.metadata[0].value.clone();
    assert!(Path::new(&directory).is_dir());
    assert!(api.memory.borrow().log().contains("Apply complete!"), "{}", api.memory.borrow().log());

    let stopped = Api::serve(job(of(Transition::Stop)), &files, api.last_state()).await;
    let finish = stopped.runner(home.path(), &extra).reported(&stopped).await;
    assert_eq!(finish.outcome, Outcome::Succeeded, "{}", stopped.memory.borrow().log());
    assert!(processes_with("starter-agent").is_empty(), "a stop leaves no process");
    assert!(Path::new(&directory).is_dir(), "a stop keeps the home directory");
    assert!(finish.resources.iter().all(|resource| resource.agents.is_empty()));

    let deleted = Api::serve(job(of(Transition::Delete)), &files, stopped.last_state()).await;
    let finish = deleted.runner(home.path(), &extra).reported(&deleted).await;
    assert_eq!((finish.outcome, finish.resources.len()), (Outcome::Succeeded, 0), "{}", deleted.memory.borrow().log());
    assert!(!Path::new(&directory).exists(), "a delete removes it");
    assert_eq!(resources_of(&deleted.last_state().unwrap()), [""; 0]);
}

#[tokio::test]
async fn what_comes_along_with_the_claim_is_not_fetched_and_the_rest_is() {
    let files = [("main.tf", "resource \"terraform_data\" \"dev\" {\n  input = \"one\"\n}\n")];
    let first = Api::serve(job(build(Transition::Start)), &files, None).await;
    let home = tempfile::tempdir().unwrap();
    first.runner(home.path(), &[]).reported(&first).await;
    let state = first.last_state().expect("a state was pushed");
    assert_eq!((first.memory.borrow().fetches, resources_of(&state)), (0, vec!["terraform_data.dev".to_owned()]));

    for (encloses_nothing, fetches) in [(false, 0), (true, 2)] {
        let api = Api::serve(job(build(Transition::Delete)), &files, Some(state.clone())).await;
        api.memory.send_modify(|memory| memory.encloses_nothing = encloses_nothing);
        let finish = api.runner(home.path(), &[]).reported(&api).await;
        assert_eq!(finish.outcome, Outcome::Succeeded, "{}", api.memory.borrow().log());
        assert_eq!((api.memory.borrow().fetches, resources_of(&api.last_state().unwrap())), (fetches, Vec::new()));
    }
}

/// What Terraform is told of Go's garbage collector.
async fn collector(extra: &[(&str, &str)]) -> String {
    let (home, told) = (tempfile::tempdir().unwrap(), tempfile::NamedTempFile::new().unwrap());
    let command = format!("echo $GOGC $GOMEMLIMIT > {}", told.path().display());
    let template = format!(
        "data \"coder_workspace\" \"me\" {{}}\nresource \"terraform_data\" \"tell\" {{\n  provisioner \"local-exec\" {{\n    command = \"{command}\"\n  }}\n}}\n"
    );
    let api = Api::serve(job(build(Transition::Start)), &[("main.tf", &template)], None).await;
    let finish = api.runner(home.path(), extra).reported(&api).await;
    assert_eq!(finish.outcome, Outcome::Succeeded, "{}", api.memory.borrow().log());
    std::fs::read_to_string(told.path()).unwrap().trim().to_owned()
}

#[tokio::test]
async fn terraform_collects_garbage_as_it_likes_when_it_starts_providers() {
    assert_eq!(collector(&[]).await, "off 256MiB");
    assert_eq!(collector(&[("BERTH_PROVIDER_PLUGIN", plugin().to_str().unwrap())]).await, "");
}

fn plugin() -> std::path::PathBuf {
    let plugin = Path::new(env!("CARGO_BIN_EXE_berth-runner")).with_file_name("terraform-provider-berth");
    assert!(plugin.exists(), "{} is missing\nhint: cargo build -p berth-provider", plugin.display());
    plugin
}

#[tokio::test]
async fn a_build_with_the_plugin_ends_as_one_with_the_served_provider() {
    let home = tempfile::tempdir().unwrap();
    let agent = agent_binary(home.path(), "plugged-agent");
    let plugin = plugin();
    let extra = [("BERTH_AGENT_BINARY", agent.as_str()), ("BERTH_PROVIDER_PLUGIN", plugin.to_str().unwrap())];
    let template = repository_file("templates/local/main.tf");
    let files = [("main.tf", template.as_str())];
    let workspace_id = uuid::Uuid::new_v4();
    let of = |transition| Build { workspace_id, ..build(transition) };

    let api = Api::serve(job(of(Transition::Start)), &files, None).await;
    let finish = api.runner(home.path(), &extra).reported(&api).await;
    assert_eq!(finish.outcome, Outcome::Succeeded, "{}", api.memory.borrow().log());
    assert!(api.memory.borrow().log().contains("Initializing Terraform"), "a plugin is installed: {}", api.memory.borrow().log());
    let process = finish.resources.iter().find(|resource| resource.kind == "berth_process").expect("the workspace");
    let [agent] = process.agents.as_slice() else { panic!("one agent: {process:?}") };
    assert_eq!(agent.env["GIT_AUTHOR_NAME"], "Ada Lovelace", "the plugin knows the owner");
    assert!(!processes_with("plugged-agent").is_empty(), "the workspace outlives the plugin");

    let deleted = Api::serve(job(of(Transition::Delete)), &files, api.last_state()).await;
    let finish = deleted.runner(home.path(), &extra).reported(&deleted).await;
    assert_eq!((finish.outcome, finish.resources.len()), (Outcome::Succeeded, 0), "{}", deleted.memory.borrow().log());
    assert!(processes_with("plugged-agent").is_empty());
}

#[tokio::test]
async fn a_delete_without_resources_or_as_orphan_runs_no_terraform() {
    let home = tempfile::tempdir().unwrap();
    let broken = [("main.tf", "this is no template")];
    let api = Api::serve(job(build(Transition::Delete)), &broken, None).await;
    assert_eq!(api.runner(home.path(), &[]).reported(&api).await.outcome, Outcome::Succeeded);

    let state =
        br#"{"version": 4, "serial": 1, "lineage": "l", "resources": [{"mode": "managed", "type": "aws_instance", "name": "vm",
        "provider": "provider[\"registry.terraform.io/hashicorp/aws\"]", "instances": [{"attributes": {"id": "i-77"}}]}]}"#;
    let orphan = Build { orphan: true, ..build(Transition::Delete) };
    let api = Api::serve(job(orphan), &broken, Some(state.to_vec())).await;
    assert_eq!(api.runner(home.path(), &[]).reported(&api).await.outcome, Outcome::Succeeded);
    let log = api.memory.borrow().log();
    assert!(log.contains("aws_instance.vm i-77"), "what is forgotten is named: {log}");
}

#[tokio::test]
async fn a_cancel_keeps_what_was_made_and_ends_what_ran() {
    let home = tempfile::tempdir().unwrap();
    let api = Api::serve(job(build(Transition::Start)), &[("main.tf", &slow_template("cancel-marker"))], None).await;
    let runner = api.runner(home.path(), &[]);
    api.until("the slow resource begins", |memory| memory.log().contains("Provisioning with")).await;
    api.until("the first state", |memory| !memory.states.is_empty()).await;
    assert_eq!(resources_of(&api.last_state().unwrap()), ["terraform_data.quick"], "pushed while terraform runs");
    api.memory.send_modify(|memory| memory.cancel = true);
    let finish = runner.reported(&api).await;
    assert_eq!(finish.outcome, Outcome::Canceled, "{}", api.memory.borrow().log());
    assert_eq!(
        resources_of(&api.last_state().unwrap()),
        ["terraform_data.quick", "terraform_data.slow"],
        "the interrupted one is known"
    );
    assert_eq!(finish.resources.len(), 2);
    until_gone("cancel-marker").await;
}

#[tokio::test]
async fn a_terraform_killed_mid_way_leaves_the_last_pushed_state() {
    let home = tempfile::tempdir().unwrap();
    let api = Api::serve(job(build(Transition::Start)), &[("main.tf", &slow_template("killed-marker"))], None).await;
    let runner = api.runner(home.path(), &[]);
    api.until("the first state", |memory| !memory.states.is_empty()).await;
    api.until("the slow resource begins", |memory| memory.log().contains("Provisioning with")).await;
    let terraform = terraform_of(&runner);
    send(terraform, Signal::KILL);
    let finish = runner.reported(&api).await;
    assert_eq!(failure(&finish.outcome), "terraform was killed by signal 9");
    assert_eq!(resources_of(&api.last_state().unwrap()), ["terraform_data.quick"]);
    until_gone("killed-marker").await;
}

#[tokio::test]
async fn a_lost_lease_ends_terraform_and_writes_nothing_more() {
    let home = tempfile::tempdir().unwrap();
    let api = Api::serve(job(build(Transition::Start)), &[("main.tf", &slow_template("lost-marker"))], None).await;
    let runner = api.runner(home.path(), &[]);
    api.until("the first state", |memory| !memory.states.is_empty()).await;
    api.until("the slow resource begins", |memory| memory.log().contains("Provisioning with")).await;
    let states = api.memory.borrow().states.len();
    api.memory.send_modify(|memory| memory.lost = true);
    assert_eq!(runner.end().await.code(), Some(3));
    let memory = api.memory.borrow();
    assert!(memory.finish.is_none() && memory.states.len() == states);
    drop(memory);
    until_gone("lost-marker").await;
}

#[tokio::test]
async fn a_runner_told_to_stop_pushes_and_says_so() {
    let home = tempfile::tempdir().unwrap();
    let api = Api::serve(job(build(Transition::Start)), &[("main.tf", &slow_template("told-marker"))], None).await;
    let runner = api.runner(home.path(), &[]);
    api.until("the slow resource begins", |memory| memory.log().contains("Provisioning with")).await;
    runner.signal(Signal::TERM);
    let finish = runner.reported(&api).await;
    assert_eq!(failure(&finish.outcome), "the runner was told to stop");
    assert_eq!(resources_of(&api.last_state().unwrap()), ["terraform_data.quick", "terraform_data.slow"]);
    until_gone("told-marker").await;
}

#[tokio::test]
async fn a_runner_killed_with_sigkill_takes_terraform_with_it() {
    let home = tempfile::tempdir().unwrap();
    let api = Api::serve(job(build(Transition::Start)), &[("main.tf", &slow_template("orphan-marker"))], None).await;
    let runner = api.runner(home.path(), &[]);
    api.until("the first state", |memory| !memory.states.is_empty()).await;
    api.until("the slow resource begins", |memory| memory.log().contains("Provisioning with")).await;
    let terraform = terraform_of(&runner);
    runner.signal(Signal::KILL);
    runner.end().await;
    until_gone("orphan-marker").await;
    until("terraform ends", || !Path::new(&format!("/proc/{terraform}")).exists()).await;
    assert_eq!(resources_of(&api.last_state().unwrap()), ["terraform_data.quick"]);
}

#[tokio::test]
async fn an_api_that_is_away_beyond_the_lease_ends_the_build_and_hears_of_it_later() {
    let home = tempfile::tempdir().unwrap();
    let api = Api::serve(job(build(Transition::Start)), &[("main.tf", &slow_template("away-marker"))], None).await;
    api.memory.send_modify(|memory| memory.lease_seconds = 2);
    let runner = api.runner(home.path(), &[]);
    api.until("the slow resource begins", |memory| memory.log().contains("Provisioning with")).await;
    api.memory.send_modify(|memory| memory.down = true);
    until_gone("away-marker").await;
    api.memory.send_modify(|memory| memory.down = false);
    let finish = runner.reported(&api).await;
    assert_eq!(failure(&finish.outcome), "the runner could not reach the API until its lease ended");
    assert_eq!(resources_of(&api.last_state().unwrap()), ["terraform_data.quick", "terraform_data.slow"]);
}

#[tokio::test]
async fn an_api_that_is_away_for_a_moment_is_waited_for() {
    let home = tempfile::tempdir().unwrap();
    let main = "resource \"terraform_data\" \"a\" {\n  provisioner \"local-exec\" {\n    command = \"sleep 1\"\n  }\n}\n";
    let api = Api::serve(job(build(Transition::Start)), &[("main.tf", main)], None).await;
    let runner = api.runner(home.path(), &[]);
    api.until("the resource begins", |memory| memory.log().contains("Provisioning with")).await;
    api.memory.send_modify(|memory| memory.down = true);
    let heartbeats = api.memory.borrow().heartbeats;
    api.until("missed heartbeats", |memory| memory.heartbeats > heartbeats + 1).await;
    api.memory.send_modify(|memory| memory.down = false);
    let finish = runner.reported(&api).await;
    assert_eq!((finish.outcome, finish.resources.len()), (Outcome::Succeeded, 1));
    assert_eq!(resources_of(&api.last_state().unwrap()), ["terraform_data.a"]);
    assert!(api.memory.borrow().log().contains("Apply complete!"), "the log is whole");
}

#[tokio::test]
async fn a_failed_build_reports_what_there_is_nevertheless() {
    let home = tempfile::tempdir().unwrap();
    let main = r#"
        resource "terraform_data" "made" {}
        resource "terraform_data" "fails" {
          depends_on = [terraform_data.made]
          provisioner "local-exec" {
            command = "echo too bad >&2; exit 7"
          }
        }
    "#;
    let api = Api::serve(job(build(Transition::Start)), &[("main.tf", main)], None).await;
    let finish = api.runner(home.path(), &[]).reported(&api).await;
    let error = failure(&finish.outcome);
    assert!(error.starts_with("main.tf:5: local-exec provisioner error: ") && error.contains("exit status 7"), "{error}");
    assert_eq!(finish.resources.len(), 2);
    assert!(api.memory.borrow().log().contains("too bad"));
}

#[tokio::test]
async fn the_templates_code_sees_no_token_and_no_session() {
    let home = tempfile::tempdir().unwrap();
    let main = r#"
        variable "password" {
          sensitive = true
        }
        resource "terraform_data" "spy" {
          provisioner "local-exec" {
            command = "env; cat /proc/$PPID/environ | tr '\\0' '\\n'"
          }
        }
        output "password" {
          value     = var.password
          sensitive = true
        }
    "#;
    let spied = Build {
        variables: [("password".to_owned(), Secret::new("variable-canary".to_owned()))].into(),
        ..build(Transition::Start)
    };
    let api = Api::serve(job(spied), &[("main.tf", main)], None).await;
    let finish = api.runner(home.path(), &[]).reported(&api).await;
    assert_eq!(finish.outcome, Outcome::Succeeded, "{}", api.memory.borrow().log());
    let log = api.memory.borrow().log();
    assert!(log.contains("TF_IN_AUTOMATION=1") && log.contains("TF_REATTACH_PROVIDERS="), "{log}");
    assert!(!log.contains("canary"), "{log}");
}

#[tokio::test]
async fn a_template_with_modules_and_a_backend_is_initialized() {
    let home = tempfile::tempdir().unwrap();
    let main = "terraform {\n  backend \"s3\" {\n    bucket = \"b\"\n  }\n}\nmodule \"m\" {\n  source = \"./m\"\n}\n";
    let files = [("main.tf", main), ("m/main.tf", "resource \"terraform_data\" \"inner\" {}")];
    let api = Api::serve(job(build(Transition::Start)), &files, None).await;
    let finish = api.runner(home.path(), &[]).reported(&api).await;
    assert_eq!(finish.outcome, Outcome::Succeeded, "{}", api.memory.borrow().log());
    assert_eq!((finish.resources.len(), finish.resources[0].name.as_str()), (1, "inner"));
    assert!(api.memory.borrow().log().contains("Initializing Terraform info: Terraform has been successfully initialized!"));
}

#[tokio::test]
async fn an_init_that_was_left_out_wrongly_is_made_up_for() {
    let home = tempfile::tempdir().unwrap();
    let unseen = format!("# {}\nmodule \"m\" {{\n  source = \"./m\"\n}}\n", "too large to be looked into ".repeat(200_000));
    let files = [("main.tf", unseen.as_str()), ("m/main.tf", "resource \"terraform_data\" \"inner\" {}")];
    let api = Api::serve(job(build(Transition::Start)), &files, None).await;
    let finish = api.runner(home.path(), &[]).reported(&api).await;
    assert_eq!(finish.outcome, Outcome::Succeeded, "{}", api.memory.borrow().log());
}
