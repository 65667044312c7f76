//! The multiplexer: one background `berth` per user and deployment that holds the connections, so that the second `ssh` needs one round trip.
//!
//! ```text
//! berth ssh ──┐  Unix socket, 0700 directory, same uid on both sides    ┌── Peer ══ agent
//! berth ssh ──┼── frame (u16 length, JSON): Question ──> Server ── Desk ┼── Peer ══ agent
//! forward   ──┘  <── Answer; then both ways chunks of a Pipe            └── Tailnet (one endpoint)
//! ```
//!
//! A command asks for a stream by the workspace's name. When the multiplexer knows the agent and hears it answer, it joins the command to a new
//! stream at once. Otherwise the command does what it always did, with its words about what it waits for, and then introduces the agent.
//!
//! It is a convenience and nothing depends on it: without one, and with `BERTH_MUX=off`, a command connects by itself. It writes nothing but
//! its socket, its lock and its log, keeps its key in memory, and ends itself when nobody has used it for a while.

mod client;
mod desk;
mod pipe;
mod place;
mod server;
mod start;

use crate::wait::Scripts;
use berth_wire::tunnel::Target;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{io, time::Duration};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use uuid::Uuid;

pub use client::{Found, Multiplexer};
pub(crate) use client::{leave, status};
pub use pipe::Pipe;
pub use place::Place;
pub use server::{Standing, serve};
pub use start::{Settings, detach};

/// How long it stays without being used.
pub const IDLE: Duration = Duration::from_secs(10 * 60);
/// What a new one says on its stdout once there is someone to connect to.
pub const READY: &str = "ready\n";
/// A question must be whole within this time.
const FRAME_WITHIN: Duration = Duration::from_secs(5);
/// Of what makes a question or answer understood. Another one is replaced.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What a command says first. Only `version` and [`Ask::Leave`] must be understood by every version.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Question<A = Ask> {
    version: String,
    ask: A,
}

/// What a command wants.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Ask {
    /// A stream to a workspace's agent.
    Open {
        /// The workspace, as the command was told it.
        name: String,
        /// Whether its start scripts must have ended.
        scripts: Scripts,
        /// What to join.
        target: Target,
    },
    /// The same, to an agent that the command has found connected and ready.
    Introduce {
        /// The workspace, as the command was told it.
        name: String,
        /// The agent.
        agent: Introduced,
        /// What to join.
        target: Target,
    },
    /// How the connection to a workspace's agent goes.
    Look {
        /// The workspace.
        name: String,
    },
    /// Names stand for something else from now on.
    Forget,
    /// What goes on.
    Status,
    /// Take no more questions; end when the streams that are open have ended.
    Leave,
}

/// An agent that a command has found connected.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Introduced {
    /// The agent.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// Whether its start scripts had ended.
    pub has_started: bool,
    /// Whether its template wants them to have ended before anyone comes.
    pub is_blocking: bool,
}

/// What the multiplexer answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Answer {
    /// The stream follows.
    Opened {
        /// The agent's SSH host key.
        ssh_host_key: String,
        /// The agent, for another multiplexer, should this one die.
        agent: Introduced,
    },
    /// The workspace is not known, or its agent did not answer: find it and introduce it.
    Unknown,
    /// The agent is not connected any more.
    Away,
    /// It cannot be done.
    Failed(Told),
    /// How a connection goes.
    Path(Look),
    /// What goes on.
    Status(Status),
    /// Done.
    Done,
    /// The multiplexer is of another version. It answers nothing but [`Ask::Leave`].
    Version {
        /// Which.
        version: String,
    },
}

/// A failure on its way to the person.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Told {
    clause: String,
    hint: Option<String>,
}

/// How a connection goes at the moment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Look {
    /// Whether it is direct, not through the relay.
    pub direct: bool,
    /// The address of the other end, or the relay's URL.
    pub via: String,
    /// The round trip as QUIC estimates it, in milliseconds.
    pub milliseconds: f64,
}

/// What a multiplexer does at the moment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    /// Its process.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// The deployment.
    pub url: String,
    /// For how long it has run, in seconds.
    pub seconds: u64,
    /// The connections it holds.
    pub agents: Vec<AgentStatus>,
}

/// A connection that a multiplexer holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AgentStatus {
    /// The workspace, as it was called.
    pub name: String,
    /// Streams that are open.
    pub streams: usize,
    /// How it goes; none when it is over.
    pub path: Option<Look>,
}

/// `u16` length, then JSON.
async fn write_frame(to: &mut (impl AsyncWrite + Unpin), value: &impl Serialize) -> io::Result<()> {
    let json = serde_json::to_vec(value)?;
    let length = u16::try_from(json.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    to.write_all(&[length.to_be_bytes().as_slice(), &json].concat()).await
}

/// Reads a frame, however long it takes.
async fn read_frame<T: DeserializeOwned>(from: &mut (impl AsyncRead + Unpin)) -> io::Result<T> {
    let mut json = vec![0; usize::from(from.read_u16().await?)];
    from.read_exact(&mut json).await?;
    serde_json::from_slice(&json).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}
