//! Builds: transitions, cancel, history, logs, and what happens when a part dies.

use crate::harness::{Berth, eventually, template};
use berth_domain::Transition;
use berth_wire::build::CreateBuild;
use nix::sys::signal::{Signal, kill};
use std::{
    io::{BufRead, BufReader},
    process::{Child, Stdio},
};

/// A template whose start takes as long as a marker file is missing, after one resource is there.
fn slow(berth: &Berth) -> String {
    let main = format!(
        r#"
data "coder_workspace" "me" {{}}
resource "terraform_data" "first" {{ input = data.coder_workspace.me.name }}
resource "terraform_data" "second" {{
  depends_on = [terraform_data.first]
  provisioner "local-exec" {{ command = "while [ ! -e {home}/go ]; do sleep 0.1; done" }}
}}
"#,
        home = berth.home().display()
    );
    template(berth, "slow", &main)
}

pub(crate) fn status(berth: &Berth) -> String {
    berth.json(&["show", "dev"])["latest_build"]["status"].as_str().unwrap().to_owned()
}

/// A workspace whose first build hangs in its second resource, the first being pushed.
fn hanging() -> (Berth, Child) {
    hanging_at(Berth::signed_in())
}

/// The same for somebody who is signed in.
pub(crate) fn hanging_at(berth: Berth) -> (Berth, Child) {
    let (directory, name) = (slow(&berth), berth.template_name("slow"));
    berth.ok(&["templates", "push", &name, "--directory", &directory, "--yes"]);
    let create = berth.berth(&["create", "dev", "--template", &name, "--yes"]).stderr(Stdio::null()).spawn().unwrap();
    eventually("the first resource in the pushed state", || {
        let logs = berth.run(&["logs", "dev"]).stdout;
        (logs.contains("terraform_data.first") && logs.contains("terraform_data.second")).then_some(())
    });
    (berth, create)
}

#[test]
fn start_stop_restart_keep_the_home_and_delete_leaves_nothing() {
    life(&Berth::with_workspace());
}

/// Start, stop, restart and delete of the running workspace `dev`.
pub(crate) fn life(berth: &Berth) {
    berth.ok(&["ssh", "dev", "--", "echo kept > note; nohup sleep 7777 >/dev/null 2>&1 & setsid sleep 7778 >/dev/null 2>&1 &"]);
    assert!(!berth.workspace_processes().is_empty());
    berth.ok(&["stop", "dev", "--yes"]);
    assert_eq!(berth.workspace_processes(), [], "a stopped workspace runs nothing");
    berth.ok(&["start", "dev", "--yes"]);
    assert_eq!(berth.ok(&["ssh", "dev", "--", "cat note"]), "kept\n");
    berth.ok(&["restart", "dev", "--yes"]);
    let home = berth.ok(&["ssh", "dev", "--", "pwd"]).trim().to_owned();
    let builds = berth.json(&["show", "dev"])["latest_build"]["build_number"].as_u64().unwrap();
    assert_eq!(builds, 5, "create, stop, start, stop, start");
    berth.ok(&["delete", "dev", "--yes"]);
    assert_eq!(berth.workspace_processes(), [], "no process is left behind by a delete");
    assert!(!std::path::Path::new(&home).exists(), "{home} is gone");
}

#[tokio::test]
async fn a_build_can_be_followed_and_canceled() {
    cancel(hanging()).await;
}

/// A build that hangs is canceled; the next one goes on.
pub(crate) async fn cancel((berth, mut create): (Berth, Child)) {
    let client = berth.client();
    let workspace = client.workspace_by_name("me", "dev").await.unwrap();
    let stop = CreateBuild::new(Transition::Stop);
    let busy = client.create_build(workspace.id, &stop).await.unwrap_err();
    assert!(busy.is_conflict() && busy.to_string().contains("build 1"), "a second build is refused while one runs: {busy}");
    berth.ok(&["cancel", "dev"]);
    assert!(!create.wait().unwrap().success());
    eventually("the canceled status", || (status(&berth) == "canceled").then_some(()));
    std::fs::write(berth.home().join("go"), "").unwrap();
    berth.ok(&["start", "dev", "--yes"]);
    assert_eq!(status(&berth), "running");
    berth.ok(&["delete", "dev", "--yes"]);
}

#[test]
fn a_killed_runner_fails_its_build_and_a_retry_continues_from_the_pushed_state() {
    killed_runner(hanging());
}

/// The runner of a build that hangs is killed; a retry goes on from the pushed state.
pub(crate) fn killed_runner((berth, mut create): (Berth, Child)) {
    let runners = berth.runners();
    assert!(!runners.is_empty());
    runners.iter().for_each(|pid| kill(*pid, Signal::SIGKILL).unwrap());
    assert!(!create.wait().unwrap().success(), "berth create says that the build failed");
    assert_eq!(status(&berth), "failed");
    let error = berth.json(&["show", "dev"])["latest_build"]["job"]["error"].as_str().unwrap().to_owned();
    assert!(error.contains("runner"), "{error}");
    std::fs::write(berth.home().join("go"), "").unwrap();
    berth.ok(&["start", "dev", "--yes"]);
    let logs = berth.ok(&["logs", "dev"]);
    assert!(!logs.contains("terraform_data.first: Creating"), "the first resource is known from the pushed state: {logs}");
    berth.ok(&["delete", "dev", "--yes"]);
}

#[test]
fn a_killed_server_leaves_nothing_stuck() {
    let (mut berth, mut create) = hanging();
    berth.kill_server();
    berth.runners().iter().for_each(|pid| kill(*pid, Signal::SIGKILL).unwrap());
    let _ended = create.kill();
    let _reaped = create.wait();
    berth.start_server();
    eventually("the lost build's end", || (status(&berth) == "failed").then_some(()));
    std::fs::write(berth.home().join("go"), "").unwrap();
    berth.ok(&["start", "dev", "--yes"]);
    assert_eq!(status(&berth), "running");
    berth.ok(&["delete", "dev", "--yes"]);
}

#[test]
fn a_build_outlives_a_short_outage_of_the_server() {
    let (mut berth, mut create) = hanging();
    berth.kill_server();
    berth.start_server();
    std::fs::write(berth.home().join("go"), "").unwrap();
    eventually("the build's end", || (status(&berth) == "running").then_some(()));
    let _ended = create.kill();
    let _reaped = create.wait();
}

#[test]
fn a_closed_terminal_during_create_does_not_stop_the_build() {
    closed_terminal(hanging());
}

/// Whoever watches a build goes away; the build goes on.
pub(crate) fn closed_terminal((berth, mut create): (Berth, Child)) {
    kill(nix::unistd::Pid::from_raw(create.id().try_into().unwrap()), Signal::SIGHUP).unwrap();
    create.wait().unwrap();
    std::fs::write(berth.home().join("go"), "").unwrap();
    eventually("the build's end", || (status(&berth) == "running").then_some(()));
}

#[test]
fn a_failed_apply_shows_terraforms_reason_and_can_be_deleted() {
    failed_apply(&Berth::signed_in());
}

/// Terraform fails; the person reads why, and deletes what there is.
pub(crate) fn failed_apply(berth: &Berth) {
    let name = berth.template_name("bad");
    let main =
        "resource \"terraform_data\" \"bad\" {\n  provisioner \"local-exec\" { command = \"echo no luck >&2; exit 3\" }\n}\n";
    let directory = template(berth, "bad", main);
    berth.ok(&["templates", "push", &name, "--directory", &directory, "--yes"]);
    let text = berth.fails(&["create", "dev", "--template", &name, "--yes"]);
    assert!(text.contains("local-exec") && text.contains("main.tf"), "{text}");
    assert_eq!(status(berth), "failed");
    assert!(!berth.ok(&["logs", "dev"]).contains("[DEBUG]"));
    berth.fails(&["retry", "dev", "--debug"]);
    assert!(berth.ok(&["logs", "dev"]).contains("[DEBUG]"), "with Terraform's own debug log");
    berth.ok(&["delete", "dev", "--yes"]);
}

#[test]
fn a_stop_waits_for_a_start_that_fails_and_then_stops() {
    let (berth, mut create) = hanging();
    let mut stop = berth.berth(&["stop", "dev", "--yes"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut talk = BufReader::new(stop.stderr.take().unwrap()).lines();
    assert!(talk.any(|line| line.unwrap().contains("under way")), "it says what it waits for");
    let rest = std::thread::spawn(move || talk.count());
    berth.runners().iter().for_each(|pid| kill(*pid, Signal::SIGKILL).unwrap());
    std::fs::write(berth.home().join("go"), "").unwrap();
    assert!(!create.wait().unwrap().success());
    assert!(eventually("the stop's end", || stop.try_wait().unwrap()).success());
    rest.join().unwrap();
    assert_eq!(status(&berth), "stopped");
}
