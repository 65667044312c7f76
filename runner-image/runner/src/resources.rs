//! From Terraform's state file to what the API records: resources, and the agents, apps and scripts placed on them.
//!
//! The state alone is read: no `show`, no `graph`. Its `dependencies` name, for each instance, everything it depends on, directly or
//! not; an agent belongs to the nearest resource that depends on it.

mod agent;
mod graph;
pub mod planned;

use berth_domain::NameError;
use berth_wire::{
    resource::ResourceMetadata,
    runner::{Agent, Resource},
};

pub use graph::{Node, State};

/// What a state holds.
#[derive(Debug, Default)]
pub struct Reading {
    /// The resources in the order of their addresses, each with its agents.
    pub resources: Vec<Resource>,
    /// What the author should know.
    pub warnings: Vec<String>,
}

/// Why a state makes no workspace.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResourceError {
    /// It is not a state that we understand.
    #[error("the Terraform state cannot be read: {0}")]
    State(String),
    /// An agent's name will not do.
    #[error("rename resource \"coder_agent\" {name:?}: {source}")]
    AgentName {
        /// The name.
        name: String,
        /// Which rule it breaks.
        source: NameError,
    },
    /// Two agents have one name.
    #[error("the agent name {0:?} is used twice; names differ only if they differ without regard to case")]
    AgentTwice(String),
    /// Two apps have one slug.
    #[error("the app slug {0:?} is used twice")]
    SlugTwice(String),
    /// An attribute of ours is not what our provider writes.
    #[error("{address}: {what}")]
    Attribute {
        /// The resource.
        address: String,
        /// What is wrong.
        what: String,
    },
}

/// Reads the resources out of a state.
///
/// # Errors
/// When it is not a state, or names in it are not usable.
pub fn read(state: &[u8]) -> Result<Reading, ResourceError> {
    read_state(&State::parse(state)?)
}

fn read_state(state: &State) -> Result<Reading, ResourceError> {
    let nodes = state.nodes();
    let mut reading = Reading::default();
    let holders: Vec<&Node<'_>> = nodes.iter().filter(|node| node.is_holder()).collect();
    let mut resources: Vec<Resource> = holders.iter().map(|node| resource(node)).collect();
    place_agents(&nodes, &holders, &mut resources, &mut reading.warnings)?;
    place_metadata(&nodes, &holders, &mut resources, &mut reading.warnings);
    reading.resources = resources;
    Ok(reading)
}

fn resource(node: &Node<'_>) -> Resource {
    Resource {
        kind: node.kind.to_owned(),
        name: node.name.to_owned(),
        hide: false,
        icon: String::new(),
        daily_cost: 0,
        metadata: Vec::new(),
        agents: Vec::new(),
    }
}

fn place_agents(
    nodes: &[Node<'_>],
    holders: &[&Node<'_>],
    resources: &mut [Resource],
    warnings: &mut Vec<String>,
) -> Result<(), ResourceError> {
    let mut placed: Vec<Agent> = Vec::new();
    for node in nodes.iter().filter(|node| node.kind == "coder_agent") {
        let agent = agent::read(node, nodes)?;
        let Some(index) = graph::nearest_dependent(node, holders) else {
            if !holders.is_empty() {
                warnings.push(format!("no resource uses agent {:?}: it is not part of the workspace", agent.name));
            }
            continue;
        };
        check_unique(&agent, &placed)?;
        placed.push(agent.clone());
        if let (Some(resource), Some(holder)) = (resources.get_mut(index), holders.get(index)) {
            resource.agents.push(agent::with_instance_id(agent, holder));
        }
    }
    Ok(())
}

fn check_unique(agent: &Agent, others: &[Agent]) -> Result<(), ResourceError> {
    if others.iter().any(|other| other.name.eq_ignore_ascii_case(&agent.name)) {
        return Err(ResourceError::AgentTwice(agent.name.clone()));
    }
    let mut slugs: Vec<&str> = others.iter().flat_map(|other| &other.apps).map(|app| app.slug.as_str()).collect();
    for app in &agent.apps {
        if slugs.contains(&app.slug.as_str()) {
            return Err(ResourceError::SlugTwice(app.slug.clone()));
        }
        slugs.push(&app.slug);
    }
    Ok(())
}

fn place_metadata(nodes: &[Node<'_>], holders: &[&Node<'_>], resources: &mut [Resource], warnings: &mut Vec<String>) {
    let mut described = Vec::new();
    for node in nodes.iter().filter(|node| node.kind == "coder_metadata") {
        let Some(index) = graph::described(node, holders) else {
            warnings.push(format!("{} describes no resource", node.address));
            continue;
        };
        let Some(resource) = resources.get_mut(index) else { continue };
        if described.contains(&index) {
            warnings.push(format!("{} describes {}.{} once more: left out", node.address, resource.kind, resource.name));
            continue;
        }
        described.push(index);
        resource.hide = node.flag("hide");
        resource.icon = node.text("icon").to_owned();
        resource.daily_cost = node.whole("daily_cost").unwrap_or(0);
        resource.metadata = node.blocks("item").filter_map(metadata_item).collect();
    }
}

/// An item without a value is left out; a sensitive one keeps its key only.
fn metadata_item(item: &serde_json::Map<String, serde_json::Value>) -> Option<ResourceMetadata> {
    let item = graph::Fields(item);
    if item.flag("is_null") {
        return None;
    }
    let sensitive = item.flag("sensitive");
    let value = if sensitive { String::new() } else { item.text("value").to_owned() };
    Some(ResourceMetadata { key: item.text("key").to_owned(), value, sensitive })
}

#[cfg(test)]
mod tests;
