//! Saying small things twice, so that one lost packet does not hold up what a person types.
//!
//! On a long path a lost packet costs one more round trip at the least, and everything behind it in the stream waits. So whoever writes little
//! has it also sent as QUIC datagrams ([RFC 9221]), a moment later and together with what was written shortly before. The reader takes
//! whichever copy of a byte arrives first. A datagram is the stream's id, the offset of its first byte among the bytes that the writer's
//! caller wrote (both `u64`, big endian), and the bytes. Datagrams may be lost, late or for a stream that is over: the stream itself brings
//! everything all the same.
//!
//! Only direct paths longer than [`FAR`] are worth it, and only writers that write little.
//!
//! [RFC 9221]: https://www.rfc-editor.org/rfc/rfc9221

use crate::{credit::lock, inbox::Inbox, transport::FAR};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use iroh::endpoint::Connection;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, Weak},
    time::Duration,
};
use tokio::{sync::mpsc, time::Instant};

/// The most bytes in a datagram; with its head, it fits into QUIC's smallest packet.
const PIECE_BYTES_MAX: usize = 1000;
/// Whoever writes more than this within [`MEMORY`] does not write little: more than a key exchange, less than a screen.
const RECENT_BYTES_MAX: usize = 3 * PIECE_BYTES_MAX;
/// The pause before the repetition: packets that leave together are lost together, and keys that follow at once go along.
const PAUSE: Duration = Duration::from_millis(10);
/// How long bytes are worth repeating: about two round trips of a satellite.
const MEMORY: Duration = Duration::from_millis(700);
/// How long the answer to "is it far" is good.
const DISTANCE_GOOD_FOR: Duration = Duration::from_secs(1);
/// Stream id and offset.
const HEAD_BYTES: usize = 16;

/// The last bytes that a stream's writer wrote.
#[derive(Debug)]
pub(crate) struct Tail {
    stream: u64,
    recent: Mutex<Recent>,
}

#[derive(Debug, Default)]
struct Recent {
    bytes: BytesMut,
    /// How many of them, at their end, have not been repeated yet.
    new: usize,
    /// The offset behind them.
    end: u64,
    last: Option<Instant>,
    /// Whoever writes much is left alone until then.
    silent_until: Option<Instant>,
    /// Whether a repetition is on its way.
    due: bool,
}

impl Tail {
    pub(crate) fn new(stream: u64) -> Arc<Self> {
        Arc::new(Self { stream, recent: Mutex::default() })
    }

    /// Keeps what was written; `end` is the offset behind it. Answers whether a repetition is to be ordered.
    fn keep(&self, data: &[u8], end: u64, now: Instant) -> bool {
        let mut recent = lock(&self.recent);
        let gap = recent.end + data.len() as u64 != end;
        if gap || recent.last.is_none_or(|last| now - last > MEMORY) {
            recent.forget();
        }
        (recent.end, recent.last) = (end, Some(now));
        if recent.bytes.len() + data.len() > RECENT_BYTES_MAX {
            recent.forget();
            recent.silent_until = Some(now + MEMORY);
        }
        if recent.silent_until.is_some_and(|until| now < until) {
            return false;
        }
        recent.bytes.extend_from_slice(data);
        recent.new += data.len();
        !std::mem::replace(&mut recent.due, true)
    }

    /// The datagrams to send: everything new, and at the least one full datagram of what there is. None if the writer has begun to write much.
    fn datagrams(&self) -> Vec<Bytes> {
        let mut recent = lock(&self.recent);
        recent.due = false;
        let wanted = recent.new.max(PIECE_BYTES_MAX).min(recent.bytes.len());
        recent.new = 0;
        let mut offset = recent.end - wanted as u64;
        let pieces = recent.bytes.get(recent.bytes.len() - wanted..).unwrap_or_default().chunks(PIECE_BYTES_MAX);
        let datagram = |piece: &[u8]| {
            let mut datagram = BytesMut::with_capacity(HEAD_BYTES + piece.len());
            datagram.put_u64(self.stream);
            datagram.put_u64(offset);
            datagram.extend_from_slice(piece);
            offset += piece.len() as u64;
            datagram.freeze()
        };
        pieces.map(datagram).collect()
    }
}

impl Recent {
    fn forget(&mut self) {
        self.bytes.clear();
        self.new = 0;
    }
}

/// The writers' side of a connection.
#[derive(Debug)]
pub(crate) struct Repeater {
    orders: mpsc::UnboundedSender<(Instant, Arc<Tail>)>,
    distance: Mutex<Option<(Instant, bool)>>,
}

impl Repeater {
    /// Also the receiver for [`send`]. Unbounded, and yet small: one order for each stream at the most.
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<(Instant, Arc<Tail>)>) {
        let (orders, ordered) = mpsc::unbounded_channel();
        (Self { orders, distance: Mutex::default() }, ordered)
    }

    /// Takes note of a write, and has it repeated if it is small and goes far. `end` is the offset behind it.
    pub(crate) fn wrote(&self, connection: &Connection, tail: &Arc<Tail>, data: &[u8], end: u64) {
        if data.len() > RECENT_BYTES_MAX || !self.goes_far(connection) {
            return;
        }
        let now = Instant::now();
        if tail.keep(data, end, now) {
            // Fails only once the connection is over.
            self.orders.send((now + PAUSE, Arc::clone(tail))).ok();
        }
    }

    fn goes_far(&self, connection: &Connection) -> bool {
        let now = Instant::now();
        let mut distance = lock(&self.distance);
        match *distance {
            Some((asked, far)) if now - asked < DISTANCE_GOOD_FOR => far,
            _ => {
                let far = connection.paths().iter().any(|path| path.is_selected() && path.is_ip() && path.rtt() >= FAR);
                *distance = Some((now, far));
                far
            }
        }
    }
}

/// Sends what was ordered, when it is due.
pub(crate) async fn send(connection: Connection, mut ordered: mpsc::UnboundedReceiver<(Instant, Arc<Tail>)>) {
    while let Some((due, tail)) = ordered.recv().await {
        tokio::time::sleep_until(due).await;
        for datagram in tail.datagrams() {
            // A path too narrow for it, or an end that wants none, goes without.
            connection.send_datagram(datagram).ok();
        }
    }
}

/// The readers of one connection, by stream id.
#[derive(Debug, Default)]
pub(crate) struct Readers(Mutex<HashMap<u64, Weak<Inbox>>>);

impl Readers {
    pub(crate) fn add(&self, stream: u64, inbox: &Arc<Inbox>) {
        lock(&self.0).insert(stream, Arc::downgrade(inbox));
    }

    pub(crate) fn remove(&self, stream: u64) {
        lock(&self.0).remove(&stream);
    }

    /// Gives a datagram to its stream; one that is too short, or for a stream that is over, is dropped.
    fn take(&self, mut datagram: Bytes) {
        if datagram.len() <= HEAD_BYTES {
            return;
        }
        let (stream, offset) = (datagram.get_u64(), datagram.get_u64());
        let inbox = lock(&self.0).get(&stream).and_then(Weak::upgrade);
        if let Some(inbox) = inbox {
            inbox.offer(offset, &datagram);
        }
    }
}

/// Takes datagrams until the connection is over.
pub(crate) async fn receive(connection: Connection, readers: Arc<Readers>) {
    while let Ok(datagram) = connection.read_datagram().await {
        readers.take(datagram);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stream, offset and bytes of each datagram.
    fn repeated(tail: &Tail) -> Vec<(u64, u64, Bytes)> {
        tail.datagrams().into_iter().map(|mut datagram| (datagram.get_u64(), datagram.get_u64(), datagram)).collect()
    }

    #[test]
    fn keys_that_follow_each_other_share_a_datagram() {
        let (tail, now) = (Tail::new(4), Instant::now());
        assert!(tail.keep(b"l", 1, now));
        assert!(!tail.keep(b"s", 2, now));
        assert_eq!(repeated(&tail), [(4, 0, Bytes::from_static(b"ls"))]);
        assert!(tail.keep(b"\r", 3, now));
        assert_eq!(repeated(&tail), [(4, 0, Bytes::from_static(b"ls\r"))]);
        assert!(tail.keep(b"x", 4, now + MEMORY * 2));
        assert_eq!(repeated(&tail), [(4, 3, Bytes::from_static(b"x"))], "old bytes are not repeated");
    }

    #[test]
    fn what_does_not_fit_into_one_datagram_takes_more_and_only_once() {
        let (tail, now) = (Tail::new(0), Instant::now());
        assert!(tail.keep(&[7; 2500], 2500, now));
        let lengths =
            |repeated: Vec<(u64, u64, Bytes)>| repeated.into_iter().map(|(_, at, bytes)| (at, bytes.len())).collect::<Vec<_>>();
        assert_eq!(lengths(repeated(&tail)), [(0, 1000), (1000, 1000), (2000, 500)]);
        assert!(tail.keep(b"x", 2501, now));
        assert_eq!(lengths(repeated(&tail)), [(1501, 1000)]);
    }

    #[test]
    fn a_writer_that_writes_much_is_not_repeated_until_it_is_quiet_again() {
        let (tail, now) = (Tail::new(0), Instant::now());
        let piece = [0; 2000];
        assert!(tail.keep(&piece, 2000, now));
        assert!(!tail.keep(&piece, 4000, now));
        assert_eq!(repeated(&tail), []);
        assert!(!tail.keep(b"a", 4001, now));
        assert!(tail.keep(b"b", 9000, now + MEMORY * 2));
        assert_eq!(repeated(&tail), [(0, 8999, Bytes::from_static(b"b"))], "what was written in large pieces leaves a gap");
    }

    #[test]
    fn nonsense_is_dropped() {
        let readers = Readers::default();
        let inbox = Arc::new(Inbox::default());
        readers.add(0, &inbox);
        readers.take(Bytes::from_static(b"short"));
        readers.take(Bytes::from_static(&[0; HEAD_BYTES]));
        readers.take(Bytes::from_static(&[9; HEAD_BYTES + 1]));
        assert_eq!(inbox.arrived(), 0);
    }
}
