//! Scripts of a template: on a schedule, before a stop, and what is told of them.

use crate::harness::{Berth, eventually, repository, template};
use std::{fs, path::PathBuf};

/// The local template with more in it.
fn local_with(berth: &Berth, name: &str, more: &str, (from, to): (&str, &str)) {
    let local = fs::read_to_string(repository().join("templates/local/main.tf")).unwrap();
    assert!(local.contains(from), "the local template has no {from}");
    let directory = template(berth, name, &format!("{}\n{more}", local.replace(from, to)));
    berth.ok(&["templates", "push", name, "--directory", &directory, "--yes"]);
    berth.ok(&["create", "dev", "--template", name, "--yes"]);
}

fn home_of_workspace(berth: &Berth) -> PathBuf {
    berth.ok(&["ssh", "dev", "--", "pwd"]).trim().into()
}

/// A server that ends when it is asked to, a schedule, and a script before the stop that needs the server.
const WITH_STOP: &str = r#"
resource "coder_script" "server" {
  agent_id     = coder_agent.main.id
  display_name = "Server"
  run_on_start = true
  script       = <<-EOT
    touch server-runs
    nohup sh -c 'trap "rm server-runs; exit" TERM; while :; do sleep 0.1; done' > /dev/null 2>&1 &
  EOT
}
resource "coder_script" "tick" {
  agent_id     = coder_agent.main.id
  display_name = "Tick"
  cron         = "* * * * * *"
  script       = "echo tick >> ticks"
}
resource "coder_script" "save" {
  agent_id     = coder_agent.main.id
  display_name = "Save"
  run_on_stop  = true
  timeout      = 20
  script       = <<-EOT
    sleep 0.5
    test -e server-runs && echo the-server-still-runs
    echo saved > saved
  EOT
}
"#;

#[test]
fn stop_scripts_run_before_anything_is_taken_down_and_who_waits_sees_them() {
    let berth = Berth::signed_in();
    local_with(&berth, "saving", WITH_STOP, ("", ""));
    let home = home_of_workspace(&berth);
    eventually("two ticks", || fs::read_to_string(home.join("ticks")).ok().filter(|ticks| ticks.lines().count() >= 2));
    let timings = berth.ok(&["builds", "timings", "dev"]);
    assert!(timings.contains("main: Server") && !timings.contains("main: Tick"), "{timings}");

    berth.ok(&["stop", "dev", "--yes"]);
    assert_eq!(fs::read_to_string(home.join("saved")).unwrap(), "saved\n");
    assert!(!home.join("server-runs").exists(), "the server was asked to end, not killed");
    let log = berth.ok(&["logs", "dev"]);
    for told in ["main runs its stop script", "the-server-still-runs", "main: Save ended well after "] {
        assert!(log.contains(told), "{told} is not in the log of the stop:\n{log}");
    }
    assert_eq!(berth.workspace_processes(), []);
}

/// A script before the stop that ignores whatever it is told.
const STUBBORN: &str = r#"
resource "coder_script" "stubborn" {
  agent_id     = coder_agent.main.id
  display_name = "Stubborn"
  run_on_stop  = true
  script       = "trap '' HUP INT TERM; echo never-mind; while :; do sleep 1; done"
}
"#;

#[test]
fn a_stop_script_that_does_not_end_holds_a_stop_up_for_its_grace_and_no_longer() {
    let berth = Berth::signed_in();
    local_with(&berth, "stubborn", STUBBORN, ("stop_grace_seconds = 30", "stop_grace_seconds = 2"));
    berth.ok(&["stop", "dev", "--yes"]);
    let log = berth.ok(&["logs", "dev"]);
    assert!(log.contains("never-mind"), "{log}");
    assert!(log.contains("it did not end within stop_grace_seconds = 2"), "{log}");
    assert_eq!(berth.workspace_processes(), []);
}
