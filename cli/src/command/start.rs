//! `berth start`.

use crate::{
    change::{self, ChangeFlags},
    failure::Outcome,
    name::WorkspaceRef,
    parameter::{AlwaysPrompt, ParameterFlags, Typed},
    session::{Session, find_workspace},
};
use berth_wire::domain::{Transition, WorkspaceStatus};
use clap::Args;

/// Which workspace, and how.
#[derive(Debug, Args)]
pub struct Arguments {
    /// [owner/]name
    #[arg(value_name = "NAME")]
    workspace: String,
    #[command(flatten)]
    parameters: ParameterFlags,
    #[command(flatten)]
    always: AlwaysPrompt,
    #[command(flatten)]
    change: ChangeFlags,
}

/// Starts a workspace. One that runs already stays as it is, unless parameters are given.
pub(super) async fn run(arguments: &Arguments, session: &Session) -> Outcome {
    let reference: WorkspaceRef = arguments.workspace.parse()?;
    let (client, typed) = (session.client()?, reference.typed());
    let workspace = find_workspace(&client, &reference).await?;
    let workspace = change::settle(session, &client, workspace, &typed).await?;
    let typed_answers = Typed { flags: &arguments.parameters, always: arguments.always, yes: arguments.change.yes };
    let version = change::start_version(&workspace);
    let given = typed_answers.answers(session, &client, &workspace, version).await?;
    if workspace.latest_build.status == WorkspaceStatus::Running && given.is_empty() {
        return change::welcome(session, &client, &workspace.latest_build, &typed).await;
    }
    let mut request = arguments.change.request(Transition::Start);
    request.rich_parameter_values = given;
    let build = change::build(session, &client, (&workspace, &typed), &request).await?;
    change::welcome(session, &client, &build, &typed).await
}
