//! Builds a person asks for: asks the API, follows the log, waits for the agents.

use crate::{
    failure::{Failure, Outcome},
    prompt,
    session::Session,
    signal, wait,
};
use berth_client::Client;
use berth_wire::{
    build::{Build, CreateBuild},
    domain::{AutomaticUpdates, BuildReason, FailureCode, Transition, WorkspaceStatus},
    resource::Agent,
    workspace::Workspace,
};
use clap::Args;
use uuid::Uuid;

/// The flags of verbs that build.
#[derive(Debug, Clone, Default, Args)]
pub struct ChangeFlags {
    /// Answer every question with yes
    #[arg(short, long)]
    pub yes: bool,
    /// Why, for the build's record: cli, vscode_connection, jetbrains_connection, ...
    #[arg(long, value_name = "REASON")]
    pub reason: Option<BuildReason>,
    /// Consent to replacing or destroying disks and machines, where the template asks for consent
    #[arg(long)]
    pub allow_replace: bool,
}

impl ChangeFlags {
    /// A request for a build with these flags.
    #[must_use]
    pub fn request(&self, transition: Transition) -> CreateBuild {
        CreateBuild { allow_replace: self.allow_replace, ..request(transition, self.reason) }
    }
}

/// A plain request for a build.
#[must_use]
pub fn request(transition: Transition, reason: Option<BuildReason>) -> CreateBuild {
    CreateBuild { reason: Some(reason.unwrap_or(BuildReason::Cli)), ..CreateBuild::new(transition) }
}

/// The version that the next start builds, unless another one is asked for.
#[must_use]
pub fn start_version(workspace: &Workspace) -> Uuid {
    match workspace.automatic_updates {
        AutomaticUpdates::Always => workspace.template_active_version_id,
        AutomaticUpdates::Never => workspace.latest_build.template_version_id,
    }
}

/// Starts a build and follows it to its good end.
///
/// # Errors
/// When the API refuses, or the build does not succeed.
pub async fn build(
    session: &Session,
    client: &Client,
    (workspace, typed): (&Workspace, &str),
    request: &CreateBuild,
) -> Outcome<Build> {
    let build = client.create_build(workspace.id, request).await.map_err(|error| match error.is_conflict() {
        true => Failure::new(error.to_string())
            .hint(format!("`berth logs {typed} -f` follows what runs, `berth cancel {typed}` ends it")),
        false => error.into(),
    })?;
    let ended = wait::build(session, client, &build, typed, wait::Detail::Lines).await;
    let build = client.build(build.id).await?;
    if build.job.error_code == Some(FailureCode::ReplacementNeedsConsent) && consents(session, request, &build)? {
        let request = CreateBuild { allow_replace: true, ..request.clone() };
        return Box::pin(self::build(session, client, (workspace, typed), &request)).await;
    }
    ended.map(|()| build)
}

/// Asks the person, if there is one to ask, whether what holds data or runs may be replaced. Nothing was changed so far.
fn consents(session: &Session, request: &CreateBuild, refused: &Build) -> Outcome<bool> {
    if request.allow_replace || !session.printer.is_interactive() {
        return Ok(false);
    }
    let what = refused.job.error.split("; nothing was changed").next().unwrap_or_default();
    session.printer.warn(what);
    prompt::yes("What is in them would be lost. Go on?", false)
}

/// Follows a build that runs already; afterwards the workspace as it then is.
///
/// # Errors
/// When that build does not succeed.
pub async fn settle(session: &Session, client: &Client, workspace: Workspace, typed: &str) -> Outcome<Workspace> {
    if !workspace.latest_build.job.status.is_active() {
        return Ok(workspace);
    }
    let build = &workspace.latest_build;
    let (number, transition) = (build.build_number, build.transition);
    session.printer.say(format_args!("Build {number} of {typed} ({transition}) is under way; waiting for it."));
    wait::build(session, client, build, typed, wait::Detail::Lines).await?;
    Ok(client.workspace(workspace.id).await?)
}

/// The same for a stop: whether that build succeeds does not matter, only that it is over.
///
/// # Errors
/// When the wait is interrupted.
pub async fn outlast(session: &Session, client: &Client, workspace: Workspace, typed: &str) -> Outcome<Workspace> {
    let id = workspace.id;
    match settle(session, client, workspace, typed).await {
        Ok(workspace) => Ok(workspace),
        Err(failure) => {
            let workspace = client.workspace(id).await?;
            if workspace.latest_build.job.status.is_active() { Err(failure) } else { Ok(workspace) }
        }
    }
}

/// Waits for every agent of a started workspace, then says how to get in.
///
/// # Errors
/// When an agent does not come.
pub async fn welcome(session: &Session, client: &Client, build: &Build, typed: &str) -> Outcome {
    let printer = session.printer;
    let farewell = || {
        printer.say(format_args!("\n{typed} is up, its agent not yet"));
        printer.hint(format_args!("`berth ssh {typed}` waits for it"));
    };
    let waiting = async {
        for agent in agents(build) {
            wait::agent(session, client, agent.clone(), (typed, wait::Scripts::Auto)).await?;
        }
        Ok(())
    };
    signal::unless_ended(waiting, farewell).await?;
    printer.say(format_args!("{typed} is up."));
    if agents(build).next().is_some() {
        printer.hint(format_args!("`berth ssh {typed}` opens a shell in it"));
    }
    Ok(())
}

/// The agents a build made.
pub fn agents(build: &Build) -> impl Iterator<Item = &Agent> {
    build.resources.iter().filter_map(|resource| resource.agents.as_ref()).flatten()
}

/// Stops a workspace unless it is stopped. Says whether a build was needed.
///
/// # Errors
/// When the build does not succeed.
pub async fn stop(
    session: &Session,
    client: &Client,
    (workspace, typed): (&Workspace, &str),
    reason: Option<BuildReason>,
) -> Outcome<bool> {
    if workspace.latest_build.status == WorkspaceStatus::Stopped {
        return Ok(false);
    }
    build(session, client, (workspace, typed), &request(Transition::Stop, reason)).await.map(|_| true)
}
