//! The provider as an ordinary executable, for a Terraform or OpenTofu that has no runner around it.
//!
//! ```text
//! Terraform --starts, with a cookie and its certificate in the environment--> this process
//!           <--one line on stdout: protocol 6, a port on loopback, our certificate--
//!           ==gRPC over TLS; each side knows the other's certificate byte for byte==
//!           --Shutdown, or its own death--> this process ends
//! ```
//! [`serve`] does that, and refuses when nobody who speaks it started the process. [`debug`] serves by reattach instead, until it is
//! interrupted, for people. What both know of a build is in the environment, as with the public provider.

mod handshake;
mod tls;

use std::fs;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use crate::connection::{Connection, router};
use crate::engine::{Session, Shared};
use crate::environment::Environment;
use crate::machine;
use crate::serve::{HOSTS, SOURCES, ServeError};
use crate::service::Controller;

pub use handshake::{Config, HandshakeError};
pub use tls::TlsError;

/// The version by which Terraform knows the plugin. It satisfies the constraints that templates for the public provider have
/// (`~> 2.0`, `>= 2.13`), and no version of that one will ever reach it.
pub const VERSION: &str = "2.99.0";

/// How long a client may take for its TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How many clients may be in their TLS handshake; Terraform opens one connection.
const HANDSHAKES_MAX: usize = 8;

/// How often the process looks whether its parent still lives.
const PARENT_INTERVAL: Duration = Duration::from_millis(500);

/// How long calls that are under way may take when the plugin is to end. Terraform kills it after two seconds.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(1500);

/// Why the plugin ends without having been told to.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// Whoever started the process does not speak the plugin protocol as we do.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// The secure channel cannot be prepared.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The provider cannot be served by reattach.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The operating system refuses a port, a signal or the output.
    #[error("cannot {0}")]
    System(&'static str, #[source] io::Error),
    /// The server ended by itself.
    #[error("the provider's server ended badly")]
    Server(#[source] tonic::transport::Error),
}

/// Serves the Terraform that started this process, until it says so or dies.
///
/// # Errors
/// When nobody who speaks the protocol started the process, or the machine refuses a port or keys.
pub async fn serve(config: Config) -> Result<(), PluginError> {
    let invitation = config.invitation()?;
    // Ctrl-C reaches the whole process group. Terraform tells us what it means: StopProvider, then Shutdown.
    let _ignored = interrupt()?;
    let identity = tls::identity(invitation.client)?;
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(|why| PluginError::System("listen on loopback", why))?;
    let address = listener.local_addr().map_err(|why| PluginError::System("listen on loopback", why))?;
    let drain = CancellationToken::new();
    let (sender, connections) = mpsc::channel(HANDSHAKES_MAX);
    let mut tasks = JoinSet::new();
    tasks.spawn(accept(listener, identity.acceptor, Shared::new(config.environment), sender));
    tasks.spawn(follow_parent(drain.clone()));
    let router = router(Controller::ending(drain.clone()));
    let mut server = JoinSet::new();
    server.spawn(router.serve_with_incoming_shutdown(ReceiverStream::new(connections), drain.clone().cancelled_owned()));
    say(&handshake::line(address, &identity.certificate))?;
    tokio::select! {
        ended = server.join_next() => return ended.and_then(Result::ok).unwrap_or(Ok(())).map_err(PluginError::Server),
        () = drain.cancelled() => {}
    }
    // Terraform closes its connection once Shutdown is answered; what does not end in time ends with the process.
    let _ = tokio::time::timeout(DRAIN_TIMEOUT, server.join_next()).await;
    Ok(())
}

/// Serves by reattach until the process is interrupted or terminated. The line that Terraform needs in its environment goes to standard
/// output, in a form that a shell can read; what a person needs to know goes to standard error.
///
/// # Errors
/// When no socket can be made or the output is closed.
pub async fn debug(environment: Environment) -> Result<(), PluginError> {
    let (mut interrupt, mut terminate) = (interrupt()?, hear(SignalKind::terminate())?);
    let private = fs::Permissions::from_mode(0o700);
    let place = tempfile::Builder::new().prefix("berth-").permissions(private).tempdir();
    let place = place.map_err(|why| PluginError::System("make a directory for the socket", why))?;
    let served = crate::serve::serve(&place.path().join("provider.sock"), environment).await?;
    talk("Serving the provider until Ctrl-C. Give Terraform or OpenTofu this in its environment; init is not needed:\n");
    say(&format!("TF_REATTACH_PROVIDERS='{}'", served.reattach_json()))?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    drop(served);
    Ok(())
}

/// Lays out `directory` as a filesystem mirror of provider packages: `executable` (an absolute path) under every address by which a
/// template may name the provider, for this machine. Terraform and OpenTofu install it from there without any network. What is already
/// laid out is replaced.
///
/// # Errors
/// When the directory cannot be written.
pub fn mirror(directory: &Path, executable: &Path) -> io::Result<()> {
    for (host, source) in HOSTS.iter().flat_map(|host| SOURCES.iter().map(move |source| (host, source))) {
        let name = source.rsplit('/').next().unwrap_or(source);
        let package = directory.join(host).join(source).join(VERSION).join(format!("{}_{}", machine::os(), machine::arch()));
        fs::create_dir_all(&package)?;
        let link = package.join(format!("terraform-provider-{name}_v{VERSION}"));
        match fs::remove_file(&link) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => std::os::unix::fs::symlink(executable, link)?,
        }
    }
    Ok(())
}

/// Takes connections and secures them. One that fails is closed: it was not the Terraform that started us.
async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    shared: Shared,
    connections: mpsc::Sender<io::Result<Connection<TlsStream<TcpStream>>>>,
) {
    let mut handshakes = JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept(), if handshakes.len() < HANDSHAKES_MAX => {
                handshakes.spawn(tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)));
            }
            Some(ended) = handshakes.join_next() => {
                let Ok(Ok(Ok(stream))) = ended else { continue };
                let connection = Connection::new(stream, Session::new(shared.clone()));
                if connections.send(Ok(connection)).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Cancels `drain` when the process that started this one is gone, with SIGKILL perhaps: the kernel gives us another parent then.
/// (Its parent-death signal would not do: it is sent when the *thread* ends that started us, and Go moves work between threads.)
async fn follow_parent(drain: CancellationToken) {
    let parent = nix::unistd::getppid();
    let mut look = tokio::time::interval(PARENT_INTERVAL);
    while nix::unistd::getppid() == parent {
        look.tick().await;
    }
    drain.cancel();
}

fn interrupt() -> Result<Signal, PluginError> {
    hear(SignalKind::interrupt())
}

fn hear(kind: SignalKind) -> Result<Signal, PluginError> {
    signal(kind).map_err(|why| PluginError::System("listen to signals", why))
}

/// Prints one line of data.
fn say(line: &str) -> Result<(), PluginError> {
    let mut output = io::stdout().lock();
    writeln!(output, "{line}").and_then(|()| output.flush()).map_err(|why| PluginError::System("write to standard output", why))
}

/// Prints one line for a person. One who closed it does not want to know.
fn talk(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}
