//! A socket here that leads into the workspace.

use super::datagrams;
use crate::{
    config::plain,
    connection::Connection,
    failure::{Failure, Outcome},
    forward::{Forward, Here},
    printer::Printer,
};
use berth_wire::tunnel::Target;
use std::{
    fs, io,
    net::SocketAddr,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UdpSocket, UnixListener, UnixStream},
    task::JoinSet,
};

/// The pause after a connection could not be taken, as when too many files are open.
const BREATH: Duration = Duration::from_millis(100);
/// How much is moved at a time.
const BUFFER_BYTES: usize = 128 * 1024;

/// A forward whose socket is there.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) forward: Forward,
    socket: Socket,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Udp(UdpSocket),
    Unix(UnixListener, Removed),
}

/// A socket's path, until this is dropped.
#[derive(Debug)]
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        let _gone_already = fs::remove_file(&self.0);
    }
}

impl Listener {
    /// Listens.
    pub(super) async fn bind(forward: Forward) -> Outcome<Self> {
        let socket = match &forward.here {
            Here::Tcp(address) => TcpListener::bind(address).await.map(Socket::Tcp),
            Here::Udp(address) => UdpSocket::bind(address).await.map(Socket::Udp),
            Here::Unix(path) => bind_unix(path),
        };
        let socket = socket.map_err(|error| {
            let hint = hint(&forward, error.kind());
            Failure::new(format!("cannot listen at {}: {}", forward.here, plain(&error))).hint(hint)
        })?;
        Ok(Self { forward, socket })
    }

    /// Where it listens: the port that was chosen where any was wanted.
    pub(super) fn here(&self) -> Here {
        match &self.socket {
            Socket::Tcp(listener) => listener.local_addr().map(Here::Tcp),
            Socket::Udp(socket) => socket.local_addr().map(Here::Udp),
            Socket::Unix(..) => Err(io::ErrorKind::Unsupported.into()),
        }
        .unwrap_or_else(|_| self.forward.here.clone())
    }

    /// Takes connections for ever. Those it took end with it.
    pub(super) async fn serve(self, door: Arc<Door>) {
        match self.socket {
            Socket::Tcp(listener) => serve(listener, &door).await,
            Socket::Unix(listener, _removed) => serve(listener, &door).await,
            Socket::Udp(socket) => datagrams::serve(socket, door).await,
        }
    }
}

/// Only the user can reach it. A socket that is left over at `path` is replaced, any other file is not.
fn bind_unix(path: &Path) -> io::Result<Socket> {
    let is_left_over = fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
        && std::os::unix::net::UnixStream::connect(path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
    if is_left_over {
        fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(Socket::Unix(listener, Removed(path.to_owned())))
}

fn hint(forward: &Forward, kind: io::ErrorKind) -> String {
    let other = |flag: &str, local: &SocketAddr, remote: u16| match kind {
        io::ErrorKind::AddrInUse => {
            Some(format!("choose another local port: {flag} {}:{remote}", local.port().wrapping_add(1).max(1024)))
        }
        io::ErrorKind::PermissionDenied => {
            Some(format!("ports below 1024 are root's: {flag} {}:{remote}", 8000 + local.port() % 1000))
        }
        _ => None,
    };
    let hint = match (&forward.here, &forward.there) {
        (Here::Tcp(local), Target::Tcp { port }) => other("--tcp", local, *port),
        (Here::Udp(local), Target::Udp { port }) => other("--udp", local, *port),
        (Here::Unix(_), _) if kind == io::ErrorKind::AddrInUse => {
            Some("is it another forward's? Remove the file, or name another".to_owned())
        }
        (Here::Unix(_), _) => Some("choose a path in a directory of yours".to_owned()),
        _ => None,
    };
    hint.unwrap_or_else(|| "choose another local address".to_owned())
}

/// What leads from one socket into the workspace.
pub(super) struct Door {
    connection: Arc<Connection>,
    pub(super) target: Target,
    there: String,
    printer: Printer,
    /// What was said last: the same again is not said.
    said: Mutex<Option<String>>,
}

impl Door {
    pub(super) fn new(connection: Arc<Connection>, forward: &Forward, printer: Printer) -> Self {
        Self { connection, target: forward.there.clone(), there: forward.there(), printer, said: Mutex::default() }
    }

    /// Opens a stream through it; says why that is not possible.
    pub(super) async fn open(&self) -> Option<crate::connection::Stream> {
        match self.connection.open(&self.target).await {
            Ok(opened) => Some(opened.stream),
            Err(failure) => {
                self.say(Some(failure.to_string()));
                None
            }
        }
    }

    /// Notes how a stream went: each trouble is said once, until it is over.
    pub(super) fn ended(&self, error: Option<&io::Error>) {
        match error {
            None => self.say(None),
            Some(error) if is_worth_saying(error.kind()) => self.say(Some(error.to_string())),
            Some(error) => tracing::debug!(%error, there = self.there, "a stream broke"),
        }
    }

    fn say(&self, text: Option<String>) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(text) = text.as_ref().filter(|text| said.as_ref() != Some(*text)) {
            self.printer.warn(format_args!("{}: {text}", self.there));
        }
        *said = text;
    }
}

const fn is_worth_saying(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::ConnectionRefused | io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported)
}

/// Where connections come from.
trait Accept {
    type Socket: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next one.
    fn next(&self) -> impl Future<Output = io::Result<Self::Socket>> + Send;
}

impl Accept for TcpListener {
    type Socket = TcpStream;

    /// Without its delay, small packets would wait for each other.
    async fn next(&self) -> io::Result<TcpStream> {
        let (socket, _) = self.accept().await?;
        socket.set_nodelay(true).map(|()| socket)
    }
}

impl Accept for UnixListener {
    type Socket = UnixStream;

    async fn next(&self) -> io::Result<UnixStream> {
        self.accept().await.map(|(socket, _)| socket)
    }
}

async fn serve(listener: impl Accept, door: &Arc<Door>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            taken = listener.next() => match taken {
                Ok(socket) => drop(connections.spawn(forward(socket, Arc::clone(door)))),
                Err(error) => {
                    tracing::warn!(%error, "cannot take a connection");
                    tokio::time::sleep(BREATH).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn forward(mut socket: impl AsyncRead + AsyncWrite + Unpin, door: Arc<Door>) {
    let Some(stream) = door.open().await else { return };
    let joined = join(stream, &mut socket).await;
    door.ended(joined.err().as_ref());
}

/// Moves bytes both ways. When either side breaks, the agent's side reads an error, not an end.
async fn join(mut stream: crate::connection::Stream, socket: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
    let joined = tokio::io::copy_bidirectional_with_sizes(&mut stream, socket, BUFFER_BYTES, BUFFER_BYTES).await;
    if joined.is_err() {
        stream.abort();
    }
    joined.map(drop)
}
