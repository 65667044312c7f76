//! Stories of an import: what it finds, and what it refuses.

use berth_domain::parameter::ParameterType;
use berth_wire::runner::{Imported, Outcome};

use crate::{
    api::{Api, import, repository_file},
    failure,
};

/// Imports a template of these files with these variables.
async fn imported(files: &[(&str, &str)], variables: &[(&str, &str)]) -> (Imported, String) {
    let home = tempfile::tempdir().unwrap();
    let api = Api::serve(import(variables), files, None).await;
    let finish = api.runner(home.path(), &[]).reported(&api).await;
    let log = api.memory.borrow().log();
    assert_eq!(finish.outcome, Outcome::Succeeded, "{log}");
    (*finish.imported.expect("what was found"), log)
}

/// Why the import of a template of these files fails.
async fn refusal(files: &[(&str, &str)], variables: &[(&str, &str)]) -> (String, String) {
    let home = tempfile::tempdir().unwrap();
    let api = Api::serve(import(variables), files, None).await;
    let finish = api.runner(home.path(), &[]).reported(&api).await;
    let log = api.memory.borrow().log();
    assert_eq!(finish.imported, None);
    (failure(&finish.outcome).to_owned(), log)
}

#[tokio::test]
async fn an_import_reports_what_the_template_asks() {
    let home = tempfile::tempdir().unwrap();
    let main = r#"
        terraform {
          required_providers {
            coder = { source = "coder/coder" }
          }
        }
        data "coder_parameter" "region" {
          name = "region"
          default = "eu"
          option {
            name = "Europe"
            value = "eu"
          }
        }
        data "coder_parameter" "disk" {
          name = "disk"
          type = "number"
          validation {
            min = 10
            max = 100
          }
        }
        variable "image" {
          default = "debian"
        }
        resource "coder_agent" "main" {
          os = "linux"
          arch = "amd64"
        }
        resource "terraform_data" "vm" {
          input = "${coder_agent.main.id} ${tonumber(data.coder_parameter.disk.value) + 1} ${var.image}"
        }
    "#;
    let api = Api::serve(import(&[]), &[("main.tf", main), ("README.md", "# Hello")], None).await;
    let finish = api.runner(home.path(), &[]).reported(&api).await;
    assert_eq!(finish.outcome, Outcome::Succeeded, "{}", api.memory.borrow().log());
    let imported = finish.imported.expect("what was found");
    let [region, disk] = imported.parameters.as_slice() else { panic!("{:?}", imported.parameters) };
    assert_eq!((region.name.as_str(), region.default.as_deref(), region.options.len()), ("region", Some("eu"), 1));
    assert_eq!(
        (disk.name.as_str(), disk.default.as_deref(), disk.kind, disk.rule.max),
        ("disk", None, ParameterType::Number, Some(100))
    );
    assert_eq!((imported.readme.as_str(), finish.resources.len()), ("# Hello", 0));
    assert!(api.memory.borrow().states.is_empty(), "an import has no state");
}

#[tokio::test]
async fn the_starter_template_imports_without_a_warning() {
    let home = tempfile::tempdir().unwrap();
    let main = repository_file("templates/local/main.tf");
    let api = Api::serve(import(&[]), &[("main.tf", main.as_str())], None).await;
    let finish = api.runner(home.path(), &[]).reported(&api).await;
    assert_eq!(finish.outcome, Outcome::Succeeded, "{}", api.memory.borrow().log());
    let imported = finish.imported.expect("what was found");
    assert_eq!((imported.parameters.len(), imported.warnings), (1, Vec::<String>::new()));
}

#[tokio::test]
async fn a_syntax_error_shows_terraforms_own_diagnostic() {
    let home = tempfile::tempdir().unwrap();
    let main = "resource \"terraform_data\" \"a\" {\n  input = \n}\n";
    let api = Api::serve(import(&[]), &[("main.tf", main)], None).await;
    let finish = api.runner(home.path(), &[]).reported(&api).await;
    assert!(failure(&finish.outcome).starts_with("main.tf:2: Invalid expression: "), "{:?}", finish.outcome);
    let log = api.memory.borrow().log();
    assert!(log.contains("error:   on main.tf line 2, in resource \"terraform_data\" \"a\":"), "{log}");
    assert!(log.contains("   2:   input ="), "{log}");
    assert_eq!(log.matches("Invalid expression").count(), 1, "each diagnostic is told once: {log}");
}

#[tokio::test]
async fn a_hostile_archive_is_refused_in_one_line() {
    let home = tempfile::tempdir().unwrap();
    let api = Api::serve(import(&[]), &[("README.md", "no template here")], None).await;
    let finish = api.runner(home.path(), &[]).reported(&api).await;
    assert_eq!(failure(&finish.outcome), "the template has no .tf file at its top level");
}

const WHOLE: &str = r#"
terraform {
  required_providers {
    coder = { source = "coder/coder" }
  }
  cloud {
    organization = "nowhere"
  }
}
variable "image" {
  type        = string
  description = "What it runs."
}
variable "password" {
  sensitive = true
  default   = "default-canary"
}
data "coder_workspace" "me" {}
data "coder_workspace_tags" "tags" {
  tags = { zone = "zone-${var.image}" }
}
data "coder_external_auth" "github" {
  id       = "github"
  optional = true
}
data "coder_parameter" "size" {
  name = "size"
  option {
    name  = "Large"
    value = "large"
  }
  option {
    name  = "Small"
    value = "small"
  }
  default = "small"
}
data "coder_workspace_preset" "large" {
  name       = "Large"
  default    = true
  parameters = { (data.coder_parameter.size.name) = "large", gone = "1" }
}
resource "coder_agent" "main" {
  os             = "linux"
  arch           = "amd64"
  startup_script = "echo ${var.password}"
  env            = { PASSWORD = var.password }
}
locals {
  user_data = "run: ${coder_agent.main.init_script}"
}
resource "coder_app" "code" {
  agent_id = coder_agent.main.id
  slug     = "code"
  url      = "http://localhost:8080"
}
resource "terraform_data" "disk" {}
resource "terraform_data" "vm" {
  count = data.coder_workspace.me.start_count
  input = "${local.user_data} ${terraform_data.disk.id}"
}
resource "coder_metadata" "vm" {
  count       = data.coder_workspace.me.start_count
  resource_id = terraform_data.vm[0].id
  daily_cost  = 7
  item {
    key   = "image"
    value = var.image
  }
}
"#;

#[tokio::test]
async fn a_version_tells_what_it_declares_offers_and_would_make() {
    let files = [("main.tf", WHOLE), ("terraform.tfvars", "image = \"debian\"\n")];
    let (imported, log) = imported(&files, &[("image", "arch"), ("typo", "1"), ("password", "given-canary")]).await;
    let variables: Vec<_> = imported.variables.iter().map(|one| (one.name.as_str(), one.required, one.sensitive)).collect();
    assert_eq!(variables, [("image", false, false), ("password", false, true)]);
    assert_eq!((imported.variables[0].kind.as_str(), imported.variables[0].description.as_str()), ("string", "What it runs."));
    assert_eq!(imported.tags["zone"], "zone-arch", "a given value wins over one in the archive");
    assert_eq!((imported.external_auth[0].id.as_str(), imported.external_auth[0].optional), ("github", true));
    let [preset] = imported.presets.as_slice() else { panic!("{:?}", imported.presets) };
    assert_eq!((preset.name.as_str(), preset.default, preset.parameters.len()), ("Large", true, 2));
    let expected = [
        "variable \"typo\" is given but the template does not declare it",
        "preset \"Large\" gives the parameter \"gone\", which the template does not have",
    ];
    assert_eq!(imported.warnings, expected);

    let names = |resources: &[berth_wire::runner::Resource]| -> Vec<String> {
        resources.iter().map(|resource| resource.name.clone()).collect()
    };
    assert_eq!(
        (names(&imported.start), names(&imported.stop)),
        (vec!["disk".to_owned(), "vm".to_owned()], vec!["disk".to_owned()])
    );
    let vm = &imported.start[1];
    assert_eq!((vm.daily_cost, vm.metadata[0].value.as_str()), (7, "arch"));
    assert_eq!((vm.agents[0].name.as_str(), vm.agents[0].apps[0].slug.as_str()), ("main", "code"), "through a local");
    assert_eq!(imported.lock, "", "no provider but ours");
    assert!(!format!("{imported:?}{log}").contains("canary"), "{log}");
    assert!(!log.contains("Initializing"), "a cloud block is out of the way without an init: {log}");
}

#[tokio::test]
async fn a_required_variable_without_a_value_says_how_to_give_one() {
    let main = "variable \"region\" {}\nvariable \"zone\" {\n  type = number\n  sensitive = true\n}\nresource \"terraform_data\" \"a\" {\n  input = var.zone\n}\n";
    let (error, _) = refusal(&[("main.tf", main)], &[]).await;
    let expected = "variables \"region\", \"zone\" have no default and no value: push again with --variable region=VALUE --variable zone=VALUE";
    assert_eq!(error, expected);
    let (error, log) = refusal(&[("main.tf", main), ("a.auto.tfvars", "region = \"eu\"\n")], &[("zone", "canary")]).await;
    assert!(error.contains("var.zone, which is sensitive"), "{error}");
    assert!(!log.contains("canary"), "{log}");
}

#[tokio::test]
async fn a_template_that_breaks_at_a_stop_is_refused() {
    let main = r#"
        data "coder_workspace" "me" {}
        resource "terraform_data" "vm" {
          count = data.coder_workspace.me.start_count
        }
        output "id" {
          value = terraform_data.vm[0].id
        }
    "#;
    let (error, log) = refusal(&[("main.tf", main)], &[]).await;
    assert!(error.starts_with("main.tf:7: Invalid index"), "{error}");
    assert!(log.contains("Planning a stop error: "), "{log}");
}
