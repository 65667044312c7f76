//! `berth delete`.

use crate::{
    change::{self, ChangeFlags},
    failure::{Failure, Outcome},
    name::WorkspaceRef,
    printer::{Format, FormatFlag, printable, table},
    prompt,
    session::{Session, find_workspace},
};
use berth_client::Client;
use berth_wire::{
    domain::{FailureCode, StateResource, Transition, state},
    workspace::Workspace,
};
use clap::Args;

/// Which workspace, and how.
#[derive(Debug, Args)]
pub struct Arguments {
    /// [owner/]name
    #[arg(value_name = "NAME")]
    workspace: String,
    /// Forget the resources without destroying them; for owners of the deployment
    #[arg(long)]
    orphan: bool,
    #[command(flatten)]
    change: ChangeFlags,
    #[command(flatten)]
    format: FormatFlag,
}

/// Deletes a workspace and all it consists of.
pub(super) async fn run(arguments: &Arguments, session: &Session) -> Outcome {
    let reference: WorkspaceRef = arguments.workspace.parse()?;
    let (client, typed) = (session.client()?, reference.typed());
    let workspace = find_workspace(&client, &reference).await?;
    if arguments.orphan {
        list_left(session, &client, &workspace, (&typed, arguments.format.output)).await?;
    } else if workspace.latest_build.job.error_code == Some(FailureCode::RunnerLost) {
        session.printer.warn(format_args!("the runner of the last build was lost: what it was making may exist and would stay"));
        session.printer.hint(format_args!("`berth repair {typed}` finds it; do that first"));
    }
    let what = if arguments.orphan { "and leave its resources behind" } else { "with everything in it" };
    prompt::confirm(&session.printer, arguments.change.yes, &format!("Delete {typed} {what}?"))?;
    let mut request = change::request(Transition::Delete, arguments.change.reason);
    request.orphan = arguments.orphan;
    change::build(session, &client, (&workspace, &typed), &request).await?;
    session.printer.say(format_args!("{typed} is deleted."));
    Ok(())
}

/// Shows what an orphaning delete leaves behind, before anything is asked: as data, so that it can be kept.
async fn list_left(session: &Session, client: &Client, workspace: &Workspace, (typed, format): (&str, Format)) -> Outcome {
    let left = match newest(client, workspace).await {
        Ok(left) => left,
        Err(failure) => {
            // A state that cannot be read is no reason to keep the workspace.
            session.printer.warn(format_args!("what is left behind cannot be listed: {failure}"));
            return Ok(());
        }
    };
    if left.is_empty() && format == Format::Table {
        session.printer.say(format_args!("The state of {typed} holds nothing that would be left behind."));
        return Ok(());
    }
    if format == Format::Table {
        session.printer.warn("these are forgotten and go on running, and costing, until someone removes them:");
    }
    session.printer.table_or_json(format, &left, || {
        let mut table = table(["resource", "id"]);
        for one in &left {
            table.add_row([printable(&one.address), printable(&one.id)]);
        }
        table
    })
}

async fn newest(client: &Client, workspace: &Workspace) -> Outcome<Vec<StateResource>> {
    let versions = client.states(workspace.id).await?;
    let Some(version) = versions.last() else { return Ok(Vec::new()) };
    let state = client.state(workspace.id, version.number).await?;
    let held = state::resources(&state).map_err(|error| Failure::new(error.to_string()))?;
    // Ours are no resources of a cloud, but for what runs and lies on this machine.
    let stays = |one: &StateResource| !one.kind.starts_with("coder_") && one.kind != "terraform_data";
    Ok(held.into_iter().filter(stays).collect())
}
