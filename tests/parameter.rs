//! Parameters and presets, from what a person types to what Terraform sees.

use crate::{
    harness::{Berth, eventually, template},
    terminal::Terminal,
};

const REGION: &str = r#"
data "coder_parameter" "region" {
  name    = "region"
  mutable = false
  option {
    name  = "Europe"
    value = "eu"
  }
  option {
    name  = "America"
    value = "us"
  }
}
"#;

const DEBUG: &str = r#"
data "coder_parameter" "debug" {
  name      = "debug"
  type      = "bool"
  default   = "false"
  mutable   = true
  ephemeral = true
}
"#;

const TOOLS: &str = r#"
data "coder_parameter" "tools" {
  name      = "tools"
  type      = "list(string)"
  form_type = "multi-select"
  default   = jsonencode(["git"])
  mutable   = true
  option {
    name  = "Git"
    value = "git"
  }
  option {
    name  = "Vim"
    value = "vim"
  }
}
"#;

const LARGE: &str = r#"
data "coder_workspace_preset" "large" {
  name       = "Large"
  default    = true
  parameters = { disk = "80", tools = jsonencode(["git", "vim"]) }
}
"#;

fn disk(rules: &str) -> String {
    format!("data \"coder_parameter\" \"disk\" {{\n  name    = \"disk\"\n  type    = \"number\"\n  mutable = true\n  {rules}\n}}\n")
}

/// A template of these parameters, which writes the values that Terraform sees into a file.
fn writes(berth: &Berth, names: &[&str], blocks: &[&str]) -> String {
    let values: Vec<String> = names.iter().map(|name| format!("\"{name}=${{data.coder_parameter.{name}.value}}\"")).collect();
    let seen = format!(
        r#"
resource "terraform_data" "seen" {{
  triggers_replace = join(" ", [{values}])
  provisioner "local-exec" {{
    command     = "printf %s \"$SEEN\" > {home}/seen"
    environment = {{ SEEN = join(" ", [{values}]) }}
  }}
}}
"#,
        values = values.join(", "),
        home = berth.home().display()
    );
    template(berth, "linux", &format!("{}{seen}", blocks.concat()))
}

fn push(berth: &Berth, names: &[&str], blocks: &[&str]) {
    let directory = writes(berth, names, blocks);
    berth.ok(&["templates", "push", "linux", "--directory", &directory, "--yes"]);
}

fn seen(berth: &Berth) -> String {
    std::fs::read_to_string(berth.home().join("seen")).unwrap_or_default()
}

fn builds(berth: &Berth) -> u64 {
    berth.json(&["show", "dev"])["latest_build"]["build_number"].as_u64().unwrap()
}

#[test]
fn answers_reach_terraform_and_a_new_version_asks_only_what_is_new_or_no_longer_allowed() {
    let berth = Berth::signed_in();
    let first = disk("validation {\n    min = 10\n    max = 100\n  }");
    push(&berth, &["region", "disk", "debug"], &[REGION, &first, DEBUG]);

    let refused = berth.fails(&["create", "dev", "-t", "linux", "--yes"]);
    assert_eq!(refused, "error: 2 parameters need a value: region, disk\nhint: --parameter region=eu --parameter disk=10\n");
    let refused = berth.fails(&["create", "dev", "-t", "linux", "--yes", "--parameter", "region=mars", "--parameter", "disk=1.5"]);
    assert!(refused.contains("\"mars\" is not one of eu, us") && refused.contains("\"1.5\" is not a whole number"), "{refused}");
    std::fs::write(berth.home().join("answers.yaml"), "region: eu\ndisk: 20\n").unwrap();
    let file = berth.home().join("answers.yaml").to_string_lossy().into_owned();
    berth.ok(&["create", "dev", "-t", "linux", "--yes", "--rich-parameter-file", &file, "--build-option", "debug=true"]);
    assert_eq!(seen(&berth), "region=eu disk=20 debug=true");
    assert!(berth.ok(&["show", "dev"]).contains("region     eu"), "{}", berth.ok(&["show", "dev"]));

    // What held for one build is gone at the next; what cannot change is refused before anything is stopped.
    let before = builds(&berth);
    let refused = berth.fails(&["restart", "dev", "--yes", "--parameter", "region=us"]);
    assert!(refused.contains("parameter \"region\" cannot change after the first build"), "{refused}");
    assert_eq!(builds(&berth), before, "no build was asked for");
    berth.ok(&["restart", "dev", "--yes", "--parameter", "disk=30"]);
    assert_eq!(seen(&berth), "region=eu disk=30 debug=false");

    // The new version drops a parameter, has another one, and no longer allows what the workspace has.
    let second = disk("default = \"80\"\n  validation {\n    min = 50\n  }");
    push(&berth, &["region", "disk", "tools"], &[REGION, &second, TOOLS]);
    let refused = berth.fails(&["update", "dev", "--yes"]);
    assert!(
        refused.contains("parameter \"disk\" needs another value than the one it has: 30 is less than the minimum 50"),
        "{refused}"
    );
    assert!(refused.ends_with("hint: --parameter disk=50\n"), "{refused}");
    assert_eq!(berth.json(&["show", "dev"])["latest_build"]["status"], "running", "nothing was stopped");
    berth.ok(&["update", "dev", "--yes", "--parameter", "disk=60"]);
    assert_eq!(seen(&berth), r#"region=eu disk=60 tools=["git"]"#);
    berth.ok(&["create", "copy", "-t", "linux", "--yes", "--copy-parameters-from", "dev", "--parameter", "disk=70"]);
    assert_eq!(seen(&berth), r#"region=eu disk=70 tools=["git"]"#);
    berth.ok(&["delete", "dev", "--yes"]);
}

#[test]
fn a_person_takes_a_preset_and_answers_the_rest_on_a_terminal() {
    let berth = Berth::signed_in();
    let disk = disk("default = \"20\"");
    push(&berth, &["region", "disk", "tools"], &[REGION, &disk, TOOLS, LARGE]);
    let terminal = Terminal::start(&berth, &["create", "dev", "-t", "linux"]);
    terminal.shows("? Preset:").shows("> Large").types(&["Enter"]).shows("? region:").types(&["Down", "Enter"]).shows("dev is up.");
    assert_eq!(seen(&berth), r#"region=us disk=80 tools=["git","vim"]"#);
    let preset = berth.json(&["show", "dev"])["latest_build"]["template_version_preset_id"].clone();
    assert!(preset.is_string(), "{preset}");
    drop(terminal);

    // An update asks for what is new, and for nothing else; interrupted, it leaves the workspace as it is.
    let gpu = "data \"coder_parameter\" \"gpu\" {\n  name = \"gpu\"\n  type = \"bool\"\n  mutable = true\n}\n";
    push(&berth, &["region", "gpu"], &[REGION, gpu]);
    let terminal = Terminal::start(&berth, &["update", "dev"]);
    terminal.shows("? gpu (yes/no):").types(&["C-c"]).shows("code=130");
    assert_eq!(berth.json(&["show", "dev"])["latest_build"]["status"], "running");
    drop(terminal);
    let terminal = Terminal::start(&berth, &["update", "dev"]);
    terminal.shows("? gpu (yes/no):").types(&["n", "C-u", "y", "Enter"]).shows("code=0");
    eventually("the values of the new version", || (seen(&berth) == "region=us gpu=true").then_some(()));
}
