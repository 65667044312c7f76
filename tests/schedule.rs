//! What happens to workspaces over time: stopped without anyone asking, retried, renamed, moved to newer versions.

use crate::{
    harness::{Berth, eventually, template},
    terminal::Terminal,
};
use berth_wire::template::UpdateTemplate;

fn latest(berth: &Berth, name: &str) -> serde_json::Value {
    berth.json(&["show", name])["latest_build"].clone()
}

fn push(berth: &Berth, name: &str, main: &str) {
    let directory = template(berth, name, main);
    berth.ok(&["templates", "push", name, "--directory", &directory, "--yes"]);
}

const SMALL: &str =
    "data \"coder_workspace\" \"me\" {}\nresource \"terraform_data\" \"one\" { input = data.coder_workspace.me.name }\n";

#[test]
fn a_workspace_is_stopped_when_its_time_is_over() {
    let berth = Berth::signed_in();
    push(&berth, "small", SMALL);
    berth.ok(&["create", "dev", "--template", "small", "--yes"]);
    assert!(berth.ok(&["schedule", "show", "dev"]).contains("never"));
    berth.ok(&["schedule", "stop", "dev", "8h"]);
    berth.ok(&["restart", "dev", "--yes"]);
    assert!(berth.ok(&["show", "dev"]).contains("stops in 7h 59m") || berth.ok(&["show", "dev"]).contains("stops in 8h"));
    berth.ok(&["schedule", "extend", "dev", "1s"]);
    let stopped = eventually("the stop that nobody asked for", || {
        let build = latest(&berth, "dev");
        (build["status"] == "stopped").then_some(build)
    });
    assert_eq!(
        (&stopped["reason"], &stopped["initiator_name"], &stopped["transition"]),
        (&"autostop".into(), &"ada".into(), &"stop".into())
    );
    assert!(berth.ok(&["builds", "list", "dev"]).contains("autostop"));
    let text = berth.fails(&["schedule", "extend", "dev", "2h"]);
    assert!(text.contains("does not run") && text.contains("berth start dev"), "{text}");
    assert!(berth.fails(&["schedule", "stop", "dev", "soon"]).contains("write it like 8h"));
    berth.ok(&["start", "dev", "--yes"]);
    assert_eq!(latest(&berth, "dev")["status"], "running");
}

#[test]
fn a_workspace_is_renamed_and_the_template_sees_it_at_the_next_build() {
    let berth = Berth::signed_in();
    push(&berth, "small", SMALL);
    berth.ok(&["create", "dev", "--template", "small", "--yes"]);
    berth.ok(&["create", "other", "--template", "small", "--yes"]);
    let text = berth.fails(&["rename", "dev", "other", "--yes"]);
    assert!(text.contains("already has a workspace named other"), "{text}");
    assert!(berth.fails(&["rename", "dev", "work"]).contains("--yes"), "without a terminal it asks for the flag");
    berth.ok(&["rename", "dev", "work", "--yes"]);
    assert!(berth.fails(&["show", "dev"]).contains("dev"));
    berth.ok(&["restart", "work", "--yes"]);
    let logs = berth.ok(&["logs", "work", "-n", "-1"]);
    assert!(logs.contains("terraform_data.one: Modif"), "the template was told the new name: {logs}");
    berth.ok(&["create", "dev", "--template", "small", "--yes"]);
    berth.ok(&["delete", "work", "--yes"]);
}

#[test]
fn a_failed_build_is_retried_with_what_it_had() {
    let berth = Berth::signed_in();
    let main = format!(
        "data \"coder_parameter\" \"size\" {{\n  name = \"size\"\n  mutable = true\n}}\nresource \"terraform_data\" \"one\" {{\n  input = data.coder_parameter.size.value\n  provisioner \"local-exec\" {{ command = \"test -e {}/go\" }}\n}}\n",
        berth.home().display()
    );
    push(&berth, "flaky", &main);
    berth.fails(&["create", "dev", "--template", "flaky", "--parameter", "size=big", "--yes"]);
    assert_eq!(latest(&berth, "dev")["status"], "failed");
    std::fs::write(berth.home().join("go"), "").unwrap();
    berth.ok(&["retry", "dev"]);
    let build = latest(&berth, "dev");
    assert_eq!((&build["status"], &build["build_number"]), (&"running".into(), &2.into()));
    let text = berth.fails(&["retry", "dev"]);
    assert!(text.contains("nothing to retry"), "{text}");
    let first = berth.json(&["show", "dev", "--build", "1"]);
    assert_eq!((&first["build_number"], &first["job"]["status"]), (&1.into(), &"failed".into()));
    assert!(first["job"]["worker_id"].is_string());

    let timings = berth.json(&["builds", "timings", "dev"]);
    let timings = timings["provisioner_timings"].as_array().unwrap();
    let has = |stage: &str, resource: &str| timings.iter().any(|one| one["stage"] == stage && one["resource"] == resource);
    assert!(has("apply", "terraform_data.one") && has("plan", "terraform") && has("apply", "terraform"), "{timings:?}");
    let table = berth.ok(&["builds", "timings", "dev", "-n", "2"]);
    assert!(table.contains("queue") && table.contains("terraform_data.one"), "{table}");
    assert!(berth.fails(&["builds", "timings", "dev", "-n", "9"]).contains("its builds are 1 to 2"));
}

#[test]
fn a_workspace_follows_its_template_when_told_to() {
    let berth = Berth::signed_in();
    push(&berth, "small", SMALL);
    berth.ok(&["create", "dev", "--template", "small", "--yes"]);
    let first = latest(&berth, "dev")["template_version_id"].clone();
    push(&berth, "small", &format!("{SMALL}resource \"terraform_data\" \"two\" {{}}\n"));
    assert_eq!(berth.json(&["show", "dev"])["outdated"], true);
    berth.ok(&["restart", "dev", "--yes"]);
    assert_eq!(latest(&berth, "dev")["template_version_id"], first, "a start keeps the version unless told otherwise");
    berth.ok(&["autoupdate", "dev", "always"]);
    berth.ok(&["restart", "dev", "--yes"]);
    assert_ne!(latest(&berth, "dev")["template_version_id"], first);
    assert_eq!(berth.json(&["show", "dev"])["outdated"], false);
    assert!(berth.run(&["autoupdate", "dev", "sometimes"]).stderr.contains("always, never"));
}

#[tokio::test]
async fn what_holds_data_is_replaced_with_consent_only() {
    let berth = Berth::signed_in();
    let main = r#"
terraform {
  required_providers {
    coder = { source = "coder/coder" }
    berth = { source = "berth/berth" }
  }
}
data "coder_parameter" "folder" {
  name    = "folder"
  default = "one"
  mutable = true
}
resource "berth_directory" "home" { name = data.coder_parameter.folder.value }
"#;
    push(&berth, "kept", main);
    let (client, asks) = (berth.client(), UpdateTemplate { replacement_consent: Some(true), ..UpdateTemplate::default() });
    let kept = client.template_by_name("kept").await.unwrap();
    client.update_template(kept.id, &asks).await.unwrap();
    berth.ok(&["create", "dev", "--template", "kept", "--yes"]);
    let text = berth.fails(&["restart", "dev", "--yes", "--parameter", "folder=two"]);
    assert!(text.contains("berth_directory.home would be replaced (name changes); nothing was changed"), "{text}");
    assert!(text.contains("--allow-replace"), "{text}");
    assert_eq!(latest(&berth, "dev")["job"]["error_code"], "REPLACEMENT_NEEDS_CONSENT");
    berth.ok(&["start", "dev", "--yes", "--parameter", "folder=two", "--allow-replace"]);
    assert_eq!(latest(&berth, "dev")["status"], "running");

    // At a terminal the person is asked; `--yes` is a yes to the restart, not to the loss.
    let restart = ["restart", "dev", "--yes", "--parameter", "folder=three"];
    let question = "What is in them would be lost. Go on?";
    let refused = Terminal::start(&berth, &restart);
    refused.shows("berth_directory.home would be replaced").shows(question).types(&["n", "Enter"]).shows("code=1");
    assert_eq!(latest(&berth, "dev")["job"]["error_code"], "REPLACEMENT_NEEDS_CONSENT");
    let granted = Terminal::start(&berth, &["start", "dev", "--yes", "--parameter", "folder=three"]);
    granted.shows(question).types(&["y", "Enter"]).shows("code=0");
    assert_eq!(latest(&berth, "dev")["status"], "running");
    berth.ok(&["delete", "dev", "--yes"]);
}
