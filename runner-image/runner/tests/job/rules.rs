//! Stories of what a build may do and how long it may take: the gate, the ladder to the last rung, the watchdog, and the timings.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use berth_domain::{FailureCode, Gate, ParameterValue, TimingStage, Transition};
use berth_wire::runner::{Build, Finish, Job, Outcome};
use rustix::process::Signal;

use super::api::{Api, build, processes_with, until_gone};

fn job(build: Build) -> Job {
    Job::Build(Box::new(build))
}

/// The terraform on PATH.
fn terraform() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    std::env::split_paths(&path)
        .map(|directory| directory.join("terraform"))
        .find(|file| file.is_file())
        .expect("terraform on PATH")
}

/// A Terraform that is the real one until it comes to apply; then it is this script.
fn stubborn(home: &Path, apply: &str) -> String {
    let path = home.join("stubborn-terraform");
    let script = format!("#!/bin/bash\n[ \"$1\" = apply ] || exec {} \"$@\"\n{apply}\n", terraform().display());
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

const STATE: &str = r#"{"version": 4, "serial": 7, "lineage": "l", "resources": []}"#;
const EMPTY: [(&str, &str); 1] = [("main.tf", "resource \"terraform_data\" \"a\" {}")];

#[tokio::test]
async fn a_terraform_that_ignores_the_first_interrupt_gets_a_second_one() {
    let home = tempfile::tempdir().unwrap();
    let apply = format!(
        "trap 'n=$((n+1)); [ $n -lt 2 ] || exit 1' INT\necho '{STATE}' > terraform.tfstate\necho ready\nwhile :; do sleep 0.1; done"
    );
    let terraform = stubborn(home.path(), &apply);
    let api = Api::serve(job(build(Transition::Start)), &EMPTY, None).await;
    let extra = [("BERTH_TERRAFORM_BIN", terraform.as_str()), ("BERTH_CANCEL_GRACE_SECONDS", "2")];
    let runner = api.runner(home.path(), &extra);
    api.until("terraform's first word", |memory| memory.log().contains("ready")).await;
    let asked = Instant::now();
    api.memory.send_modify(|memory| memory.cancel = true);
    let finish = runner.reported(&api).await;
    assert_eq!(finish.outcome, Outcome::Canceled);
    assert!(asked.elapsed() >= Duration::from_secs(2), "the second interrupt comes after the grace: {:?}", asked.elapsed());
    assert_eq!(api.last_state().unwrap(), format!("{STATE}\n").into_bytes(), "what it had written is pushed");
}

#[tokio::test]
async fn a_terraform_that_ignores_everything_is_killed_with_all_it_started() {
    let home = tempfile::tempdir().unwrap();
    let apply = format!(
        "trap '' INT TERM\necho '{STATE}' > terraform.tfstate\nbash -c 'trap \"\" INT TERM; while :; do sleep 0.2; done # deaf-marker' &\necho ready\nwhile :; do sleep 0.1; done"
    );
    let terraform = stubborn(home.path(), &apply);
    let api = Api::serve(job(build(Transition::Start)), &EMPTY, None).await;
    let extra = [("BERTH_TERRAFORM_BIN", terraform.as_str()), ("BERTH_CANCEL_GRACE_SECONDS", "1")];
    let runner = api.runner(home.path(), &extra);
    api.until("terraform's first word", |memory| memory.log().contains("ready")).await;
    assert!(!processes_with("deaf-marker").is_empty());
    api.memory.send_modify(|memory| memory.cancel = true);
    let finish = runner.reported(&api).await;
    assert_eq!(finish.outcome, Outcome::Canceled, "{}", api.memory.borrow().log());
    until_gone("deaf-marker").await;
    assert_eq!(api.last_state().unwrap(), format!("{STATE}\n").into_bytes(), "the last push follows even the last rung");
}

/// What a Fargate task that is stopped goes through: SIGTERM, and SIGKILL 120 s later. The ladder ends well before.
#[tokio::test]
async fn a_told_runner_whose_terraform_is_deaf_loses_only_what_was_in_flight() {
    let home = tempfile::tempdir().unwrap();
    let main = r#"
        resource "terraform_data" "made" {}
        resource "terraform_data" "deaf" {
          depends_on = [terraform_data.made]
          provisioner "local-exec" {
            command = "trap '' INT TERM; sleep 300 || echo stop-marker; sleep 300"
          }
        }
    "#;
    let api = Api::serve(job(build(Transition::Start)), &[("main.tf", main)], None).await;
    let runner = api.runner(home.path(), &[("BERTH_CANCEL_GRACE_SECONDS", "2")]);
    api.until("the deaf resource begins", |memory| memory.log().contains("Provisioning with")).await;
    api.until("the first state", |memory| !memory.states.is_empty()).await;
    runner.signal(Signal::TERM);
    let finish = runner.reported(&api).await;
    assert_eq!(finish.outcome, Outcome::Failed { error: "the runner was told to stop".into() }, "{}", api.memory.borrow().log());
    assert!(String::from_utf8(api.last_state().unwrap()).unwrap().contains("\"made\""));
    until_gone("stop-marker").await;
}

/// A resource that takes as long as `seconds`, and says nothing meanwhile.
fn sleeper(seconds: u32) -> String {
    format!(
        "resource \"terraform_data\" \"long\" {{\n  provisioner \"local-exec\" {{\n    command = \"exec sleep {seconds}\"\n  }}\n}}\n"
    )
}

fn failure(finish: &Finish) -> &str {
    match &finish.outcome {
        Outcome::Failed { error } => error,
        other => panic!("{other:?} is not a failure"),
    }
}

#[tokio::test]
async fn a_build_that_takes_too_long_is_ended_and_names_what_it_was_at() {
    let home = tempfile::tempdir().unwrap();
    let limited = Build { timeout_ms: 4_000, ..build(Transition::Start) };
    let api = Api::serve(job(limited), &[("main.tf", &sleeper(7301))], None).await;
    let finish = api.runner(home.path(), &[]).reported(&api).await;
    let error = failure(&finish);
    assert!(
        error.starts_with("the build was ended after 4 s, the longest it may take; it was at terraform_data.long (create) for "),
        "{error}"
    );
    assert!(api.memory.borrow().log().contains(error), "the log says it too");
    until_gone("sleep 7301").await;
}

#[tokio::test]
async fn a_build_that_says_and_does_nothing_is_ended_and_one_that_works_is_not() {
    let home = tempfile::tempdir().unwrap();
    let limited = Build { silence_ms: 12_000, ..build(Transition::Start) };
    let api = Api::serve(job(limited.clone()), &[("main.tf", &sleeper(7302))], None).await;
    // Terraform says every ten seconds that it still waits; that is no sign of life.
    let silent = api.runner(home.path(), &[]);
    let busy_home = tempfile::tempdir().unwrap();
    let busy = "resource \"terraform_data\" \"busy\" {\n  provisioner \"local-exec\" {\n    command = \"for i in $(seq 16); do sleep 1; done\"\n  }\n}\n";
    let busy_api = Api::serve(job(limited), &[("main.tf", busy)], None).await;
    let busy = busy_api.runner(busy_home.path(), &[]);
    let finish = silent.reported(&api).await;
    let error = failure(&finish);
    assert!(error.starts_with("the build was ended: it said and did nothing for 1"), "{error}");
    assert!(error.contains("; it was at terraform_data.long (create) for 1"), "{error}");
    assert!(api.memory.borrow().log().contains("Still"), "{}", api.memory.borrow().log());
    until_gone("sleep 7302").await;
    let finish = busy.reported(&busy_api).await;
    assert_eq!(finish.outcome, Outcome::Succeeded, "new processes are a sign of life: {}", busy_api.memory.borrow().log());
}

#[tokio::test]
async fn the_time_of_a_build_is_told_resource_by_resource() {
    let home = tempfile::tempdir().unwrap();
    let main = r#"
        resource "terraform_data" "quick" {}
        resource "terraform_data" "slow" {
          depends_on = [terraform_data.quick]
          provisioner "local-exec" {
            command = "sleep 1"
          }
        }
    "#;
    let api = Api::serve(job(build(Transition::Start)), &[("main.tf", main)], None).await;
    let finish = api.runner(home.path(), &[]).reported(&api).await;
    assert_eq!(finish.outcome, Outcome::Succeeded, "{}", api.memory.borrow().log());
    let find = |stage, action: &str, resource: &str| {
        let mut found = finish.timings.iter().filter(|one| one.stage == stage && one.action == action && one.resource == resource);
        let one = found.next().unwrap_or_else(|| panic!("{action} {resource}: {:?}", finish.timings));
        assert_eq!(found.next(), None, "once");
        one
    };
    let took = |timing: &berth_domain::Timing| timing.ended_at.duration_since(timing.started_at).as_millis();
    let (plan, apply) = (find(TimingStage::Plan, "plan", "terraform"), find(TimingStage::Apply, "apply", "terraform"));
    assert!(plan.ended_at <= apply.started_at);
    let slow = find(TimingStage::Apply, "create", "terraform_data.slow");
    assert!(took(slow) >= 1000 && took(apply) >= took(slow), "{:?}", finish.timings);
    assert!(took(find(TimingStage::Apply, "provision", "terraform_data.slow")) >= 1000);
    assert!(took(find(TimingStage::Apply, "create", "terraform_data.quick")) < 1000);
    assert_eq!(slow.source, "terraform");
}

#[tokio::test]
async fn what_holds_data_is_replaced_with_consent_only_and_the_plan_that_was_looked_at_is_applied() {
    let home = tempfile::tempdir().unwrap();
    let main = r#"
        terraform {
          required_providers {
            coder = { source = "coder/coder" }
            berth = { source = "berth/berth" }
          }
        }
        data "coder_parameter" "folder" {
          name = "folder"
          mutable = true
        }
        resource "berth_directory" "home" {
          name = data.coder_parameter.folder.value
        }
    "#;
    let files = [("main.tf", main)];
    let workspace_id = uuid::Uuid::new_v4();
    let of = |folder: &str, gate| Build {
        workspace_id,
        parameters: vec![ParameterValue { name: "folder".into(), value: folder.into() }],
        gate,
        ..build(Transition::Start)
    };
    let gate = Some(Gate { keep: true, daily_cost_max: None });
    let api = Api::serve(job(of("one", gate)), &files, None).await;
    let finish = api.runner(home.path(), &[]).reported(&api).await;
    assert_eq!(finish.outcome, Outcome::Succeeded, "{}", api.memory.borrow().log());
    let log = api.memory.borrow().log();
    assert!(log.contains("Planning") && log.contains("Applying"), "{log}");

    let asked = Api::serve(job(of("two", gate)), &files, api.last_state()).await;
    let finish = asked.runner(home.path(), &[]).reported(&asked).await;
    let Outcome::Refused { error, code: FailureCode::ReplacementNeedsConsent } = &finish.outcome else { panic!("{finish:?}") };
    assert_eq!(
        error,
        "berth_directory.home would be replaced (name changes); nothing was changed. `berth start dev --allow-replace` consents to it"
    );
    assert!(asked.last_state().is_none(), "nothing was changed");
    assert_eq!(finish.resources.len(), 1, "what there is is still shown");

    let consented = Api::serve(job(of("two", None)), &files, api.last_state()).await;
    let finish = consented.runner(home.path(), &[]).reported(&consented).await;
    assert_eq!(finish.outcome, Outcome::Succeeded, "{}", consented.memory.borrow().log());
    assert!(!consented.memory.borrow().log().contains("Planning"), "without a gate there is one apply");
}

#[tokio::test]
async fn what_costs_too_much_is_not_made() {
    let home = tempfile::tempdir().unwrap();
    let main = r#"
        terraform {
          required_providers {
            coder = { source = "coder/coder" }
          }
        }
        resource "terraform_data" "vm" {}
        resource "coder_metadata" "vm" {
          resource_id = terraform_data.vm.id
          daily_cost  = 120
        }
    "#;
    let of = |most| Build { gate: Some(Gate { keep: false, daily_cost_max: Some(most) }), ..build(Transition::Start) };
    let api = Api::serve(job(of(100)), &[("main.tf", main)], None).await;
    let finish = api.runner(home.path(), &[]).reported(&api).await;
    let Outcome::Refused { error, code: FailureCode::InsufficientQuota } = &finish.outcome else { panic!("{finish:?}") };
    assert!(
        error.starts_with("this would cost 120 a day, more than the 100 that template local allows; nothing was changed."),
        "{error}"
    );
    assert!(api.last_state().is_none());
    let api = Api::serve(job(of(120)), &[("main.tf", main)], None).await;
    assert_eq!(api.runner(home.path(), &[]).reported(&api).await.outcome, Outcome::Succeeded);
}
