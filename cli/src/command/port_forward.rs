//! `berth port-forward`.

use crate::{
    config::plain,
    connection::{Connection, Wishes},
    failure::{Failure, Outcome},
    name::{DEFAULT_SUFFIX, HostForm, WorkspaceRef},
    printer::Printer,
    session::Session,
    signal,
    wait::Scripts,
};
use berth_net::Peer;
use berth_wire::{domain::BuildReason, tunnel::Target};
use clap::Args;
use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    str::FromStr,
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// The pause after a connection could not be taken, as when too many files are open.
const BREATH: Duration = Duration::from_millis(100);

/// Which ports of which workspace.
#[derive(Debug, Args)]
pub struct Arguments {
    /// [owner/]name[.agent]
    #[arg(value_name = "NAME")]
    workspace: String,
    /// LOCAL:REMOTE, PORT, or ADDRESS:LOCAL:REMOTE; may be repeated or joined by commas
    #[arg(short = 'p', long, value_name = "PORTS", value_delimiter = ',')]
    tcp: Vec<String>,
    /// Not possible so far
    #[arg(long, value_name = "PORTS", hide = true)]
    udp: Vec<String>,
    /// Do not start a stopped workspace
    #[arg(long)]
    disable_autostart: bool,
}

/// One forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Forward {
    local: SocketAddr,
    remote: u16,
}

impl FromStr for Forward {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let refused = || Failure::usage(format!("--tcp {text:?} names no ports")).hint("write 8080, 8080:80 or 127.0.0.1:8080:80");
        let port = |text: &str| text.parse::<u16>().map_err(|_| refused());
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let (rest, remote) = text.rsplit_once(':').unwrap_or((text, text));
        let remote = port(remote).and_then(|port| if port == 0 { Err(refused()) } else { Ok(port) })?;
        let local = match rest.rsplit_once(':') {
            None => SocketAddr::new(loopback, port(rest)?),
            Some((address, local)) => {
                let bare = address.trim_start_matches('[').trim_end_matches(']');
                let address = if bare == "localhost" { loopback } else { bare.parse().map_err(|_| refused())? };
                SocketAddr::new(address, port(local)?)
            }
        };
        Ok(Self { local, remote })
    }
}

/// Forwards until Ctrl-C.
pub(super) async fn run(arguments: &Arguments, session: &Session) -> Outcome {
    let reference = WorkspaceRef::from_host(&arguments.workspace, &HostForm { prefix: "", suffix: DEFAULT_SUFFIX })?;
    if !arguments.udp.is_empty() {
        return Err(Failure::usage("UDP cannot be forwarded yet").hint("use --tcp"));
    }
    if arguments.tcp.is_empty() {
        return Err(Failure::usage("no ports are given").hint("`berth port-forward NAME --tcp 8080`"));
    }
    let forwards: Vec<Forward> = arguments.tcp.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
    let mut listeners = Vec::new();
    for forward in forwards {
        listeners.push((listen(forward).await?, forward));
    }
    crate::log::to_directory(None, session)?;
    let wishes = Wishes { start: (!arguments.disable_autostart).then_some(BuildReason::SshConnection), scripts: Scripts::No };
    let connection = Connection::open(session, &reference, wishes).await?;
    for (listener, forward) in &listeners {
        let local = listener.local_addr().unwrap_or(forward.local);
        session.printer.say(format_args!("{local} here is port {} in {reference}", forward.remote));
    }
    session.printer.say("Ctrl-C ends it.");
    let ended = serve(listeners, &connection.peer, session.printer).await;
    connection.close().await;
    ended
}

async fn listen(forward: Forward) -> Outcome<TcpListener> {
    TcpListener::bind(forward.local).await.map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::AddrInUse => {
                format!("choose another local port: --tcp {}:{}", forward.local.port().wrapping_add(1).max(1024), forward.remote)
            }
            io::ErrorKind::PermissionDenied => {
                format!("ports below 1024 are root's: --tcp {}:{}", 8000 + forward.local.port() % 1000, forward.remote)
            }
            _ => "choose another local address".to_owned(),
        };
        Failure::new(format!("cannot listen at {}: {}", forward.local, plain(&error))).hint(hint)
    })
}

async fn serve(listeners: Vec<(TcpListener, Forward)>, peer: &Peer, printer: Printer) -> Outcome {
    let mut tasks = JoinSet::new();
    for (listener, forward) in listeners {
        tasks.spawn(accept(listener, forward.remote, peer.clone(), printer));
    }
    tokio::select! {
        // Ctrl-C is how this ends.
        _ = signal::ended() => Ok(()),
        reason = peer.closed() => Err(Failure::new(format!("the connection to the workspace ended: {reason}")).hint("start it again")),
    }
}

/// Takes connections for ever. Those it took end with it.
async fn accept(listener: TcpListener, port: u16, peer: Peer, printer: Printer) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            taken = listener.accept() => match taken {
                Ok((socket, _)) => drop(connections.spawn(forward(socket, port, peer.clone(), printer))),
                Err(error) => {
                    printer.warn(format_args!("cannot take a connection: {}", plain(&error)));
                    tokio::time::sleep(BREATH).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn forward(mut socket: TcpStream, port: u16, peer: Peer, printer: Printer) {
    // Without it, small packets wait for each other.
    let _set = socket.set_nodelay(true);
    let joined = match peer.open(Target::Tcp { port }).await {
        Ok(stream) => berth_net::splice(stream, &mut socket).await,
        Err(error) => Err(error),
    };
    if let Err(error) = joined
        && matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::PermissionDenied)
    {
        printer.warn(format_args!("port {port}: {error}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_in_each_form() {
        let read = |text: &str| {
            text.parse::<Forward>()
                .map(|forward| format!("{}>{}", forward.local, forward.remote))
                .map_err(|failure| failure.to_string())
        };
        assert_eq!(read("8080").unwrap(), "127.0.0.1:8080>8080");
        assert_eq!(read("8080:80").unwrap(), "127.0.0.1:8080>80");
        assert_eq!(read("0:80").unwrap(), "127.0.0.1:0>80");
        assert_eq!(read("0.0.0.0:8080:80").unwrap(), "0.0.0.0:8080>80");
        assert_eq!(read("localhost:8080:80").unwrap(), "127.0.0.1:8080>80");
        assert_eq!(read("[::1]:8080:80").unwrap(), "[::1]:8080>80");
        for text in ["", "0", "x", "80:", ":80", "1:2:3", "70000", "host:80:80", "80:0"] {
            assert!(read(text).is_err(), "{text:?}");
        }
    }
}
