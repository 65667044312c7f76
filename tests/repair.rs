//! Repair: a runner dies in the middle of its work, and what it had made is found, taken over or removed.

use crate::{
    harness::{Berth, eventually, template},
    moto::{Aws, Moto},
    terminal::Terminal,
};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::fs;

/// A template whose process kills the runner that starts it, the first time: it runs, and no state has heard of it.
fn deadly(berth: &Berth) -> String {
    let main = format!(
        r#"
terraform {{
  required_providers {{
    berth = {{ source = "berth/berth" }}
    coder = {{ source = "coder/coder" }}
  }}
}}
data "coder_workspace" "me" {{}}
resource "berth_directory" "home" {{}}
resource "berth_process" "dev" {{
  count   = data.coder_workspace.me.start_count
  dir     = berth_directory.home.path
  command = ["sh", "-c", "[ -e {marker} ] || {{ touch {marker}; kill -9 $PPID; }}; exec sleep 7711"]
}}
"#,
        marker = berth.home().join("killed").display()
    );
    template(berth, "deadly", &main)
}

/// A workspace whose first build lost its runner while it started a process.
fn with_stray() -> (Berth, Pid) {
    let berth = Berth::signed_in();
    berth.ok(&["templates", "push", "deadly", "--directory", &deadly(&berth), "--yes"]);
    let failed = berth.fails(&["create", "dev", "--template", "deadly", "--yes"]);
    assert!(failed.contains("berth repair dev"), "the way out is said: {failed}");
    let stray = eventually("the process that nobody knows", || berth.workspace_processes().first().copied());
    (berth, stray)
}

fn found(berth: &Berth) -> Vec<serde_json::Value> {
    berth.json(&["repair", "dev"])["found"].as_array().unwrap().clone()
}

#[test]
fn what_a_killed_runner_was_making_is_found_and_taken_over() {
    let (berth, stray) = with_stray();
    assert!(berth.run(&["show", "dev"]).stderr.contains("berth repair dev"));
    assert!(berth.ok(&["logs", "dev"]).contains("berth repair"));
    let strays = found(&berth);
    let process = strays.iter().find(|one| one["type"] == "berth_process").unwrap();
    assert_eq!(process["addresses"], serde_json::json!(["berth_process.dev[0]"]), "{strays:?}");
    let shown = berth.run(&["repair", "dev"]);
    assert!(shown.stdout.contains("berth_process.dev[0]") && shown.stderr.contains("--import ADDRESS=ID"), "{shown:?}");
    assert_eq!(berth.workspace_processes(), [stray], "a look changes nothing");

    let id = process["id"].as_str().unwrap();
    // The directory too, when its state had not come through: a process in an unknown directory would be started anew.
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let pairs: Vec<_> = strays.iter().map(|one| format!("{}={}", text(&one["addresses"][0]), text(&one["id"]))).collect();
    let imports = pairs.iter().flat_map(|pair| ["--import", pair.as_str()]);
    berth.ok(&["repair", "dev", "--yes"].into_iter().chain(imports).collect::<Vec<_>>());
    assert_eq!(berth.workspace_processes(), [stray], "the same process, not another");
    let state = berth.ok(&["state", "pull", "dev"]);
    assert!(state.contains(id), "{state}");
    assert_eq!(found(&berth), Vec::<serde_json::Value>::new());
    berth.ok(&["delete", "dev", "--yes"]);
    assert_eq!(berth.workspace_processes(), []);
}

#[test]
fn what_a_killed_runner_was_making_is_removed_when_asked_and_never_else() {
    let (berth, stray) = with_stray();
    let before = berth.run(&["state", "list", "dev", "-o", "json"]).stdout;
    let strays = found(&berth);
    let id = strays.iter().find(|one| one["type"] == "berth_process").unwrap()["id"].as_str().unwrap().to_owned();
    let wrong = berth.fails(&["repair", "dev", "--delete", "none-of-this-id", "--yes"]);
    assert!(wrong.contains("none-of-this-id"), "{wrong}");
    assert!(berth.fails(&["repair", "dev", "--delete", &id]).contains("needs a yes"));
    assert_eq!(berth.workspace_processes(), [stray]);
    let answer = berth.ok(&["repair", "dev", "--delete", &id, "--yes", "-o", "json"]);
    let left: serde_json::Value = serde_json::from_str(&answer).unwrap();
    assert!(left["found"].as_array().unwrap().iter().all(|one| one["type"] != "berth_process"), "{left}");
    assert_eq!(berth.workspace_processes(), [], "it is gone");
    assert_eq!(berth.run(&["state", "list", "dev", "-o", "json"]).stdout, before, "the workspace's state was not touched");
    berth.ok(&["start", "dev", "--yes"]);
    berth.ok(&["delete", "dev", "--yes"]);
}

#[test]
fn a_directory_that_no_state_knows_is_found_and_removed() {
    let berth = Berth::with_workspace();
    let id = berth.json(&["show", "dev"])["id"].as_str().unwrap().to_owned();
    let forgotten = berth.data().join("workspaces").join(id).join("forgotten");
    fs::create_dir(&forgotten).unwrap();
    fs::write(forgotten.join("file"), "x").unwrap();
    let strays = found(&berth);
    assert_eq!(strays.len(), 1, "what the state knows is no stray: {strays:?}");
    assert_eq!(strays[0]["type"], "berth_directory");
    berth.ok(&["repair", "dev", "--delete", strays[0]["id"].as_str().unwrap(), "--yes"]);
    assert!(!forgotten.exists());

    // The same by a person at a terminal: leave it, delete it but not really, delete it.
    fs::create_dir(&forgotten).unwrap();
    Terminal::start(&berth, &["repair", "dev"]).shows("leave it").types(&["Enter"]).shows("code=0");
    let deletes = || {
        let terminal = Terminal::start(&berth, &["repair", "dev"]);
        terminal.shows("delete it").types(&["Down", "Enter"]).shows("for good, with what is in it?");
        terminal
    };
    deletes().types(&["n", "Enter"]).shows("code=1");
    assert!(forgotten.exists(), "nothing is deleted without a yes");
    deletes().types(&["y", "Enter"]).shows("code=0");
    assert!(!forgotten.exists());
    assert_eq!(berth.ok(&["ssh", "dev", "--", "echo alive"]), "alive\n", "the workspace itself goes on");
    assert!(berth.run(&["repair", "dev"]).stderr.contains("Nothing exists of dev that its state does not know"));
}

/// A template of one volume, after something else, so that there is a state without it.
const VOLUME: &str = r#"
terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}
provider "aws" {}
resource "terraform_data" "first" {}
resource "aws_ebs_volume" "home" {
  availability_zone = "eu-central-1a"
  size              = 1
  depends_on        = [terraform_data.first]
}
"#;

#[test]
fn on_aws_the_tag_finds_what_no_state_knows_and_terraform_imports_and_deletes_it() {
    let Some(aws) = Aws::start() else { return };
    let (berth, moto) = (&aws.berth, &aws.moto);
    let directory = template(berth, "volume", VOLUME);
    long(berth, &["templates", "push", "volume", "--directory", &directory, "--yes"]);
    long(berth, &["create", "dev", "--template", "volume", "--yes"]);
    let id = berth.json(&["show", "dev"])["id"].clone();
    let home = volumes(moto)[0].clone();
    let tag = |key: &str| home["Tags"].as_array().unwrap().iter().find(|tag| tag["Key"] == key).unwrap()["Value"].clone();
    assert_eq!((tag("berth:workspace"), tag("berth:owner"), tag("berth:template")), (id.clone(), json!("ada"), json!("volume")));

    let tags = json!([{ "ResourceType": "volume", "Tags": [{ "Key": "berth:workspace", "Value": id }] }]);
    let volume = json!({ "AvailabilityZone": "eu-central-1a", "Size": 2, "TagSpecifications": tags });
    let forgotten = moto.call("ec2", "create_volume", &volume)["VolumeId"].clone();
    moto.call("ec2", "create_volume", &json!({ "AvailabilityZone": "eu-central-1a", "Size": 3 }));
    let without = berth.json(&["state", "list", "dev"]).as_array().unwrap()[0]["number"].to_string();
    berth.ok(&["state", "restore", "dev", &without, "--yes"]);

    let looked: Value = serde_json::from_str(&long(berth, &["repair", "dev", "-o", "json"])).unwrap();
    let strays = looked["found"].as_array().unwrap();
    assert_eq!(strays.len(), 2, "the volume of nobody's is not ours: {strays:?}");
    for one in strays {
        assert!(one["id"] == home["VolumeId"] || one["id"] == forgotten, "{one}");
        assert_eq!((&one["type"], &one["addresses"]), (&json!("aws_ebs_volume"), &json!(["aws_ebs_volume.home"])));
    }

    let adopt = format!("aws_ebs_volume.home={}", home["VolumeId"].as_str().unwrap());
    long(berth, &["repair", "dev", "--import", &adopt, "--yes"]);
    assert!(berth.ok(&["state", "pull", "dev"]).contains(home["VolumeId"].as_str().unwrap()));
    assert_eq!(volumes(moto).len(), 3, "nothing was made anew");
    let left = long(berth, &["repair", "dev", "--delete", forgotten.as_str().unwrap(), "--yes", "-o", "json"]);
    assert_eq!(serde_json::from_str::<Value>(&left).unwrap()["found"], json!([]));
    let sizes: Vec<_> = volumes(moto).iter().map(|volume| volume["Size"].clone()).collect();
    assert_eq!(sizes, [json!(1), json!(3)], "the forgotten one is gone, the others are there");
    long(berth, &["delete", "dev", "--yes"]);
    assert_eq!(volumes(moto).len(), 1);
}

/// The volumes that there are, smallest first.
fn volumes(moto: &Moto) -> Vec<Value> {
    let mut volumes = moto.call("ec2", "describe_volumes", &json!({}))["Volumes"].as_array().unwrap().clone();
    volumes.sort_by_key(|volume| volume["Size"].as_u64());
    volumes
}

/// Runs `berth`, which must succeed and may take the AWS provider's time.
fn long(berth: &Berth, arguments: &[&str]) -> String {
    let output = berth.berth(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "berth {arguments:?}: {}\n{}", text(&output.stderr), berth.server_log());
    text(&output.stdout)
}
