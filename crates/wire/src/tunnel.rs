//! The first frame of every stream to an agent: `u16` length (big endian), then this as JSON. The agent answers one status byte, which the
//! opener need not wait for before sending on.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use berth_domain::Secret;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The ALPN of the tailnet, version 1.
pub const ALPN: &[u8] = b"berth/1";
/// The largest first frame, in bytes.
pub const OPEN_BYTES_MAX: usize = 8 * 1024;
/// The longest speedtest, in seconds each way.
pub const SPEEDTEST_SECONDS_MAX: u32 = 60;
/// The most keys in one [`TerminalInput`], in bytes.
pub const TERMINAL_KEYS_BYTES_MAX: usize = 32 * 1024;

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
    /// A resumable stream: it outlives the connection that it began on. Its bytes are in the frames of `berth_net`'s `resume`.
    Session {
        /// What it is joined to.
        of: Service,
    },
    /// A new connection for a resumable stream. Who knows the id needs no ticket: it only ever travelled encrypted from end to end, and it
    /// stands for the claims of the ticket that the stream began with.
    Resume {
        /// Which one.
        id: SessionId,
        /// How far the opener has received the agent's bytes, its end counted as one more.
        received: u64,
    },
    /// A terminal that outlives the streams that look at it: it begins with the first, and every later one of the same user with the same id
    /// sees what it showed before and what it shows. The opener sends [`TerminalInput`]s, each after its `u16` length (big endian), and reads
    /// what the program writes, as it is. The stream ends when the program has.
    Terminal(Terminal),
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

/// A terminal at an agent, and what to make it of if it is not there yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Terminal {
    /// Which one; who opens it first makes it up.
    pub id: Uuid,
    /// How wide the viewer's screen is, in characters; 0 for unknown.
    pub columns: u16,
    /// How high it is.
    pub rows: u16,
    /// A command line for the user's shell in place of the shell itself. Means nothing to a terminal that is there already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

/// What the viewer of a [`Target::Terminal`] says. As bytes: 0 and the keys, or 1, the columns and the rows (`u16` each, big endian).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TerminalInput<'a> {
    /// What was typed or pasted: [`TERMINAL_KEYS_BYTES_MAX`] bytes at the most.
    Keys(&'a [u8]),
    /// The viewer's screen has this size now, in characters.
    Resize {
        /// How wide it is.
        columns: u16,
        /// How high it is.
        rows: u16,
    },
}

/// How a [`TerminalInput`] of keys begins.
const KEYS: u8 = 0;
/// How one of a new size does.
const RESIZE: u8 = 1;

impl<'a> TerminalInput<'a> {
    /// As bytes, without the length before them.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        match self {
            Self::Keys(keys) => [[KEYS].as_slice(), keys].concat(),
            Self::Resize { columns, rows } => [[RESIZE].as_slice(), &columns.to_be_bytes(), &rows.to_be_bytes()].concat(),
        }
    }

    /// Reads the bytes; `None` when they are not such an input.
    #[must_use]
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        match bytes.split_first()? {
            (&KEYS, keys) if keys.len() <= TERMINAL_KEYS_BYTES_MAX => Some(Self::Keys(keys)),
            (&RESIZE, &[a, b, c, d]) => {
                Some(Self::Resize { columns: u16::from_be_bytes([a, b]), rows: u16::from_be_bytes([c, d]) })
            }
            _ => None,
        }
    }
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

/// What a resumable stream can be joined to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Service {
    /// The agent's SSH server.
    Ssh,
    /// A TCP port on the workspace's loopback.
    Tcp {
        /// The port.
        port: u16,
    },
    /// A Unix socket in the workspace.
    Unix {
        /// Its path, as in [`Target::Unix`].
        path: String,
    },
}

/// The name of a resumable stream and the secret that resumes it: 32 random bytes, base64url without padding in JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SessionId(Secret<[u8; SESSION_ID_BYTES]>);

/// The length of a [`SessionId`].
pub const SESSION_ID_BYTES: usize = 32;

impl SessionId {
    /// The id of these bytes, which the caller drew at random.
    #[must_use]
    pub const fn new(bytes: [u8; SESSION_ID_BYTES]) -> Self {
        Self(Secret::new(bytes))
    }

    /// The bytes themselves.
    #[must_use]
    pub const fn expose(&self) -> &[u8; SESSION_ID_BYTES] {
        self.0.expose()
    }
}

/// The text is not a [`SessionId`].
#[derive(Debug, thiserror::Error)]
#[error("the session id is not 32 bytes in base64url")]
pub struct SessionIdError;

impl From<SessionId> for String {
    fn from(id: SessionId) -> Self {
        URL_SAFE_NO_PAD.encode(id.expose())
    }
}

impl TryFrom<String> for SessionId {
    type Error = SessionIdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| SessionIdError)?;
        Ok(Self::new(bytes.try_into().map_err(|_| SessionIdError)?))
    }
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
    /// The agent has no such resumable stream: it is over, was away for too long, or began at an agent that has restarted since.
    Gone = 4,
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
            4 => Some(Self::Gone),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_id_survives_json_and_does_not_show() {
        let open = Open { ticket: None, target: Target::Resume { id: SessionId::new([7; SESSION_ID_BYTES]), received: 9 } };
        let json = serde_json::to_string(&open).unwrap();
        assert_eq!(json, format!(r#"{{"kind":"resume","id":"{}","received":9}}"#, URL_SAFE_NO_PAD.encode([7; 32])));
        assert_eq!(serde_json::from_str::<Open>(&json).unwrap().target, open.target);
        assert!(!format!("{open:?}").contains("7, 7"), "{open:?}");
        let session = r#"{"ticket":"t","kind":"session","of":{"kind":"tcp","port":80}}"#;
        assert_eq!(serde_json::from_str::<Open>(session).unwrap().target, Target::Session { of: Service::Tcp { port: 80 } });
        assert!(serde_json::from_str::<Open>(r#"{"kind":"resume","id":"AAAA","received":0}"#).is_err());
    }

    #[test]
    fn what_a_viewer_says_survives_the_wire_and_anything_else_is_refused() {
        for input in [TerminalInput::Keys(b"ls\r"), TerminalInput::Keys(b""), TerminalInput::Resize { columns: 132, rows: 50 }] {
            assert_eq!(TerminalInput::decode(&input.encode()), Some(input));
        }
        let long = TerminalInput::Keys(&[b'x'; TERMINAL_KEYS_BYTES_MAX + 1]).encode();
        for wrong in [&b""[..], &[1, 0, 80, 0], &[1, 0, 80, 0, 24, 0], &[2], &long] {
            assert_eq!(TerminalInput::decode(wrong), None);
        }
        let open = Target::Terminal(Terminal { id: Uuid::from_u128(7), columns: 80, rows: 24, command: None });
        let json = r#"{"kind":"terminal","id":"00000000-0000-0000-0000-000000000007","columns":80,"rows":24}"#;
        assert_eq!(serde_json::to_string(&open).unwrap(), json);
        assert_eq!(serde_json::from_str::<Target>(json).unwrap(), open);
    }
}
