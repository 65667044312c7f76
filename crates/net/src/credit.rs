//! Credit: how far a writer may go ahead of the reader at the other end.
//!
//! noq-proto 1.4.0 aborts the whole connection when more than 2048 chunks wait unread in one stream (quinn issue 2809), so every receive
//! stream is drained into memory at once. The memory is bounded by this credit: a writer stops [`WINDOW_BYTES`] after the last byte that the
//! reader is known to have consumed. Grants travel on one unidirectional stream per direction, 16 bytes each: stream id, then the offset up
//! to which may be written, both big endian.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll, Waker},
};

/// How far a writer may be ahead of its reader. More than the QUIC stream window (1.25 MB), so that it limits nobody who reads, and more
/// than OpenSSH's channel window (2 MiB), so that it limits no paused terminal.
pub(crate) const WINDOW_BYTES: u64 = 4 * 1024 * 1024;
/// A grant is sent each time this much was consumed.
pub(crate) const GRANT_BYTES: u64 = WINDOW_BYTES / 4;
/// The length of a grant on the wire.
pub(crate) const GRANT_FRAME_BYTES: usize = 16;

/// Locks; a panic elsewhere while the lock was held leaves nothing half done in the plain values kept here.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The writer's side: how much may be written.
#[derive(Debug)]
pub(crate) struct SendCredit(Mutex<Allowance>);

#[derive(Debug)]
struct Allowance {
    limit: u64,
    sent: u64,
    waker: Option<Waker>,
}

impl SendCredit {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(Allowance { limit: WINDOW_BYTES, sent: 0, waker: None })))
    }

    /// How many bytes may be written now; pending while none may.
    pub(crate) fn poll_available(&self, cx: &Context<'_>) -> Poll<usize> {
        let mut allowance = lock(&self.0);
        match allowance.limit.saturating_sub(allowance.sent) {
            0 => {
                allowance.waker = Some(cx.waker().clone());
                Poll::Pending
            }
            available => Poll::Ready(usize::try_from(available).unwrap_or(usize::MAX)),
        }
    }

    /// Records that `count` bytes were written; answers with how many that makes.
    pub(crate) fn spend(&self, count: usize) -> u64 {
        let mut allowance = lock(&self.0);
        allowance.sent += count as u64;
        allowance.sent
    }

    /// Raises the limit; a lower one than before is an old message and changes nothing.
    fn grant(&self, limit: u64) {
        let mut allowance = lock(&self.0);
        allowance.limit = allowance.limit.max(limit);
        if let Some(waker) = allowance.waker.take() {
            waker.wake();
        }
    }
}

/// The writers of one connection, by stream id.
#[derive(Debug, Default)]
pub(crate) struct Writers(Mutex<HashMap<u64, Weak<SendCredit>>>);

impl Writers {
    pub(crate) fn add(&self, stream: u64, credit: &Arc<SendCredit>) {
        lock(&self.0).insert(stream, Arc::downgrade(credit));
    }

    pub(crate) fn remove(&self, stream: u64) {
        lock(&self.0).remove(&stream);
    }

    /// Applies a grant; one for a stream that is over is ignored.
    pub(crate) fn grant(&self, stream: u64, limit: u64) {
        let credit = lock(&self.0).get(&stream).and_then(Weak::upgrade);
        if let Some(credit) = credit {
            credit.grant(limit);
        }
    }
}

/// A grant as bytes.
pub(crate) fn encode(stream: u64, limit: u64) -> [u8; GRANT_FRAME_BYTES] {
    ((u128::from(stream) << 64) | u128::from(limit)).to_be_bytes()
}

/// A grant from bytes.
pub(crate) const fn decode(frame: [u8; GRANT_FRAME_BYTES]) -> (u64, u64) {
    let both = u128::from_be_bytes(frame);
    #[expect(clippy::cast_possible_truncation, reason = "the two halves of the 128 bits")]
    ((both >> 64) as u64, both as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    #[test]
    fn a_writer_stops_at_its_limit_and_goes_on_after_a_grant() {
        let credit = SendCredit::new();
        let cx = Context::from_waker(Waker::noop());
        credit.spend(usize::try_from(WINDOW_BYTES).unwrap() - 5);
        assert_eq!(credit.poll_available(&cx), Poll::Ready(5));
        credit.spend(5);
        assert_eq!(credit.poll_available(&cx), Poll::Pending);
        credit.grant(WINDOW_BYTES + 7);
        credit.grant(3);
        assert_eq!(credit.poll_available(&cx), Poll::Ready(7));
    }

    #[test]
    fn a_grant_survives_the_wire() {
        assert_eq!(decode(encode(7, u64::MAX - 1)), (7, u64::MAX - 1));
    }
}
