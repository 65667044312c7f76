//! Agents: one row each beside their workspace's, so that one Query reads a workspace with its agents.

use berth_domain::{
    AgentId, AppHealth, BuildId, Lifecycle, Timestamp, TokenHash, Transition, UserId, Username, WorkspaceId, WorkspaceName,
};
use berth_wire::{
    agent::{AppHealthReport, Hello, LifecycleReport, ScriptCompleted},
    runner,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

use crate::{
    Store, TableError, Workspace, log,
    table::{Key, RACES_MAX, Row, WriteError, encode, pause},
    workspace::{self, NOW},
    write::{Guard, Write},
};

/// An agent of the newest build that made or kept one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Agent {
    /// Identifier: the id of its `coder_agent`.
    pub id: AgentId,
    /// The build that last recorded it.
    pub build: BuildId,
    /// The workspace.
    pub workspace: WorkspaceId,
    /// Its name.
    pub workspace_name: WorkspaceName,
    /// Its owner.
    pub owner: UserId,
    /// The owner's name.
    pub owner_name: Username,
    /// The resource it is on.
    pub resource: Uuid,
    /// What the template says of it; its token is removed.
    pub definition: runner::Agent,
    /// The hash of its token.
    pub token: Option<TokenHash>,
    /// With instance identity, the boot of its machine that it got the token for.
    #[serde(default)]
    pub booted_at: Option<Timestamp>,
    /// When it was first recorded.
    pub created_at: Timestamp,
    /// When the row last changed.
    pub updated_at: Timestamp,
    /// How far its start-up is.
    pub lifecycle: Lifecycle,
    /// When the agent says that it got there.
    pub lifecycle_at: Option<Timestamp>,
    /// When start scripts began.
    pub started_at: Option<Timestamp>,
    /// When start scripts ended, well or not.
    pub ready_at: Option<Timestamp>,
    /// Its tailnet key; empty until it says hello.
    pub endpoint_id: String,
    /// Its version; empty until it says hello.
    pub version: String,
    /// Its directory as it resolved it.
    pub expanded_directory: String,
    /// When it first said hello.
    pub first_connected_at: Option<Timestamp>,
    /// How its scripts ran at its start and before its end, the newest run of each, in the order in which they ended.
    #[serde(default)]
    pub scripts: Vec<ScriptCompleted>,
    /// What it said of the health of its apps, by their ids.
    #[serde(default)]
    pub app_health: BTreeMap<Uuid, AppHealth>,
    /// Lines of log so far; kept beside the body.
    #[serde(skip)]
    pub logs_length: u64,
    /// Whether log was cut at its limit; kept beside the body.
    #[serde(skip)]
    pub logs_overflowed: bool,
}

/// Why a token is no agent's.
#[derive(Debug, thiserror::Error)]
pub enum AgentTokenError {
    /// No agent has it (yet: an agent may boot before its build has ended, so it asks again).
    #[error("no agent has this token")]
    Unknown,
    /// A newer build stopped, deleted or replaced the agent.
    #[error("a newer build replaced agent {0}")]
    Superseded(AgentId),
    /// The table failed.
    #[error("cannot read the agent")]
    Table(#[from] TableError),
}

/// Why an agent was not changed.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// No such agent.
    #[error("agent {0} does not exist")]
    Missing(AgentId),
    /// The table failed.
    #[error("cannot change the agent")]
    Table(#[from] TableError),
}

/// Why an agent's lines were not kept.
#[derive(Debug, thiserror::Error)]
pub enum AgentLogError {
    /// No such agent.
    #[error("agent {0} does not exist")]
    Missing(AgentId),
    /// The log is at its limit; further lines are dropped.
    #[error("the log of agent {0} is full")]
    Full(AgentId),
    /// The table failed.
    #[error("cannot write the agent's log")]
    Table(#[from] TableError),
}

/// Why a boot gets no token.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// It has had one, or a later boot has.
    #[error("this boot, or a later one, has had its token")]
    Used,
    /// No such agent any more.
    #[error("the agent does not exist")]
    Missing,
    /// The table failed.
    #[error("cannot write the agent's token")]
    Table(#[from] TableError),
}

/// Which workspace an agent's id or token leads to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Pointer {
    workspace: WorkspaceId,
    agent: AgentId,
}

/// How long a silenced agent's token is remembered, so that it can be told why it is refused.
const SILENCED_SECONDS: i64 = 30 * 24 * 3600;

/// How long a machine stays its workspace's after the last build that had it. Instances' ids are not used again.
const INSTANCE_SECONDS: i64 = 400 * 24 * 3600;

/// How long it is remembered that a boot has had its token: much longer than anybody takes its document.
const BOOT_SECONDS: i64 = 7 * 24 * 3600;

/// The longest id of an instance, in bytes.
const INSTANCE_ID_BYTES_MAX: usize = 64;

pub(crate) fn key(workspace: WorkspaceId, id: AgentId) -> Key {
    Key::new(workspace::partition(workspace), format!("{NOW}#AGENT#{id}"))
}

fn id_key(id: AgentId) -> Key {
    Key::new(format!("AGENT#{id}"), "AGENT")
}

fn token_key(hash: &TokenHash) -> Key {
    Key::new(format!("AGENT_TOKEN#{hash}"), "AGENT")
}

fn instance_key(instance: &str) -> Key {
    Key::new(format!("INSTANCE#{instance}"), "WORKSPACE")
}

fn boot_key(instance: &str, boot: Timestamp) -> Key {
    Key::new(format!("INSTANCE#{instance}"), format!("BOOT#{boot}"))
}

/// The EC2 instance that proves an agent, if that is how.
fn instance_of(agent: &Agent) -> Option<&str> {
    let runner::Agent { auth, instance_id, .. } = &agent.definition;
    let is_id = (1..=INSTANCE_ID_BYTES_MAX).contains(&instance_id.len());
    (auth == "aws-instance-identity" && is_id).then_some(instance_id)
}

/// An agent with what is beside its body.
pub(crate) fn from_row(row: Row<Agent>) -> Agent {
    Agent { logs_length: row.lines, logs_overflowed: log::is_full(row.bytes), ..row.value }
}

/// An agent that has said nothing yet.
pub(crate) fn fresh(
    (workspace, build): (&Workspace, BuildId),
    resource: Uuid,
    definition: &runner::Agent,
    now: Timestamp,
) -> Agent {
    let mut definition = definition.clone();
    let token = definition.token.take().map(|token| TokenHash::of(token.expose()));
    Agent {
        id: AgentId(definition.id),
        build,
        workspace: workspace.id,
        workspace_name: workspace.name.clone(),
        owner: workspace.owner,
        owner_name: workspace.owner_name.clone(),
        resource,
        definition,
        token,
        booted_at: None,
        created_at: now,
        updated_at: now,
        lifecycle: Lifecycle::Created,
        lifecycle_at: None,
        started_at: None,
        ready_at: None,
        endpoint_id: String::new(),
        version: String::new(),
        expanded_directory: String::new(),
        first_connected_at: None,
        scripts: Vec::new(),
        app_health: BTreeMap::new(),
        logs_length: 0,
        logs_overflowed: false,
    }
}

/// The agent as a newer build has it, with what it said so far.
pub(crate) fn living_on(fresh: Agent, before: &Agent) -> Agent {
    let Agent { build, workspace_name, resource, definition, updated_at, .. } = fresh;
    Agent { build, workspace_name, resource, definition, updated_at, ..before.clone() }
}

/// The rows that lead to an agent, each only if it leads nowhere else.
pub(crate) fn pointers(agent: &Agent) -> Result<Vec<Write>, TableError> {
    let pointer = Pointer { workspace: agent.workspace, agent: agent.id };
    let body = encode(&pointer)?;
    let own = |key| Write::put(key, &pointer).map(|write| write.only_if(Guard::AbsentOrBody(body.clone())));
    let other = match instance_of(agent) {
        // It stays its workspace's while it is stopped: whoever it leads to then gets it when it boots.
        Some(instance) => {
            let until = agent.updated_at.as_second() + INSTANCE_SECONDS;
            let write = Write::put(instance_key(instance), &agent.workspace)?.until(until);
            Some(write.only_if(Guard::AbsentOrBody(encode(&agent.workspace)?)))
        }
        None => agent.token.as_ref().map(|token| own(token_key(token))).transpose()?,
    };
    Ok(std::iter::once(own(id_key(agent.id))?).chain(other).collect())
}

/// Takes an agent's row away; its token is remembered for a while.
pub(crate) fn silenced(agent: &Agent, now: Timestamp) -> Result<Vec<Write>, TableError> {
    let pointer = Pointer { workspace: agent.workspace, agent: agent.id };
    let mut writes = vec![Write::delete(key(agent.workspace, agent.id)), Write::delete(id_key(agent.id))];
    if let Some(token) = &agent.token {
        writes.push(Write::put(token_key(token), &pointer)?.until(now.as_second() + SILENCED_SECONDS));
    }
    Ok(writes)
}

impl Store {
    /// The agent with this id. Two reads.
    ///
    /// # Errors
    /// When the table fails.
    pub async fn agent(&self, id: AgentId) -> Result<Option<Agent>, TableError> {
        let Some(pointer) = self.table.get::<Pointer>(&id_key(id)).await? else { return Ok(None) };
        Ok(self.table.get(&key(pointer.value.workspace, id)).await?.map(from_row))
    }

    /// The agent with this id and its workspace. Two reads.
    ///
    /// # Errors
    /// When the table fails.
    pub async fn agent_and_workspace(&self, id: AgentId) -> Result<Option<(Agent, Workspace)>, TableError> {
        let Some(pointer) = self.table.get::<Pointer>(&id_key(id)).await? else { return Ok(None) };
        let (agent, workspace) = self.agent_in(&pointer.value).await?;
        Ok(agent.zip(workspace))
    }

    async fn agent_in(&self, pointer: &Pointer) -> Result<(Option<Agent>, Option<Workspace>), TableError> {
        let (mut agent, mut workspace) = (None, None);
        for row in self.table.get_all(&[workspace::key(pointer.workspace), key(pointer.workspace, pointer.agent)]).await? {
            if row.key.sk == NOW {
                workspace = Some(row.decode::<Workspace>()?.value);
            } else {
                agent = Some(from_row(row.decode()?));
            }
        }
        Ok((agent, workspace))
    }

    /// The agent that has this token, and its workspace. Two reads.
    ///
    /// # Errors
    /// [`AgentTokenError::Superseded`] when a newer build stopped, deleted or replaced it; [`AgentTokenError::Unknown`] also while a
    /// build is under way that may bring it back, as a start does for an agent that the stop before had ended.
    pub async fn agent_by_token(&self, token: &str) -> Result<(Agent, Workspace), AgentTokenError> {
        let pointer = self.table.get::<Pointer>(&token_key(&TokenHash::of(token))).await?.ok_or(AgentTokenError::Unknown)?.value;
        let (agent, workspace) = self.agent_in(&pointer).await?;
        let Some(workspace) = workspace else { return Err(AgentTokenError::Superseded(pointer.agent)) };
        let latest = &workspace.latest_build;
        let may_return = latest.transition == Transition::Start && latest.job.status.is_active();
        let speaks =
            |agent: &Agent| workspace.live_build == Some(agent.build) && agent.token.is_some_and(|hash| hash.matches(token));
        match agent.filter(speaks) {
            Some(agent) => Ok((agent, workspace)),
            None if may_return => Err(AgentTokenError::Unknown),
            None => Err(AgentTokenError::Superseded(pointer.agent)),
        }
    }

    /// The live agent whose machine this EC2 instance is. A read and a Query; one read where there is none.
    ///
    /// # Errors
    /// When the table fails.
    pub async fn agent_on_instance(&self, instance: &str) -> Result<Option<Agent>, TableError> {
        if !(1..=INSTANCE_ID_BYTES_MAX).contains(&instance.len()) {
            return Ok(None);
        }
        let Some(pointer) = self.table.get::<WorkspaceId>(&instance_key(instance)).await? else { return Ok(None) };
        let (workspace, agents) = self.workspace_rows(pointer.value).await?;
        let live = workspace.and_then(|row| row.value.live_build);
        let is_on_it = |agent: &Agent| live == Some(agent.build) && instance_of(agent) == Some(instance);
        Ok(agents.into_iter().map(from_row).find(is_on_it))
    }

    /// Gives an agent another token, for one boot of its machine. A read and a transaction.
    ///
    /// # Errors
    /// [`MintError::Used`] for all but the first who ask for this boot, and for boots before the last.
    pub async fn mint_agent_token(
        &self,
        agent: &Agent,
        (instance, boot): (&str, Timestamp),
        token: TokenHash,
        now: Timestamp,
    ) -> Result<(), MintError> {
        let pointer = Pointer { workspace: agent.workspace, agent: agent.id };
        for attempt in 0..RACES_MAX {
            let row = self.table.get::<Agent>(&key(agent.workspace, agent.id)).await?.ok_or(MintError::Missing)?;
            if row.value.booted_at.is_some_and(|last| last >= boot) {
                return Err(MintError::Used);
            }
            let before = row.value.token;
            let next = Agent { token: Some(token), booted_at: Some(boot), updated_at: now, ..row.value };
            let mut writes = vec![
                Write::insert(boot_key(instance, boot), &agent.id)?.until(now.as_second() + BOOT_SECONDS),
                Write::replace(row.key, row.version, &next)?,
                Write::put(token_key(&token), &pointer)?,
            ];
            if let Some(before) = &before {
                writes.push(Write::put(token_key(before), &pointer)?.until(now.as_second() + SILENCED_SECONDS));
            }
            match self.table.transact(writes).await {
                Ok(()) => return Ok(()),
                Err(WriteError::Refused { at: 0 }) => return Err(MintError::Used),
                Err(WriteError::Refused { .. }) => pause(attempt).await,
                Err(WriteError::Table(error)) => return Err(error.into()),
            }
        }
        Err(TableError::Contention(format!("agent {}", agent.id)).into())
    }

    /// The live agents of these workspaces. One read per hundred agents, none without agents.
    ///
    /// # Errors
    /// When the table fails.
    pub async fn agents_of(&self, workspaces: &[Workspace]) -> Result<BTreeMap<AgentId, Agent>, TableError> {
        let live = workspaces.iter().filter(|workspace| workspace.live_build.is_some());
        let keys: BTreeSet<Key> = live
            .flat_map(|workspace| {
                let agents = workspace.latest_build.resources.iter().flat_map(|resource| &resource.agents);
                agents.map(|agent| key(workspace.id, AgentId(agent.id)))
            })
            .collect();
        let rows = self.table.get_all(&Vec::from_iter(keys)).await?;
        rows.into_iter()
            .map(|row| Ok(from_row(row.decode::<Agent>()?)))
            .map(|agent| agent.map(|agent: Agent| (agent.id, agent)))
            .collect()
    }

    /// Records who an agent is on the tailnet. A read, and a write if it is news.
    ///
    /// # Errors
    /// When there is none.
    pub async fn agent_hello(&self, agent: &Agent, hello: &Hello, now: Timestamp) -> Result<Agent, AgentError> {
        self.amend_agent(agent, |agent| {
            let news = agent.endpoint_id != hello.endpoint_id
                || agent.version != hello.version
                || (!hello.expanded_directory.is_empty() && agent.expanded_directory != hello.expanded_directory);
            if news || agent.first_connected_at.is_none() {
                agent.endpoint_id.clone_from(&hello.endpoint_id);
                agent.version.clone_from(&hello.version);
                if !hello.expanded_directory.is_empty() {
                    agent.expanded_directory.clone_from(&hello.expanded_directory);
                }
                agent.first_connected_at = agent.first_connected_at.or(Some(now));
                agent.updated_at = now;
            }
        })
        .await
    }

    /// Records how far an agent is; a report older than the newest one is ignored. A read, and a write if it is news.
    ///
    /// # Errors
    /// When there is none.
    pub async fn agent_lifecycle(&self, agent: &Agent, report: LifecycleReport, now: Timestamp) -> Result<Agent, AgentError> {
        self.amend_agent(agent, |agent| {
            let old = agent.lifecycle_at.is_some_and(|at| at > report.changed_at);
            if old || agent.lifecycle == report.state {
                return;
            }
            agent.lifecycle = report.state;
            agent.lifecycle_at = Some(report.changed_at);
            agent.updated_at = now;
            match report.state {
                Lifecycle::Starting => {
                    (agent.started_at, agent.ready_at) = (Some(report.changed_at), None);
                    agent.scripts.clear();
                }
                Lifecycle::Ready | Lifecycle::StartTimeout | Lifecycle::StartError => agent.ready_at = Some(report.changed_at),
                _ => {}
            }
        })
        .await
    }

    /// Records how a script ran; its newest run at each stage is kept. A read, and a write if it is news.
    ///
    /// # Errors
    /// When there is none.
    pub async fn agent_script(&self, agent: &Agent, run: ScriptCompleted, now: Timestamp) -> Result<Agent, AgentError> {
        self.amend_agent(agent, |agent| {
            if agent.scripts.contains(&run) {
                return;
            }
            agent.scripts.retain(|before| (before.script_id, before.stage) != (run.script_id, run.stage));
            agent.scripts.push(run);
            agent.updated_at = now;
        })
        .await
    }

    /// Records the health of apps. A read, and a write if it is news.
    ///
    /// # Errors
    /// When there is none.
    pub async fn agent_apps(&self, agent: &Agent, report: &AppHealthReport, now: Timestamp) -> Result<Agent, AgentError> {
        self.amend_agent(agent, |agent| {
            let is_news = report.healths.iter().any(|(app, health)| agent.app_health.get(app) != Some(health));
            if is_news {
                agent.app_health.extend(&report.healths);
                agent.updated_at = now;
            }
        })
        .await
    }

    async fn amend_agent(&self, agent: &Agent, change: impl Fn(&mut Agent)) -> Result<Agent, AgentError> {
        let amended = self.table.amend(key(agent.workspace, agent.id), |_| None, change).await?;
        let Some(amended) = amended else { return Err(AgentError::Missing(agent.id)) };
        Ok(Agent { logs_length: agent.logs_length, logs_overflowed: agent.logs_overflowed, ..amended })
    }
}
