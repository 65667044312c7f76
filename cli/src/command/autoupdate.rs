//! `berth autoupdate`.

use crate::{
    failure::Outcome,
    name::WorkspaceRef,
    session::{Session, find_workspace},
};
use berth_wire::domain::AutomaticUpdates;
use clap::Args;

/// Which workspace, and whether.
#[derive(Debug, Args)]
pub struct Arguments {
    /// [owner/]name
    #[arg(value_name = "NAME")]
    workspace: String,
    /// always or never
    #[arg(value_name = "POLICY")]
    policy: AutomaticUpdates,
    /// Accepted for scripts: nothing is asked
    #[arg(short, long)]
    yes: bool,
}

/// Sets whether each start moves a workspace to the active version of its template.
pub(super) async fn run(arguments: &Arguments, session: &Session) -> Outcome {
    let reference: WorkspaceRef = arguments.workspace.parse()?;
    let (client, typed) = (session.client()?, reference.typed());
    let workspace = find_workspace(&client, &reference).await?;
    client.set_automatic_updates(workspace.id, arguments.policy).await?;
    let template = &workspace.template_name;
    match arguments.policy {
        AutomaticUpdates::Always => {
            session.printer.say(format_args!("{typed} follows {template}: each start takes its active version."))
        }
        AutomaticUpdates::Never => {
            session.printer.say(format_args!("{typed} keeps its version of {template}."));
            session.printer.hint(format_args!("`berth update {typed}` moves it to the active one"));
        }
    }
    Ok(())
}
