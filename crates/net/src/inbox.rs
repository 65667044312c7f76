//! What arrived on a stream and was not read yet.

use crate::credit::{GRANT_BYTES, WINDOW_BYTES, lock};
use bytes::{Buf, Bytes};
use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};
use tokio::io::ReadBuf;

/// The queue between the task that drains the QUIC stream and the reader. Never longer than [`WINDOW_BYTES`] with a peer that keeps to its
/// credit.
#[derive(Debug, Default)]
pub(crate) struct Inbox(Mutex<Queue>);

#[derive(Debug, Default)]
struct Queue {
    chunks: VecDeque<Bytes>,
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
    /// Appends what arrived.
    pub(crate) fn push(&self, chunk: Bytes) -> Result<(), Overrun> {
        let mut queue = lock(&self.0);
        queue.arrived += chunk.len() as u64;
        if queue.arrived > queue.consumed + WINDOW_BYTES + GRANT_BYTES {
            return Err(Overrun);
        }
        queue.chunks.push_back(chunk);
        let waker = queue.waker.take();
        drop(queue);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
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
        inbox.push(Bytes::from_static(b"abc")).unwrap();
        inbox.push(Bytes::from_static(b"de")).unwrap();
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
        for _ in 0..5 {
            inbox.push(chunk.clone()).unwrap();
        }
        assert!(inbox.push(chunk).is_err());
    }
}
