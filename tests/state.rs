//! Terraform states: listed, pulled, pushed, restored; nothing lost, nothing in clear on the disk.

use crate::harness::{Berth, eventually, finish, template};
use std::{fs, os::unix::fs::PermissionsExt};

/// A template whose state holds a secret that stands nowhere else but in its archive's stead: the answer to a parameter, doubled.
fn with_secret() -> Berth {
    let berth = Berth::signed_in();
    let main = r#"
data "coder_parameter" "size" {
  name    = "size"
  default = "1"
  mutable = true
}
resource "terraform_data" "kept" {
  input = "${join("-", ["canary", "7f3a", "of", "the", "state"])}-${data.coder_parameter.size.value}"
}
"#;
    let directory = template(&berth, "kept", main);
    berth.ok(&["templates", "push", "kept", "--directory", &directory, "--yes"]);
    berth.ok(&["create", "dev", "--template", "kept", "--yes"]);
    berth
}

fn versions(berth: &Berth) -> Vec<serde_json::Value> {
    berth.json(&["state", "list", "dev"]).as_array().unwrap().clone()
}

#[test]
fn a_state_is_listed_pulled_changed_pushed_and_restored() {
    let berth = with_secret();
    let first = versions(&berth);
    assert!(!first.is_empty() && first.iter().all(|one| one["origin"] == "build" && one["build_number"] == 1), "{first:?}");
    let shown = berth.ok(&["state", "list", "dev"]);
    assert!(shown.starts_with("VERSION") && shown.contains("1 (start)"), "{shown}");

    let pulled = berth.ok(&["state", "pull", "dev"]);
    assert!(pulled.contains("canary-7f3a-of-the-state-1"), "{pulled}");
    let file = berth.home().join("dev.tfstate");
    berth.ok(&["state", "pull", "dev", &file.to_string_lossy()]);
    assert_eq!(fs::read_to_string(&file).unwrap(), pulled);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(berth.ok(&["state", "pull", "dev", "--build", "1"]), pulled);
    assert!(berth.fails(&["state", "pull", "dev", "--version", "99"]).contains("has no state version 99"));

    let stale = berth.fails(&["state", "push", "dev", &file.to_string_lossy()]);
    assert!(stale.contains("serial") && stale.contains("berth state restore dev VERSION"), "{stale}");
    let mut state: serde_json::Value = serde_json::from_str(&pulled).unwrap();
    state["lineage"] = "another".into();
    state["serial"] = 99.into();
    fs::write(&file, state.to_string()).unwrap();
    assert!(berth.fails(&["state", "push", "dev", &file.to_string_lossy()]).contains("lineage another"));
    fs::write(&file, "{").unwrap();
    assert!(berth.fails(&["state", "push", "dev", &file.to_string_lossy()]).contains("not a Terraform state"));
    let mut state: serde_json::Value = serde_json::from_str(&pulled).unwrap();
    state["serial"] = 99.into();
    state["resources"] = serde_json::json!([]);
    fs::write(&file, state.to_string()).unwrap();
    berth.ok(&["state", "push", "dev", &file.to_string_lossy()]);
    let newest = versions(&berth).pop().unwrap();
    assert_eq!((&newest["serial"], &newest["origin"], &newest["author"]), (&99.into(), &"push".into(), &"ada".into()));

    let before = first.last().unwrap()["number"].to_string();
    assert!(berth.fails(&["state", "restore", "dev", &before]).contains("needs a yes"));
    berth.ok(&["state", "restore", "dev", &before, "--yes"]);
    let newest = versions(&berth).pop().unwrap();
    assert_eq!((&newest["serial"], &newest["restored_from"]), (&100.into(), &first.last().unwrap()["number"]));
    let id = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap()["resources"].clone();
    assert_eq!(id(&berth.ok(&["state", "pull", "dev"])), id(&pulled));
    assert_eq!(versions(&berth).len(), first.len() + 2, "nothing was lost");
    berth.ok(&["start", "dev", "--yes"]);
    let resource = id(&berth.ok(&["state", "pull", "dev"]));
    assert_eq!(
        resource[0]["instances"][0]["attributes"]["id"],
        id(&pulled)[0]["instances"][0]["attributes"]["id"],
        "it was not made anew"
    );
    berth.ok(&["delete", "dev", "--yes"]);
}

#[test]
fn a_state_is_not_pushed_or_restored_under_a_build_that_runs() {
    let berth = Berth::signed_in();
    let go = berth.home().join("go");
    let main = format!(
        "resource \"terraform_data\" \"first\" {{}}\nresource \"terraform_data\" \"slow\" {{\n  depends_on = [terraform_data.first]\n  \
         provisioner \"local-exec\" {{ command = \"while [ ! -e {} ]; do sleep 0.1; done\" }}\n}}\n",
        go.display()
    );
    berth.ok(&["templates", "push", "slow", "--directory", &template(&berth, "slow", &main), "--yes"]);
    let mut create = berth.berth(&["create", "dev", "--template", "slow", "--yes"]).spawn().unwrap();
    let pushed = eventually("the first state", || {
        let listed = berth.run(&["state", "list", "dev", "-o", "json"]);
        let versions: Vec<serde_json::Value> = serde_json::from_str(&listed.stdout).ok()?;
        versions.last().cloned()
    });
    let number = pushed["number"].to_string();
    let busy = berth.fails(&["state", "restore", "dev", &number, "--yes"]);
    assert!(busy.contains("build 1 of the workspace has not ended") && busy.contains("berth cancel dev"), "{busy}");
    let file = berth.home().join("state");
    berth.ok(&["state", "pull", "dev", &file.to_string_lossy()]);
    assert!(berth.fails(&["state", "push", "dev", &file.to_string_lossy()]).contains("build 1"));
    assert!(berth.fails(&["repair", "dev"]).contains("build 1"));
    fs::write(go, "").unwrap();
    assert!(create.wait().unwrap().success());
    berth.ok(&["delete", "dev", "--yes"]);
}

#[test]
fn no_secret_of_a_state_is_on_the_disk_in_clear() {
    let mut berth = with_secret();
    berth.ok(&["stop", "dev", "--yes"]);
    berth.ok(&["start", "dev", "--yes", "--parameter", "size=2"]);
    assert_eq!(berth.stop_server(), Some(0));
    let found = finish(berth.program("grep").args(["-rla", "canary-7f3a-of-the-state"]).arg(berth.data()));
    assert_eq!(found.stdout, "", "these files show it");
    let found = finish(berth.program("grep").args(["-rla", "BERTHBL1"]).arg(berth.data().join("blobs")));
    assert!(found.stdout.lines().count() > 2, "states and archives are sealed: {found:?}");
    berth.start_server();
    assert!(berth.ok(&["state", "pull", "dev"]).contains("canary-7f3a-of-the-state-2"));
}

#[test]
fn an_orphaning_delete_lists_what_it_leaves_and_works_with_a_damaged_state_too() {
    let berth = Berth::with_workspace();
    let left = berth.json(&["delete", "dev", "--orphan", "--yes"]);
    let kinds: Vec<_> = left.as_array().unwrap().iter().map(|one| one["type"].as_str().unwrap().to_owned()).collect();
    assert_eq!(kinds, ["berth_directory", "berth_process"], "{left}");
    assert!(left.as_array().unwrap().iter().all(|one| !one["id"].as_str().unwrap().is_empty()), "{left}");

    berth.ok(&["create", "two", "--template", "local", "--yes"]);
    let answer = berth.run(&["delete", "two", "--orphan"]);
    assert!(answer.stdout.contains("berth_directory.home") && answer.stderr.contains("needs a yes"), "{answer:?}");
    let id = berth.json(&["show", "two"])["id"].as_str().unwrap().to_owned();
    let states = finish(berth.program("find").arg(berth.data().join("blobs/state").join(id)).args(["-type", "f"])).stdout;
    for file in states.lines() {
        fs::write(file, "BERTHBL1 and nothing that opens").unwrap();
    }
    let damaged = berth.fails(&["state", "pull", "two"]);
    assert!(damaged.contains("damaged") && damaged.contains("state/"), "{damaged}");
    let refused = berth.fails(&["delete", "two", "--yes"]);
    assert!(refused.contains("--orphan"), "{refused}");
    berth.ok(&["delete", "two", "--orphan", "--yes"]);
    assert!(berth.fails(&["show", "two"]).contains("does not exist"));
}
