//! The frames of a resumable stream: `u8` kind, `u24` length of what follows, `u64` value, all big endian.
//!
//! | kind | value | follows |
//! |---|---|---|
//! | 0 data | offset of the first byte | the bytes, at least one |
//! | 1 consumed | how far the other end's bytes were read: frees its memory | |
//! | 2 received | how far they arrived: answers a ping | |
//! | 3 ping | 0 | |
//! | 4 end | offset of the end, which counts as one byte more | |
//! | 5 close | [`Reason`] | |
//! | 6 welcome | how far the client's bytes arrived | nothing, or for a new stream its id and `u32` seconds that it may be away |

use berth_wire::tunnel::{SESSION_ID_BYTES, SessionId};
use std::time::Duration;

/// The length of a frame's header.
pub(super) const HEADER_BYTES: usize = 12;
/// The most bytes in one data frame.
pub(super) const DATA_BYTES_MAX: usize = 64 * 1024;
/// What follows the header of a new stream's welcome.
pub(super) const CREDENTIALS_BYTES: usize = SESSION_ID_BYTES + 4;

/// Why an end closes a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// All is done: what was sent before is to be read, then the end.
    Done,
    /// What the stream was joined to broke in the middle.
    Broken,
    /// The workspace stopped, or a newer build replaced its agent.
    Stopped,
    /// The person may not be in the workspace any more.
    Revoked,
}

impl Reason {
    /// Whether what was written before is not to be read any more.
    pub(super) const fn is_abrupt(self) -> bool {
        matches!(self, Self::Broken | Self::Revoked)
    }

    const fn code(self) -> u64 {
        match self {
            Self::Done => 0,
            Self::Broken => 1,
            Self::Stopped => 2,
            Self::Revoked => 3,
        }
    }

    const fn of(code: u64) -> Result<Self, Violation> {
        match code {
            0 => Ok(Self::Done),
            1 => Ok(Self::Broken),
            2 => Ok(Self::Stopped),
            3 => Ok(Self::Revoked),
            other => Err(Violation::Reason(other)),
        }
    }
}

/// What a new stream is told: how to resume it, and for how long it may be away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) id: SessionId,
    pub(super) limit: Duration,
}

impl Credentials {
    pub(super) fn encode(&self) -> [u8; CREDENTIALS_BYTES] {
        let mut bytes = [0; CREDENTIALS_BYTES];
        let seconds = u32::try_from(self.limit.as_secs()).unwrap_or(u32::MAX);
        let source = self.id.expose().iter().copied().chain(seconds.to_be_bytes());
        bytes.iter_mut().zip(source).for_each(|(byte, source)| *byte = source);
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (id, seconds) = bytes.split_first_chunk::<SESSION_ID_BYTES>()?;
        let seconds = u32::from_be_bytes(seconds.try_into().ok()?);
        Some(Self { id: SessionId::new(*id), limit: Duration::from_secs(seconds.into()) })
    }
}

/// A frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Frame {
    Data { offset: u64, length: usize },
    Consumed(u64),
    Received(u64),
    Ping,
    End(u64),
    Close(Reason),
    Welcome { received: u64, is_new: bool },
}

/// The other end broke the rules of this protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Violation {
    /// A kind we do not know.
    #[error("a frame has the unknown kind {0}")]
    Kind(u8),
    /// A length that this kind cannot have.
    #[error("a frame of kind {kind} has {length} bytes")]
    Length { kind: u8, length: usize },
    /// A reason we do not know.
    #[error("a close frame has the unknown reason {0}")]
    Reason(u64),
    /// Bytes that are not the next ones.
    #[error("offset {offset} came where {expected} was next")]
    Offset { offset: u64, expected: u64 },
    /// More bytes than there is room for.
    #[error("more was sent than was consumed and may be kept")]
    Overrun,
    /// An acknowledgement of what was never sent, or was acknowledged before.
    #[error("offset {0} was acknowledged out of turn")]
    Acknowledged(u64),
    /// A welcome that nobody waited for, or something else before it.
    #[error("the welcome came out of turn")]
    Welcome,
}

impl Frame {
    pub(super) fn encode(self) -> [u8; HEADER_BYTES] {
        let (kind, length, value): (u8, usize, u64) = match self {
            Self::Data { offset, length } => (0, length, offset),
            Self::Consumed(offset) => (1, 0, offset),
            Self::Received(offset) => (2, 0, offset),
            Self::Ping => (3, 0, 0),
            Self::End(offset) => (4, 0, offset),
            Self::Close(reason) => (5, 0, reason.code()),
            Self::Welcome { received, is_new } => (6, if is_new { CREDENTIALS_BYTES } else { 0 }, received),
        };
        // Kind and length share four bytes; no length here is above 24 bits.
        let first = (u128::from(kind) << 24) | (length as u128);
        let [_, _, _, _, header @ ..] = ((first << 64) | u128::from(value)).to_be_bytes();
        header
    }

    pub(super) fn decode(header: [u8; HEADER_BYTES]) -> Result<Self, Violation> {
        let [kind, a, b, c, value @ ..] = header;
        let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap_or(usize::MAX);
        let value = u64::from_be_bytes(value);
        let bare = |frame: Self| if length == 0 { Ok(frame) } else { Err(Violation::Length { kind, length }) };
        match kind {
            0 if (1..=DATA_BYTES_MAX).contains(&length) => Ok(Self::Data { offset: value, length }),
            1 => bare(Self::Consumed(value)),
            2 => bare(Self::Received(value)),
            3 => bare(Self::Ping),
            4 => bare(Self::End(value)),
            5 => bare(Self::Close(Reason::of(value)?)),
            6 if length == 0 || length == CREDENTIALS_BYTES => Ok(Self::Welcome { received: value, is_new: length > 0 }),
            0 | 6 => Err(Violation::Length { kind, length }),
            unknown => Err(Violation::Kind(unknown)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_header_is_read_as_it_was_written_or_refused(header: [u8; HEADER_BYTES]) {
            if let Ok(frame) = Frame::decode(header) {
                let again = frame.encode();
                // A ping has no value, whatever it came with.
                prop_assert!(again == header || frame == Frame::Ping);
                prop_assert_eq!(Frame::decode(again), Ok(frame));
            }
        }

        #[test]
        fn credentials_survive_the_wire(id: [u8; SESSION_ID_BYTES], seconds: u32) {
            let credentials = Credentials { id: SessionId::new(id), limit: Duration::from_secs(seconds.into()) };
            prop_assert_eq!(Credentials::decode(&credentials.encode()), Some(credentials));
        }
    }
}
