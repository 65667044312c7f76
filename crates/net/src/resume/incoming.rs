//! What an end receives: the bytes that were not read yet, and what the other end is to be told about them.

use super::{
    frame::Violation,
    outgoing::{REST_BYTES, WINDOW_BYTES},
};
use std::{collections::VecDeque, time::Duration};
use tokio::time::Instant;

/// The other end is told each time this much was consumed.
const CONSUMED_BYTES: u64 = 256 * 1024;
/// While bytes trickle in, the other end is told this often that they arrive.
const RECEIVED_AFTER: Duration = Duration::from_secs(1);

/// One direction, at its receiver. Offsets are those of `outgoing.rs`.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    unread: VecDeque<u8>,
    received: u64,
    ended: bool,
    /// How far the other end was told that we have consumed.
    told_consumed: u64,
    /// When the first byte arrived that the other end was told nothing about.
    untold_since: Option<Instant>,
    /// Whether the other end asked how far we have received.
    asked: bool,
}

impl Incoming {
    /// How far the other end's bytes have arrived, its end counted as one more.
    pub(super) const fn received(&self) -> u64 {
        self.received
    }

    fn consumed(&self) -> u64 {
        match (self.unread.len() as u64, self.ended) {
            (0, _) => self.received,
            (unread, ended) => self.received - unread - u64::from(ended),
        }
    }

    /// How many bytes wait to be read.
    pub(super) fn held(&self) -> usize {
        self.unread.len()
    }

    /// Whether the other end has ended and everything was read.
    pub(super) fn is_at_end(&self) -> bool {
        self.ended && self.unread.is_empty()
    }

    /// A data frame begins.
    pub(super) fn expect(&self, offset: u64, length: usize) -> Result<(), Violation> {
        if offset != self.received || self.ended {
            return Err(Violation::Offset { offset, expected: self.received });
        }
        // The other end may not know yet what we have consumed since we told it, but never counts on it.
        if self.received + length as u64 > self.consumed() + WINDOW_BYTES as u64 {
            return Err(Violation::Overrun);
        }
        Ok(())
    }

    /// Bytes of the data frame that was expected.
    pub(super) fn push(&mut self, bytes: &[u8], now: Instant) {
        self.unread.extend(bytes);
        self.received += bytes.len() as u64;
        let since = *self.untold_since.get_or_insert(now);
        self.asked |= now.saturating_duration_since(since) >= RECEIVED_AFTER;
    }

    pub(super) const fn end(&mut self, offset: u64) -> Result<(), Violation> {
        if offset != self.received || self.ended {
            return Err(Violation::Offset { offset, expected: self.received });
        }
        self.ended = true;
        self.received += 1;
        Ok(())
    }

    /// The next bytes to be read, as far as they lie in one piece.
    pub(super) fn unread(&self) -> &[u8] {
        self.unread.as_slices().0
    }

    /// So many of [`Incoming::unread`] were read.
    pub(super) fn consume(&mut self, count: usize) {
        self.unread.drain(..count);
    }

    /// Drops what was not read and will not be.
    pub(super) fn discard(&mut self) {
        self.unread = VecDeque::new();
    }

    /// The other end asks how far its bytes have arrived.
    pub(super) const fn ask(&mut self) {
        self.asked = true;
    }

    /// A new connection: what was said on the one before may be lost.
    pub(super) const fn reconnect(&mut self) {
        self.told_consumed = 0;
        self.asked = false;
        self.untold_since = None;
    }

    /// What the other end is to be told now of what was consumed.
    pub(super) fn tell_consumed(&mut self) -> Option<u64> {
        let consumed = self.consumed();
        let ended = self.is_at_end() && consumed > self.told_consumed;
        if !ended && consumed - self.told_consumed < CONSUMED_BYTES {
            return None;
        }
        self.told_consumed = consumed;
        Some(consumed)
    }

    /// What the other end is to be told now of what has arrived.
    pub(super) const fn tell_received(&mut self) -> Option<u64> {
        if !self.asked {
            return None;
        }
        self.asked = false;
        self.untold_since = None;
        Some(self.received)
    }

    /// Gives memory back that a burst needed.
    pub(super) fn rest(&mut self) {
        if self.unread.capacity() > REST_BYTES {
            self.unread.shrink_to(REST_BYTES);
        }
    }
}
