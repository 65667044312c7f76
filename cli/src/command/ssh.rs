//! `berth ssh`: a shell, a command, or the ProxyCommand of any SSH client.

mod network_info;

use crate::{
    away,
    connection::{Connection, Wishes},
    failure::{Failure, NO_CONNECTION, Outcome},
    forward::Reverse,
    known_hosts,
    name::{DEFAULT_SUFFIX, HostForm, WorkspaceRef},
    session::Session,
    signal,
    splice::{self, End, Input, Output, Traffic},
    ssh_client::{self, Routes, Wish},
    terminal,
    wait::Scripts,
};
use berth_net::Resumable;
use berth_wire::{
    domain::BuildReason,
    tunnel::{Service, Target},
};
use clap::Args;
use network_info::NetworkInfo;
use std::{path::PathBuf, sync::Arc};

/// Which workspace, and how.
#[derive(Debug, Args)]
pub struct Arguments {
    /// [owner/]name[.agent], or a host name such as name.berth
    #[arg(value_name = "NAME")]
    host: String,
    /// Command to run instead of a shell
    #[arg(value_name = "COMMAND")]
    command: Vec<String>,
    /// Be the ProxyCommand of an SSH client: join stdin and stdout to the workspace's SSH server
    #[arg(long, conflicts_with = "command")]
    stdio: bool,
    /// Whether to wait for the start scripts; auto is what the template says
    #[arg(long, value_enum, value_name = "WHEN", default_value_t, conflicts_with = "no_wait")]
    wait: Scripts,
    /// The same as --wait=no
    #[arg(long)]
    no_wait: bool,
    /// Do not start a stopped workspace
    #[arg(long)]
    disable_autostart: bool,
    /// Force a terminal on the other side
    #[arg(short = 't', long, conflicts_with_all = ["no_tty", "stdio"])]
    tty: bool,
    /// No terminal on the other side
    #[arg(short = 'T', long)]
    no_tty: bool,
    /// Let the workspace use your SSH agent
    #[arg(short = 'A', long)]
    forward_agent: bool,
    /// A port or socket of the workspace leads here, as with ssh: [ADDRESS:]PORT:HOST:PORT; may be repeated
    #[arg(short = 'R', long, value_name = "REMOTE:LOCAL", conflicts_with = "stdio")]
    remote_forward: Vec<String>,
    /// The key that begins an escape such as `~.`, or none
    #[arg(long, value_name = "~|none", default_value = "~", value_parser = ["~", "none"], hide_possible_values = true)]
    escape_char: String,
    /// Set a variable on the other side
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Ending of host names, without the dot
    #[arg(long, value_name = "SUFFIX", default_value = DEFAULT_SUFFIX)]
    hostname_suffix: String,
    /// Beginning of host names
    #[arg(long, value_name = "PREFIX", default_value = "")]
    ssh_host_prefix: String,
    /// Directory for a file that tells IDEs how the connection goes
    #[arg(long, value_name = "DIR", hide = true)]
    network_info_dir: Option<PathBuf>,
    /// How often that file is written
    #[arg(long, value_name = "DURATION", default_value = "5s", hide = true)]
    network_info_interval: String,
    /// Directory for a log file
    #[arg(short, long, value_name = "DIR", hide = true)]
    log_dir: Option<PathBuf>,
    /// Accepted for IDEs; no effect so far
    #[arg(long, value_name = "APP", hide = true)]
    usage_app: Option<String>,
}

/// Connects. The exit code is the remote command's; 255 when no connection came about.
pub(super) async fn run(arguments: Arguments, session: &Session) -> Outcome {
    let form = HostForm { prefix: &arguments.ssh_host_prefix, suffix: arguments.hostname_suffix.trim_start_matches('.') };
    let reference = WorkspaceRef::from_host(&arguments.host, &form)?;
    crate::log::to_directory(arguments.log_dir.as_deref(), session)?;
    match connect(&arguments, session, &reference).await.map_err(Failure::of_connection)? {
        0 => Ok(()),
        code => Err(Failure::silent(code)),
    }
}

async fn connect(arguments: &Arguments, session: &Session, reference: &WorkspaceRef) -> Outcome<u8> {
    let wish = wish(arguments, session)?;
    let interval = network_info::interval(&arguments.network_info_interval)?;
    let reason = match arguments.usage_app.as_deref() {
        Some("vscode") => BuildReason::VscodeConnection,
        Some("jetbrains") => BuildReason::JetbrainsConnection,
        _ => BuildReason::SshConnection,
    };
    let scripts = if arguments.no_wait { Scripts::No } else { arguments.wait };
    let wishes = Wishes { start: (!arguments.disable_autostart).then_some(reason), scripts };
    let connection = Arc::new(Connection::to(session, reference.clone(), wishes)?);
    let target = Target::Session { of: Service::Ssh };
    let ssh_host_key = connection.prepare(&target).await?;
    let stream = Resumable::open(Arc::clone(&connection), Service::Ssh);
    let phase = stream.phase();
    let ended = if arguments.stdio {
        known_hosts::pin(&session.config, &arguments.host, &ssh_host_key)?;
        let info = arguments.network_info_dir.as_deref().map(|directory| NetworkInfo { directory, interval });
        proxy(&connection, stream, &arguments.host, info).await
    } else {
        tokio::select! {
            ended = ssh_client::run(stream, &ssh_host_key, &wish, |line| session.printer.say(line)) => ended,
            () = away::tell(phase.clone(), session.printer) => Err(Failure::silent(NO_CONNECTION)),
        }
    };
    away::farewell(phase.clone()).await;
    connection.close().await;
    match (ended, away::explain(&phase, &arguments.host)) {
        // What a lost session looks like to those who use it is not why it was lost.
        (Err(lost), Some(why)) if lost.exit_code() == NO_CONNECTION => Err(why),
        (Ok(0), Some(why)) if arguments.stdio => Err(why),
        (ended, _) => ended,
    }
}

fn wish(arguments: &Arguments, session: &Session) -> Outcome<Wish> {
    let environment = &session.config.environment;
    let command = (!arguments.command.is_empty()).then(|| arguments.command.join(" "));
    let wanted = arguments.tty || (command.is_none() && terminal::is_present() && !arguments.no_tty);
    let mut variables: Vec<_> = environment.locale();
    for pair in &arguments.env {
        let refused = || Failure::usage(format!("--env {pair:?} has no value")).hint("write --env NAME=value");
        let (name, value) = pair.split_once('=').ok_or_else(refused)?;
        variables.push((name.to_owned(), value.to_owned()));
    }
    let agent_socket = match (arguments.forward_agent, environment.get("SSH_AUTH_SOCK")) {
        (true, None) => {
            return Err(Failure::new("no SSH agent runs here: SSH_AUTH_SOCK is not set").hint("start one with `eval $(ssh-agent)`"));
        }
        (true, Some(socket)) => Some(PathBuf::from(socket)),
        (false, _) => None,
    };
    let term = environment.get("TERM").unwrap_or("dumb").to_owned();
    let routes = arguments.remote_forward.iter().map(|text| Reverse::parse(text)).collect::<Outcome<Vec<_>>>()?;
    let (routes, escapes) = (Routes::new(&routes), arguments.escape_char != "none");
    Ok(Wish { command, terminal: wanted.then_some(term), variables, agent_socket, routes, escapes })
}

/// Joins our stdin and stdout to the workspace's SSH server. Its host key was pinned before, so that no byte of its answer passes first.
async fn proxy(connection: &Connection, stream: Resumable, host: &str, info: Option<NetworkInfo<'_>>) -> Outcome<u8> {
    let traffic = Traffic::default();
    let closed = |error| {
        Failure::new(format!("stdin or stdout is closed: {error}")).hint("--stdio is for the ProxyCommand of an SSH client")
    };
    let local = (Input::stdin().map_err(closed)?, Output::stdout().map_err(closed)?);
    let joined = async { Ok(splice::join(stream, local, &traffic).await) };
    let end = tokio::select! {
        end = signal::unless_ended(joined, || {}) => end?,
        never = network_info::report(info, connection, &traffic) => never,
    };
    match end {
        End::Remote | End::Local => Ok(0),
        End::Broken(error) => {
            let clause = format!("the connection to {host} broke: {}", crate::config::plain(&error));
            Err(Failure::new(clause).code(NO_CONNECTION).hint("connect again"))
        }
    }
}
