//! The state file as a list of instances, and who is near whom.

use std::ops::Deref;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::ResourceError;

/// A state file of version 4.
#[derive(Debug, Deserialize)]
pub struct State {
    version: u64,
    #[serde(default)]
    resources: Vec<StateResource>,
}

#[derive(Debug, Deserialize)]
struct StateResource {
    mode: String,
    #[serde(rename = "type")]
    kind: String,
    name: String,
    #[serde(default)]
    module: String,
    #[serde(default)]
    provider: String,
    #[serde(default)]
    instances: Vec<Instance>,
}

#[derive(Debug, Deserialize)]
struct Instance {
    #[serde(default)]
    index_key: Option<Value>,
    #[serde(default)]
    deposed: Option<String>,
    #[serde(default)]
    attributes: Option<Map<String, Value>>,
    #[serde(default)]
    dependencies: Vec<String>,
}

impl State {
    /// Reads a state file.
    ///
    /// # Errors
    /// When it is not one, or of a version other than 4.
    pub fn parse(bytes: &[u8]) -> Result<Self, ResourceError> {
        let state: Self = serde_json::from_slice(bytes).map_err(|error| ResourceError::State(error.to_string()))?;
        if state.version == 4 { Ok(state) } else { Err(ResourceError::State(format!("its version is {}, not 4", state.version))) }
    }

    /// Whether nothing is left to destroy.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.resources.iter().any(|resource| resource.mode == "managed" && !resource.instances.is_empty())
    }

    /// The providers of its managed resources, as Terraform writes them.
    pub fn providers(&self) -> impl Iterator<Item = &str> {
        self.resources.iter().filter(|resource| resource.mode == "managed").map(|resource| resource.provider.as_str())
    }

    /// The instances of its managed resources, in the order of their addresses.
    #[must_use]
    pub fn nodes(&self) -> Vec<Node<'_>> {
        let managed = self.resources.iter().filter(|resource| resource.mode == "managed");
        let mut nodes: Vec<Node<'_>> = managed.flat_map(StateResource::nodes).collect();
        nodes.sort_by(|one, two| one.address.cmp(&two.address));
        nodes
    }
}

/// An instance of a managed resource that no state file holds yet.
#[derive(Debug)]
pub(super) struct NewInstance {
    /// The module instance it is in; empty for the root.
    pub(super) module: String,
    /// Its type.
    pub(super) kind: String,
    /// Its label.
    pub(super) name: String,
    /// Its key, with `count` or `for_each`.
    pub(super) key: Option<Value>,
    /// Its attributes, as far as they are known.
    pub(super) attributes: Map<String, Value>,
    /// All it depends on, without keys.
    pub(super) dependencies: Vec<String>,
}

impl NewInstance {
    /// `module.dev["a"].coder_agent.main[0]`.
    pub(super) fn address(&self) -> String {
        let index = self.key.as_ref().map(|key| format!("[{key}]")).unwrap_or_default();
        format!("{}{index}", joined(&self.module, &self.kind, &self.name))
    }

    /// The same without keys.
    pub(super) fn configuration(&self) -> String {
        joined(&without_keys(&self.module), &self.kind, &self.name)
    }

    /// Sets an attribute that has no value.
    pub(super) fn default_text(&mut self, attribute: &str, text: String) {
        if self.attributes.get(attribute).is_none_or(Value::is_null) {
            self.attributes.insert(attribute.to_owned(), Value::String(text));
        }
    }
}

fn joined(module: &str, kind: &str, name: &str) -> String {
    let dot = if module.is_empty() { "" } else { "." };
    format!("{module}{dot}{kind}.{name}")
}

impl State {
    /// A state of these instances.
    pub(super) fn of(instances: Vec<NewInstance>) -> Self {
        let resource = |instance: NewInstance| StateResource {
            mode: "managed".to_owned(),
            kind: instance.kind,
            name: instance.name,
            module: instance.module,
            provider: String::new(),
            instances: vec![Instance {
                index_key: instance.key,
                deposed: None,
                attributes: Some(instance.attributes),
                dependencies: instance.dependencies,
            }],
        };
        Self { version: 4, resources: instances.into_iter().map(resource).collect() }
    }
}

impl StateResource {
    fn nodes(&self) -> impl Iterator<Item = Node<'_>> {
        let current = self.instances.iter().filter(|instance| instance.deposed.is_none());
        current.filter_map(|instance| {
            let of = |module: &str| joined(module, &self.kind, &self.name);
            let index = instance.index_key.as_ref().map(|key| format!("[{key}]")).unwrap_or_default();
            Some(Node {
                address: format!("{}{index}", of(&self.module)),
                configuration: of(&without_keys(&self.module)),
                module: &self.module,
                kind: &self.kind,
                name: &self.name,
                index: instance.index_key.as_ref(),
                dependencies: &instance.dependencies,
                fields: Fields(instance.attributes.as_ref()?),
            })
        })
    }
}

/// One instance of a managed resource.
#[derive(Debug, Clone)]
pub struct Node<'a> {
    /// `module.dev["a"].coder_agent.main[0]`.
    pub address: String,
    /// The same without keys, as dependencies name it: `module.dev.coder_agent.main`.
    pub configuration: String,
    /// The module instance it is in; empty for the root.
    pub module: &'a str,
    /// Its type.
    pub kind: &'a str,
    /// Its label.
    pub name: &'a str,
    index: Option<&'a Value>,
    dependencies: &'a [String],
    fields: Fields<'a>,
}

/// Attributes by name; what is absent, null or of another type is empty.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a>(pub &'a Map<String, Value>);

impl<'a> Deref for Node<'a> {
    type Target = Fields<'a>;

    fn deref(&self) -> &Fields<'a> {
        &self.fields
    }
}

impl<'a> Fields<'a> {
    /// A string.
    #[must_use]
    pub fn text(&self, name: &str) -> &'a str {
        self.0.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// A bool, false when absent.
    #[must_use]
    pub fn flag(&self, name: &str) -> bool {
        self.0.get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    /// A whole number.
    #[must_use]
    #[allow(clippy::cast_possible_truncation)]
    pub fn whole(&self, name: &str) -> Option<i64> {
        let value = self.0.get(name)?;
        value.as_i64().or_else(|| value.as_f64().map(|number| number as i64))
    }

    /// The objects of a nested block or of an attribute that is a collection of objects.
    pub fn blocks(&self, name: &str) -> impl Iterator<Item = &'a Map<String, Value>> + use<'a> {
        self.0.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object)
    }

    /// The pairs of a map of strings.
    pub fn pairs(&self, name: &str) -> impl Iterator<Item = (String, String)> + use<'a> {
        let map = self.0.get(name).and_then(Value::as_object);
        map.into_iter().flatten().filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
    }
}

impl Node<'_> {
    /// Whether agents and metadata can be placed on it: every resource but those that only describe the workspace to us.
    #[must_use]
    pub fn is_holder(&self) -> bool {
        !self.kind.starts_with("coder_") || self.kind == "coder_external_agent"
    }

    fn depends_on(&self, other: &Node<'_>) -> bool {
        self.dependencies.contains(&other.configuration)
    }
}

/// Which holder an agent belongs to: one that depends on it with no other such holder between; ties go to the first address.
pub(super) fn nearest_dependent(agent: &Node<'_>, holders: &[&Node<'_>]) -> Option<usize> {
    let mut near: Vec<(usize, &Node<'_>)> =
        holders.iter().enumerate().filter(|(_, holder)| holder.depends_on(agent)).map(|(index, holder)| (index, *holder)).collect();
    // One agent per module instance or per count: stay within the same one where that is possible.
    keep_if_any(&mut near, |(_, holder)| holder.module == agent.module);
    keep_if_any(&mut near, |(_, holder)| agent.index.is_some() && holder.index == agent.index);
    let nearest = near.iter().find(|(_, one)| !near.iter().any(|(_, other)| one.depends_on(other)));
    nearest.or(near.first()).map(|(index, _)| *index)
}

/// Which holder a `coder_metadata` describes: the one whose id it names, else the nearest one that it depends on.
pub(super) fn described(metadata: &Node<'_>, holders: &[&Node<'_>]) -> Option<usize> {
    let id = metadata.text("resource_id");
    let named = |holder: &&Node<'_>| !id.is_empty() && holder.text("id") == id;
    let near = |holder: &&Node<'_>| metadata.depends_on(holder);
    let both = holders.iter().position(|holder| named(holder) && near(holder));
    let nearest = || {
        let farther = |holder: &Node<'_>| holders.iter().any(|other| near(other) && other.depends_on(holder));
        holders.iter().position(|holder| near(holder) && !farther(holder))
    };
    both.or_else(|| holders.iter().position(named)).or_else(nearest)
}

fn keep_if_any<T>(items: &mut Vec<T>, keep: impl Fn(&T) -> bool) {
    if items.iter().any(&keep) {
        items.retain(keep);
    }
}

/// `module.dev["a]b"].module.x[0]` as `module.dev.module.x`.
pub(super) fn without_keys(module: &str) -> String {
    let (mut plain, mut depth, mut quoted, mut escaped) = (String::new(), 0_u32, false, false);
    for character in module.chars() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' if depth > 0 => quoted = !quoted,
            '[' if !quoted => depth += 1,
            ']' if !quoted => depth = depth.saturating_sub(1),
            _ if depth == 0 => plain.push(character),
            _ => {}
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_taken_out_of_module_paths() {
        assert_eq!(without_keys(""), "");
        assert_eq!(without_keys("module.a.module.b[0]"), "module.a.module.b");
        assert_eq!(without_keys(r#"module.m["k]"].module.n["a\"]b"]"#), "module.m.module.n");
    }
}
