//! `berth delete`.

use crate::{
    change::{self, ChangeFlags},
    failure::Outcome,
    name::WorkspaceRef,
    prompt,
    session::{Session, find_workspace},
};
use berth_wire::domain::Transition;
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
}

/// Deletes a workspace and all it consists of.
pub(super) async fn run(arguments: &Arguments, session: &Session) -> Outcome {
    let reference: WorkspaceRef = arguments.workspace.parse()?;
    let (client, typed) = (session.client()?, reference.typed());
    let workspace = find_workspace(&client, &reference).await?;
    let what = if arguments.orphan { "and leave its resources behind" } else { "with everything in it" };
    prompt::confirm(&session.printer, arguments.change.yes, &format!("Delete {typed} {what}?"))?;
    let mut request = change::request(Transition::Delete, arguments.change.reason);
    request.orphan = arguments.orphan;
    change::build(session, &client, (&workspace, &typed), &request).await?;
    session.printer.say(format_args!("{typed} is deleted."));
    Ok(())
}
