//! `berth retry`.

use crate::{
    change::{self, ChangeFlags},
    failure::{Failure, Outcome},
    name::WorkspaceRef,
    session::{Session, find_workspace},
};
use berth_client::Client;
use berth_wire::{
    build::{Build, CreateBuild},
    domain::{JobStatus, Transition},
};
use clap::Args;

/// Which workspace.
#[derive(Debug, Args)]
pub struct Arguments {
    /// [owner/]name
    #[arg(value_name = "NAME")]
    workspace: String,
    /// With Terraform's own debug log; for template admins
    #[arg(long)]
    debug: bool,
    #[command(flatten)]
    change: ChangeFlags,
}

/// Does again what failed or was canceled: the same transition, version and parameters.
pub(super) async fn run(arguments: &Arguments, session: &Session) -> Outcome {
    let reference: WorkspaceRef = arguments.workspace.parse()?;
    let (client, typed) = (session.client()?, reference.typed());
    let workspace = find_workspace(&client, &reference).await?;
    let failed = &workspace.latest_build;
    if !matches!(failed.job.status, JobStatus::Failed | JobStatus::Canceled) {
        let clause = format!("there is nothing to retry: build {} of {typed} is {}", failed.build_number, failed.job.status);
        return Err(Failure::new(clause).hint(format!("`berth show {typed}` tells where it stands")));
    }
    let mut request = same(&client, failed, arguments.change.request(failed.transition)).await?;
    request.log_level = arguments.debug.then(|| "debug".to_owned());
    let build = change::build(session, &client, (&workspace, &typed), &request).await?;
    match build.transition {
        Transition::Start => change::welcome(session, &client, &build, &typed).await,
        Transition::Stop => {
            session.printer.say(format_args!("{typed} is stopped."));
            Ok(())
        }
        Transition::Delete => {
            session.printer.say(format_args!("{typed} is deleted."));
            Ok(())
        }
    }
}

async fn same(client: &Client, failed: &Build, request: CreateBuild) -> Outcome<CreateBuild> {
    let mut request = CreateBuild { template_version_id: Some(failed.template_version_id), ..request };
    if failed.transition == Transition::Start {
        request.rich_parameter_values = client.build_parameters(failed.id).await?;
    }
    Ok(request)
}
