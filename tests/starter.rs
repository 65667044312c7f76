//! The starter templates: what a reviewer would check in each, and that Terraform finds nothing wrong.

use crate::{
    harness::{Berth, finish, repository},
    moto::{mirror, write_config},
};
use berth_provider::{Attribute as Row, Block as Rows, Environment, Nested, Noun, Presence, Type, schema};
use hcl_edit::{
    expr::{Expression, TraversalOperator},
    structure::{Attribute, Block, Body},
    visit::{self, Visit},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The largest picture of a starter, in bytes.
const ICON_BYTES_MAX: usize = 1024;
/// What Terraform itself allows in every resource and data source.
const META_ARGUMENTS: &[&str] = &["count", "for_each", "provider", "depends_on", "lifecycle", "connection", "provisioner"];
/// Attributes whose value is a secret, so it never stands in a template as text.
const SECRETS: &[&str] =
    &["access_key", "secret_key", "token", "password", "admin_password", "client_secret", "credentials", "private_key"];
/// Beginnings and middles of names of places, in every cloud's spelling.
const PLACES: &[&str] =
    &["us-east", "us-west", "eu-central", "eu-west", "ap-south", "europe-west", "us-central", "westeurope", "eastus"];
/// The sections that every README has.
const SECTIONS: &[&str] = &["## What there is", "## What the runner needs", "## What it asks", "## Good to know"];

/// A folder of `templates/`.
struct Starter {
    id: String,
    folder: PathBuf,
    body: Body,
}

fn starters() -> Vec<Starter> {
    let mut folders: Vec<_> = fs::read_dir(repository().join("templates")).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    assert!(folders.len() >= 10, "{folders:?}");
    folders.into_iter().map(Starter::read).collect()
}

impl Starter {
    fn read(folder: PathBuf) -> Self {
        let id = folder.file_name().unwrap().to_str().unwrap().to_owned();
        let names: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        let terraform: Vec<_> = names.iter().filter(|name| name.ends_with(".tf")).collect();
        assert_eq!(terraform, ["main.tf"], "{id}: the tests read main.tf only");
        let body = text(&folder, "main.tf").parse().unwrap_or_else(|error| panic!("{id}: {error}"));
        Self { id, folder, body }
    }

    fn blocks(&self, kind: &'static str) -> impl Iterator<Item = &Block> {
        self.body.get_blocks(kind)
    }

    /// The parameters and variables that it asks for.
    fn questions(&self) -> Vec<&Block> {
        let parameters = self.blocks("data").filter(|block| labels(block)[0] == "coder_parameter");
        parameters.chain(self.blocks("variable")).collect()
    }

    /// The providers that it asks for: local name, source, version.
    fn providers(&self) -> Vec<(String, String, Option<String>)> {
        let terraform = self.blocks("terraform").next().unwrap_or_else(|| panic!("{}: no terraform block", self.id));
        let required = terraform.body.get_blocks("required_providers").next().unwrap();
        let one = |attribute: &Attribute| {
            let object = attribute.value.as_object().unwrap();
            let field = |name: &str| {
                object
                    .iter()
                    .find(|(key, _)| key.as_ident().is_some_and(|key| key.as_str() == name))
                    .map(|(_, value)| value.expr().as_str().unwrap().to_owned())
            };
            (attribute.key.to_string(), field("source").unwrap(), field("version"))
        };
        required.body.attributes().map(one).collect()
    }

    /// The registry's names of the providers that are not ours.
    fn foreign_providers(&self) -> BTreeSet<String> {
        let sources = self.providers().into_iter().map(|(_, source, _)| source);
        sources.filter(|source| !["coder/coder", "berth/berth"].contains(&source.as_str())).collect()
    }
}

fn text(folder: &Path, name: &str) -> String {
    let path = folder.join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn labels(block: &Block) -> Vec<&str> {
    block.labels.iter().map(|label| label.as_str()).collect()
}

fn literal<'a>(body: &'a Body, name: &str) -> Option<&'a str> {
    body.get_attribute(name)?.value.as_str()
}

#[test]
fn every_starter_says_what_it_is_what_it_costs_and_what_it_needs() {
    for starter in starters() {
        let readme = text(&starter.folder, "README.md");
        let id = &starter.id;
        let (front, rest) =
            readme.strip_prefix("---\n").and_then(|text| text.split_once("\n---\n")).unwrap_or_else(|| panic!("{id}"));
        let front: BTreeMap<_, _> =
            front.lines().map(|line| line.split_once(": ").unwrap_or_else(|| panic!("{id}: {line}"))).collect();
        assert_eq!(front.keys().copied().collect::<Vec<_>>(), ["description", "display_name", "icon", "tags"], "{id}");
        assert!(front.values().all(|value| !value.trim().is_empty()), "{id}: {front:?}");
        assert!(front["description"].len() <= 128 && front["icon"].starts_with("/icon/"), "{id}: {front:?}");
        assert!(front["tags"].starts_with('[') && front["tags"].ends_with(']'), "{id}: {front:?}");
        for section in SECTIONS {
            assert!(rest.contains(&format!("\n{section}\n")), "{id}: the README has no {section}");
        }
        for column in ["while started", "while stopped", "after a delete"] {
            assert!(rest.contains(column), "{id}: the README does not say what is there {column}");
        }
        for question in starter.questions() {
            let label = labels(question);
            let name = literal(&question.body, "name").unwrap_or_else(|| label.last().unwrap());
            assert!(rest.contains(&format!("`{name}`")), "{id}: the README does not tell about {name}");
        }
    }
}

#[test]
fn every_starter_has_a_small_well_formed_picture() {
    for Starter { id, folder, .. } in starters() {
        let icon = text(&folder, "icon.svg");
        assert!(icon.len() < ICON_BYTES_MAX, "{id}: {} bytes", icon.len());
        let mut reader = quick_xml::Reader::from_str(&icon);
        let mut elements = Vec::new();
        loop {
            match reader.read_event().unwrap_or_else(|error| panic!("{id}: {error}")) {
                quick_xml::events::Event::Start(element) | quick_xml::events::Event::Empty(element) => {
                    elements.push(element.name().as_ref().to_owned());
                }
                quick_xml::events::Event::Eof => break,
                _ => {}
            }
        }
        assert_eq!(elements[0], "svg", "{id}");
        let drawn = ["svg", "g", "path", "rect", "circle"];
        assert!(elements.iter().all(|name| drawn.contains(&name.as_str())), "{id}: a picture only draws: {elements:?}");
    }
}

#[test]
fn every_starter_uses_only_what_our_provider_serves() {
    for starter in starters() {
        let mut seen = 0;
        for (kind, is_data) in [("data", true), ("resource", false)] {
            for block in starter.blocks(kind).filter(|block| is_ours(labels(block)[0])) {
                let place = format!("{}: {kind} {}", starter.id, labels(block).join("."));
                let served = |noun: &&&Noun| noun.name == labels(block)[0] && noun.is_data() == is_data;
                let noun = schema().iter().find(served).unwrap_or_else(|| panic!("{place}: nothing of that name is served"));
                check(&block.body, &noun.block, &place, META_ARGUMENTS);
                seen += 1;
            }
        }
        assert!(seen >= 5, "{}: an agent, its workspace, its owner, a question, facts to show", starter.id);
    }
}

fn is_ours(name: &str) -> bool {
    berth_provider::OUR_TYPE_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Holds a block against the rows of the schema.
fn check(body: &Body, rows: &Rows, place: &str, also: &[&str]) {
    let row = |name: &str| rows.attributes.iter().find(|row| row.name == name);
    let nested = |name: &str| rows.blocks.iter().find(|nested| nested.name == name);
    for attribute in body.attributes().filter(|attribute| !also.contains(&attribute.key.as_str())) {
        let name = attribute.key.as_str();
        let row = row(name).unwrap_or_else(|| panic!("{place}: there is no attribute {name}"));
        assert!(row.presence != Presence::Computed, "{place}: {name} cannot be set");
        assert!(!row.deprecated, "{place}: {name} is deprecated");
    }
    for block in body.blocks().filter(|block| !also.contains(&block.ident.as_str())) {
        let (name, content) = match block.ident.as_str() {
            "dynamic" => (labels(block)[0], &block.body.get_blocks("content").next().unwrap().body),
            name => (name, &block.body),
        };
        let place = format!("{place}.{name}");
        match (nested(name), row(name)) {
            (Some(Nested { block, .. }), _) => check(content, block, &place, &[]),
            (None, Some(Row { kind: Type::Objects(_, attributes), .. })) => {
                check(content, &Rows { attributes, blocks: &[] }, &place, &[]);
            }
            _ => panic!("{place}: there is no such block"),
        }
    }
    for row in rows.attributes.iter().filter(|row| row.presence == Presence::Required) {
        assert!(body.get_attribute(row.name).is_some(), "{place}: {} is required", row.name);
    }
}

#[test]
fn every_question_explains_itself_and_checks_its_answer() {
    for starter in starters() {
        for question in starter.questions() {
            let place = format!("{}: {}", starter.id, labels(question).join("."));
            let description = literal(&question.body, "description").unwrap_or_else(|| panic!("{place} has no description"));
            assert!(description.ends_with('.') && description.len() > 20, "{place}: {description:?} is no sentence");
            assert!(question.body.get_attribute("type").is_some(), "{place} has no type");
            if question.ident.as_str() == "data" {
                assert!(literal(&question.body, "display_name").is_some(), "{place} has no display_name");
                assert!(question.body.get_attribute("default").is_some(), "{place} has no default");
                let checks = ["option", "validation"].iter().any(|name| question.body.get_blocks(name).next().is_some());
                assert!(checks || literal(&question.body, "type") == Some("bool"), "{place} takes any answer");
            }
        }
    }
}

#[test]
fn every_provider_is_pinned_to_a_major_version() {
    for starter in starters() {
        for (name, source, version) in starter.providers() {
            match version {
                Some(version) => assert!(version.starts_with("~> "), "{}: {name} {version:?} is not pinned with ~>", starter.id),
                None => assert_eq!(source, "berth/berth", "{}: {name} is not pinned", starter.id),
            }
        }
    }
}

/// Finds text that should not stand in a template.
struct Literals<'a> {
    place: &'a str,
}

impl Visit for Literals<'_> {
    fn visit_attr(&mut self, attribute: &Attribute) {
        let name = attribute.key.as_str();
        let is_text = attribute.value.as_str().is_some_and(|text| !text.is_empty());
        assert!(!(is_text && SECRETS.contains(&name)), "{}: {name} is a secret and stands there as text", self.place);
        visit::visit_attr(self, attribute);
    }

    fn visit_expr(&mut self, expression: &Expression) {
        if let Some(text) = expression.as_str() {
            assert!(!text.starts_with("AKIA") && !text.contains("PRIVATE KEY"), "{}: {text:?} is a credential", self.place);
            assert!(!PLACES.iter().any(|place| text.contains(place)), "{}: {text:?} is one certain region", self.place);
        }
        visit::visit_expr(self, expression);
    }
}

#[test]
fn no_starter_holds_a_credential_or_a_region() {
    for starter in starters() {
        for kind in ["resource", "data", "provider", "locals"] {
            for block in starter.blocks(kind) {
                let place = format!("{}: {kind} {}", starter.id, labels(block).join("."));
                Literals { place: &place }.visit_body(&block.body);
            }
        }
        for variable in starter.blocks("variable") {
            let place = format!("{}: default of {}", starter.id, labels(variable).join("."));
            let defaults = variable.body.get_attribute("default").into_iter();
            defaults.for_each(|default| Literals { place: &place }.visit_expr(&default.value));
        }
    }
}

#[test]
fn no_starter_opens_a_door_to_the_world_or_keeps_a_disk_in_clear() {
    let mut machines = 0;
    for starter in starters() {
        for block in starter.blocks("resource") {
            let (body, place) = (&block.body, format!("{}: {}", starter.id, labels(block).join(".")));
            let is = |name: &str, value: bool| body.get_attribute(name).is_some_and(|found| found.value.as_bool() == Some(value));
            match labels(block)[0] {
                "aws_security_group" => assert!(body.get_blocks("ingress").next().is_none(), "{place}"),
                "aws_vpc_security_group_ingress_rule" => {
                    let from_group = body.get_attribute("referenced_security_group_id").is_some();
                    assert!(
                        from_group && body.get_attribute("cidr_ipv4").is_none() && body.get_attribute("cidr_ipv6").is_none(),
                        "{place}"
                    );
                }
                "aws_ebs_volume" | "aws_efs_file_system" => assert!(is("encrypted", true), "{place} is not encrypted"),
                "aws_instance" => {
                    machines += 1;
                    let disk = &body.get_blocks("root_block_device").next().unwrap().body;
                    assert_eq!(disk.get_attribute("encrypted").unwrap().value.as_bool(), Some(true), "{place}");
                    let metadata = &body.get_blocks("metadata_options").next().unwrap().body;
                    assert_eq!(literal(metadata, "http_tokens"), Some("required"), "{place}: IMDSv2");
                    assert!(body.get_attribute("iam_instance_profile").is_none(), "{place} has rights in the account");
                    assert!(ignores(body, "ami"), "{place}: a new image would replace the machine");
                }
                "azurerm_network_security_group" => {
                    let rules: Vec<_> = body.get_blocks("security_rule").map(|rule| literal(&rule.body, "access")).collect();
                    assert_eq!(rules, [Some("Deny")], "{place}");
                }
                "google_compute_firewall" => assert!(body.get_blocks("allow").next().is_none(), "{place}"),
                "google_compute_instance" => assert!(body.get_blocks("service_account").next().is_none(), "{place}"),
                "kubernetes_network_policy_v1" => {
                    assert!(body.get_blocks("spec").all(|spec| spec.body.get_blocks("ingress").next().is_none()), "{place}");
                }
                "docker_container" => assert!(body.get_blocks("ports").next().is_none() && !is("privileged", true), "{place}"),
                _ => {}
            }
        }
    }
    assert_eq!(machines, 3, "Linux, Windows and a Mac on EC2");
}

/// Whether a resource's life goes on when this attribute changes.
fn ignores(body: &Body, attribute: &str) -> bool {
    let lifecycles = body.get_blocks("lifecycle");
    let mut lists = lifecycles.filter_map(|lifecycle| lifecycle.body.get_attribute("ignore_changes")?.value.as_array());
    lists.any(|list| {
        list.iter().any(|one| match one {
            Expression::Variable(name) => name.as_str() == attribute,
            Expression::Traversal(path) => path
                .operators
                .iter()
                .any(|step| matches!(step.value(), TraversalOperator::GetAttr(name) if name.as_str() == attribute)),
            _ => false,
        })
    })
}

fn terraform(arguments: &[&str], directory: &Path) -> Command {
    let mut command = Command::new("terraform");
    command
        .args(arguments)
        .current_dir(directory)
        .env("CHECKPOINT_DISABLE", "1")
        .env("TF_IN_AUTOMATION", "1")
        .env_remove("TF_CLI_CONFIG_FILE");
    command
}

#[test]
fn every_starter_is_formatted_as_terraform_does_it() {
    let said = finish(&mut terraform(&["fmt", "-check", "-diff", "-recursive"], &repository().join("templates")));
    assert_eq!(said.code, Some(0), "run `terraform fmt -recursive templates`:\n{}{}", said.stdout, said.stderr);
}

/// One configuration that has the starters as modules, so that a provider's schema is read once for all that use it.
fn all_together(starters: &[Starter], place: &Path) {
    let mut root = String::new();
    for Starter { id, folder, body } in starters {
        let target = place.join(id);
        fs::create_dir(&target).unwrap();
        for entry in fs::read_dir(folder).unwrap().flatten() {
            fs::copy(entry.path(), target.join(entry.file_name())).unwrap();
        }
        let needed = body.get_blocks("variable").filter(|variable| variable.body.get_attribute("default").is_none());
        let given: String = needed.map(|variable| format!("  {} = \"given\"\n", labels(variable)[0])).collect();
        root += &format!("module \"{id}\" {{\n  source = \"./{id}\"\n{given}}}\n");
    }
    fs::write(place.join("main.tf"), root).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn terraform_finds_every_starter_valid_whose_providers_are_here() {
    let place = tempfile::tempdir().unwrap();
    let has = |starter: &Starter| starter.foreign_providers().iter().all(|provider| mirror(provider).is_some());
    let (valid, linted): (Vec<_>, Vec<_>) = starters().into_iter().partition(has);
    for starter in &linted {
        eprintln!("ONLY LINTED: templates/{} needs {:?}, of which no mirror is here", starter.id, starter.foreign_providers());
    }
    assert!(valid.iter().any(|starter| starter.id == "local"));
    all_together(&valid, place.path());
    let providers: BTreeSet<_> = valid.iter().flat_map(Starter::foreign_providers).collect();
    let mirrors: Vec<_> = providers.iter().map(|provider| (provider.as_str(), mirror(provider).unwrap())).collect();
    let config = write_config(&mirrors, place.path());
    let environment = BTreeMap::from([("CODER_WORKSPACE_TRANSITION".to_owned(), "start".to_owned())]);
    let served = berth_provider::serve(&place.path().join("s"), Environment::from(environment)).await.unwrap();
    for arguments in [&["init", "-input=false", "-no-color"][..], &["validate", "-no-color"]] {
        let mut command = terraform(arguments, place.path());
        command.env("TF_CLI_CONFIG_FILE", &config).env("TF_REATTACH_PROVIDERS", served.reattach_json());
        let said = tokio::task::spawn_blocking(move || finish(&mut command)).await.unwrap();
        assert_eq!(said.code, Some(0), "terraform {arguments:?}:\n{}{}", said.stdout, said.stderr);
        assert!(!said.stdout.contains("Warning") || arguments[0] == "init", "{}", said.stdout);
    }
    served.shutdown().await;
}

#[test]
fn a_person_lists_the_starters_and_takes_one() {
    let berth = Berth::start();
    let listed = berth.json(&["templates", "init", "--list"]);
    let ids: BTreeSet<_> = listed.as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids, starters().into_iter().map(|starter| starter.id).collect());
    let table = berth.ok(&["templates", "init", "--list"]);
    assert!(ids.iter().all(|id| table.contains(id.as_str())) && table.contains("EC2"), "{table}");

    let unchosen = berth.fails(&["templates", "init"]);
    assert!(unchosen.contains("hint: ") && unchosen.contains("aws-linux") && unchosen.contains("--list"), "{unchosen}");
    let unknown = berth.fails(&["templates", "init", "--id", "aws-linus"]);
    assert!(unknown.contains("aws-linux"), "the nearest is named: {unknown}");

    let written = berth.json(&["templates", "init", "--id", "aws-linux"]);
    assert_eq!(written["directory"], "aws-linux");
    for file in written["files"].as_array().unwrap() {
        let name = file.as_str().unwrap();
        assert_eq!(text(&berth.home().join("aws-linux"), name), text(&repository().join("templates/aws-linux"), name));
    }
}
