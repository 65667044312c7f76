//! `berth rename`.

use crate::{
    failure::{Failure, Outcome},
    name::WorkspaceRef,
    prompt,
    session::{Session, find_workspace},
};
use berth_wire::domain::WorkspaceName;
use clap::Args;

/// Which workspace, and its new name.
#[derive(Debug, Args)]
pub struct Arguments {
    /// [owner/]name
    #[arg(value_name = "NAME")]
    workspace: String,
    /// The new name
    #[arg(value_name = "NEW_NAME")]
    name: String,
    /// Answer every question with yes
    #[arg(short, long)]
    yes: bool,
}

/// Gives a workspace another name. Templates see it at the next build, and some replace what is named after the workspace.
pub(super) async fn run(arguments: &Arguments, session: &Session) -> Outcome {
    let reference: WorkspaceRef = arguments.workspace.parse()?;
    let (client, typed) = (session.client()?, reference.typed());
    let name = WorkspaceName::parse(&arguments.name)
        .map_err(|error| Failure::usage(format!("{:?}: {error}", arguments.name)).hint("letters, digits and single hyphens"))?;
    let workspace = find_workspace(&client, &reference).await?;
    if !arguments.yes {
        session
            .printer
            .warn("a template that names resources after its workspace may replace them, and what is in them, at the next start");
    }
    prompt::confirm(&session.printer, arguments.yes, &format!("Rename {typed} to {name}?"))?;
    client.rename_workspace(workspace.id, name.to_string()).await.map_err(|error| match error.is_conflict() {
        true => Failure::new(error.to_string()).hint(format!("choose another name, or wait until no build of {typed} runs")),
        false => error.into(),
    })?;
    let now = reference.owner.map_or_else(|| name.to_string(), |owner| format!("{owner}/{name}"));
    session.printer.say(format_args!("{typed} is called {now} now."));
    session.printer.hint(format_args!("`berth ssh {now}` opens a shell in it"));
    Ok(())
}
