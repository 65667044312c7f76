//! What a template's files say before Terraform runs: whether `init` can be left out, which variables it declares, and what stands
//! in for parameters without a default while it is imported.
//!
//! Nothing here judges a template. A file that does not parse is left to Terraform, whose diagnostic names the line.

pub(crate) mod file;
mod lock;

pub use lock::strip_our_providers;

use std::{collections::BTreeMap, fs, io, path::Path};

use berth_domain::Secret;
use serde_json::{Map, Value};

use file::{Block, blocks_of_hcl, blocks_of_json, bodies};

/// Terraform's own resource types, which need no provider.
const BUILTIN_TYPES: &[&str] = &["terraform_data", "terraform_remote_state"];
/// The provider sources that the runner serves itself. A provider without a source implies `hashicorp/`.
const OUR_SOURCES: &[&str] = &["coder/coder", "berth/berth", "hashicorp/coder", "hashicorp/berth"];
/// The hosts that a provider source may name for them.
const REGISTRY_HOSTS: &[&str] = &["registry.terraform.io/", "registry.opentofu.org/"];

/// The largest file that is looked into, in bytes.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// What the files say.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Template {
    /// Why `terraform init` must run; `None` when only our provider and built-in types are used (an apply is then twice as fast).
    pub needs_init: Option<String>,
    /// Whether a `backend` or `cloud` block must be overridden.
    pub has_backend: bool,
    /// The declared variables; true when the type holds text, false when a value must be read as an expression.
    pub variables: BTreeMap<String, bool>,
    /// A value for every parameter that has no default and could not be read as the empty text.
    pub stand_ins: BTreeMap<String, String>,
    /// The labels of the parameters, in the order of the text.
    pub parameters: Vec<String>,
}

impl Template {
    /// Reads the `*.tf` and `*.tf.json` files of a directory.
    ///
    /// # Errors
    /// When the directory or a file in it cannot be read.
    pub fn read(directory: &Path) -> io::Result<Self> {
        let mut template = Self::default();
        let mut files: Vec<_> = fs::read_dir(directory)?.collect::<Result<_, _>>()?;
        files.sort_by_key(fs::DirEntry::file_name);
        for file in files {
            let name = file.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') || !file.file_type()?.is_file() {
                continue;
            }
            let is_template = name.ends_with(".tf") || name.ends_with(".tf.json");
            if is_template && file.metadata()?.len() > FILE_BYTES_MAX {
                template.ask_init(format!("{name} is too large to look into"));
                continue;
            }
            let blocks = if name.ends_with(".tf") {
                blocks_of_hcl(&fs::read_to_string(file.path()).unwrap_or_default())
            } else if name.ends_with(".tf.json") {
                blocks_of_json(&fs::read(file.path())?)
            } else {
                continue;
            };
            blocks.unwrap_or_default().iter().for_each(|block| template.add(block));
        }
        Ok(template)
    }

    fn add(&mut self, block: &Block) {
        let label = block.labels.first().map(String::as_str).unwrap_or_default();
        match block.kind.as_str() {
            "resource" | "data" | "ephemeral" => {
                if !is_ours(label) && !BUILTIN_TYPES.contains(&label) {
                    self.ask_init(format!("{label} is not one of Berth's own types"));
                }
                if block.kind == "data" && label == "coder_parameter" {
                    self.parameters.extend(block.labels.get(1).cloned());
                    self.stand_ins.extend(stand_in(&block.body));
                }
            }
            "provider" if !matches!(label, "coder" | "berth" | "terraform") => {
                self.ask_init(format!("provider {label} is configured"));
            }
            "module" => self.ask_init(format!("module {label} is used")),
            "terraform" => self.add_settings(&block.body),
            "variable" => {
                let kind = block.body.get("type").and_then(Value::as_str).unwrap_or("string").trim_matches(['$', '{', '}', ' ']);
                self.variables.insert(label.to_owned(), matches!(kind, "string" | "number" | "bool" | "any"));
            }
            _ => {}
        }
    }

    fn add_settings(&mut self, settings: &Map<String, Value>) {
        if settings.contains_key("backend") || settings.contains_key("cloud") {
            self.has_backend = true;
            self.ask_init("the template declares a backend".to_owned());
        }
        for providers in settings.get("required_providers").into_iter().flat_map(bodies) {
            for (name, provider) in providers {
                let source = bodies(provider).into_iter().find_map(|body| body.get("source")).and_then(Value::as_str);
                if !is_our_source(source.unwrap_or(&format!("hashicorp/{name}"))) {
                    self.ask_init(format!("provider {name} is required"));
                }
            }
        }
    }

    fn ask_init(&mut self, reason: String) {
        self.needs_init.get_or_insert(reason);
    }

    /// Asks for `init` when the state holds resources of a provider that is not served by the runner.
    pub fn add_state_providers<'a>(&mut self, providers: impl Iterator<Item = &'a str>) {
        for provider in providers {
            let source = provider.split('"').nth(1).unwrap_or(provider);
            if !is_our_source(source) && !source.starts_with("terraform.io/builtin/") {
                self.ask_init(format!("the state holds resources of {source}"));
            }
        }
    }

    /// The variables as the JSON of a `.tfvars.json` file: only declared ones, each in the form its type wants.
    #[must_use]
    pub fn variable_file(&self, values: &BTreeMap<String, Secret>) -> Value {
        let declared = values.iter().filter_map(|(name, text)| {
            let is_text = *self.variables.get(name)?;
            let text = text.expose();
            let value = if is_text { None } else { file::literal_of_text(text) };
            Some((name.clone(), value.unwrap_or_else(|| Value::String(text.clone()))))
        });
        Value::Object(declared.collect())
    }
}

fn is_ours(kind: &str) -> bool {
    kind.starts_with("coder_") || kind.starts_with("berth_")
}

/// Whether a provider source such as `registry.terraform.io/coder/coder` is served by the runner.
pub(crate) fn is_our_source(source: &str) -> bool {
    let source = source.to_ascii_lowercase();
    let short = REGISTRY_HOSTS.iter().find_map(|host| source.strip_prefix(host)).unwrap_or(&source);
    OUR_SOURCES.contains(&short)
}

/// The value that a parameter without a default takes at import, so that `tonumber(data.coder_parameter.disk.value)` plans.
fn stand_in(parameter: &Map<String, Value>) -> Option<(String, String)> {
    let literal = |key: &str| parameter.get(key).and_then(Value::as_str).filter(|text| !text.contains("${"));
    let name = literal("name")?;
    if parameter.get("default").is_some_and(|default| !default.is_null()) {
        return None;
    }
    let first_option = parameter.get("option").into_iter().flat_map(bodies).next();
    let option = match first_option.and_then(|option| option.get("value")) {
        Some(Value::String(text)) if !text.contains("${") => Some(text.clone()),
        Some(Value::Number(number)) => Some(number.to_string()),
        Some(Value::Bool(value)) => Some(value.to_string()),
        _ => None,
    };
    let bound = |key: &str| {
        let rules = parameter.get("validation").into_iter().flat_map(bodies).next()?;
        rules.get(key).and_then(Value::as_i64)
    };
    let value = match literal("type").unwrap_or("string") {
        "number" => option.unwrap_or_else(|| bound("min").or_else(|| bound("max").filter(|max| *max < 0)).unwrap_or(0).to_string()),
        "bool" => option.unwrap_or_else(|| "false".to_owned()),
        "list(string)" => "[]".to_owned(),
        _ => option?,
    };
    Some((name.to_owned(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(files: &[(&str, &str)]) -> Template {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(directory.path().join(name), text).unwrap();
        }
        Template::read(directory.path()).unwrap()
    }

    #[test]
    fn a_template_of_our_own_types_needs_no_init() {
        let ours = r#"
            terraform {
              required_providers {
                coder = { source = "coder/coder", version = "~> 2.0" }
                berth = { source = "registry.terraform.io/berth/berth" }
              }
            }
            provider "coder" {}
            locals { name = "x ${data.coder_workspace.me.name}" }
            data "coder_workspace" "me" {}
            resource "coder_agent" "main" {
              os = "linux"
              startup_script = <<-EOT
                echo "${local.name}"
              EOT
            }
            resource "berth_process" "p" { count = data.coder_workspace.me.start_count }
            resource "terraform_data" "t" { input = [for x in ["a"] : upper(x)] }
        "#;
        assert_eq!(read(&[("main.tf", ours)]).needs_init, None);
    }

    #[test]
    fn anything_else_needs_init_and_says_why() {
        let reason = |text: &str| read(&[("main.tf", text)]).needs_init;
        assert_eq!(reason("resource \"docker_container\" \"c\" {}").unwrap(), "docker_container is not one of Berth's own types");
        assert_eq!(reason("module \"m\" { source = \"./m\" }").unwrap(), "module m is used");
        let required = "terraform {\n required_providers {\n aws = { source = \"hashicorp/aws\" }\n }\n}";
        assert_eq!(reason(required).unwrap(), "provider aws is required");
        let legacy = "terraform {\n required_providers {\n coder = \"~> 1.0\"\n aws = \"~> 5\"\n }\n}";
        assert_eq!(reason(legacy).unwrap(), "provider aws is required");
        let json = r#"{"resource": {"null_resource": {"n": {}}}, "terraform": [{"backend": {"s3": {}}}]}"#;
        let template = read(&[("main.tf.json", json)]);
        assert!(template.needs_init.is_some() && template.has_backend);
        let cloud = read(&[("main.tf", "terraform {\n cloud {\n organization = \"o\"\n }\n}")]);
        assert!(cloud.has_backend && cloud.needs_init.is_some());
    }

    #[test]
    fn the_state_can_need_init_too() {
        let mut template = Template::default();
        template.add_state_providers(
            ["provider[\"registry.terraform.io/coder/coder\"]", "provider[\"terraform.io/builtin/terraform\"]"].into_iter(),
        );
        assert_eq!(template.needs_init, None);
        template.add_state_providers(["module.m.provider[\"registry.terraform.io/hashicorp/null\"]"].into_iter());
        assert!(template.needs_init.unwrap().contains("hashicorp/null"));
    }

    #[test]
    fn a_file_that_does_not_parse_is_left_to_terraform() {
        assert_eq!(read(&[("main.tf", "resource \"x\" {"), ("b.tf.json", "{")]), Template::default());
    }

    #[test]
    fn parameters_without_default_get_a_value_that_their_type_can_hold() {
        let text = r#"
            data "coder_parameter" "disk" {
              name = "disk"
              type = "number"
              validation {
                min = 10
                max = 100
              }
            }
            data "coder_parameter" "gpu" {
              name = "gpu"
              type = "bool"
            }
            data "coder_parameter" "region" {
              name = "region"
              option {
                name = "Europe"
                value = "eu"
              }
            }
            data "coder_parameter" "repo" {
              name = "repo"
            }
            data "coder_parameter" "kept" {
              name = "kept"
              type = "number"
              default = 7
            }
        "#;
        let stand_ins = read(&[("main.tf", text)]).stand_ins;
        let pairs: Vec<_> = stand_ins.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(pairs, [("disk", "10"), ("gpu", "false"), ("region", "eu")]);
    }

    #[test]
    fn variables_are_given_as_their_types_want_and_unknown_ones_not_at_all() {
        let text = "variable \"region\" {\n type = string\n}\nvariable \"zones\" {\n type = list(string)\n}\nvariable \"plain\" {}";
        let template = read(&[("main.tf", text)]);
        let given = [("region", "[\"eu\"]"), ("zones", "[\"a\", \"b\"]"), ("plain", "7"), ("other", "x")];
        let given = given.map(|(name, value)| (name.to_owned(), Secret::new(value.to_owned()))).into();
        let expected = serde_json::json!({"region": "[\"eu\"]", "zones": ["a", "b"], "plain": "7"});
        assert_eq!(template.variable_file(&given), expected);
    }
}
