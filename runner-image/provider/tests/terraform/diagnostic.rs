//! What an author or a developer reads when something is wrong, and where it points.

use std::fs;

use berth_provider::{parameter_env_name, parameter_previous_env_name};

use crate::EVERY_TYPE;
use crate::bench::Bench;

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_is_not_allowed_fails_with_the_parameter_and_the_reason() {
    let mut bench = Bench::new(EVERY_TYPE).await;
    for (name, value, previous, expected) in [
        ("size", "150", "10", "parameter \"size\": size must be 5 to 100, not 150"),
        ("size", "15", "30", "parameter \"size\": value 15 must be equal to or greater than the previous value 30"),
        ("size", "20", "10", ""),
        ("region", "mars", "eu", "parameter \"region\": \"mars\" is not one of eu, us"),
    ] {
        bench.tell(&parameter_env_name(name), value);
        bench.tell(&parameter_previous_env_name(name), previous);
        bench.tell("CODER_SECRET_ENV_NPM_TOKEN", "x");
        let said = bench.terraform(&["plan", "-json"]).await;
        assert_eq!(said.success, expected.is_empty(), "{}", said.text);
        assert!(said.diagnostics().contains(expected), "{}", said.diagnostics());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_in_a_template_is_told_with_its_place() {
    let template = r#"
        resource "coder_agent" "main" {
          os   = "beos"
          arch = "amd64"
          dir  = "/work"
        }
        resource "coder_script" "never" {
          agent_id     = coder_agent.main.id
          display_name = "Never"
          script       = "true"
        }
        resource "coder_metadata" "twice" {
          resource_id = coder_agent.main.id
          item {
            key = "a"
          }
          item {
            key = "a"
          }
        }
    "#;
    let bench = Bench::new(template).await;
    let said = bench.terraform(&["plan", "-json"]).await;
    let os = said.lines.iter().find(|line| line["diagnostic"]["summary"] == "invalid os").unwrap();
    assert_eq!(os["diagnostic"]["range"]["start"]["line"], 3);
    assert!(said.diagnostics().contains("questionable dir"), "{}", said.diagnostics());
    fs::write(bench.path("template/main.tf"), template.replace("beos", "linux")).unwrap();
    let said = bench.terraform(&["plan", "-json"]).await;
    for expected in ["script never runs", "duplicate item key"] {
        assert!(said.diagnostics().contains(expected), "{}", said.diagnostics());
    }
}

/// A parameter and a value, and what Terraform prints about them, line breaks and frames aside.
const PARAMETERS: &[(&str, Option<&str>, &str)] = &[
    (
        "type = \"number\"\n default = \"many\"",
        None,
        "Error: parameter value is not of type \"number\" with data.coder_parameter.p, on main.tf line 4, in data \"coder_parameter\" \"p\": \
         4: default = \"many\" parameter \"p\": \"many\" is not a number",
    ),
    (
        "form_type = \"slider\"",
        None,
        "Error: invalid form_type with data.coder_parameter.p, on main.tf line 3, in data \"coder_parameter\" \"p\": 3: form_type = \
         \"slider\" parameter \"p\": form_type \"slider\" is not supported for type \"string\", choose one of input, textarea",
    ),
    (
        "type = \"list(string)\"",
        Some("a,b"),
        "Error: parameter value is not of type \"list(string)\" with data.coder_parameter.p, on main.tf line 1, in data \
         \"coder_parameter\" \"p\": 1: data \"coder_parameter\" \"p\" { parameter \"p\": \"a,b\" is not a list of strings, as in [\"a\",\"b\"]",
    ),
    (
        "validation {\n regex = \"^[a-z]+$\"\n error = \"small letters only\"\n}",
        Some("A1"),
        "Error: parameter value is not valid with data.coder_parameter.p, on main.tf line 1, in data \"coder_parameter\" \"p\": 1: data \
         \"coder_parameter\" \"p\" { parameter \"p\": small letters only (value \"A1\" does not match \"^[a-z]+$\")",
    ),
    (
        "ephemeral = true\n default = \"x\"",
        None,
        "Error: immutable ephemeral parameter with data.coder_parameter.p, on main.tf line 3, in data \"coder_parameter\" \"p\": 3: \
         ephemeral = true parameter \"p\": an ephemeral parameter must be mutable",
    ),
    (
        "option {\n name = \"A\"\n value = \"a\"\n}\n option {\n name = \"B\"\n value = \"a\"\n}",
        None,
        "parameter \"p\": two options have the value \"a\"",
    ),
    ("validation {\n regex = \"x\"\n min = 1\n}", None, "\"regex\" cannot be set together with \"min\""),
    ("icon = \"/a%zz\"", None, "Error: invalid icon with data.coder_parameter.p, on main.tf line 3"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_parameter_that_is_wrong_is_shown_where_it_stands() {
    let mut bench = Bench::new("").await;
    for (attributes, value, expected) in PARAMETERS {
        let template = format!("data \"coder_parameter\" \"p\" {{\n name = \"p\"\n {attributes}\n}}\n");
        fs::write(bench.path("template/main.tf"), template).unwrap();
        match value {
            Some(value) => bench.tell(&parameter_env_name("p"), value),
            None => bench.forget(&parameter_env_name("p")),
        }
        let said = bench.terraform(&["plan", "-no-color", "-input=false"]).await;
        let shown: Vec<_> =
            said.text.split_whitespace().filter(|word| !["\u{2502}", "\u{2577}", "\u{2575}"].contains(word)).collect();
        let shown = shown.join(" ");
        assert!(!said.success && shown.contains(expected), "{attributes}: {expected}\n{shown}");
    }
}
