//! `berth builds`: the history of a workspace, and where a build's time went.

use crate::{
    failure::{Failure, Outcome},
    name::WorkspaceRef,
    printer::{FormatFlag, ago, table, took},
    session::{Session, find_workspace},
};
use berth_client::Client;
use berth_wire::{
    build::{Build, Timings},
    domain::{ScriptStatus, Timestamp},
    workspace::Workspace,
};
use clap::{Args, Subcommand};
use comfy_table::Table;
use std::borrow::Cow;

/// What to do with builds.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List a workspace's builds, newest first
    #[command(alias = "ls")]
    List {
        /// [owner/]name
        #[arg(value_name = "NAME")]
        workspace: String,
        #[command(flatten)]
        format: FormatFlag,
    },
    /// Show where the time of a build went
    Timings {
        /// [owner/]name
        #[arg(value_name = "NAME")]
        workspace: String,
        #[command(flatten)]
        build: BuildFlag,
        #[command(flatten)]
        format: FormatFlag,
    },
}

/// Which build of a workspace.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(super) struct BuildFlag {
    /// Number of the build; 0 is the newest, -1 the one before it
    #[arg(
        short = 'n',
        long = "build",
        alias = "build-number",
        value_name = "NUMBER",
        default_value_t = 0,
        allow_negative_numbers = true
    )]
    pub(super) number: i64,
}

/// Does it.
pub(super) async fn run(arguments: Arguments, session: &Session) -> Outcome {
    let client = session.client()?;
    match arguments.verb {
        Verb::List { workspace, format } => {
            let reference: WorkspaceRef = workspace.parse()?;
            let workspace = find_workspace(&client, &reference).await?;
            let builds = client.builds(workspace.id).await?;
            session.printer.table_or_json(format.output, &builds, || listed(&builds, Timestamp::now()))
        }
        Verb::Timings { workspace, build, format } => {
            let reference: WorkspaceRef = workspace.parse()?;
            let workspace = find_workspace(&client, &reference).await?;
            let build = build.find(&client, &workspace).await?;
            let timings = client.build_timings(build.id).await?;
            session.printer.table_or_json(format.output, &timings, || times(&build, &timings))
        }
    }
}

impl BuildFlag {
    /// The build that it names.
    ///
    /// # Errors
    /// When the workspace has none of this number.
    pub(super) async fn find(self, client: &Client, workspace: &Workspace) -> Outcome<Build> {
        let latest = &workspace.latest_build;
        let newest = i64::try_from(latest.build_number).unwrap_or(i64::MAX);
        let number = if self.number > 0 { self.number } else { newest.saturating_add(self.number) };
        if number == newest {
            return Ok(latest.clone());
        }
        let missing =
            || Failure::new(format!("{} has no build {number}", workspace.name)).hint(format!("its builds are 1 to {newest}"));
        let wanted = u64::try_from(number).ok().filter(|&number| number > 0).ok_or_else(missing)?;
        client.build_by_number(&workspace.owner_name, &workspace.name, wanted).await.map_err(|error| match error.is_not_found() {
            true => missing(),
            false => error.into(),
        })
    }
}

fn listed(builds: &[Build], now: Timestamp) -> Table {
    let mut table = table(["build", "transition", "version", "status", "reason", "by", "asked", "took"]);
    for build in builds {
        table.add_row([
            build.build_number.to_string(),
            build.transition.to_string(),
            build.template_version_name.clone(),
            build.job.status.to_string(),
            build.reason.to_string(),
            build.initiator_name.clone(),
            ago(build.created_at, now),
            build.job.started_at.map(|started| took(started, build.job.completed_at.unwrap_or(now))).unwrap_or_default(),
        ]);
    }
    table
}

/// What took how long, in the order of time: the wait for a runner, Terraform's stages and resources, the agents.
fn times(build: &Build, timings: &Timings) -> Table {
    let mut table = table(["stage", "what", "action", "after", "took"]);
    let asked = build.job.created_at;
    let mut rows: Vec<(Timestamp, Timestamp, &str, Cow<'_, str>, &str)> = Vec::new();
    if let Some(started) = build.job.started_at {
        rows.push((asked, started, "queue", "runner".into(), "start"));
    }
    for timing in &timings.provisioner_timings {
        let what = if timing.source == timing.resource { "(all)" } else { timing.resource.as_str() };
        rows.push((timing.started_at, timing.ended_at, timing.stage.as_str(), what.into(), timing.action.as_str()));
    }
    for timing in &timings.agent_connection_timings {
        let agent = timing.workspace_agent_name.as_str();
        rows.push((timing.started_at, timing.ended_at, timing.stage.as_str(), agent.into(), "connect"));
    }
    for timing in &timings.agent_script_timings {
        let what = format!("{}: {}", timing.workspace_agent_name, timing.display_name);
        // A run that went well says why it ran, any other how it ended.
        let action = if timing.status == ScriptStatus::Ok { timing.stage.as_str() } else { timing.status.as_str() };
        rows.push((timing.started_at, timing.ended_at, "scripts", what.into(), action));
    }
    rows.sort_by_key(|row| row.0);
    for (started, ended, stage, what, action) in rows {
        table.add_row([stage.to_owned(), what.into_owned(), action.to_owned(), took(asked, started), took(started, ended)]);
    }
    table
}
