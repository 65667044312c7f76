//! What arrived on a stream and was not read yet.

use crate::credit::{GRANT_BYTES, WINDOW_BYTES, lock};
use bytes::{Buf, Bytes};
use std::{
    collections::{BTreeMap, VecDeque},
    io,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};
use tokio::io::ReadBuf;

/// A smaller chunk is copied: as it arrives, it keeps the whole batch of packets that it came with in memory.
const KEPT_BYTES_MIN: usize = 512;

/// The queue between the task that drains the QUIC stream and the reader. Chunks arrive in any order, so that a packet that is late holds up
/// the reader, but not what QUIC lets the writer send. Never holds more than [`WINDOW_BYTES`] of a peer that keeps to its credit.
#[derive(Debug, Default)]
pub(crate) struct Inbox(Mutex<Queue>);

#[derive(Debug, Default)]
struct Queue {
    chunks: VecDeque<Bytes>,
    /// Chunks behind a gap, by their offset.
    early: BTreeMap<u64, Bytes>,
    /// The offset of the first byte that is missing.
    arrived: u64,
    consumed: u64,
    granted: u64,
    end: Option<End>,
    waker: Option<Waker>,
}

/// How a stream ended.
#[derive(Debug, Clone)]
pub(crate) enum End {
    /// In order: everything was read.
    Finished,
    /// With an error, which every later read and write repeats.
    Failed(io::ErrorKind, Arc<str>),
}

impl End {
    pub(crate) fn failed(kind: io::ErrorKind, text: impl Into<Arc<str>>) -> Self {
        Self::Failed(kind, text.into())
    }
}

/// The peer wrote more than it may.
#[derive(Debug)]
pub(crate) struct Overrun;

impl Inbox {
    /// Takes what the stream brought, each byte of which it brings once.
    pub(crate) fn push(&self, offset: u64, chunk: Bytes) -> Result<(), Overrun> {
        let mut queue = lock(&self.0);
        let end = offset.saturating_add(chunk.len() as u64);
        if end > queue.consumed + WINDOW_BYTES + GRANT_BYTES {
            return Err(Overrun);
        }
        let chunk = if chunk.len() < KEPT_BYTES_MIN { Bytes::copy_from_slice(&chunk) } else { chunk };
        if offset > queue.arrived {
            queue.early.insert(offset, chunk);
            return Ok(());
        }
        let waker = queue.append(offset, chunk);
        drop(queue);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    /// Takes what came past the stream (see [`crate::repeat`]), unless something before it is missing or all of it is here. Too much is
    /// dropped: the stream brings the same.
    pub(crate) fn offer(&self, offset: u64, chunk: &[u8]) {
        let mut queue = lock(&self.0);
        let end = offset.saturating_add(chunk.len() as u64);
        if offset > queue.arrived || end <= queue.arrived || end > queue.consumed + WINDOW_BYTES {
            return;
        }
        if let Some(waker) = queue.append(offset, Bytes::copy_from_slice(chunk)) {
            drop(queue);
            waker.wake();
        }
    }

    /// How many bytes have arrived.
    #[cfg(test)]
    pub(crate) fn arrived(&self) -> u64 {
        lock(&self.0).arrived
    }

    /// Records the end; the first one counts.
    pub(crate) fn end(&self, end: End) {
        let mut queue = lock(&self.0);
        if queue.end.is_none() {
            queue.end = Some(end);
        }
        let waker = queue.waker.take();
        drop(queue);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The error the stream ended with, if it did.
    pub(crate) fn error(&self) -> Option<io::Error> {
        match &lock(&self.0).end {
            Some(End::Failed(kind, text)) => Some(io::Error::new(*kind, text.to_string())),
            _ => None,
        }
    }

    /// Fills `buffer` with what is there. Answers with the offset to grant when it is time to.
    pub(crate) fn poll_read(&self, cx: &Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<Option<u64>>> {
        let mut queue = lock(&self.0);
        let mut count = 0;
        while buffer.remaining() > 0 {
            let Some(chunk) = queue.chunks.front_mut() else { break };
            let part = chunk.len().min(buffer.remaining());
            buffer.put_slice(chunk.get(..part).unwrap_or_default());
            chunk.advance(part);
            count += part;
            if chunk.is_empty() {
                queue.chunks.pop_front();
            }
        }
        if count > 0 || buffer.remaining() == 0 {
            return Poll::Ready(Ok(queue.consume(count as u64)));
        }
        match &queue.end {
            Some(End::Finished) => Poll::Ready(Ok(None)),
            Some(End::Failed(kind, text)) => Poll::Ready(Err(io::Error::new(*kind, text.to_string()))),
            None => {
                queue.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Queue {
    /// Appends the part of a chunk that is new, and what was waiting for it. There is no gap before it. Answers with whom to wake.
    fn append(&mut self, offset: u64, chunk: Bytes) -> Option<Waker> {
        self.append_new_part(offset, chunk);
        while let Some(entry) = self.early.first_entry() {
            if *entry.key() > self.arrived {
                break;
            }
            let (offset, chunk) = entry.remove_entry();
            self.append_new_part(offset, chunk);
        }
        self.waker.take()
    }

    fn append_new_part(&mut self, offset: u64, mut chunk: Bytes) {
        let known = usize::try_from(self.arrived.saturating_sub(offset)).unwrap_or(usize::MAX);
        if known < chunk.len() {
            chunk.advance(known);
            self.arrived += chunk.len() as u64;
            self.chunks.push_back(chunk);
        }
    }

    fn consume(&mut self, count: u64) -> Option<u64> {
        self.consumed += count;
        (self.consumed - self.granted >= GRANT_BYTES).then(|| {
            self.granted = self.consumed;
            self.consumed + WINDOW_BYTES
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_gets_the_bytes_in_order_then_the_end() {
        let (inbox, cx) = (Inbox::default(), Context::from_waker(Waker::noop()));
        inbox.push(3, Bytes::from_static(b"de")).unwrap();
        inbox.push(0, Bytes::from_static(b"abc")).unwrap();
        inbox.end(End::Finished);
        let mut space = [0; 4];
        let mut buffer = ReadBuf::new(&mut space);
        assert!(inbox.poll_read(&cx, &mut buffer).is_ready());
        assert_eq!(buffer.filled(), b"abcd");
        buffer.clear();
        assert!(inbox.poll_read(&cx, &mut buffer).is_ready());
        assert_eq!(buffer.filled(), b"e");
        buffer.clear();
        assert!(matches!(inbox.poll_read(&cx, &mut buffer), Poll::Ready(Ok(None))));
        assert!(buffer.filled().is_empty());
    }

    #[test]
    fn a_peer_that_ignores_its_credit_is_noticed() {
        let inbox = Inbox::default();
        let chunk = Bytes::from(vec![0; 1024 * 1024]);
        for megabyte in 0..5 {
            inbox.push(megabyte * 1024 * 1024, chunk.clone()).unwrap();
        }
        assert!(inbox.push(5 * 1024 * 1024, chunk.clone()).is_err());
        assert!(Inbox::default().push(u64::MAX, chunk).is_err());
    }

    proptest::proptest! {
        /// However the stream's pieces are shuffled, and whatever is repeated in between: the reader gets each byte once, in order.
        #[test]
        fn what_comes_twice_or_early_is_read_once_and_in_order(
            pieces in proptest::collection::vec((1_usize..900, proptest::num::u64::ANY), 1..30),
            repeats in proptest::collection::vec((0_usize..30, 0_usize..9000, 1_usize..1000), 0..60),
        ) {
            let all: Vec<u8> = (0..pieces.iter().map(|(length, _)| length).sum()).map(|index: usize| index.to_le_bytes()[0]).collect();
            let mut next = 0;
            let mut shuffled: Vec<_> = pieces.iter().map(|(length, key)| { next += length; (*key, next - length, *length) }).collect();
            shuffled.sort_unstable();
            let (inbox, cx) = (Inbox::default(), Context::from_waker(Waker::noop()));
            let (mut space, mut read) = (vec![0; all.len() + 1], Vec::new());
            for (turn, (_, offset, length)) in shuffled.into_iter().enumerate() {
                for (_, from, count) in repeats.iter().filter(|(when, ..)| *when == turn) {
                    let to = (from + count).min(all.len());
                    inbox.offer(*from as u64, all.get(*from..to).unwrap_or_default());
                }
                inbox.push(offset as u64, Bytes::copy_from_slice(&all[offset..offset + length])).unwrap();
                let mut buffer = ReadBuf::new(&mut space);
                let _ready = inbox.poll_read(&cx, &mut buffer);
                read.extend_from_slice(buffer.filled());
            }
            proptest::prop_assert_eq!(read, all);
            proptest::prop_assert!(lock(&inbox.0).early.is_empty());
        }
    }
}
