//! `berth state`: the versions of a workspace's Terraform state.

use crate::{
    config::{plain, write_whole},
    failure::{Failure, Outcome},
    name::WorkspaceRef,
    printer::{Format, FormatFlag, ago, table},
    prompt,
    session::{Session, find_workspace},
};
use berth_client::{Client, ClientError};
use berth_wire::{
    domain::Timestamp,
    state::{StateOrigin, StateVersion},
    workspace::Workspace,
};
use clap::{Args, Subcommand};
use comfy_table::Table;
use std::{
    fs,
    io::{self, IsTerminal, Read, Write},
    path::{Path, PathBuf},
};

/// What to do with states.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the versions of a workspace's Terraform state
    #[command(alias = "ls")]
    List {
        /// [owner/]name
        #[arg(value_name = "NAME")]
        workspace: String,
        #[command(flatten)]
        format: FormatFlag,
    },
    /// Write a state to stdout or a file (mode 0600); it holds secrets
    Pull {
        /// [owner/]name
        #[arg(value_name = "NAME")]
        workspace: String,
        /// Where to; `-` or nothing is stdout
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
        /// The state that this build left, instead of the newest
        #[arg(short, long, value_name = "NUMBER", conflicts_with = "version")]
        build: Option<u64>,
        /// This version, as `list` numbers them
        #[arg(long, value_name = "NUMBER")]
        version: Option<u64>,
    },
    /// Make a file the workspace's newest state; for template admins
    Push {
        /// [owner/]name
        #[arg(value_name = "NAME")]
        workspace: String,
        /// The state; `-` is stdin
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Only if this is the number of the newest build
        #[arg(short, long, value_name = "NUMBER")]
        build: Option<u64>,
    },
    /// Go back to an earlier version, as a new version with the old content
    Restore {
        /// [owner/]name
        #[arg(value_name = "NAME")]
        workspace: String,
        /// The version, as `list` numbers them
        #[arg(value_name = "VERSION")]
        version: u64,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
}

/// Does it.
pub(super) async fn run(arguments: &Arguments, session: &Session) -> Outcome {
    match &arguments.verb {
        Verb::List { workspace, format } => list(session, workspace, format.output).await,
        Verb::Pull { workspace, file, build, version } => {
            let wanted = Wanted { build: *build, version: *version };
            pull(session, workspace, file.as_deref(), wanted).await
        }
        Verb::Push { workspace, file, build } => push(session, workspace, file, *build).await,
        Verb::Restore { workspace, version, yes } => restore(session, workspace, *version, *yes).await,
    }
}

async fn named(session: &Session, name: &str) -> Outcome<(Client, Workspace, String)> {
    let reference: WorkspaceRef = name.parse()?;
    let client = session.client()?;
    let workspace = find_workspace(&client, &reference).await?;
    Ok((client, workspace, reference.typed()))
}

async fn list(session: &Session, name: &str, format: Format) -> Outcome {
    let (client, workspace, typed) = named(session, name).await?;
    let versions = client.states(workspace.id).await?;
    if versions.is_empty() && format == Format::Table {
        session.printer.say(format_args!("{typed} has no Terraform state: no build of it has made anything yet."));
        return Ok(());
    }
    session.printer.table_or_json(format, &versions, || listed(&versions, Timestamp::now()))
}

fn listed(versions: &[StateVersion], now: Timestamp) -> Table {
    let mut table = table(["version", "serial", "build", "origin", "size", "sha256", "taken"]);
    for version in versions {
        let transition = version.transition.map(|transition| format!(" ({transition})")).unwrap_or_default();
        table.add_row([
            version.number.to_string(),
            version.serial.to_string(),
            format!("{}{transition}", version.build_number),
            origin(version),
            size(version.size),
            version.sha256.chars().take(12).collect(),
            ago(version.created_at, now),
        ]);
    }
    table
}

fn origin(version: &StateVersion) -> String {
    let by = &version.author;
    match (version.origin, version.restored_from) {
        (StateOrigin::Build, _) => "build".to_owned(),
        (StateOrigin::Push, _) => format!("pushed by {by}"),
        (StateOrigin::Restore, Some(from)) => format!("{from} restored by {by}"),
        (StateOrigin::Restore, None) => format!("restored by {by}"),
    }
}

/// A size in one unit of 1000: `912 B`, `12.3 kB`, `10.0 MB`.
fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{}.{} kB", bytes / 1_000, bytes % 1_000 / 100),
        _ => format!("{}.{} MB", bytes / 1_000_000, bytes % 1_000_000 / 100_000),
    }
}

/// Which state is wanted; neither is the newest.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    build: Option<u64>,
    version: Option<u64>,
}

async fn pull(session: &Session, name: &str, file: Option<&Path>, wanted: Wanted) -> Outcome {
    let (client, workspace, typed) = named(session, name).await?;
    let state = match wanted {
        Wanted { build: Some(number), .. } => {
            let build = client.build_by_number(&workspace.owner_name, &workspace.name, number).await;
            let build = build.map_err(|error| or_missing(error, || format!("{typed} has no build {number}"), &typed))?;
            client.build_state(build.id).await.map_err(|error| unread(error, &typed))?
        }
        Wanted { version: Some(number), .. } => {
            let state = client.state(workspace.id, number).await;
            Some(state.map_err(|error| or_missing(error, || format!("{typed} has no state version {number}"), &typed))?)
        }
        _ => match client.states(workspace.id).await?.last() {
            Some(newest) => Some(client.state(workspace.id, newest.number).await.map_err(|error| unread(error, &typed))?),
            None => None,
        },
    };
    let state = state
        .ok_or_else(|| Failure::new(format!("{typed} has no Terraform state")).hint("no build of it has made anything yet"))?;
    match file.filter(|file| *file != Path::new("-")) {
        None => {
            if io::stdout().is_terminal() {
                session.printer.warn("this state holds secrets in clear; give a FILE to keep them off the screen");
            }
            let mut stdout = io::stdout().lock();
            let written = stdout.write_all(&state).and_then(|()| stdout.flush());
            written.map_err(|error| match error.kind() {
                io::ErrorKind::BrokenPipe => Failure::silent(crate::failure::CLOSED_PIPE),
                _ => Failure::new(format!("cannot write to stdout: {}", plain(&error))).hint("check where the output goes"),
            })
        }
        Some(file) => {
            write_whole(file, &state, 0o600).map_err(|error| {
                Failure::new(format!("cannot write {}: {}", file.display(), plain(&error))).hint("give another FILE")
            })?;
            session.printer.say(format_args!("The state of {typed} is in {}; it holds secrets.", file.display()));
            Ok(())
        }
    }
}

/// A version that cannot be read is no reason to wait: the others can.
fn unread(error: ClientError, typed: &str) -> Failure {
    let text = error.to_string();
    if !text.contains("blob state/") {
        return error.into();
    }
    Failure::new(text)
        .hint(format!("the other versions are there: `berth state list {typed}`, `berth state restore {typed} VERSION`"))
}

fn or_missing(error: ClientError, what: impl FnOnce() -> String, typed: &str) -> Failure {
    if error.is_not_found() {
        Failure::new(what()).hint(format!("`berth state list {typed}` shows them"))
    } else {
        unread(error, typed)
    }
}

async fn push(session: &Session, name: &str, file: &Path, build: Option<u64>) -> Outcome {
    let state = read(file)?;
    let (client, workspace, typed) = named(session, name).await?;
    let newest = workspace.latest_build.build_number;
    if let Some(build) = build.filter(|build| *build != newest) {
        return Err(Failure::new(format!("build {build} is not the newest of {typed}, which is {newest}"))
            .hint("what older builds left is never changed; leave --build out"));
    }
    let taken = client.push_state(workspace.id, state.into()).await.map_err(|error| refused(error, &typed))?;
    session.printer.say(format_args!("{typed} has state version {} now, serial {}.", taken.number, taken.serial));
    session.printer.hint(format_args!("`berth state list {typed}` shows the versions, `berth state restore` goes back to one"));
    Ok(())
}

fn read(file: &Path) -> Outcome<Vec<u8>> {
    let read = if file == Path::new("-") {
        let mut bytes = Vec::new();
        io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        fs::read(file)
    };
    read.map_err(|error| {
        Failure::new(format!("cannot read {}: {}", file.display(), plain(&error))).hint("give the path of a state, or - for stdin")
    })
}

/// Why a state was not taken, and the way out of it.
fn refused(error: ClientError, typed: &str) -> Failure {
    let text = error.to_string();
    let hint = if !error.is_conflict() {
        return error.into();
    } else if text.contains("lineage") {
        format!("is it another workspace's? `berth state pull {typed}` shows its own")
    } else if text.contains("serial") {
        format!(
            "to go back on purpose: `berth state restore {typed} VERSION`; to edit the newest: pull it, raise its serial, push it"
        )
    } else {
        format!("`berth logs {typed} -f` follows what runs, `berth cancel {typed}` ends it")
    };
    Failure::new(text).hint(hint)
}

async fn restore(session: &Session, name: &str, version: u64, yes: bool) -> Outcome {
    let (client, workspace, typed) = named(session, name).await?;
    let versions = client.states(workspace.id).await?;
    let Some(wanted) = versions.iter().find(|one| one.number == version) else {
        return Err(
            Failure::new(format!("{typed} has no state version {version}")).hint(format!("`berth state list {typed}` shows them"))
        );
    };
    let facts =
        format!("build {}, serial {}, taken {}", wanted.build_number, wanted.serial, ago(wanted.created_at, Timestamp::now()));
    prompt::confirm(&session.printer, yes, &format!("Go back to state version {version} of {typed} ({facts})?"))?;
    let taken = client.restore_state(workspace.id, version).await.map_err(|error| refused(error, &typed))?;
    let (number, serial) = (taken.number, taken.serial);
    session
        .printer
        .say(format_args!("{typed} has state version {number} now: the content of version {version} under serial {serial}."));
    session.printer.hint(format_args!("what was made since exists but is not in this state: `berth repair {typed}` finds it"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_one_unit() {
        assert_eq!(
            [0, 999, 1_000, 12_345, 999_999, 10_000_000].map(size),
            ["0 B", "999 B", "1.0 kB", "12.3 kB", "999.9 kB", "10.0 MB"]
        );
    }
}
