//! `berth cancel`.

use crate::{
    failure::{Failure, Outcome},
    name::WorkspaceRef,
    session::{Session, find_workspace},
    signal,
    wait::{self, Detail, JobRef, LogView},
};
use berth_wire::domain::JobStatus;
use clap::Args;

/// Which workspace.
#[derive(Debug, Args)]
pub struct Arguments {
    /// [owner/]name
    #[arg(value_name = "NAME")]
    workspace: String,
    /// Accepted for scripts: nothing is asked
    #[arg(short, long)]
    yes: bool,
}

/// Asks the running build to end, and waits until it has.
pub(super) async fn run(arguments: &Arguments, session: &Session) -> Outcome {
    let reference: WorkspaceRef = arguments.workspace.parse()?;
    let (client, typed) = (session.client()?, reference.typed());
    let build = find_workspace(&client, &reference).await?.latest_build;
    if !build.job.status.is_active() {
        let clause = format!("no build of {typed} runs; number {} ended: {}", build.build_number, build.job.status);
        return Err(Failure::new(clause).hint("nothing is left to cancel"));
    }
    client.cancel_build(build.id).await?;
    let mut view = LogView::new(session, Detail::Stages, &format!("Waiting for build {} of {typed} to end", build.build_number));
    let ended = signal::unless_ended(wait::job(&client, JobRef::Build(build.id), |line| view.show(line)), || {}).await;
    drop(view);
    match ended?.status {
        JobStatus::Canceled => session.printer.say(format_args!("Build {} of {typed} is canceled.", build.build_number)),
        status => {
            session.printer.say(format_args!("Build {} of {typed} ended before it heard of it: {status}.", build.build_number))
        }
    }
    Ok(())
}
