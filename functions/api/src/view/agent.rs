//! An agent's view: what the template says of it, its row, and whether the relay sees it now.

use super::Agents;
use crate::Attendance;
use berth_domain::{
    AgentId, AgentStatus, AppAddress, AppHealth, JobStatus, Lifecycle, Timestamp,
    limit::{AGENT_CONNECT_SECONDS, AGENT_HELLO_SECONDS},
};
use berth_store::{Agent, Build, Resource};
use berth_wire::{
    resource::{self, AgentHealth, AgentScript, App, LogSourceInfo},
    runner,
};
use jiff::SignedDuration;
use std::collections::BTreeMap;

/// What is known of agents at this moment.
pub(crate) struct Sight<'a> {
    /// Their rows.
    pub(crate) agents: &'a Agents,
    /// Those of them that are at a relay.
    pub(crate) attendance: Attendance,
    /// Now.
    pub(crate) now: Timestamp,
}

/// Whether an agent can be reached.
///
/// An agent that the relay holds is connected. One that never said hello since its build ended is connecting until its
/// template's time is over. One that said hello a moment ago is on its way to the relay. Any other was lost.
pub(crate) fn status(row: Option<&Agent>, definition: &runner::Agent, since: Timestamp, sight: &Sight<'_>) -> AgentStatus {
    if row.is_some_and(|row| sight.attendance.connected.contains_key(&row.id)) {
        return AgentStatus::Connected;
    }
    let first = row.and_then(|row| row.first_connected_at);
    let age = |from: Timestamp| sight.now.duration_since(from);
    let patience = match definition.connection_timeout_seconds {
        0 => None, // The template says: never give up.
        seconds if seconds < 0 => Some(SignedDuration::from_secs(AGENT_CONNECT_SECONDS)),
        seconds => Some(SignedDuration::from_secs(seconds)),
    };
    let waited_enough = patience.is_some_and(|patience| age(since) > patience);
    match first {
        Some(first) if first >= since && age(first) > SignedDuration::from_secs(AGENT_HELLO_SECONDS) => AgentStatus::Disconnected,
        Some(first) if first >= since => AgentStatus::Connecting,
        Some(_) if waited_enough => AgentStatus::Disconnected,
        None if waited_enough => AgentStatus::Timeout,
        _ => AgentStatus::Connecting,
    }
}

/// `is_incomplete`: a relay does not answer, so an agent that is not seen may be there all the same.
fn health(status: AgentStatus, lifecycle: Lifecycle, is_incomplete: bool) -> AgentHealth {
    let reason = match (status, lifecycle) {
        (status, Lifecycle::Off) if status != AgentStatus::Connected => "agent is not running",
        (AgentStatus::Timeout | AgentStatus::Disconnected, _) if is_incomplete => {
            "a relay does not answer: it is not known whether the agent is connected"
        }
        (AgentStatus::Timeout, _) => "agent is taking too long to connect",
        (AgentStatus::Disconnected, _) => "agent has lost connection",
        (_, Lifecycle::StartError) => "agent startup script exited with an error",
        (_, Lifecycle::ShuttingDown | Lifecycle::ShutdownTimeout | Lifecycle::ShutdownError) => "agent is shutting down",
        _ => "",
    };
    AgentHealth { healthy: reason.is_empty(), reason: reason.to_owned() }
}

/// A build that did not succeed shows what it left of the one before, whose agents live on.
fn left_as_it_was(build: &Build) -> bool {
    matches!(build.job.status, JobStatus::Failed | JobStatus::Canceled)
}

/// One agent of a build.
pub(crate) fn agent(build: &Build, on: &Resource, definition: &runner::Agent, sight: &Sight<'_>) -> resource::Agent {
    let row = sight.agents.get(&AgentId(definition.id)).filter(|row| row.build == build.id || left_as_it_was(build));
    let since = build.job.completed_at.unwrap_or(on.created_at);
    let status = status(row, definition, since, sight);
    let lifecycle = row.map_or(Lifecycle::Created, |row| row.lifecycle);
    let text = |field: fn(&Agent) -> &String| row.map(field).cloned().unwrap_or_default();
    resource::Agent {
        created_at: row.map_or(on.created_at, |row| row.created_at),
        updated_at: row.map_or(on.created_at, |row| row.updated_at),
        first_connected_at: row.and_then(|row| row.first_connected_at),
        // Since when, not the time of this answer: a watched workspace must not be news at every look.
        last_connected_at: row.and_then(|row| sight.attendance.connected.get(&row.id)).map(|seat| seat.since),
        started_at: row.and_then(|row| row.started_at),
        ready_at: row.and_then(|row| row.ready_at),
        status,
        lifecycle_state: lifecycle,
        expanded_directory: text(|row| &row.expanded_directory),
        version: text(|row| &row.version),
        apps: definition
            .apps
            .iter()
            .map(|app| App { health: app_health(row, app), ..self::app(Some(build), definition, app) })
            .collect(),
        health: health(status, lifecycle, sight.attendance.is_incomplete),
        logs_length: row.map_or(0, |row| row.logs_length),
        logs_overflowed: row.is_some_and(|row| row.logs_overflowed),
        ..planned(on, definition)
    }
}

/// An agent that a plan foresees: what the template says of it, and nothing else.
pub(crate) fn planned(on: &Resource, definition: &runner::Agent) -> resource::Agent {
    let (status, lifecycle) = (AgentStatus::Connecting, Lifecycle::Created);
    resource::Agent {
        id: definition.id,
        parent_id: None,
        created_at: on.created_at,
        updated_at: on.created_at,
        first_connected_at: None,
        last_connected_at: None,
        disconnected_at: None,
        started_at: None,
        ready_at: None,
        status,
        lifecycle_state: lifecycle,
        name: definition.name.clone(),
        resource_id: on.id,
        instance_id: definition.instance_id.clone(),
        architecture: definition.arch.clone(),
        operating_system: definition.os.clone(),
        environment_variables: BTreeMap::new(),
        directory: definition.directory.clone(),
        expanded_directory: String::new(),
        version: String::new(),
        api_version: String::new(),
        apps: definition.apps.iter().map(|app| self::app(None, definition, app)).collect(),
        connection_timeout_seconds: definition.connection_timeout_seconds,
        troubleshooting_url: definition.troubleshooting_url.clone(),
        startup_script_behavior: definition.startup_script_behavior.clone(),
        login_before_ready: definition.startup_script_behavior != "blocking" && !blocks_login(definition),
        display_apps: definition.display_apps.clone(),
        health: health(status, lifecycle, false),
        logs_length: 0,
        logs_overflowed: false,
        log_sources: definition.scripts.iter().map(|script| log_source(definition, script, on.created_at)).collect(),
        scripts: definition.scripts.iter().map(script).collect(),
        latency: BTreeMap::new(),
        subsystems: Vec::new(),
    }
}

/// An app. Without a build there is no host for it yet.
fn app(build: Option<&Build>, agent: &runner::Agent, app: &runner::App) -> App {
    let is_served = !app.external && app.command.is_empty();
    App {
        id: app.id,
        url: app.url.clone(),
        external: app.external,
        slug: app.slug.clone(),
        display_name: app.display_name.clone(),
        command: app.command.clone(),
        icon: app.icon.clone(),
        subdomain: app.subdomain,
        subdomain_name: build.filter(|_| is_served).map(|build| host(build, agent, app)).unwrap_or_default(),
        sharing_level: app.share,
        healthcheck: app.healthcheck.clone(),
        health: app_health(None, app),
        hidden: app.hidden,
        open_in: app.open_in.clone(),
        group: app.group.clone(),
        tooltip: app.tooltip.clone(),
    }
}

/// An app's host label. The agent is left out where its name cannot be part of a host: then it is served if it is the only one.
fn host(build: &Build, agent: &runner::Agent, app: &runner::App) -> String {
    let whose = format!("{}--{}", build.workspace_name, build.owner_name);
    let whole = format!("{}--{}--{whose}", app.slug, agent.name);
    if AppAddress::parse(&whole).is_ok() { whole } else { format!("{}--{whose}", app.slug) }
}

/// Whether people wait for one of the start scripts.
fn blocks_login(definition: &runner::Agent) -> bool {
    definition.scripts.iter().any(|script| script.run_on_start && script.start_blocks_login)
}

/// What the agent last said of an app.
fn app_health(row: Option<&Agent>, app: &runner::App) -> AppHealth {
    if app.healthcheck.url.is_empty() {
        return AppHealth::Disabled;
    }
    row.and_then(|row| row.app_health.get(&app.id)).copied().unwrap_or(AppHealth::Initializing)
}

fn log_source(agent: &runner::Agent, script: &runner::Script, created_at: Timestamp) -> LogSourceInfo {
    LogSourceInfo {
        id: script.id,
        workspace_agent_id: agent.id,
        created_at,
        display_name: script.display_name.clone(),
        icon: script.icon.clone(),
    }
}

/// A script without its text, which may hold what only the agent should read.
fn script(script: &runner::Script) -> AgentScript {
    AgentScript {
        id: script.id,
        log_source_id: script.id,
        log_path: script.log_path.clone(),
        display_name: script.display_name.clone(),
        cron: script.cron.clone(),
        start_blocks_login: script.start_blocks_login,
        run_on_start: script.run_on_start,
        run_on_stop: script.run_on_stop,
        timeout: script.timeout_seconds.saturating_mul(1_000_000_000),
        script: String::new(),
    }
}
