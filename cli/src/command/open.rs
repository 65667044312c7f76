//! `berth open`: a workspace in an editor here.

use crate::{
    connection,
    editor::Editor,
    failure::{Failure, Outcome},
    name::{DEFAULT_SUFFIX, HostForm, WorkspaceRef},
    openssh,
    printer::{Format, FormatFlag},
    session::{Session, find_workspace},
    ssh_config,
    wait::Scripts,
};
use berth_wire::domain::BuildReason;
use clap::Args;
use serde::Serialize;
use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The program that opens links, on Linux and on macOS.
const LINK_OPENERS: [&str; 2] = ["xdg-open", "open"];

/// Whom a link names where it must name someone: a workspace takes its owner under any name.
const USER: &str = "berth";

/// Which editor, which workspace, which directory of it.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The editor
    #[arg(value_enum, value_name = "EDITOR")]
    editor: Editor,
    /// [owner/]name[.agent]
    #[arg(value_name = "NAME")]
    workspace: String,
    /// Directory in the workspace; else the one that its template names
    #[arg(value_name = "DIRECTORY")]
    directory: Option<String>,
    /// Only print the link
    #[arg(long)]
    print: bool,
    /// Ending of host names that `config-ssh` was told
    #[arg(long, value_name = "SUFFIX", default_value = DEFAULT_SUFFIX)]
    hostname_suffix: String,
    #[command(flatten)]
    format: FormatFlag,
}

/// What was opened, and how.
#[derive(Debug, Serialize)]
struct Opening {
    editor: Editor,
    link: String,
    /// The program and its arguments; none where there is no such program here.
    command: Option<Vec<String>>,
    opened: bool,
}

/// Opens it. Starts the workspace if it is stopped, so that the editor need not wait.
pub(super) async fn run(arguments: &Arguments, session: &Session) -> Outcome {
    let reference = WorkspaceRef::from_host(&arguments.workspace, &HostForm { prefix: "", suffix: DEFAULT_SUFFIX })?;
    configured(session)?;
    let client = session.client()?;
    let wishes = connection::Wishes { start: (!arguments.print).then_some(reason(arguments.editor)), scripts: Scripts::No };
    let agent = match arguments.print {
        true => connection::choose(&find_workspace(&client, &reference).await?, &reference)?,
        false => connection::ready_agent(session, &client, &reference, wishes).await?,
    };
    let host = format!("{}.{}", openssh::host(&reference), arguments.hostname_suffix.trim_start_matches('.'));
    let directory = arguments.directory.clone().unwrap_or_else(|| agent.expanded_directory.clone());
    let mut opening = Opening {
        editor: arguments.editor,
        link: arguments.editor.link(&host, USER, &directory),
        command: command(arguments.editor, &host, &directory, session),
        opened: false,
    };
    if !arguments.print {
        opening.opened = open(&opening, session);
    }
    show(&opening, arguments, session)
}

/// An editor finds a workspace by what `config-ssh` wrote.
fn configured(session: &Session) -> Outcome {
    if session.config.directory().join(ssh_config::FILE).is_file() {
        return Ok(());
    }
    Err(Failure::new("editors do not know your workspaces yet").hint("`berth config-ssh` tells them, once"))
}

const fn reason(editor: Editor) -> BuildReason {
    match editor {
        Editor::Jetbrains => BuildReason::JetbrainsConnection,
        Editor::Zed => BuildReason::SshConnection,
        _ => BuildReason::VscodeConnection,
    }
}

fn command(editor: Editor, host: &str, directory: &str, session: &Session) -> Option<Vec<String>> {
    let program = editor.programs().iter().find_map(|program| session.config.environment.find_program(program))?;
    let program = program.to_str()?.to_owned();
    Some([program].into_iter().chain(editor.arguments(host, directory)).collect())
}

/// Opens it by its own program, else by the link; whether anything took it.
fn open(opening: &Opening, session: &Session) -> bool {
    if let Some((program, arguments)) = opening.command.as_deref().and_then(|command| command.split_first()) {
        return started(Path::new(program), arguments);
    }
    let has_screen = cfg!(target_os = "macos")
        || ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| session.config.environment.get(name).is_some());
    let opener: Option<PathBuf> = LINK_OPENERS.iter().find_map(|program| session.config.environment.find_program(program));
    has_screen && opener.is_some_and(|opener| started(&opener, std::slice::from_ref(&opening.link)))
}

/// Both kinds of programs hand over to the editor and end at once.
fn started(program: &Path, arguments: &[String]) -> bool {
    let run = Command::new(program).args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).status();
    run.is_ok_and(|status| status.success())
}

fn show(opening: &Opening, arguments: &Arguments, session: &Session) -> Outcome {
    let printer = session.printer;
    if arguments.format.output == Format::Json {
        return printer.json(opening);
    }
    if opening.opened {
        printer.say(format_args!("Opened {} in {}.", arguments.workspace, opening.editor.name()));
        return Ok(());
    }
    printer.data(&opening.link)?;
    if !arguments.print {
        printer.hint(format_args!("{} was not found here; open this link where it is installed", opening.editor.name()));
    }
    Ok(())
}
