//! What an end sends: the bytes that the other has not consumed, and how far they were put on the connection at hand.

use super::frame::{DATA_BYTES_MAX, Frame, Violation};
use std::collections::VecDeque;

/// How many bytes one end keeps for the other. More than the QUIC stream window (1.25 MB), so that it limits nobody who reads.
pub(super) const WINDOW_BYTES: usize = 4 * 1024 * 1024;
/// Up to here a frame goes out in one piece with its header.
const COALESCE_BYTES: usize = 4 * 1024;
/// What a stream at rest keeps of its memory.
pub(super) const REST_BYTES: usize = 16 * 1024;

/// One direction, at its sender. Offsets count bytes from the stream's beginning; the end counts as one more.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// The bytes from `first` on.
    kept: VecDeque<u8>,
    first: u64,
    /// Whether no bytes will be added.
    ended: bool,
    /// The other end has consumed everything before.
    consumed: u64,
    /// The other end is known to have received everything before.
    confirmed: u64,
    /// Everything before is on the connection at hand.
    next: u64,
    /// How many more bytes, from `next` on, belong to the data frame that is being sent.
    body: usize,
}

impl Outgoing {
    /// Takes as many bytes as there is room for.
    pub(super) fn write(&mut self, data: &[u8]) -> usize {
        let part = data.get(..self.room()).unwrap_or(data);
        self.kept.extend(part);
        part.len()
    }

    /// How many bytes may be added now.
    pub(super) fn room(&self) -> usize {
        if self.ended { 0 } else { WINDOW_BYTES.saturating_sub(self.kept.len()) }
    }

    pub(super) const fn end(&mut self) {
        self.ended = true;
    }

    pub(super) const fn has_ended(&self) -> bool {
        self.ended
    }

    /// How many bytes are kept for the other end.
    pub(super) fn held(&self) -> usize {
        self.kept.len()
    }

    /// The offset after the last byte.
    fn length(&self) -> u64 {
        self.first + self.kept.len() as u64
    }

    /// Whether the other end has consumed everything, the end included.
    pub(super) fn is_consumed(&self) -> bool {
        self.ended && self.consumed > self.length()
    }

    /// Whether everything is on the connection at hand, the end included.
    pub(super) fn is_sent(&self) -> bool {
        self.next == self.length() + u64::from(self.ended)
    }

    /// Whether something is on the connection that the other end may not have received.
    pub(super) const fn is_unconfirmed(&self) -> bool {
        self.next > self.confirmed
    }

    /// A new connection, where the stream begins anew: nothing was ever acknowledged.
    pub(super) const fn restart(&mut self) {
        (self.next, self.body) = (0, 0);
    }

    /// A new connection, whose other end has received everything before `received`.
    pub(super) fn rewind(&mut self, received: u64) -> Result<(), Violation> {
        if received < self.confirmed || received > self.length() + u64::from(self.ended) {
            return Err(Violation::Acknowledged(received));
        }
        (self.confirmed, self.next, self.body) = (received, received, 0);
        Ok(())
    }

    /// The other end has received everything before `offset`.
    pub(super) const fn confirm(&mut self, offset: u64) -> Result<(), Violation> {
        if offset > self.next {
            return Err(Violation::Acknowledged(offset));
        }
        if offset > self.confirmed {
            self.confirmed = offset;
        }
        Ok(())
    }

    /// The other end has consumed everything before `offset`: what was kept of it is let go.
    pub(super) fn consume(&mut self, offset: u64) -> Result<(), Violation> {
        if offset < self.consumed {
            return Err(Violation::Acknowledged(offset));
        }
        self.confirm(offset)?;
        self.consumed = offset;
        let bytes = offset.min(self.length()) - self.first;
        self.first += bytes;
        self.kept.drain(..usize::try_from(bytes).unwrap_or(usize::MAX));
        Ok(())
    }

    /// The connection at hand is lost, in the middle of whatever was being sent.
    pub(super) const fn interrupt(&mut self) {
        self.body = 0;
    }

    /// Lets go of everything: nobody will ask for it any more.
    pub(super) fn forget(&mut self) {
        self.first = self.length();
        (self.kept, self.body, self.ended) = (VecDeque::new(), 0, true);
    }

    /// Gives memory back that a burst needed.
    pub(super) fn rest(&mut self) {
        if self.kept.capacity() > REST_BYTES {
            self.kept.shrink_to(REST_BYTES);
        }
    }

    /// Appends the next frame to `out`; of a long one, only its beginning: the rest is [`Outgoing::body`].
    pub(super) fn stage(&mut self, out: &mut Vec<u8>) {
        if self.next < self.length() {
            let length = usize::try_from(self.length() - self.next).unwrap_or(usize::MAX).min(DATA_BYTES_MAX);
            out.extend_from_slice(&Frame::Data { offset: self.next, length }.encode());
            let whole = if length > COALESCE_BYTES { COALESCE_BYTES } else { length };
            self.body = length;
            let mut rest = whole;
            while rest > 0 {
                let part = self.body();
                let part = part.get(..rest).unwrap_or(part);
                out.extend_from_slice(part);
                let count = part.len();
                rest -= count;
                self.sent(count);
            }
        } else if self.ended && self.next == self.length() {
            out.extend_from_slice(&Frame::End(self.next).encode());
            self.next += 1;
        }
    }

    /// What is left of the data frame that is being sent, as far as it lies in one piece.
    pub(super) fn body(&self) -> &[u8] {
        let from = usize::try_from(self.next - self.first.min(self.next)).unwrap_or(usize::MAX);
        let (front, back) = self.kept.as_slices();
        let piece = match front.get(from..) {
            Some(rest) if !rest.is_empty() => rest,
            _ => back.get(from - front.len()..).unwrap_or_default(),
        };
        piece.get(..self.body).unwrap_or(piece)
    }

    /// So many bytes of [`Outgoing::body`] are on the connection.
    pub(super) const fn sent(&mut self, count: usize) {
        self.next += count as u64;
        self.body -= count;
    }
}
