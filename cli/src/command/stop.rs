//! `berth stop`.

use crate::{
    change::{self, ChangeFlags},
    failure::Outcome,
    name::WorkspaceRef,
    session::{Session, find_workspace},
};
use clap::Args;

/// Which workspace.
#[derive(Debug, Args)]
pub struct Arguments {
    /// [owner/]name
    #[arg(value_name = "NAME")]
    workspace: String,
    #[command(flatten)]
    change: ChangeFlags,
}

/// Stops a workspace.
pub(super) async fn run(arguments: &Arguments, session: &Session) -> Outcome {
    let reference: WorkspaceRef = arguments.workspace.parse()?;
    let (client, typed) = (session.client()?, reference.typed());
    let workspace = find_workspace(&client, &reference).await?;
    let workspace = change::outlast(session, &client, workspace, &typed).await?;
    change::stop(session, &client, (&workspace, &typed), arguments.change.reason).await?;
    session.printer.say(format_args!("{typed} is stopped."));
    session.printer.hint(format_args!("`berth start {typed}` or `berth ssh {typed}` brings it back"));
    Ok(())
}
