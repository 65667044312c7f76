//! What a build made, as its build remembers it: resources, and a summary of the agents on them.

use berth_domain::Timestamp;
use berth_wire::{resource::ResourceMetadata, runner};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A Terraform resource that a build made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Resource {
    /// Identifier; follows from the build's id and the position.
    pub id: Uuid,
    /// When it was recorded.
    pub created_at: Timestamp,
    /// Terraform type.
    pub kind: String,
    /// Terraform label.
    pub name: String,
    /// Not shown to developers.
    pub hide: bool,
    /// A picture.
    pub icon: String,
    /// Units per day.
    pub daily_cost: i64,
    /// Labels.
    pub metadata: Vec<ResourceMetadata>,
    /// Agents on it, without token, environment, script texts, metadata and monitors: those are in the agent's own row.
    pub agents: Vec<runner::Agent>,
}

impl Resource {
    /// The resource as build `build` remembers it, at `position` of its list.
    pub(crate) fn remembered(build: Uuid, position: usize, resource: &runner::Resource, now: Timestamp) -> Self {
        let id = Uuid::from_u128(build.as_u128() ^ ((position as u128 + 1) << 8));
        Self {
            id,
            created_at: now,
            kind: resource.kind.clone(),
            name: resource.name.clone(),
            hide: resource.hide,
            icon: resource.icon.clone(),
            daily_cost: resource.daily_cost,
            metadata: resource.metadata.clone(),
            agents: resource.agents.iter().map(summary).collect(),
        }
    }
}

fn summary(agent: &runner::Agent) -> runner::Agent {
    let mut agent = agent.clone();
    agent.token = None;
    agent.env.clear();
    agent.metadata.clear();
    agent.monitors = runner::Monitors::default();
    for script in &mut agent.scripts {
        script.script.clear();
    }
    agent
}
