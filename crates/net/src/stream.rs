//! A stream of a connection, as both ends use it.

use crate::{
    credit::SendCredit,
    inbox::{End, Inbox},
    link::{Code, Link, end, explain, spawn},
    repeat::Tail,
};
use berth_wire::tunnel::Status;
use iroh::endpoint::{ReadError, RecvStream, SendStream, StoppedError, VarInt, WriteError};
use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio_util::task::AbortOnDropHandle;

/// How much is read from QUIC at a time.
const READ_BYTES: usize = 64 * 1024;
/// The buffer of each direction of a [`splice`]: 128 KiB carries 1.4 times what tokio's 8 KiB do.
const SPLICE_BYTES: usize = 128 * 1024;
/// The code of a stream that was given up.
const ABORTED: VarInt = VarInt::from_u32(1);
/// What a writer hears whose reader is gone.
const NO_READER: &str = "the other end does not read any more";

/// Bytes to and from the other end. Reading may pause for as long as it likes: the writer then stops, nothing breaks. Dropping it after
/// writing ends it in order; what was written still arrives as long as the connection is up.
#[derive(Debug)]
pub struct TunnelStream {
    send: SendStream,
    id: u64,
    credit: Arc<SendCredit>,
    inbox: Arc<Inbox>,
    tail: Arc<Tail>,
    link: Arc<Link>,
    given_up: Option<GivenUp>,
    _drain: AbortOnDropHandle<()>,
}

/// The other end's word that it reads no more, or the end of the connection; asked for only by a writer without credit.
struct GivenUp(Pin<Box<dyn Future<Output = Result<Option<VarInt>, StoppedError>> + Send + Sync>>);

impl std::fmt::Debug for GivenUp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GivenUp")
    }
}

impl TunnelStream {
    /// `answered`: whether the first byte that arrives is the other end's [`Status`].
    pub(crate) fn new(link: Arc<Link>, send: SendStream, recv: RecvStream, answered: bool) -> Self {
        let (credit, inbox) = (SendCredit::new(), Arc::new(Inbox::default()));
        let id = u64::from(send.id());
        link.writers().add(id, &credit);
        link.readers().add(id, &inbox);
        let drain = spawn(drain(recv, Arc::clone(&inbox), Arc::clone(&link), answered));
        Self { send, id, credit, inbox, tail: Tail::new(id), link, given_up: None, _drain: drain }
    }

    /// How much may be written. Without credit, also hears that it will never come.
    fn poll_credit(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(available) = self.credit.poll_available(cx) {
            return Poll::Ready(Ok(available));
        }
        let send = &self.send;
        let given_up = self.given_up.get_or_insert_with(|| GivenUp(Box::pin(send.stopped())));
        let ended = ready!(given_up.0.as_mut().poll(cx));
        self.given_up = None;
        Poll::Ready(Err(self.inbox.error().unwrap_or_else(|| match ended {
            Err(StoppedError::ConnectionLost(lost)) => connection_error(&lost),
            _ => io::Error::new(io::ErrorKind::BrokenPipe, NO_READER),
        })))
    }

    /// Gives the stream up: the other end reads an error instead of an end. For a byte stream that broke in the middle.
    pub fn abort(mut self) {
        self.send.reset(ABORTED).ok();
    }
}

impl Drop for TunnelStream {
    fn drop(&mut self) {
        self.link.writers().remove(self.id);
        self.link.readers().remove(self.id);
    }
}

impl AsyncRead for TunnelStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(limit) = ready!(self.inbox.poll_read(cx, buffer))? {
            self.link.grant(self.id, limit);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TunnelStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(error) = self.inbox.error() {
            return Poll::Ready(Err(error));
        }
        if let Some(error) = self.link.connection().close_reason() {
            return Poll::Ready(Err(connection_error(&error)));
        }
        let available = ready!(self.poll_credit(cx))?;
        let part = data.get(..available).unwrap_or(data);
        let written = ready!(Pin::new(&mut self.send).poll_write(cx, part)).map_err(|error| write_error(&self.inbox, error))?;
        let end = self.credit.spend(written);
        let taken = part.get(..written).unwrap_or_default();
        self.link.repeater().wrote(self.link.connection(), &self.tail, taken, end);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Fails only when the stream is over already, which is what was wanted.
        self.send.finish().ok();
        Poll::Ready(Ok(()))
    }
}

/// A byte stream that can be given up.
pub trait ByteStream: AsyncRead + AsyncWrite + Unpin {
    /// Gives it up: the other end reads an error instead of an end.
    fn abort(self);
}

impl ByteStream for TunnelStream {
    fn abort(self) {
        Self::abort(self);
    }
}

/// Joins two byte streams until both directions have ended or one broke; answers with the bytes that went from `tunnel` to `other` and back.
/// When one broke, so does the tunnel: its other end reads an error, not an end.
///
/// # Errors
/// What the broken side said.
pub async fn splice(mut tunnel: impl ByteStream, other: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<(u64, u64)> {
    let joined = tokio::io::copy_bidirectional_with_sizes(&mut tunnel, other, SPLICE_BYTES, SPLICE_BYTES).await;
    if joined.is_err() {
        tunnel.abort();
    }
    joined
}

/// Moves everything that arrives into the inbox, at once and in whatever order, however slow the reader is.
async fn drain(mut recv: RecvStream, inbox: Arc<Inbox>, link: Arc<Link>, answered: bool) {
    if answered && let Err(end) = read_status(&mut recv).await {
        inbox.end(end);
        return;
    }
    // What was read so far, a first frame or a status, is not the caller's. A stream that is over has nothing to read, wherever it begins.
    let beginning = recv.bytes_read().unwrap_or_default();
    let mut recv = recv.into_unordered();
    loop {
        match recv.read_chunk(READ_BYTES).await {
            Ok(None) => return inbox.end(End::Finished),
            Ok(Some(chunk)) => {
                if inbox.push(chunk.offset.saturating_sub(beginning), chunk.bytes).is_err() {
                    link.close(Code::Protocol, "a stream went past its credit");
                    return inbox.end(End::failed(io::ErrorKind::InvalidData, "the other end broke the protocol"));
                }
            }
            Err(error) => return inbox.end(lost(&error)),
        }
    }
}

async fn read_status(recv: &mut RecvStream) -> Result<(), End> {
    let byte = match recv.read_u8().await {
        Ok(byte) => byte,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(End::failed(error.kind(), "the agent closed the stream without an answer"));
        }
        Err(error) => return Err(read_end(&error)),
    };
    match Status::from_byte(byte) {
        Some(Status::Ok) => Ok(()),
        Some(Status::Denied) => Err(End::failed(io::ErrorKind::PermissionDenied, "the agent refused the ticket")),
        Some(Status::Refused) => Err(End::failed(io::ErrorKind::ConnectionRefused, "nothing answers there in the workspace")),
        Some(Status::Gone) => Err(End::failed(io::ErrorKind::NotFound, "the agent does not know the session any more")),
        Some(Status::Malformed) | None => Err(End::failed(io::ErrorKind::Unsupported, "the agent speaks another version")),
    }
}

/// What a failed read means. noq wraps its own error in the I/O error.
fn read_end(error: &io::Error) -> End {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<ReadError>()) {
        Some(error) => lost(error),
        None => End::failed(error.kind(), error.to_string()),
    }
}

fn lost(error: &ReadError) -> End {
    match error {
        ReadError::ConnectionLost(lost) => end(lost),
        ReadError::Reset(_) => End::failed(io::ErrorKind::ConnectionReset, "the other end gave the stream up"),
        other => End::failed(io::ErrorKind::BrokenPipe, other.to_string()),
    }
}

fn write_error(inbox: &Inbox, error: WriteError) -> io::Error {
    // The reason, when the other end gave one, arrived on the way back.
    if let Some(error) = inbox.error() {
        return error;
    }
    match error {
        WriteError::ConnectionLost(lost) => connection_error(&lost),
        WriteError::Stopped(_) => io::Error::new(io::ErrorKind::BrokenPipe, NO_READER),
        other => io::Error::new(io::ErrorKind::BrokenPipe, other.to_string()),
    }
}

pub(crate) fn connection_error(error: &iroh::endpoint::ConnectionError) -> io::Error {
    let (kind, text) = explain(error);
    io::Error::new(kind, text)
}
