//! Finding strays: Terraform is asked what carries the workspace's tag, and this machine what carries its marks.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fs, io,
    path::Path,
};

use berth_domain::{Stray, limit::STRAYS_MAX};
use berth_wire::runner::Build;
use serde::Deserialize;
use serde_json::Value;

use super::{Found, arn, stopped};
use crate::{
    environment::WORKSPACE_TAG,
    template::file::{Block, blocks_of_hcl, blocks_of_json, bodies},
    terraform::Ended,
    work::{Done, Ready, Work},
};

/// Holds the generated data sources.
const LOOK_FILE: &str = "zz_berth_look.tf";
/// The saved plan.
const PLAN_FILE: &str = "zz_berth_look.plan";
/// What the data sources are named, with a number behind.
const LABEL: &str = "zz_berth_look_";
/// What lists resources by tag.
const TAGGED: &str = "aws_resourcegroupstaggingapi_resources";
/// What lists instances that are not terminated: those keep their tags, and so stay in the list above, for about an hour.
const LIVE: &str = "aws_instances";

/// What exists of the workspace and is not in `state`.
pub(super) async fn look(work: &Work, build: &Build, ready: &mut Ready, state: Option<&[u8]>) -> Result<Vec<Found>, Done> {
    let unreadable = |error: io::Error| work.failed(format!("cannot look for what exists: {error}"));
    let workspace = build.workspace_id.to_string();
    let blocks = blocks(&ready.room.directory()).map_err(unreadable)?;
    let providers = providers(&blocks);
    let data = data_sources(&providers, &workspace);
    fs::write(ready.room.directory().join(LOOK_FILE), &data).map_err(unreadable)?;
    let plan = plan(work, ready, &providers).await?;
    let mut found = tagged(&plan, &providers);
    if let Some(root) = &work.config.process_root {
        let here = berth_provider::existing(root, &workspace).await.map_err(unreadable)?;
        let stray =
            |one: berth_provider::Existing| Stray { kind: one.kind.to_owned(), id: one.id, what: one.what, addresses: Vec::new() };
        found.extend(here.into_iter().map(|one| Found { stray: stray(one), provider: None }));
    }
    let known = state.map(known).unwrap_or_default();
    found.retain(|one| !known.contains(&one.stray.id) && !known.contains(&one.stray.what));
    found.truncate(STRAYS_MAX);
    let free = plan.free();
    for one in &mut found {
        one.stray.addresses = free.get(one.stray.kind.as_str()).cloned().unwrap_or_default();
    }
    Ok(found)
}

/// Takes the generated files away.
pub(super) fn clear(directory: &Path) -> io::Result<()> {
    for file in [LOOK_FILE, PLAN_FILE] {
        match fs::remove_file(directory.join(file)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// The blocks of the root module; a file that does not parse is left to Terraform, whose diagnostic names the line.
fn blocks(directory: &Path) -> io::Result<Vec<Block>> {
    let mut blocks = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.ends_with(".tf") {
            blocks.extend(blocks_of_hcl(&fs::read_to_string(&path).unwrap_or_default()).unwrap_or_default());
        } else if name.ends_with(".tf.json") {
            blocks.extend(blocks_of_json(&fs::read(&path)?).unwrap_or_default());
        }
    }
    Ok(blocks)
}

/// The configurations of the AWS provider that the root module uses: none for the default one, `aws.west` for another. Where only
/// modules use it, `required_providers` names it, and the default one is asked.
fn providers(blocks: &[Block]) -> BTreeSet<Option<String>> {
    let label = |block: &Block| block.labels.first().cloned().unwrap_or_default();
    let of_kind = |kind: &'static str| blocks.iter().filter(move |block| block.kind == kind);
    let alias = |block: &Block| block.body.get("alias").and_then(Value::as_str).map(|alias| format!("aws.{alias}"));
    let configured = of_kind("provider").filter(|block| label(block) == "aws").map(alias);
    let plain = |block: &&Block| label(block).starts_with("aws_") && !block.body.contains_key("provider");
    let implied = of_kind("resource").chain(of_kind("data")).filter(plain).map(|_| None);
    let mut providers: BTreeSet<_> = configured.chain(implied).collect();
    let settings = of_kind("terraform").flat_map(|block| block.body.get("required_providers"));
    if providers.is_empty() && settings.flat_map(bodies).any(|required| required.contains_key("aws")) {
        providers.insert(None);
    }
    providers
}

/// The data sources that list what is tagged, one pair per provider configuration.
fn data_sources(providers: &BTreeSet<Option<String>>, workspace: &str) -> String {
    let source = |(number, provider): (usize, &Option<String>)| {
        let provider = provider.as_ref().map(|provider| format!("  provider = {provider}\n")).unwrap_or_default();
        format!(
            "data \"{TAGGED}\" \"{LABEL}{number}\" {{\n{provider}  tag_filter {{\n    key    = \"{WORKSPACE_TAG}\"\n    \
             values = [\"{workspace}\"]\n  }}\n}}\ndata \"{LIVE}\" \"{LABEL}{number}\" {{\n{provider}  \
             instance_tags        = {{ \"{WORKSPACE_TAG}\" = \"{workspace}\" }}\n  \
             instance_state_names = [\"pending\", \"running\", \"stopping\", \"stopped\"]\n}}\n"
        )
    };
    providers.iter().enumerate().map(source).collect()
}

/// Plans a start with the data sources in it. When the template does not plan, the data sources alone: what exists is found all the same.
async fn plan(work: &Work, ready: &mut Ready, providers: &BTreeSet<Option<String>>) -> Result<Plan, Done> {
    let out = format!("-out={PLAN_FILE}");
    let arguments = ["plan", "-json", "-input=false", "-lock=false", &out];
    let ended = work.command(ready, "Looking for what exists", &arguments).await?;
    stopped(work, &ended)?;
    if ended.is_success() {
        return read(work, ready).await;
    }
    work.log.warn("the template does not plan: what exists is listed without the addresses that could take it over");
    if providers.is_empty() {
        return Ok(Plan::default());
    }
    let numbers = 0..providers.len();
    let targets: Vec<String> =
        numbers.flat_map(|number| [TAGGED, LIVE].map(|kind| format!("-target=data.{kind}.{LABEL}{number}"))).collect();
    let arguments: Vec<&str> = arguments.into_iter().chain(targets.iter().map(String::as_str)).collect();
    let ended = work.command(ready, "Looking for what exists", &arguments).await?;
    stopped(work, &ended)?;
    if ended.is_success() { read(work, ready).await } else { Err(failed(work, &ended)) }
}

fn failed(work: &Work, ended: &Ended) -> Done {
    work.failed(format!("cannot ask the cloud what exists: {}", ended.error()))
}

async fn read(work: &Work, ready: &Ready) -> Result<Plan, Done> {
    let shown = work.unless_stopped(ready.run.output(&["show", "-json", PLAN_FILE])).await?;
    let (status, json) = shown.map_err(|error| work.failed(error.to_string()))?;
    if !status.success() {
        return Err(work.failed("terraform show could not read the plan".to_owned()));
    }
    serde_json::from_slice(&json).map_err(|error| work.failed(format!("the plan cannot be read: {error}")))
}

/// What is read of a plan.
#[derive(Debug, Default, Deserialize)]
struct Plan {
    #[serde(default)]
    prior_state: Values,
    #[serde(default)]
    resource_changes: Vec<Change>,
}

#[derive(Debug, Default, Deserialize)]
struct Values {
    #[serde(default)]
    values: Root,
}

#[derive(Debug, Default, Deserialize)]
struct Root {
    #[serde(default)]
    root_module: Module,
}

#[derive(Debug, Default, Deserialize)]
struct Module {
    #[serde(default)]
    resources: Vec<Resource>,
}

#[derive(Debug, Deserialize)]
struct Resource {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    #[serde(default)]
    values: Value,
}

#[derive(Debug, Deserialize)]
struct Change {
    address: String,
    mode: String,
    #[serde(rename = "type")]
    kind: String,
    change: Actions,
}

#[derive(Debug, Deserialize)]
struct Actions {
    actions: Vec<String>,
}

impl Plan {
    /// The addresses that a start would create, by type: those that could take something over.
    fn free(&self) -> BTreeMap<&str, Vec<String>> {
        let mut free: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for change in self.resource_changes.iter().filter(|one| one.mode == "managed" && one.change.actions == ["create"]) {
            free.entry(&change.kind).or_default().push(change.address.clone());
        }
        free
    }

    /// The values of the generated data source of this type and number.
    fn values(&self, kind: &str, number: usize) -> Option<&Value> {
        let name = format!("{LABEL}{number}");
        let resources = &self.prior_state.values.root_module.resources;
        resources.iter().find(|one| one.kind == kind && one.name == name).map(|one| &one.values)
    }
}

/// What the data sources listed.
fn tagged(plan: &Plan, providers: &BTreeSet<Option<String>>) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    for (number, provider) in providers.iter().enumerate() {
        let items = |kind: &str, list: &str| {
            plan.values(kind, number).and_then(|values| values.get(list)?.as_array()).cloned().unwrap_or_default()
        };
        let live = items(LIVE, "ids");
        for arn in items(TAGGED, "resource_tag_mapping_list").iter().filter_map(|one| one.get("resource_arn")?.as_str()) {
            let stray = stray(arn);
            let is_gone = stray.kind == "aws_instance" && !live.iter().any(|id| id.as_str() == Some(&stray.id));
            if !is_gone && !found.iter().any(|one| one.stray == stray) {
                found.push(Found { stray, provider: provider.clone() });
            }
        }
    }
    found
}

fn stray(arn: &str) -> Stray {
    let (kind, id) = arn::resource(arn).map_or((String::new(), arn.to_owned()), |(kind, id)| (kind.to_owned(), id));
    Stray { kind, id, what: arn.to_owned(), addresses: Vec::new() }
}

/// Every text in the attributes of a state's managed resources. What one of them names is not a stray: a volume that belongs to an
/// instance carries the instance's tags, and the state names it inside the instance.
fn known(state: &[u8]) -> HashSet<String> {
    let state: Value = serde_json::from_slice(state).unwrap_or_default();
    let resources = state.get("resources").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut texts = HashSet::new();
    for resource in resources.iter().filter(|one| one.get("mode").and_then(Value::as_str) == Some("managed")) {
        for instance in resource.get("instances").and_then(Value::as_array).into_iter().flatten() {
            collect(instance.get("attributes").unwrap_or(&Value::Null), &mut texts);
        }
    }
    texts
}

fn collect(value: &Value, texts: &mut HashSet<String>) {
    match value {
        Value::String(text) => {
            texts.insert(text.clone());
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, texts)),
        Value::Object(map) => map.values().for_each(|item| collect(item, texts)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn hcl(text: &str) -> BTreeSet<Option<String>> {
        providers(&blocks_of_hcl(text).unwrap())
    }

    #[test]
    fn every_configuration_of_the_aws_provider_is_asked() {
        assert_eq!(hcl("resource \"berth_process\" \"p\" {}\nprovider \"google\" {}"), BTreeSet::new());
        assert_eq!(hcl("resource \"aws_instance\" \"i\" {}"), BTreeSet::from([None]));
        let two = "provider \"aws\" {}\nprovider \"aws\" {\n alias = \"west\"\n}";
        assert_eq!(hcl(two), BTreeSet::from([None, Some("aws.west".to_owned())]));
        let west = "provider \"aws\" {\n alias = \"west\"\n}\nterraform {\n required_providers {\n aws = {}\n }\n}";
        assert_eq!(hcl(west), BTreeSet::from([Some("aws.west".to_owned())]), "the default one may have no region");
        assert_eq!(hcl("terraform {\n required_providers {\n aws = {}\n }\n}"), BTreeSet::from([None]), "modules use it");
        let text = data_sources(&hcl(two), "w-1");
        assert_eq!(blocks_of_hcl(&text).unwrap().len(), 4, "{text}");
        assert!(text.contains("provider = aws.west"), "{text}");
    }

    #[test]
    fn what_the_state_names_anywhere_and_what_is_terminated_is_no_stray() {
        let arn = |rest: &str| json!({ "resource_arn": format!("arn:aws:ec2:us-east-1:1:{rest}") });
        let list = [arn("instance/i-1"), arn("instance/i-2"), arn("instance/i-gone"), arn("volume/vol-root"), arn("volume/vol-2")];
        let named = |kind: &str, values: Value| json!({ "type": kind, "name": "zz_berth_look_0", "values": values });
        let plan: Plan = serde_json::from_value(json!({
            "prior_state": { "values": { "root_module": { "resources": [
                named(TAGGED, json!({ "resource_tag_mapping_list": list })), named(LIVE, json!({ "ids": ["i-1", "i-2"] })),
            ] } } },
            "resource_changes": [
                { "address": "aws_ebs_volume.home[0]", "mode": "managed", "type": "aws_ebs_volume", "change": { "actions": ["create"] } },
                { "address": "aws_instance.dev", "mode": "managed", "type": "aws_instance", "change": { "actions": ["delete", "create"] } },
            ],
        }))
        .unwrap();
        let state = json!({ "resources": [{ "mode": "managed", "instances": [{ "attributes": {
            "id": "i-1", "root_block_device": [{ "volume_id": "vol-root" }] } }] }] });
        let known = known(state.to_string().as_bytes());
        let mut found = tagged(&plan, &BTreeSet::from([None]));
        found.retain(|one| !known.contains(&one.stray.id));
        let ids: Vec<_> = found.iter().map(|one| one.stray.id.as_str()).collect();
        assert_eq!(ids, ["i-2", "vol-2"]);
        assert_eq!(plan.free(), BTreeMap::from([("aws_ebs_volume", vec!["aws_ebs_volume.home[0]".to_owned()])]));
    }
}
