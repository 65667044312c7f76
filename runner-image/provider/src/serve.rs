//! Serves the provider on a Unix socket, in the process that runs Terraform.
//!
//! Terraform finds it through `TF_REATTACH_PROVIDERS`: no plugin process, no handshake, no TLS. The socket is readable
//! only by the user who runs the build.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::json;
use tokio::net::UnixListener;
use tokio::task::JoinSet;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;

use crate::connection::{Connection, router};
use crate::engine::{Session, Shared};
use crate::environment::Environment;
use crate::service::Controller;

/// The longest path that a Unix socket can have on every system that we support.
const SOCKET_PATH_BYTES_MAX: usize = 103;

/// The addresses under which templates may name the provider. One without `required_providers` implies `hashicorp/`.
pub const SOURCES: &[&str] = &["coder/coder", "berth/berth", "hashicorp/coder", "hashicorp/berth"];

/// The registry hosts that Terraform and OpenTofu put before a source without a host.
pub const HOSTS: &[&str] = &["registry.terraform.io", "registry.opentofu.org"];

/// Why the provider cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Sockets have short paths: use a shorter directory.
    #[error("socket path {path} is {length} bytes long, at most {SOCKET_PATH_BYTES_MAX} are possible")]
    PathTooLong {
        /// The path.
        path: PathBuf,
        /// Its length in bytes.
        length: usize,
    },
    /// The socket cannot be made there.
    #[error("cannot listen on socket {path}")]
    Listen {
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The provider being served. Dropping it ends the server and removes the socket.
#[derive(Debug)]
pub struct Served {
    socket: PathBuf,
    shared: Shared,
    drain: CancellationToken,
    server: JoinSet<Result<(), tonic::transport::Error>>,
}

/// Serves the provider on a new socket at `socket`, with `environment` as all that it knows of the build.
///
/// A socket that a dead process left there is replaced.
///
/// # Errors
/// When the path is too long for a socket or the socket cannot be made.
pub async fn serve(socket: &Path, environment: Environment) -> Result<Served, ServeError> {
    let length = socket.as_os_str().len();
    if length > SOCKET_PATH_BYTES_MAX {
        return Err(ServeError::PathTooLong { path: socket.into(), length });
    }
    let listener = listen(socket).await.map_err(|source| ServeError::Listen { path: socket.into(), source })?;
    let shared = Shared::new(environment);
    let drain = CancellationToken::new();
    let sessions = shared.clone();
    let incoming = UnixListenerStream::new(listener)
        .map(move |stream| stream.map(|stream| Connection::new(stream, Session::new(sessions.clone()))));
    let serving = router(Controller::deaf()).serve_with_incoming_shutdown(incoming, drain.clone().cancelled_owned());
    let mut server = JoinSet::new();
    server.spawn(serving);
    Ok(Served { socket: socket.into(), shared, drain, server })
}

async fn listen(socket: &Path) -> io::Result<UnixListener> {
    match tokio::fs::remove_file(socket).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(socket)?;
    tokio::fs::set_permissions(socket, Permissions::from_mode(0o600)).await?;
    Ok(listener)
}

impl Served {
    /// The value of `TF_REATTACH_PROVIDERS` with which Terraform and OpenTofu find this server.
    pub fn reattach_json(&self) -> String {
        let entry = json!({
            "Protocol": "grpc",
            "ProtocolVersion": 6,
            "Pid": std::process::id(),
            "Test": true,
            "Addr": {"Network": "unix", "String": self.socket.to_string_lossy()},
        });
        let addresses = HOSTS.iter().flat_map(|host| SOURCES.iter().map(move |source| format!("{host}/{source}")));
        serde_json::Value::Object(addresses.map(|address| (address, entry.clone())).collect()).to_string()
    }

    /// Gives the next commands another environment. Calls that are under way keep theirs.
    pub fn set_environment(&self, environment: Environment) {
        self.shared.replace(environment);
    }

    /// Ends the server when the calls that are under way are answered.
    pub async fn shutdown(mut self) {
        self.drain.cancel();
        while let Some(ended) = self.server.join_next().await {
            match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "the provider's server ended badly"),
                Err(error) => tracing::warn!(%error, "the provider's server did not end by itself"),
            }
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.drain.cancel();
        // Another server may have been started at the same path only after this one: the caller owns the directory.
        let _ = std::fs::remove_file(&self.socket);
    }
}
