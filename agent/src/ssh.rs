//! The SSH server: what `sshd` does for one user, over any byte stream.
//!
//! The stream comes out of the tunnel, which has already proven who the client is, so authentication is `none` and costs no round trip;
//! a client that insists on a key may show any.
//! Everything else behaves as OpenSSH's server does, because its clients (VS Code, JetBrains, TRAMP, rsync, git, Ansible) rely on the details: a
//! login shell, exact exit codes and signals, end of file before close, standard error apart, half-closed streams.
//!
//! ```text
//! Server::serve(stream) ── connection ──┬─ session   one per channel: a process on pipes or a terminal
//!                          (requests,   ├─ sftp      one per channel: files
//!                           replies)    └─ forward   sockets, in both directions
//! ```
//!
//! A consumer that stops reading holds its own channel only; see `flow.rs` for how.

mod connection;
mod environment;
mod flow;
mod forward;
mod guarded;
mod pump;
mod session;
mod sftp;
mod terminal;

use std::borrow::Cow;
use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};
use russh::keys::{Algorithm, PrivateKey};
use russh::{Limits, MethodKind, MethodSet, Preferred, SshId, cipher, compression, kex, mac};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::process::Processes;

pub use environment::SessionEnvironment;
pub(crate) use environment::resolve_path;
pub(crate) use pump::read_some;
pub(crate) use session::OnTerminal;
pub(crate) use terminal::size as terminal_size;

use connection::Connection;
use guarded::Guarded;

/// What the server calls itself. libssh and asyncssh look for OpenSSH in it, in the comment too, before they make a symbolic link: OpenSSH and with it
/// everybody else has the two paths the other way round than the draft.
const BANNER: &str = concat!("SSH-2.0-Berth_", env!("CARGO_PKG_VERSION"), " sftp as OpenSSH_9.2");

/// Messages (of at most 32 KiB) from the client that wait for one channel's task, which takes them off as they come.
const CHANNEL_MESSAGES_MAX: usize = 64;

/// Bytes sent or received before the server asks for new keys. The stream is already inside QUIC's own encryption, and a client may ask earlier.
const REKEY_BYTES: usize = usize::MAX >> usize::BITS.saturating_sub(34);

/// Time before the server asks for new keys.
const REKEY_AFTER: Duration = Duration::from_secs(30 * 24 * 3600);

const KEX_ORDER: &[kex::Name] = &[
    kex::MLKEM768X25519_SHA256,
    kex::CURVE25519,
    kex::CURVE25519_PRE_RFC_8731,
    kex::EXTENSION_SUPPORT_AS_SERVER,
    kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
];
const CIPHER_ORDER: &[cipher::Name] = &[cipher::AES_256_GCM, cipher::CHACHA20_POLY1305, cipher::AES_256_CTR];
const MAC_ORDER: &[mac::Name] = &[mac::HMAC_SHA512_ETM, mac::HMAC_SHA256_ETM];

/// What a [`Server`] is made from.
#[derive(Debug)]
pub struct SshConfig {
    /// Secret seed of the ed25519 host key. The same seed gives the same host key, so clients that remember it stay content.
    pub host_key_seed: [u8; 32],
    /// What sessions see. Replaced with [`Server::set_sessions`] when the manifest changes.
    pub sessions: SessionEnvironment,
    /// Where the started processes are registered.
    pub processes: Processes,
}

/// An SSH server for one user. Cheap to clone; clones share everything.
#[derive(Clone, Debug)]
pub struct Server {
    shared: Arc<Shared>,
}

/// What all connections of a server share.
#[derive(Debug)]
struct Shared {
    config: Arc<russh::server::Config>,
    sessions: RwLock<Arc<SessionEnvironment>>,
    processes: Processes,
    tasks: TaskTracker,
}

/// Why a connection ended other than by the client's leave.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The client broke the protocol, or the stream failed in the middle of it.
    #[error("ssh connection with {peer} failed")]
    Protocol {
        /// Who was connected.
        peer: String,
        /// What russh reports.
        source: russh::Error,
    },
}

impl Server {
    /// A server that is ready to [`serve`](Self::serve). Starts nothing.
    pub fn new(config: SshConfig) -> Server {
        let key = PrivateKey::from(Ed25519Keypair::from_seed(&config.host_key_seed));
        debug_assert!(matches!(key.key_data(), KeypairData::Ed25519(_)));
        Server {
            shared: Arc::new(Shared {
                config: Arc::new(protocol(key)),
                sessions: RwLock::new(Arc::new(config.sessions)),
                processes: config.processes,
                tasks: TaskTracker::new(),
            }),
        }
    }

    /// Replaces what sessions see. Sessions already running keep what they have.
    pub fn set_sessions(&self, sessions: SessionEnvironment) {
        *self.shared.sessions.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(sessions);
    }

    /// A path as a session would write it: `~` and variables stand for what they do there, a relative one begins where sessions begin.
    pub(crate) fn path(&self, text: &str) -> PathBuf {
        let sessions = Arc::clone(&self.shared.sessions.read().unwrap_or_else(PoisonError::into_inner));
        let around = sessions.surroundings();
        let lookup = |name: &str| around.variables.get(OsStr::new(name)).cloned();
        let home = lookup("HOME").map_or_else(|| around.directory.clone(), PathBuf::from);
        resolve_path(text, (&home, &around.directory), lookup)
    }

    /// Starts the login shell, or a command line given to the user's shell, on a terminal of this size, with a session's environment.
    pub(crate) fn start_on_terminal(&self, command: Option<&str>, (columns, rows): (u16, u16)) -> std::io::Result<OnTerminal> {
        OnTerminal::start(&self.shared, command, terminal_size(columns.into(), rows.into(), 0, 0))
    }

    /// Speaks SSH on `stream` until either side ends it. `peer` names the client: an `address:port` if there is one, as sessions see it in
    /// `SSH_CONNECTION`. Dropping the future ends the connection as if the client had vanished: terminals hang up, silent commands go on.
    pub async fn serve<S>(&self, stream: S, peer: &str) -> Result<(), ServeError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let closed = CancellationToken::new();
        let _close_on_drop = closed.clone().drop_guard();
        let connection = Connection::new(Arc::clone(&self.shared), Peer::parse(peer), closed.clone());
        let stream = Guarded::new(stream, closed);
        let ended = async { russh::server::run_stream(Arc::clone(&self.shared.config), stream, connection).await?.await }.await;
        match ended {
            Ok(()) => Ok(()),
            Err(error) if is_departure(&error) => Ok(()),
            Err(source) => Err(ServeError::Protocol { peer: peer.to_owned(), source }),
        }
    }

    /// Waits until every session and forward of every connection has finished its work, for a clean end of the agent.
    pub async fn drained(&self) {
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }
}

impl Shared {
    fn sessions(&self) -> Arc<SessionEnvironment> {
        Arc::clone(&self.sessions.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The client as sessions see it.
#[derive(Clone, Debug)]
struct Peer {
    address: SocketAddr,
}

impl Peer {
    /// A tunnel has no address of its own; programs that parse `SSH_CLIENT` still need one.
    fn parse(label: &str) -> Peer {
        let address = label
            .parse()
            .or_else(|_| label.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 0)))
            .unwrap_or(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0));
        Peer { address }
    }
}

fn protocol(key: PrivateKey) -> russh::server::Config {
    russh::server::Config {
        server_id: SshId::Standard(Cow::Borrowed(BANNER)),
        methods: MethodSet::from(&[MethodKind::None, MethodKind::PublicKey][..]),
        auth_rejection_time: Duration::ZERO,
        auth_rejection_time_initial: Some(Duration::ZERO),
        keys: vec![key],
        channel_buffer_size: CHANNEL_MESSAGES_MAX,
        window_size: flow::WINDOW_BYTES,
        limits: Limits { rekey_write_limit: REKEY_BYTES, rekey_read_limit: REKEY_BYTES, rekey_time_limit: REKEY_AFTER },
        preferred: Preferred {
            kex: Cow::Borrowed(KEX_ORDER),
            key: Cow::Borrowed(&[Algorithm::Ed25519]),
            host_key_certificates: Cow::Borrowed(&[]),
            cipher: Cow::Borrowed(CIPHER_ORDER),
            mac: Cow::Borrowed(MAC_ORDER),
            compression: Cow::Borrowed(&[compression::NONE]),
        },
        // Whether the client still lives is the tunnel's business: it survives outages that an SSH timer would take for an end.
        inactivity_timeout: None,
        keepalive_interval: None,
        nodelay: true,
        ..Default::default()
    }
}

/// Clients end by closing the stream; only some say goodbye first.
fn is_departure(error: &russh::Error) -> bool {
    match error {
        russh::Error::HUP | russh::Error::Disconnect => true,
        russh::Error::IO(error) => matches!(
            error.kind(),
            std::io::ErrorKind::UnexpectedEof
                | std::io::ErrorKind::ConnectionReset
                | std::io::ErrorKind::BrokenPipe
                | std::io::ErrorKind::ConnectionAborted
        ),
        _ => false,
    }
}
