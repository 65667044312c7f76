//! Records to wire JSON. Plain functions: no reads, no decisions about who may see what.

use berth_domain::{AgentId, BuildId, OrganizationId, Role, TemplateId, Timestamp, Timing, Transition, WorkspaceStatus};
use berth_store::{Build, JobId, Session, SessionKind, Template, User, Version, Workspace};
use berth_wire as wire;
use serde_json::Value;
use std::collections::BTreeMap;
use uuid::Uuid;

mod agent;
pub(crate) use agent::{Sight, agent, status};

/// The name of the one organization.
pub(crate) const ORGANIZATION: &str = "default";

/// The agents of some workspaces, each with its row.
pub(crate) type Agents = BTreeMap<AgentId, berth_store::Agent>;

/// The templates that are not deleted.
pub(crate) type Templates = BTreeMap<TemplateId, Template>;

pub(crate) fn user(user: User) -> wire::user::User {
    wire::user::User {
        id: user.id.0,
        username: user.username.to_string(),
        name: user.name,
        email: user.email,
        avatar_url: String::new(),
        status: if user.suspended { "suspended" } else { "active" }.to_owned(),
        login_type: "password".to_owned(),
        roles: user.roles.iter().map(|role| role_words(*role)).collect(),
        organization_ids: vec![OrganizationId::DEFAULT.0],
        created_at: user.created_at,
        updated_at: user.updated_at,
        last_seen_at: user.last_seen_at,
    }
}

fn role_words(role: Role) -> wire::user::UserRole {
    let display_name = match role {
        Role::Owner => "Owner",
        Role::TemplateAdmin => "Template Admin",
        Role::UserAdmin => "User Admin",
        Role::Auditor => "Auditor",
    };
    wire::user::UserRole { name: role.to_string(), display_name: display_name.to_owned() }
}

pub(crate) fn organization() -> wire::user::Organization {
    wire::user::Organization {
        id: OrganizationId::DEFAULT.0,
        name: ORGANIZATION.to_owned(),
        display_name: "Default".to_owned(),
        is_default: true,
        description: String::new(),
        icon: String::new(),
        created_at: Timestamp::UNIX_EPOCH,
        updated_at: Timestamp::UNIX_EPOCH,
    }
}

pub(crate) fn api_key(session: Session) -> wire::user::ApiKey {
    let (token_name, login_type) = match session.kind {
        SessionKind::Session => (String::new(), "password"),
        SessionKind::Token { name } => (name, "token"),
    };
    wire::user::ApiKey {
        id: session.id.0.simple().to_string(),
        user_id: session.user.0,
        token_name,
        created_at: session.created_at,
        expires_at: session.expires_at,
        login_type: login_type.to_owned(),
    }
}

pub(crate) fn template(template: Template) -> wire::template::Template {
    wire::template::Template {
        id: template.id.0,
        created_at: template.created_at,
        updated_at: template.updated_at,
        organization_id: OrganizationId::DEFAULT.0,
        organization_name: ORGANIZATION.to_owned(),
        name: template.name.to_string(),
        display_name: template.display_name,
        provisioner: "terraform".to_owned(),
        active_version_id: template.active_version.0,
        previous_version_id: template.previous_version.map(|id| id.0),
        active_user_count: 0,
        description: template.description,
        deprecated: template.settings.is_deprecated(),
        icon: template.icon,
        created_by_id: template.created_by.0,
        created_by_name: template.created_by_name.to_string(),
        settings: template.settings,
    }
}

pub(crate) fn version(version: Version) -> wire::template::Version {
    let job = job(JobId::Import(version.id), version.file.0, &version.job);
    wire::template::Version {
        id: version.id.0,
        template_id: version.template.map(|id| id.0),
        organization_id: OrganizationId::DEFAULT.0,
        created_at: version.created_at,
        updated_at: version.updated_at,
        name: version.name,
        message: version.message,
        job,
        readme: version.imported.readme,
        created_by: wire::template::MinimalUser {
            id: version.created_by.0,
            username: version.created_by_name.to_string(),
            avatar_url: String::new(),
        },
        archived: version.archived,
        warnings: version.imported.warnings,
    }
}

/// A version's variables in the order of its text. No sensitive value and no sensitive default is among them.
pub(crate) fn variables(version: &Version) -> Vec<wire::template::Variable> {
    let shown = |variable: &berth_domain::Variable| {
        let default = match &variable.default {
            _ if variable.sensitive => String::new(),
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let given = version.variables.get(&variable.name).filter(|_| !variable.sensitive);
        wire::template::Variable {
            name: variable.name.clone(),
            description: variable.description.clone(),
            kind: variable.kind.clone(),
            value: given.map_or_else(|| default.clone(), |value| value.expose().clone()),
            default_value: default,
            required: variable.required,
            sensitive: variable.sensitive,
        }
    };
    version.imported.variables.iter().map(shown).collect()
}

/// What a version's workspaces are made of while they run, then what is left of them while they are stopped.
pub(crate) fn version_resources(version: &Version) -> Vec<wire::resource::Resource> {
    let planned = |transition| move |one: &berth_store::Resource| planned(version.id.0, transition, one);
    let (start, stop) = (&version.imported.start, &version.imported.stop);
    start.iter().map(planned(Transition::Start)).chain(stop.iter().map(planned(Transition::Stop))).collect()
}

/// A resource that a plan of job `job` foresees.
pub(crate) fn planned(job: Uuid, transition: Transition, resource: &berth_store::Resource) -> wire::resource::Resource {
    let agents: Vec<_> = resource.agents.iter().map(|one| agent::planned(resource, one)).collect();
    wire::resource::Resource {
        id: resource.id,
        created_at: resource.created_at,
        job_id: job,
        workspace_transition: transition,
        kind: resource.kind.clone(),
        name: resource.name.clone(),
        hide: resource.hide,
        icon: resource.icon.clone(),
        agents: (!agents.is_empty()).then_some(agents),
        metadata: resource.metadata.clone(),
        daily_cost: resource.daily_cost,
    }
}

pub(crate) fn job(id: JobId, file: Uuid, job: &berth_store::Job) -> wire::build::Job {
    wire::build::Job {
        id: id.uuid(),
        created_at: job.created_at,
        started_at: job.started_at,
        completed_at: job.completed_at,
        canceled_at: job.canceled_at,
        error: job.error.clone(),
        error_code: job.error_code,
        worker_id: job.worker,
        status: job.status,
        file_id: file,
        tags: BTreeMap::new(),
        queue_position: 0,
        queue_size: 0,
    }
}

/// A repair.
pub(crate) fn repair(repair: &berth_store::Repair) -> wire::repair::Repair {
    wire::repair::Repair {
        id: repair.id.0,
        workspace_id: repair.workspace.0,
        initiator_name: repair.initiator_name.to_string(),
        created_at: repair.created_at,
        job: job(JobId::Repair(repair.id), Uuid::nil(), &repair.job),
        delete: repair.delete.clone(),
        found: repair.found.clone(),
    }
}

/// A build. `sight` tells which of its agents can be reached; agents that a newer build recorded are not this build's any more.
pub(crate) fn build(build: &Build, sight: &Sight<'_>) -> wire::build::Build {
    wire::build::Build {
        id: build.id.0,
        created_at: build.created_at,
        updated_at: build.updated_at,
        workspace_id: build.workspace.0,
        workspace_name: build.workspace_name.to_string(),
        workspace_owner_id: build.owner.0,
        workspace_owner_name: build.owner_name.to_string(),
        template_version_id: build.version.0,
        template_version_name: build.version_name.clone(),
        build_number: build.number,
        transition: build.transition,
        initiator_id: build.initiator.0,
        initiator_name: build.initiator_name.to_string(),
        job: job(JobId::Build(build.id), Uuid::nil(), &build.job),
        reason: build.reason,
        resources: resources(build, sight),
        deadline: build.deadline,
        max_deadline: build.max_deadline,
        status: WorkspaceStatus::of(build.transition, build.job.status),
        daily_cost: build.resources.iter().map(|resource| resource.daily_cost).sum(),
        template_version_preset_id: build.preset,
    }
}

/// Where the time of a build went.
pub(crate) fn timings(build: BuildId, timings: Vec<Timing>, agents: &Agents) -> wire::build::Timings {
    let of_terraform = |Timing { started_at, ended_at, stage, source, action, resource }| wire::build::ProvisionerTiming {
        job_id: build.0,
        started_at,
        ended_at,
        stage,
        source,
        action,
        resource,
    };
    let own = || agents.values().filter(|agent| agent.build == build);
    wire::build::Timings {
        provisioner_timings: timings.into_iter().map(of_terraform).collect(),
        agent_script_timings: own().flat_map(script_timings).collect(),
        agent_connection_timings: own().filter_map(connection_timing).collect(),
    }
}

/// The scripts that an agent said to have run, in the order in which they ended.
fn script_timings(agent: &berth_store::Agent) -> impl Iterator<Item = wire::build::AgentScriptTiming> {
    agent.scripts.iter().filter_map(|run| {
        let script = agent.definition.scripts.iter().find(|script| script.id == run.script_id)?;
        Some(wire::build::AgentScriptTiming {
            started_at: run.started_at,
            ended_at: run.ended_at,
            exit_code: run.exit_code,
            stage: run.stage,
            status: run.status,
            display_name: script.display_name.clone(),
            workspace_agent_id: agent.id.0,
            workspace_agent_name: agent.definition.name.clone(),
        })
    })
}

fn connection_timing(agent: &berth_store::Agent) -> Option<wire::build::AgentConnectionTiming> {
    Some(wire::build::AgentConnectionTiming {
        started_at: agent.created_at,
        ended_at: agent.first_connected_at?.max(agent.created_at),
        stage: "connect".to_owned(),
        workspace_agent_id: agent.id.0,
        workspace_agent_name: agent.definition.name.clone(),
    })
}

/// A build's resources, with their agents.
pub(crate) fn resources(build: &Build, sight: &Sight<'_>) -> Vec<wire::resource::Resource> {
    build.resources.iter().map(|one| resource(build, one, sight)).collect()
}

fn resource(build: &Build, resource: &berth_store::Resource, sight: &Sight<'_>) -> wire::resource::Resource {
    let agents: Vec<_> = resource.agents.iter().map(|one| agent(build, resource, one, sight)).collect();
    wire::resource::Resource { agents: (!agents.is_empty()).then_some(agents), ..planned(build.id.0, build.transition, resource) }
}

/// A workspace. `template` is its template as it is now; without one the workspace says what it knew of it when it was made.
pub(crate) fn workspace(workspace: &Workspace, template: Option<&Template>, sight: &Sight<'_>) -> wire::workspace::Workspace {
    let latest_build = build(&workspace.latest_build, sight);
    let version = workspace.latest_build.version;
    let active = template.map_or(version, |template| template.active_version);
    let settings = template.map(|template| template.settings.clone()).unwrap_or_default();
    let agents = latest_build.resources.iter().flat_map(|resource| resource.agents.iter().flatten());
    let failing_agents: Vec<_> = agents.filter(|agent| !agent.health.healthy).map(|agent| agent.id).collect();
    wire::workspace::Workspace {
        id: workspace.id.0,
        created_at: workspace.created_at,
        updated_at: workspace.updated_at,
        owner_id: workspace.owner.0,
        owner_name: workspace.owner_name.to_string(),
        owner_avatar_url: String::new(),
        organization_id: OrganizationId::DEFAULT.0,
        organization_name: ORGANIZATION.to_owned(),
        template_id: workspace.template.0,
        template_name: template.map_or_else(|| workspace.template_name.clone(), |template| template.name.to_string()),
        template_display_name: template.map_or(&workspace.template_display_name, |template| &template.display_name).clone(),
        template_icon: template.map_or(&workspace.template_icon, |template| &template.icon).clone(),
        template_allow_user_cancel_workspace_jobs: settings.allow_user_cancel_workspace_jobs,
        template_active_version_id: active.0,
        template_require_active_version: settings.require_active_version,
        outdated: active != version,
        name: workspace.name.to_string(),
        autostart_schedule: workspace.autostart_schedule.clone(),
        ttl_ms: workspace.ttl_ms.filter(|ttl| *ttl != 0),
        last_used_at: workspace.last_used_at,
        deleting_at: None,
        dormant_at: None,
        health: wire::workspace::WorkspaceHealth { healthy: failing_agents.is_empty(), failing_agents },
        automatic_updates: workspace.automatic_updates,
        allow_renames: true,
        favorite: false,
        next_start_at: None,
        latest_build,
    }
}
