//! `berth port-forward`.

mod datagrams;
mod listen;

use crate::{
    connection::{Connection, Wishes},
    failure::{Failure, Outcome},
    forward::{Forward, Reverse},
    name::{DEFAULT_SUFFIX, HostForm, WorkspaceRef},
    printer::Printer,
    session::Session,
    signal, ssh_client,
    wait::Scripts,
};
use berth_wire::{domain::BuildReason, tunnel::Target};
use clap::Args;
use listen::{Door, Listener};
use std::{future::Future, pin::Pin, sync::Arc, time::Duration};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

/// The pauses between two attempts to get a lost connection back.
const PAUSES: [Duration; 5] =
    [Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(5), Duration::from_secs(10)];
/// How long the end may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// Which ports of which workspace.
#[derive(Debug, Args)]
pub struct Arguments {
    /// [owner/]name[.agent]
    #[arg(value_name = "NAME")]
    workspace: String,
    /// LOCAL:REMOTE, PORT, or ADDRESS:LOCAL:REMOTE, ranges such as 8080-8082 too; may be repeated or joined by commas
    #[arg(short = 'p', long, value_name = "PORTS", value_delimiter = ',')]
    tcp: Vec<String>,
    /// The same for UDP
    #[arg(long, value_name = "PORTS", value_delimiter = ',')]
    udp: Vec<String>,
    /// LOCAL:REMOTE, of which one or both are paths of Unix sockets; may be repeated
    #[arg(long, value_name = "SOCKETS")]
    unix: Vec<String>,
    /// The other way round, as `ssh -R`: a port or socket of the workspace leads here; may be repeated
    #[arg(short = 'R', long, value_name = "REMOTE:LOCAL")]
    reverse: Vec<String>,
    /// Do not start a stopped workspace
    #[arg(long)]
    disable_autostart: bool,
}

impl Arguments {
    fn forwards(&self) -> Outcome<(Vec<Forward>, Vec<Reverse>)> {
        let tcp = self.tcp.iter().map(|text| Forward::tcp(text));
        let udp = self.udp.iter().map(|text| Forward::udp(text));
        let unix = self.unix.iter().map(|text| Forward::unix(text).map(|one| vec![one]));
        let forwards = tcp.chain(udp).chain(unix).collect::<Outcome<Vec<_>>>()?.concat();
        let reverse = self.reverse.iter().map(|text| Reverse::parse(text)).collect::<Outcome<Vec<_>>>()?;
        if forwards.is_empty() && reverse.is_empty() {
            return Err(Failure::usage("no ports are given").hint("`berth port-forward NAME --tcp 8080`"));
        }
        Ok((forwards, reverse))
    }
}

/// Forwards until Ctrl-C. A connection that is lost is made again when it is needed.
pub(super) async fn run(arguments: &Arguments, session: &Session) -> Outcome {
    let reference = WorkspaceRef::from_host(&arguments.workspace, &HostForm { prefix: "", suffix: DEFAULT_SUFFIX })?;
    let (forwards, reverse) = arguments.forwards()?;
    let printer = session.printer;
    let listeners = listeners(forwards, !reverse.is_empty(), printer).await?;
    crate::log::to_directory(None, session)?;
    let wishes = Wishes { start: (!arguments.disable_autostart).then_some(BuildReason::SshConnection), scripts: Scripts::No };
    let connection = Arc::new(Connection::to(session, reference.clone(), wishes)?);
    // The workspace is brought up, and what is wrong is said, before the first connection comes.
    drop(connection.open_first(&Target::Ping).await?);
    for listener in &listeners {
        printer.say(format_args!("{} here is {} in {reference}", listener.here(), listener.forward.there()));
    }
    let mut tasks = JoinSet::new();
    for listener in listeners {
        let door = Arc::new(Door::new(Arc::clone(&connection), &listener.forward, printer));
        tasks.spawn(listener.serve(door));
    }
    if !reverse.is_empty() {
        tasks.spawn(lead_back(Arc::clone(&connection), reference.to_string(), reverse, printer));
    }
    printer.say("Ctrl-C ends it.");
    // Ctrl-C is how this ends.
    let _code = signal::ended().await;
    tasks.shutdown().await;
    let _heard = timeout(FAREWELL, connection.close()).await;
    Ok(())
}

/// Listens everywhere. What cannot be had is said, for each by itself, and the rest goes on.
async fn listeners(forwards: Vec<Forward>, has_others: bool, printer: Printer) -> Outcome<Vec<Listener>> {
    let (mut listeners, mut failures) = (Vec::new(), Vec::new());
    for forward in forwards {
        match Listener::bind(forward).await {
            Ok(listener) => listeners.push(listener),
            Err(failure) => failures.push(failure),
        }
    }
    if listeners.is_empty() && !has_others && failures.len() < 2 {
        return failures.pop().map_or_else(|| Ok(listeners), Err);
    }
    for failure in &failures {
        printer.warn(failure);
        failure.next().into_iter().for_each(|hint| printer.hint(hint));
    }
    if listeners.is_empty() && !has_others {
        return Err(Failure::new(format!("none of {} ports can be listened at", failures.len())).hint("the lines above say why"));
    }
    Ok(listeners)
}

/// Holds an SSH session for what is forwarded from the workspace to here, and another one when it breaks.
async fn lead_back(connection: Arc<Connection>, name: String, reverse: Vec<Reverse>, printer: Printer) {
    let mut attempt = 0;
    let mut was_up = false;
    loop {
        let mut up = false;
        let held = hold(&connection, &reverse, |lines| {
            if !was_up {
                lines.iter().for_each(|line| printer.say(format_args!("{line}")));
            }
            up = true;
        });
        let failure = held.await;
        if up {
            (was_up, attempt) = (true, 0);
            printer.warn(format_args!("the forwards from {name} broke: {failure}; connecting again"));
        } else if attempt == 0 {
            printer.warn(format_args!("the forwards from {name} do not stand: {failure}"));
            failure.next().into_iter().for_each(|hint| printer.hint(hint));
        }
        sleep(PAUSES.get(attempt).copied().unwrap_or(Duration::from_secs(10))).await;
        attempt = (attempt + 1).min(PAUSES.len());
    }
}

/// Returns when the session broke, and why.
async fn hold(connection: &Connection, reverse: &[Reverse], up: impl FnOnce(&[String]) + Send) -> Failure {
    let held = async {
        let opened = connection.open(&Target::Ssh).await?;
        let routes = ssh_client::Routes::new(reverse);
        let held = ssh_client::hold(opened.stream, &opened.ssh_host_key, &routes).await?;
        up(&held.lines);
        Ok(held.ended().await)
    };
    let held: Pin<Box<dyn Future<Output = Outcome<Failure>> + Send>> = Box::pin(held);
    held.await.unwrap_or_else(|failure| failure)
}
