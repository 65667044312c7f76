//! What a template's files say before Terraform runs: whether `init` can be left out, which variables it declares, and what stands
//! in for parameters without a default while it is imported.
//!
//! Nothing here judges a template. A file that does not parse is left to Terraform, whose diagnostic names the line.

mod backend;
pub(crate) mod file;
mod lock;
mod variable;

pub use backend::blank_backends;
pub use lock::{LOCK_FILE, Lock, Locked, strip_our_providers, text as lock_text};

use std::{collections::BTreeMap, fs, io, path::Path};

use berth_domain::{Secret, Variable};
use serde_json::{Map, Value};

use file::{Block, bodies, template_files};

/// Terraform's own resource types, which need no provider.
const BUILTIN_TYPES: &[&str] = &["terraform_data", "terraform_remote_state"];
/// The provider sources that the runner serves itself. A provider without a source implies `hashicorp/`.
const OUR_SOURCES: &[&str] = &["coder/coder", "berth/berth", "hashicorp/coder", "hashicorp/berth"];
/// The hosts that a provider source may name for them.
const REGISTRY_HOSTS: &[&str] = &["registry.terraform.io/", "registry.opentofu.org/"];
/// The file that gives the template's variables their values. Terraform reads it by its ending.
const VARIABLES_FILE: &str = "zz_berth.auto.tfvars.json";

/// What the files say.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Template {
    /// Why `terraform init` must run; `None` when only our provider and built-in types are used (an apply is then twice as fast).
    pub needs_init: Option<String>,
    /// A file that could not be looked into: what it declares is not known.
    pub unread: Option<String>,
    /// The declared variables, in the order of the text.
    pub variables: Vec<Variable>,
    /// A value for every parameter that has no default and could not be read as the empty text.
    pub stand_ins: BTreeMap<String, String>,
    /// The addresses of its data sources, such as `coder_parameter.region`, in the order of the text.
    pub data: Vec<String>,
    /// Providers that the state needs and the runner does not serve.
    pub state_sources: Vec<String>,
}

impl Template {
    /// Reads the `*.tf` and `*.tf.json` files of a directory, overrides laid over the others, and which variables have values in its
    /// `.tfvars` files.
    ///
    /// # Errors
    /// When the directory or a file in it cannot be read.
    pub fn read(directory: &Path) -> io::Result<Self> {
        let mut template = Self::default();
        let mut blocks: Vec<Block> = Vec::new();
        for file in template_files(directory)? {
            match file.blocks(directory)? {
                Some(found) if file.is_override => found.into_iter().for_each(|block| lay_over(&mut blocks, block)),
                Some(found) => blocks.extend(found),
                None => {
                    template.unread.get_or_insert(file.name);
                }
            }
        }
        blocks.iter().for_each(|block| template.add(block));
        let valued = variable::valued(directory)?;
        for variable in &mut template.variables {
            variable.required &= valued.as_ref().is_some_and(|valued| !valued.contains(&variable.name));
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
                if block.kind == "data" {
                    self.data.push(block.labels.join("."));
                }
                if block.kind == "data" && label == "coder_parameter" {
                    self.stand_ins.extend(stand_in(&block.body));
                }
            }
            "provider" if !matches!(label, "coder" | "berth" | "terraform") => {
                self.ask_init(format!("provider {label} is configured"));
            }
            "module" => self.ask_init(format!("module {label} is used")),
            "terraform" => self.add_settings(&block.body),
            "variable" => self.variables.extend(variable::declared(block)),
            _ => {}
        }
    }

    fn add_settings(&mut self, settings: &Map<String, Value>) {
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
                self.state_sources.push(source.to_owned());
            }
        }
    }

    /// The variables that have neither a default, nor a value in the template's files, nor a given one.
    #[must_use]
    pub fn missing(&self, given: &BTreeMap<String, Secret>) -> Vec<&str> {
        let missing = self.variables.iter().filter(|variable| variable.required && !given.contains_key(&variable.name));
        missing.map(|variable| variable.name.as_str()).collect()
    }

    /// The given variables that the template does not declare; none as long as not all of it is known.
    #[must_use]
    pub fn undeclared<'a>(&self, given: &'a BTreeMap<String, Secret>) -> Vec<&'a str> {
        let is_declared = |name: &str| self.unread.is_some() || self.variables.iter().any(|variable| variable.name == name);
        given.keys().map(String::as_str).filter(|name| !is_declared(name)).collect()
    }

    /// Writes the given values of declared variables, each in the form its type wants, to a file that Terraform reads last: a given
    /// value wins over one in the template's own files.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write_variables(&self, directory: &Path, given: &BTreeMap<String, Secret>) -> io::Result<()> {
        let values = self.variable_values(given);
        if values.is_empty() {
            return Ok(());
        }
        let names = fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        let names = names.collect::<io::Result<Vec<_>>>()?;
        // By name, the last one wins.
        let last = names.into_iter().filter(|name| variable::is_automatic(name) && name.as_str() >= VARIABLES_FILE).max();
        let name = last.map_or_else(|| VARIABLES_FILE.to_owned(), |last| format!("{last}.{VARIABLES_FILE}"));
        fs::write(directory.join(name), Value::Object(values).to_string())
    }

    fn variable_values(&self, given: &BTreeMap<String, Secret>) -> Map<String, Value> {
        let declared = given.iter().filter_map(|(name, text)| {
            let variable = self.variables.iter().find(|variable| variable.name == *name)?;
            let text = text.expose();
            let value = if variable::holds_text(variable) { None } else { file::literal_of_text(text) };
            Some((name.clone(), value.unwrap_or_else(|| Value::String(text.clone()))))
        });
        declared.collect()
    }
}

/// Lays a block of an override file over the one of the same name: what it says replaces what was said (Terraform: "Override Files").
fn lay_over(blocks: &mut Vec<Block>, over: Block) {
    let has_name = matches!(over.kind.as_str(), "resource" | "data" | "ephemeral" | "variable" | "module" | "output" | "provider");
    let same = blocks.iter_mut().find(|block| has_name && block.kind == over.kind && block.labels == over.labels);
    match same {
        Some(block) => block.body.extend(over.body),
        None => blocks.push(over),
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
        let json = r#"{"resource": {"null_resource": {"n": {}}}}"#;
        assert!(read(&[("main.tf.json", json)]).needs_init.is_some());
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
        let template = read(&[("main.tf", "resource \"x\" {"), ("b.tf.json", "{")]);
        assert_eq!(template.unread.as_deref(), Some("b.tf.json"));
        assert_eq!(template.undeclared(&[("size".to_owned(), Secret::new("1".to_owned()))].into()), [""; 0]);
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

    fn given(values: &[(&str, &str)]) -> BTreeMap<String, Secret> {
        values.iter().map(|(name, value)| ((*name).to_owned(), Secret::new((*value).to_owned()))).collect()
    }

    #[test]
    fn variables_are_given_as_their_types_want_and_unknown_ones_not_at_all() {
        let text = "variable \"region\" {\n type = string\n}\nvariable \"zones\" {\n type = list(string)\n}\nvariable \"plain\" {}";
        let template = read(&[("main.tf", text)]);
        let given = given(&[("region", "[\"eu\"]"), ("zones", "[\"a\", \"b\"]"), ("plain", "7"), ("other", "x")]);
        let expected = serde_json::json!({"region": "[\"eu\"]", "zones": ["a", "b"], "plain": "7"});
        assert_eq!(Value::Object(template.variable_values(&given)), expected);
        assert_eq!(template.undeclared(&given), ["other"]);
        assert_eq!(template.missing(&given), [""; 0]);
    }

    #[test]
    fn declared_variables_come_in_source_order_with_overrides_laid_over_them() {
        let main = r#"
            variable "zone" {
              type        = list(string)
              description = <<-EOT
                Where it runs.
              EOT
              default     = ["a", { b = -1 }]
            }
            variable "password" {
              sensitive = true
              default   = "default-canary"
            }
            variable "account" {}
            variable "size" {}
            variable "quiet" {
              default = null
            }
        "#;
        let files = [
            ("main.tf", main),
            ("a_override.tf", "variable \"size\" {\n  default = 7\n}\n"),
            ("b.tf.json", r#"{"variable": {"more": {"type": "number"}}}"#),
            ("terraform.tfvars", "more = 7\n"),
        ];
        let template = read(&files);
        let names: Vec<_> = template.variables.iter().map(|variable| (variable.name.as_str(), variable.required)).collect();
        let expected =
            [("more", false), ("zone", false), ("password", false), ("account", true), ("size", false), ("quiet", false)];
        assert_eq!(names, expected);
        assert_eq!(template.missing(&BTreeMap::new()), ["account"]);
        let zone = &template.variables[1];
        assert_eq!((zone.kind.as_str(), zone.description.as_str()), ("list(string)", "Where it runs."));
        assert_eq!(zone.default, serde_json::json!(["a", {"b": -1}]));
        assert!(!format!("{template:?}").contains("canary"), "the default of a sensitive variable stays in the archive");
        assert_eq!((template.variables[0].kind.as_str(), &template.variables[4].default), ("number", &serde_json::json!(7)));
    }

    #[test]
    fn given_values_are_read_after_all_others() {
        let directory = tempfile::tempdir().unwrap();
        let template = read(&[("main.tf", "variable \"size\" {}")]);
        fs::write(directory.path().join("zzz.auto.tfvars"), "size = 1").unwrap();
        template.write_variables(directory.path(), &given(&[("size", "2")])).unwrap();
        let mut names: Vec<_> = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        let ours = names.last().unwrap();
        assert_eq!(fs::read_to_string(directory.path().join(ours)).unwrap(), r#"{"size":"2"}"#);
        assert!(variable::is_automatic(&ours.to_string_lossy()));
    }
}
