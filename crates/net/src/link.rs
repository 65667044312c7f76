//! One QUIC connection between two endpoints, as both ends see it: the grants beside its streams, and why it ended.

use crate::{
    credit::{self, GRANT_FRAME_BYTES, Writers},
    inbox::End,
    repeat::{self, Readers, Repeater},
};
use iroh::endpoint::{ApplicationClose, Connection, ConnectionError, VarInt};
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

/// How a connection is closed: the code tells the other end why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// All is done.
    Done = 0,
    /// The ticket is missing or not valid.
    Denied = 403,
    /// The peer broke the rules of this protocol.
    Protocol = 400,
    /// Whoever it was may not stay.
    Revoked = 410,
    /// There are too many connections.
    Busy = 503,
}

impl Code {
    pub(crate) const fn var_int(self) -> VarInt {
        VarInt::from_u32(self as u32)
    }

    pub(crate) fn is(self, close: &ApplicationClose) -> bool {
        close.error_code == self.var_int()
    }
}

/// A connection. It stays while a clone, a stream or a session of it is alive.
#[derive(Debug)]
pub(crate) struct Link {
    connection: Connection,
    writers: Arc<Writers>,
    readers: Arc<Readers>,
    grants: mpsc::UnboundedSender<(u64, u64)>,
    repeater: Repeater,
    _tasks: [AbortOnDropHandle<()>; 4],
    _counted: Counted,
}

impl Link {
    pub(crate) fn new(connection: Connection, counted: Counted) -> Arc<Self> {
        let (writers, readers) = (Arc::new(Writers::default()), Arc::new(Readers::default()));
        // Unbounded, and yet small: one message for each mebibyte that a reader consumed.
        let (grants, outgoing) = mpsc::unbounded_channel();
        let (repeater, ordered) = Repeater::new();
        let tasks = [
            spawn(send_grants(connection.clone(), outgoing)),
            spawn(receive_grants(connection.clone(), Arc::clone(&writers))),
            spawn(repeat::send(connection.clone(), ordered)),
            spawn(repeat::receive(connection.clone(), Arc::clone(&readers))),
        ];
        Arc::new(Self { connection, writers, readers, grants, repeater, _tasks: tasks, _counted: counted })
    }

    pub(crate) const fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(crate) fn writers(&self) -> &Writers {
        &self.writers
    }

    pub(crate) fn readers(&self) -> &Readers {
        &self.readers
    }

    pub(crate) const fn repeater(&self) -> &Repeater {
        &self.repeater
    }

    /// Tells the other end how far it may write.
    pub(crate) fn grant(&self, stream: u64, limit: u64) {
        // Fails only once the connection is over.
        self.grants.send((stream, limit)).ok();
    }

    pub(crate) fn close(&self, code: Code, reason: &str) {
        self.connection.close(code.var_int(), reason.as_bytes());
    }
}

/// Starts a task that ends with its handle.
#[expect(clippy::disallowed_methods, reason = "the one place: the handle owns the task")]
pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::task::spawn(task))
}

/// Writes grants, before all other data.
async fn send_grants(connection: Connection, mut outgoing: mpsc::UnboundedReceiver<(u64, u64)>) {
    let Some(first) = outgoing.recv().await else { return };
    let Ok(mut stream) = connection.open_uni().await else { return };
    stream.set_priority(1).ok();
    let mut next = Some(first);
    while let Some((id, limit)) = next {
        if stream.write_all(&credit::encode(id, limit)).await.is_err() {
            return;
        }
        next = outgoing.recv().await;
    }
}

async fn receive_grants(connection: Connection, writers: Arc<Writers>) {
    let Ok(mut stream) = connection.accept_uni().await else { return };
    let mut frame = [0; GRANT_FRAME_BYTES];
    while stream.read_exact(&mut frame).await.is_ok() {
        let (id, limit) = credit::decode(frame);
        writers.grant(id, limit);
    }
}

/// Counts the connections that are up; falls when dropped.
#[derive(Debug)]
pub(crate) struct Counted(Arc<AtomicUsize>);

impl Counted {
    pub(crate) fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Why a connection ended, in words, and as a kind of I/O error.
pub(crate) fn explain(error: &ConnectionError) -> (io::ErrorKind, String) {
    use io::ErrorKind as Kind;
    match error {
        ConnectionError::ApplicationClosed(close) if Code::Done.is(close) => {
            (Kind::ConnectionAborted, "the other end closed the connection".to_owned())
        }
        ConnectionError::ApplicationClosed(close) if Code::Denied.is(close) => {
            (Kind::PermissionDenied, "the agent refused the ticket".to_owned())
        }
        ConnectionError::ApplicationClosed(close) if Code::Revoked.is(close) => {
            (Kind::PermissionDenied, "you may not enter the workspace any more".to_owned())
        }
        ConnectionError::ApplicationClosed(close) => (Kind::ConnectionAborted, String::from_utf8_lossy(&close.reason).into_owned()),
        ConnectionError::TimedOut => (Kind::TimedOut, "the other end stopped answering".to_owned()),
        ConnectionError::Reset => (Kind::ConnectionReset, "the other end restarted".to_owned()),
        ConnectionError::LocallyClosed => (Kind::NotConnected, "the connection was closed".to_owned()),
        ConnectionError::ConnectionClosed(close) if u64::from(close.error_code) == ALPN_REFUSED => {
            (Kind::Unsupported, "the two ends speak different versions".to_owned())
        }
        other => (Kind::ConnectionAborted, other.to_string()),
    }
}

/// QUIC's CRYPTO_ERROR for TLS alert 120, no_application_protocol (RFC 9001, section 8.1).
const ALPN_REFUSED: u64 = 0x0178;

/// The same as the end of a stream.
pub(crate) fn end(error: &ConnectionError) -> End {
    let (kind, text) = explain(error);
    End::failed(kind, text)
}
