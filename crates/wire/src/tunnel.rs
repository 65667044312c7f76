//! The first frame of every stream to an agent: `u16` length (big endian), then this as JSON. The agent answers one status byte, which the
//! opener need not wait for before sending on.

use berth_domain::Secret;
use serde::{Deserialize, Serialize};

/// The ALPN of the tailnet, version 1.
pub const ALPN: &[u8] = b"berth/1";
/// The largest first frame, in bytes.
pub const OPEN_BYTES_MAX: usize = 8 * 1024;
/// The longest speedtest, in seconds each way.
pub const SPEEDTEST_SECONDS_MAX: u32 = 60;

/// What a client wants of a stream.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Open {
    /// The introduction; may be left out on later streams of a connection that showed one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<Secret>,
    /// What to join it to.
    #[serde(flatten)]
    pub target: Target,
}

/// What a stream is joined to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Target {
    /// The agent's SSH server.
    Ssh,
    /// A TCP port on the workspace's loopback.
    Tcp {
        /// The port.
        port: u16,
    },
    /// A UDP port on the workspace's loopback. Each datagram is a `u16` length (big endian) and its bytes, both ways.
    Udp {
        /// The port.
        port: u16,
    },
    /// A Unix socket in the workspace.
    Unix {
        /// Its path, as a session there would write it: `~` is the home directory, a relative one begins where sessions begin.
        path: String,
    },
    /// Every byte comes back.
    Ping,
    /// Measures how much the way carries.
    Speedtest {
        /// Who sends.
        direction: Direction,
        /// For how long the agent sends, [`SPEEDTEST_SECONDS_MAX`] at the most.
        seconds: u32,
    },
}

/// Which way the bytes of a speedtest go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// To the agent, which answers the end of them with how many came, as a `u64` (big endian).
    Up,
    /// From the agent.
    Down,
}

/// The agent's one-byte answer to [`Open`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    /// Joined.
    Ok = 0,
    /// The ticket is missing or not valid.
    Denied = 1,
    /// The target cannot be reached.
    Refused = 2,
    /// The frame is not understood: the ends speak different versions.
    Malformed = 3,
}

impl Status {
    /// Reads the byte.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Ok),
            1 => Some(Self::Denied),
            2 => Some(Self::Refused),
            3 => Some(Self::Malformed),
            _ => None,
        }
    }
}
