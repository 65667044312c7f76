//! The agent: presence, restart, scripts.

use crate::harness::{Berth, eventually, template};
use nix::sys::signal::{Signal, kill};

fn agent(berth: &Berth) -> serde_json::Value {
    let shown = berth.json(&["show", "dev"]);
    let resources = shown["latest_build"]["resources"].as_array().unwrap().clone();
    resources.iter().find_map(|resource| resource["agents"].as_array()?.first().cloned()).expect("an agent")
}

#[test]
fn a_killed_agent_is_seen_at_once_and_a_new_start_brings_it_back() {
    let berth = Berth::with_workspace();
    assert_eq!(agent(&berth)["status"], "connected");
    let agents = berth.agents();
    assert_eq!(agents.len(), 1);
    agents.iter().for_each(|pid| kill(*pid, Signal::SIGKILL).unwrap());
    eventually("the agent's absence", || (agent(&berth)["status"] == "disconnected").then_some(()));
    let text = berth.run(&["ssh", "--no-wait", "dev", "--", "true"]);
    assert_ne!(text.code, Some(0));
    berth.ok(&["restart", "dev", "--yes"]);
    assert_eq!(berth.ok(&["ssh", "dev", "--", "echo back"]), "back\n");
    berth.ok(&["delete", "dev", "--yes"]);
    assert_eq!(berth.workspace_processes(), []);
}

#[test]
fn scripts_run_at_start_and_their_failure_is_told() {
    let berth = Berth::signed_in();
    let local = std::fs::read_to_string(crate::harness::repository().join("templates/local/main.tf")).unwrap();
    let scripts = r#"
resource "coder_script" "good" {
  agent_id     = coder_agent.main.id
  display_name = "Good"
  run_on_start = true
  script       = "echo script-said-hello; echo done > script-ran"
}
resource "coder_script" "bad" {
  agent_id     = coder_agent.main.id
  display_name = "Bad"
  run_on_start = true
  script       = "exit 9"
}
"#;
    let directory = template(&berth, "scripts", &format!("{local}\n{scripts}"));
    berth.ok(&["templates", "push", "scripts", "--directory", &directory, "--yes"]);
    let _created = berth.run(&["create", "dev", "--template", "scripts", "--yes"]);
    eventually("the start error", || (agent(&berth)["lifecycle_state"] == "start_error").then_some(()));
    eventually("the script's file", || {
        (berth.run(&["ssh", "--no-wait", "dev", "--", "cat", "script-ran"]).stdout == "done\n").then_some(())
    });
}
