//! `berth show`.

use super::builds::BuildFlag;
use crate::{
    failure::Outcome,
    name::WorkspaceRef,
    parameter,
    printer::{Format, FormatFlag, ago, in_words, render, table},
    session::{Session, find_workspace},
};
use berth_wire::{
    domain::{FailureCode, Timestamp, WorkspaceStatus},
    resource::{Agent, Resource},
    workspace::Workspace,
};
use clap::Args;
use comfy_table::Table;

/// Which workspace.
#[derive(Debug, Args)]
pub struct Arguments {
    /// [owner/]name
    #[arg(value_name = "NAME")]
    workspace: String,
    #[command(flatten)]
    build: BuildFlag,
    #[command(flatten)]
    format: FormatFlag,
}

/// Shows a workspace as its newest build left it, or as an earlier one did.
pub(super) async fn run(arguments: &Arguments, session: &Session) -> Outcome {
    let reference: WorkspaceRef = arguments.workspace.parse()?;
    let client = session.client()?;
    let mut workspace = find_workspace(&client, &reference).await?;
    let is_newest = arguments.build.number == 0;
    workspace.latest_build = arguments.build.find(&client, &workspace).await?;
    if arguments.format.output == Format::Json {
        return if is_newest { session.printer.json(&workspace) } else { session.printer.json(&workspace.latest_build) };
    }
    session.printer.text(&described(&workspace, Timestamp::now()))?;
    let parameters = client.build_parameters(workspace.latest_build.id).await?;
    if !parameters.is_empty() {
        session.printer.text(&format!("\n{}", parameter::summary(&parameters)))?;
    }
    if is_newest && workspace.latest_build.job.error_code == Some(FailureCode::RunnerLost) {
        let typed = reference.typed();
        session
            .printer
            .hint(format_args!("what that build was making may exist and be in no state: `berth repair {typed}` finds it"));
    }
    if is_newest && workspace.latest_build.status == WorkspaceStatus::Running {
        session.printer.hint(format_args!("`berth ssh {}` opens a shell in it", reference.typed()));
    }
    Ok(())
}

fn described(workspace: &Workspace, now: Timestamp) -> String {
    let build = &workspace.latest_build;
    let outdated = if workspace.outdated { " (outdated)" } else { "" };
    let mut facts = table(["workspace", "template", "version", "status", "build", "built"]);
    facts.add_row([
        format!("{}/{}", workspace.owner_name, workspace.name),
        workspace.template_name.clone(),
        format!("{}{outdated}", build.template_version_name),
        build.status.to_string(),
        format!("{} ({})", build.build_number, build.transition),
        ago(build.created_at, now),
    ]);
    let mut text = render(&facts);
    if let Some(deadline) = build.deadline.filter(|_| build.status == WorkspaceStatus::Running) {
        text.push_str(&format!("\nstops {}\n", in_words(deadline, now)));
    }
    if !build.job.error.is_empty() {
        text.push_str(&format!("\n{}\n", crate::printer::printable(build.job.error.trim_end())));
    }
    let shown: Vec<&Resource> = build.resources.iter().filter(|resource| !resource.hide).collect();
    if !shown.is_empty() {
        text.push_str(&format!("\n{}", render(&resources(&shown))));
    }
    text
}

fn resources(shown: &[&Resource]) -> Table {
    let mut table = table(["resource", "agent", "status", "lifecycle", "machine", "version"]);
    for resource in shown {
        let name = format!("{}.{}", resource.kind, resource.name);
        let agents = resource.agents.as_deref().unwrap_or_default();
        if agents.is_empty() {
            table.add_row([name.as_str(), "", "", "", "", ""]);
        }
        for agent in agents {
            table.add_row(row(&name, agent));
        }
    }
    table
}

fn row(resource: &str, agent: &Agent) -> [String; 6] {
    [
        resource.to_owned(),
        agent.name.clone(),
        agent.status.to_string(),
        agent.lifecycle_state.to_string(),
        format!("{}/{}", agent.operating_system, agent.architecture),
        agent.version.clone(),
    ]
}
