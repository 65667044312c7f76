//! `berth update`.

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

/// Moves a workspace to the active version of its template and starts it. What is new there, or no longer allowed, is asked for before
/// anything is stopped.
pub(super) async fn run(arguments: &Arguments, session: &Session) -> Outcome {
    let reference: WorkspaceRef = arguments.workspace.parse()?;
    let (client, typed) = (session.client()?, reference.typed());
    let workspace = find_workspace(&client, &reference).await?;
    let workspace = change::settle(session, &client, workspace, &typed).await?;
    let typed_answers = Typed { flags: &arguments.parameters, always: arguments.always, yes: arguments.change.yes };
    let values = typed_answers.answers(session, &client, &workspace, workspace.template_active_version_id).await?;
    if !workspace.outdated && values.is_empty() {
        session.printer.say(format_args!("{typed} has the active version of {} already.", workspace.template_name));
        return Ok(());
    }
    if workspace.latest_build.status == WorkspaceStatus::Running {
        change::stop(session, &client, (&workspace, &typed), arguments.change.reason).await?;
    }
    let mut request = arguments.change.request(Transition::Start);
    request.template_version_id = Some(workspace.template_active_version_id);
    request.rich_parameter_values = values;
    let build = change::build(session, &client, (&workspace, &typed), &request).await?;
    change::welcome(session, &client, &build, &typed).await
}
