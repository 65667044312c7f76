//! From a plan to what a workspace would be made of: the same resources, agents and apps as a state's, before there is a state.
//!
//! A plan knows no ids and no dependencies. Ids are stand-ins that follow from the version and the address. Dependencies come from
//! `terraform graph -type=plan`, because the plan's own `configuration` leaves out locals: an agent that is reached through
//! `local.user_data` shows only in the graph. It is computed once, at import. A build does not need it: the state names, for each
//! instance, all that it depends on, through locals, modules and outputs too.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};
use uuid::Uuid;

use super::{
    Reading, ResourceError,
    agent::derived_id,
    graph::{NewInstance, State, without_keys},
};

/// Terraform's graph of a configuration: what needs what, by address without keys.
#[derive(Debug, Default)]
pub struct Graph(BTreeMap<String, Vec<String>>);

impl Graph {
    /// Reads the output of `terraform graph -type=plan`, in the DOT language.
    #[must_use]
    pub fn parse(dot: &str) -> Self {
        let mut edges: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for line in dot.lines() {
            let ends =
                line.trim().strip_prefix('"').and_then(|line| line.strip_suffix('"')).and_then(|line| line.split_once("\" -> \""));
            if let Some((from, to)) = ends {
                edges.entry(address(from)).or_default().push(address(to));
            }
        }
        Self(edges)
    }

    /// All that an address depends on, directly or not.
    fn dependencies(&self, of: &str) -> BTreeSet<&str> {
        let mut known = BTreeSet::new();
        let mut waiting = vec![of];
        while let Some(next) = waiting.pop() {
            for address in self.0.get(next).into_iter().flatten() {
                if known.insert(address.as_str()) {
                    waiting.push(address);
                }
            }
        }
        known
    }
}

/// `[root] module.m.coder_agent.main (expand)` is `module.m.coder_agent.main`.
fn address(node: &str) -> String {
    let node = node.strip_prefix("[root] ").unwrap_or(node);
    node.strip_suffix(" (expand)").unwrap_or(node).replace("\\\"", "\"")
}

/// Reads the resources that a plan of `version` would leave. No secret of an agent is among them.
///
/// # Errors
/// When names in it are not usable.
pub fn read(plan: &Value, graph: &Graph, version: Uuid) -> Result<Reading, ResourceError> {
    let mut instances = Vec::new();
    if let Some(root) = plan.pointer("/planned_values/root_module") {
        collect(root, "", &mut instances);
    }
    let mut references = BTreeMap::new();
    if let Some(root) = plan.pointer("/configuration/root_module") {
        refer(root, "", &mut references);
    }
    for instance in &mut instances {
        instance.dependencies = graph.dependencies(&instance.configuration()).into_iter().map(str::to_owned).collect();
        let id = derived_id(version, &instance.address());
        instance.default_text("id", id.to_string());
    }
    for index in 0..instances.len() {
        for attribute in ["agent_id", "resource_id"] {
            let target = target(&instances, index, attribute, &references);
            if let (Some(target), Some(instance)) = (target, instances.get_mut(index)) {
                instance.default_text(attribute, target);
            }
        }
    }
    let mut reading = super::read_state(&State::of(instances))?;
    for agent in reading.resources.iter_mut().flat_map(|resource| &mut resource.agents) {
        agent.token = None;
        agent.instance_id.clear();
        agent.env.clear();
        agent.metadata.iter_mut().for_each(|metadata| metadata.script.clear());
        agent.scripts.iter_mut().for_each(|script| script.script.clear());
    }
    Ok(reading)
}

fn collect(module: &Value, name: &str, instances: &mut Vec<NewInstance>) {
    let list = |key: &str| module.get(key).and_then(Value::as_array).into_iter().flatten();
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    for resource in list("resources").filter(|resource| text(resource, "mode") == "managed") {
        let mut values = resource.get("values").cloned().unwrap_or_default();
        redact(&mut values, resource.get("sensitive_values").unwrap_or(&Value::Null));
        instances.push(NewInstance {
            module: name.to_owned(),
            kind: text(resource, "type"),
            name: text(resource, "name"),
            key: resource.get("index").cloned(),
            attributes: if let Value::Object(values) = values { values } else { Map::new() },
            dependencies: Vec::new(),
        });
    }
    list("child_modules").for_each(|child| collect(child, &text(child, "address"), instances));
}

/// Takes out what is marked as sensitive: the marks have the shape of the values, with true where a value is.
fn redact(values: &mut Value, marks: &Value) {
    match (values, marks) {
        (values, Value::Bool(true)) => *values = Value::Null,
        (Value::Object(values), Value::Object(marks)) => {
            marks.iter().for_each(|(key, mark)| values.get_mut(key).into_iter().for_each(|value| redact(value, mark)));
        }
        (Value::Array(values), Value::Array(marks)) => values.iter_mut().zip(marks).for_each(|(value, mark)| redact(value, mark)),
        _ => {}
    }
}

/// What the attributes that name another resource refer to, by address without keys and attribute.
type References = BTreeMap<(String, String), Vec<String>>;

fn refer(module: &Value, prefix: &str, references: &mut References) {
    for resource in module.get("resources").and_then(Value::as_array).into_iter().flatten() {
        let address = resource.get("address").and_then(Value::as_str).unwrap_or_default();
        for attribute in ["agent_id", "resource_id"] {
            let names = resource.pointer(&format!("/expressions/{attribute}/references")).and_then(Value::as_array);
            let names = names.into_iter().flatten().filter_map(Value::as_str);
            let targets = names.filter_map(|name| Some(format!("{prefix}{}", resource_in(name)?))).collect();
            references.insert((format!("{prefix}{address}"), attribute.to_owned()), targets);
        }
    }
    for (name, call) in module.get("module_calls").and_then(Value::as_object).into_iter().flatten() {
        if let Some(inner) = call.get("module") {
            refer(inner, &format!("{prefix}module.{name}."), references);
        }
    }
}

/// `coder_agent.main[0].id` refers to `coder_agent.main`; `var.agent`, `local.x` and `data.x.y` to no resource.
fn resource_in(reference: &str) -> Option<String> {
    let plain = without_keys(reference);
    let mut parts = plain.split('.');
    let (kind, name) = (parts.next()?, parts.next()?);
    let is_other = matches!(kind, "var" | "local" | "data" | "module" | "each" | "count" | "path" | "terraform" | "self");
    (!is_other).then(|| format!("{kind}.{name}"))
}

/// The id that an attribute of an instance would have: the referred resource's, else that of the one agent it depends on. Among the
/// instances of a resource, the one of the same module instance and the same key.
fn target(instances: &[NewInstance], index: usize, attribute: &str, references: &References) -> Option<String> {
    let instance = instances.get(index)?;
    if !instance.kind.starts_with("coder_") || instance.attributes.get(attribute).is_some_and(|value| !value.is_null()) {
        return None;
    }
    let named = references.get(&(instance.configuration(), attribute.to_owned()));
    let is_named = |other: &&NewInstance| named.is_some_and(|named| named.contains(&other.configuration()));
    let is_near = |other: &&NewInstance| {
        attribute == "agent_id" && other.kind == "coder_agent" && instance.dependencies.contains(&other.configuration())
    };
    let mut candidates: Vec<_> = instances.iter().filter(is_named).collect();
    if candidates.is_empty() {
        candidates = instances.iter().filter(is_near).collect();
    }
    let same_module = candidates.iter().copied().find(|other| other.module == instance.module && other.key == instance.key);
    let same_key = || candidates.iter().copied().find(|other| instance.key.is_some() && other.key == instance.key);
    let target = same_module.or_else(same_key).or(candidates.first().copied())?;
    target.attributes.get("id").and_then(Value::as_str).map(str::to_owned)
}

#[cfg(test)]
mod tests;
