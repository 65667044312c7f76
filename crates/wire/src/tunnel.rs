//! The first frame of every stream to an agent: `u16` length (big endian), then this as JSON. The agent answers one status byte, which the
//! opener need not wait for before sending on.

use berth_domain::Secret;
use serde::{Deserialize, Serialize};

/// The ALPN of the tailnet, version 1.
pub const ALPN: &[u8] = b"berth/1";
/// The largest first frame, in bytes.
pub const OPEN_BYTES_MAX: usize = 8 * 1024;

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
    /// Every byte comes back.
    Ping,
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
