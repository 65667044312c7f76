//! Forwards: the client's channels to our sockets, and our listeners to the client's.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use russh::server::{ChannelOpenHandle, Handle, Msg};
use russh::{Channel, ChannelOpenFailure};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::flow::Flow;
use super::pump::splice;

/// How long a connection to a forward's target may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Pause after a failed accept, which is most often "too many open files".
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where a client wants to be connected.
#[derive(Debug)]
pub(super) enum Target {
    /// A host and port, resolved here.
    Tcp(String, u16),
    /// A Unix socket.
    Socket(PathBuf),
}

/// Connects to `target`, tells the client, and moves bytes until both sides are done.
pub(super) async fn connect(
    target: Target,
    channel: Channel<Msg>,
    reply: ChannelOpenHandle,
    (flow, closed): (&Flow, &CancellationToken),
) {
    let connected = match &target {
        Target::Tcp(host, port) => within(TcpStream::connect((host.as_str(), *port))).await.map(Joined::Tcp),
        Target::Socket(path) => within(UnixStream::connect(path)).await.map(Joined::Unix),
    };
    match connected {
        Ok(Joined::Tcp(stream)) => {
            stream.set_nodelay(true).ok();
            reply.accept().await;
            splice(channel, stream, flow, closed).await;
        }
        Ok(Joined::Unix(stream)) => {
            reply.accept().await;
            splice(channel, stream, flow, closed).await;
        }
        Err(error) => {
            tracing::debug!(%error, ?target, "forward target not reached");
            reply.reject(ChannelOpenFailure::ConnectFailed).await;
        }
    }
}

enum Joined {
    Tcp(TcpStream),
    Unix(UnixStream),
}

async fn within<T>(connecting: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(CONNECT_TIMEOUT, connecting).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// The way to a client: what opens channels to it, and what runs for it.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) handle: Handle,
    pub(super) tasks: TaskTracker,
    pub(super) flow: Flow,
}

/// The listeners a client asked for. Dropping them closes their sockets; streams already accepted go on until the connection ends.
#[derive(Debug, Default)]
pub(super) struct Forwards {
    tcp: HashMap<(String, u32), DropGuard>,
    sockets: HashMap<String, DropGuard>,
}

impl Forwards {
    /// Listens on `port` (0: any) of `address` and returns the port. No address and `localhost` mean loopback, as with OpenSSH's default.
    pub(super) async fn listen_tcp(&mut self, address: &str, port: u16, client: &Client) -> io::Result<u16> {
        let listeners = bind(address, port).await?;
        let port = listeners.first().ok_or(io::ErrorKind::AddrNotAvailable)?.local_addr()?.port();
        let stop = CancellationToken::new();
        for listener in listeners {
            let served = serve_tcp(listener, (address.to_owned(), port), client.clone());
            client.tasks.spawn(until(stop.clone(), served));
        }
        self.tcp.insert((address.to_owned(), u32::from(port)), stop.drop_guard());
        Ok(port)
    }

    /// Stops listening; false if there was no such forward.
    pub(super) fn cancel_tcp(&mut self, address: &str, port: u32) -> bool {
        self.tcp.remove(&(address.to_owned(), port)).is_some()
    }

    /// Listens on a Unix socket only the user can reach. A socket left over at `path` is replaced, any other file is not.
    pub(super) fn listen_socket(&mut self, path: &str, client: &Client) -> io::Result<()> {
        let listener = bind_socket(Path::new(path))?;
        let stop = CancellationToken::new();
        client.tasks.spawn(until(stop.clone(), serve_socket(listener, path.to_owned(), client.clone())));
        self.sockets.insert(path.to_owned(), stop.drop_guard());
        Ok(())
    }

    /// Stops listening and removes the socket; false if there was no such forward.
    pub(super) fn cancel_socket(&mut self, path: &str) -> bool {
        let was_listening = self.sockets.remove(path).is_some();
        if was_listening {
            std::fs::remove_file(path).ok();
        }
        was_listening
    }
}

impl Drop for Forwards {
    fn drop(&mut self) {
        for path in self.sockets.keys() {
            std::fs::remove_file(path).ok();
        }
    }
}

async fn until(stop: CancellationToken, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        () = stop.cancelled() => {}
    }
}

/// Loopback means both families where both exist: a program that connects to `localhost` may try either first.
async fn bind(address: &str, port: u16) -> io::Result<Vec<TcpListener>> {
    match address {
        "" | "localhost" => {
            let first = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
            let second = TcpListener::bind((Ipv6Addr::LOCALHOST, first.local_addr()?.port())).await;
            Ok(std::iter::once(first).chain(second.ok()).collect())
        }
        "*" => Ok(vec![TcpListener::bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port)).await?]),
        other => Ok(vec![TcpListener::bind((other, port)).await?]),
    }
}

async fn serve_tcp(listener: TcpListener, forward: (String, u16), client: Client) {
    loop {
        let (stream, origin) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                pause(&error).await;
                continue;
            }
        };
        stream.set_nodelay(true).ok();
        let (Client { handle, flow, .. }, (address, port)) = (client.clone(), forward.clone());
        client.tasks.spawn(async move {
            let opened = handle
                .channel_open_forwarded_tcpip(address, u32::from(port), origin.ip().to_string(), u32::from(origin.port()))
                .await;
            join(opened, stream, &flow).await;
        });
    }
}

async fn serve_socket(listener: UnixListener, path: String, client: Client) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let (Client { handle, flow, .. }, path) = (client.clone(), path.clone());
                client.tasks.spawn(async move { join(handle.channel_open_forwarded_streamlocal(path).await, stream, &flow).await });
            }
            Err(error) => pause(&error).await,
        }
    }
}

/// Joins a socket to the channel opened for it. The channel ends with the connection, so this does too.
async fn join<S>(opened: Result<Channel<Msg>, russh::Error>, stream: S, flow: &Flow)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    match opened {
        Ok(channel) => splice(channel, stream, flow, &CancellationToken::new()).await,
        Err(error) => tracing::debug!(%error, "the client refused a forwarded connection"),
    }
}

async fn pause(error: &io::Error) {
    tracing::warn!(%error, "cannot accept a connection to forward");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

fn bind_socket(path: &Path) -> io::Result<UnixListener> {
    let is_left_over = std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    if is_left_over {
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// A socket in a private directory behind which the client's SSH agent answers.
pub(super) struct AgentSocket {
    listener: UnixListener,
    directory: TempDir,
}

impl AgentSocket {
    /// Creates the socket.
    pub(super) fn listen() -> io::Result<AgentSocket> {
        let directory =
            tempfile::Builder::new().prefix("berth-agent-").permissions(std::fs::Permissions::from_mode(0o700)).tempdir()?;
        let listener = bind_socket(&socket_in(directory.path()))?;
        Ok(AgentSocket { listener, directory })
    }

    /// The value of `SSH_AUTH_SOCK`.
    pub(super) fn path(&self) -> PathBuf {
        socket_in(self.directory.path())
    }

    /// Opens a channel to the client's agent for every connection, until `closed`. Then the socket is removed.
    pub(super) async fn serve(self, client: Client, closed: CancellationToken) {
        let AgentSocket { listener, directory } = self;
        let accept = async {
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => {
                        let Client { handle, flow, .. } = client.clone();
                        client.tasks.spawn(async move { join(handle.channel_open_agent().await, stream, &flow).await });
                    }
                    Err(error) => pause(&error).await,
                }
            }
        };
        tokio::select! {
            () = accept => {}
            () = closed.cancelled() => {}
        }
        drop(directory);
    }
}

fn socket_in(directory: &Path) -> PathBuf {
    directory.join("agent.sock")
}
