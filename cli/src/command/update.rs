//! `berth update`.

use crate::{
    change::{self, ChangeFlags},
    failure::Outcome,
    name::WorkspaceRef,
    parameter::{self, ParameterFlags},
    session::{Session, find_workspace},
};
use berth_client::Client;
use berth_wire::{
    domain::{ParameterValue, Transition, WorkspaceStatus},
    workspace::Workspace,
};
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
    change: ChangeFlags,
}

/// Moves a workspace to the active version of its template and starts it. Parameters that are new there are asked for.
pub(super) async fn run(arguments: &Arguments, session: &Session) -> Outcome {
    let reference: WorkspaceRef = arguments.workspace.parse()?;
    let (client, typed) = (session.client()?, reference.typed());
    let given = arguments.parameters.given()?;
    let workspace = find_workspace(&client, &reference).await?;
    let workspace = change::settle(session, &client, workspace, &typed).await?;
    if !workspace.outdated && given.is_empty() {
        session.printer.say(format_args!("{typed} has the active version of {} already.", workspace.template_name));
        return Ok(());
    }
    let values = answers(&client, &workspace, given, (session, arguments.change.yes)).await?;
    if workspace.latest_build.status == WorkspaceStatus::Running {
        change::stop(session, &client, (&workspace, &typed), arguments.change.reason).await?;
    }
    let mut request = arguments.change.request(Transition::Start);
    request.template_version_id = Some(workspace.template_active_version_id);
    request.rich_parameter_values = values;
    let build = change::build(session, &client, (&workspace, &typed), &request).await?;
    change::welcome(session, &client, &build, &typed).await
}

/// The given answers, and those to parameters that the previous build did not know.
async fn answers(
    client: &Client,
    workspace: &Workspace,
    given: Vec<ParameterValue>,
    (session, yes): (&Session, bool),
) -> Outcome<Vec<ParameterValue>> {
    let asked = client.version_parameters(workspace.template_active_version_id).await?;
    let before = client.build_parameters(workspace.latest_build.id).await?;
    let known = |name: &str| before.iter().any(|value| value.name == name) && !given.iter().any(|value| value.name == name);
    let open: Vec<_> = asked.into_iter().filter(|parameter| !known(&parameter.name)).collect();
    parameter::complete(&open, given.clone(), session.printer, !yes)
}
