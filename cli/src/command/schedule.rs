//! `berth schedule`: when a workspace is stopped without anyone asking.

use crate::{
    failure::{Failure, Outcome},
    name::WorkspaceRef,
    printer::{FormatFlag, ago, in_words, table},
    session::{Session, find_workspace},
};
use berth_wire::{domain::Timestamp, workspace::Workspace};
use clap::{Args, Subcommand};
use comfy_table::Table;
use jiff::SignedDuration;
use serde_json::json;

/// What to do with the schedule.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show when a workspace is stopped
    Show {
        /// [owner/]name
        #[arg(value_name = "NAME")]
        workspace: String,
        #[command(flatten)]
        format: FormatFlag,
    },
    /// Set how long a workspace runs after a start; from the next start on
    Stop {
        /// [owner/]name
        #[arg(value_name = "NAME")]
        workspace: String,
        /// Like 8h or 90m; "manual" is until someone stops it
        #[arg(value_name = "DURATION")]
        after: String,
    },
    /// Let a running workspace run for this long from now
    #[command(alias = "override-stop")]
    Extend {
        /// [owner/]name
        #[arg(value_name = "NAME")]
        workspace: String,
        /// Like 2h or 90m
        #[arg(value_name = "DURATION")]
        duration: String,
    },
}

/// Does it.
pub(super) async fn run(arguments: Arguments, session: &Session) -> Outcome {
    let client = session.client()?;
    let find = async |name: &str| {
        let reference: WorkspaceRef = name.parse()?;
        Ok::<_, Failure>((find_workspace(&client, &reference).await?, reference.typed()))
    };
    match arguments.verb {
        Verb::Show { workspace, format } => {
            let (workspace, _) = find(&workspace).await?;
            let build = &workspace.latest_build;
            let data = json!({ "ttl_ms": workspace.ttl_ms, "deadline": build.deadline, "max_deadline": build.max_deadline });
            session.printer.table_or_json(format.output, &data, || shown(&workspace, Timestamp::now()))
        }
        Verb::Stop { workspace, after } => {
            let (workspace, typed) = find(&workspace).await?;
            let ttl = if after == "manual" { None } else { Some(duration(&after)?) };
            client.set_ttl(workspace.id, ttl.map(|ttl| i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX))).await?;
            match ttl {
                None => session.printer.say(format_args!("{typed} runs until someone stops it.")),
                Some(_) => session.printer.say(format_args!("{typed} is stopped {after} after each start, from the next one on.")),
            }
            Ok(())
        }
        Verb::Extend { workspace, duration: wanted } => {
            let (workspace, typed) = find(&workspace).await?;
            let until = Timestamp::now().checked_add(duration(&wanted)?).map_err(|_| too_long(&wanted))?;
            client.extend(workspace.id, until).await.map_err(|error| match error.is_conflict() {
                true => Failure::new(error.to_string()).hint(format!("`berth start {typed}` starts it")),
                false => error.into(),
            })?;
            session.printer.say(format_args!("{typed} is stopped in {wanted}."));
            Ok(())
        }
    }
}

fn shown(workspace: &Workspace, now: Timestamp) -> Table {
    let build = &workspace.latest_build;
    let when = |at: Option<Timestamp>| at.map_or_else(|| "never".to_owned(), |at| in_words(at, now));
    let mut table = table(["workspace", "status", "started", "runs for", "stops", "at the latest"]);
    let runs_for = workspace.ttl_ms.map_or_else(String::new, |ttl| format!("{:#}", SignedDuration::from_millis(ttl)));
    table.add_row([
        format!("{}/{}", workspace.owner_name, workspace.name),
        build.status.to_string(),
        ago(build.job.completed_at.unwrap_or(build.created_at), now),
        runs_for,
        when(build.deadline),
        when(build.max_deadline),
    ]);
    table
}

fn too_long(text: &str) -> Failure {
    Failure::usage(format!("{text:?} is too long")).hint("write it like 8h or 90m")
}

/// `8h`, `90m`, `1d 12h`: days of 24 hours.
pub(super) fn duration(text: &str) -> Outcome<SignedDuration> {
    let refused = || Failure::usage(format!("{text:?} is not a duration")).hint("write it like 8h or 90m");
    let span: jiff::Span = text.parse().map_err(|_| refused())?;
    let duration = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|_| refused())?;
    if duration.is_positive() { Ok(duration) } else { Err(refused()) }
}
