//! A stream between a command and the multiplexer: chunks, so that an end is told from a break, and a break says why.
//!
//! A chunk is its length (`u32`, big endian) and as many bytes. Length 0 is the end of that direction; [`BREAK`] is followed by a `u16` length
//! and a [`Break`] as JSON. A socket that closes without either broke.

use bytes::{Buf, BytesMut};
use serde::{Deserialize, Serialize};
use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, Waker, ready},
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

/// The largest chunk, in bytes: what is moved at a time.
const CHUNK_BYTES_MAX: usize = 128 * 1024;
/// How much is read when only a few bytes are expected.
const HEAD_BYTES: usize = 16 * 1024;
/// The length that is none.
const BREAK: u32 = u32::MAX;
/// The longest [`Break`], in bytes.
const BREAK_BYTES_MAX: usize = 4 * 1024;

/// Why a stream broke.
#[derive(Debug, Serialize, Deserialize)]
struct Break {
    why: Why,
    text: String,
}

/// The kinds of I/O errors that commands tell apart.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Why {
    Denied,
    Refused,
    Gone,
    Unsupported,
    Lost,
}

impl Why {
    const fn of(kind: io::ErrorKind) -> Self {
        match kind {
            io::ErrorKind::PermissionDenied => Self::Denied,
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::NotFound => Self::Gone,
            io::ErrorKind::Unsupported => Self::Unsupported,
            _ => Self::Lost,
        }
    }

    const fn kind(self) -> io::ErrorKind {
        match self {
            Self::Denied => io::ErrorKind::PermissionDenied,
            Self::Refused => io::ErrorKind::ConnectionRefused,
            Self::Gone => io::ErrorKind::NotFound,
            Self::Unsupported => io::ErrorKind::Unsupported,
            Self::Lost => io::ErrorKind::ConnectionAborted,
        }
    }
}

/// One end of such a stream.
#[derive(Debug)]
pub struct Pipe<S: AsyncRead + AsyncWrite + Unpin> {
    socket: S,
    /// What was read ahead.
    ahead: BytesMut,
    /// Bytes of the current chunk that are not read yet.
    to_read: usize,
    ended: bool,
    /// The part of a chunk's length that is not written yet.
    head: BytesMut,
    /// Bytes of the current chunk that are not written yet.
    to_write: usize,
    closing: bool,
    /// Whether dropping it is an end, and not a break.
    ends_on_drop: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Pipe<S> {
    /// Both ends do so with a socket on which nothing else is read or written any more. Dropping this one is a break.
    pub fn new(socket: S) -> Self {
        let (ahead, head) = (BytesMut::new(), BytesMut::new());
        Self { socket, ahead, to_read: 0, ended: false, head, to_write: 0, closing: false, ends_on_drop: false }
    }

    /// The same, but dropping it is an end, as long as the process lives to do so.
    pub fn ending(socket: S) -> Self {
        let mut pipe = Self::new(socket);
        pipe.ends_on_drop = true;
        pipe
    }

    /// Gives it up: the other end reads an error instead of an end.
    pub fn abort(mut self) {
        self.ends_on_drop = false;
    }

    /// Whether the other end has ended its direction.
    pub const fn has_ended(&self) -> bool {
        self.ended
    }

    /// Tells the other end why there is nothing more. Only between two chunks can it be said; else the closed socket says it.
    /// Waits until the other end closes.
    ///
    /// # Errors
    /// When the other end is gone.
    pub async fn fail(mut self, error: &io::Error) -> io::Result<()> {
        self.ends_on_drop = false;
        if self.to_write > 0 || !self.head.is_empty() {
            return Ok(());
        }
        let json = serde_json::to_vec(&Break { why: Why::of(error.kind()), text: error.to_string() })?;
        let length = u16::try_from(json.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        self.socket.write_all(&[BREAK.to_be_bytes().as_slice(), &length.to_be_bytes(), &json].concat()).await?;
        // Who still writes to us would hear of a closed socket instead.
        tokio::io::copy(&mut self.socket, &mut tokio::io::sink()).await.map(drop)
    }

    /// Reads ahead until there are `wanted` bytes.
    fn poll_ahead(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<io::Result<()>> {
        while self.ahead.len() < wanted {
            self.ahead.reserve(HEAD_BYTES.max(wanted));
            let mut reading = std::pin::pin!(self.socket.read_buf(&mut self.ahead));
            if ready!(reading.as_mut().poll(cx))? == 0 {
                return Poll::Ready(Err(torn()));
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads the length of the next chunk.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_ahead(cx, size_of::<u32>()))?;
        let length = u32::from_be_bytes(self.ahead.first_chunk().copied().unwrap_or_default());
        if length == BREAK {
            let error = ready!(self.poll_break(cx))?;
            return Poll::Ready(Err(error));
        }
        self.ahead.advance(size_of::<u32>());
        self.to_read = length as usize;
        self.ended = length == 0;
        Poll::Ready(Ok(()))
    }

    fn poll_break(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<io::Error>> {
        const HEAD: usize = size_of::<u32>() + size_of::<u16>();
        ready!(self.poll_ahead(cx, HEAD))?;
        let length = self.ahead.get(size_of::<u32>()..HEAD).and_then(|bytes| bytes.first_chunk().copied());
        let length = usize::from(u16::from_be_bytes(length.unwrap_or_default()));
        if length > BREAK_BYTES_MAX {
            return Poll::Ready(Err(torn()));
        }
        ready!(self.poll_ahead(cx, HEAD + length))?;
        let json = self.ahead.get(HEAD..HEAD + length).unwrap_or_default();
        let told: Break = serde_json::from_slice(json).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        Poll::Ready(Ok(io::Error::new(told.why.kind(), told.text)))
    }

    /// Writes what is left of a chunk's length, and then some of `data`; how much of that.
    fn poll_chunk(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let head = self.head.len();
            let data = data.get(..self.to_write).unwrap_or(data);
            if head == 0 && data.is_empty() {
                return Poll::Ready(Ok(0));
            }
            let parts = [IoSlice::new(&self.head), IoSlice::new(data)];
            let written = ready!(Pin::new(&mut self.socket).poll_write_vectored(cx, &parts))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.head.advance(written.min(head));
            let of_data = written.saturating_sub(head);
            if of_data > 0 || self.head.is_empty() && data.is_empty() {
                self.to_write -= of_data;
                return Poll::Ready(Ok(of_data));
            }
        }
    }
}

fn torn() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the multiplexer ended")
}

impl<S: AsyncRead + AsyncWrite + Unpin> Drop for Pipe<S> {
    fn drop(&mut self) {
        if self.ends_on_drop && !self.closing && self.to_write == 0 && self.head.is_empty() {
            // Where there is no room for four bytes, nobody reads, and the break is as good.
            let _ended = Pin::new(&mut self.socket).poll_write(&mut Context::from_waker(Waker::noop()), &0_u32.to_be_bytes());
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Pipe<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.to_read == 0 {
            if this.ended {
                return Poll::Ready(Ok(()));
            }
            ready!(this.poll_next(cx))?;
        }
        let wanted = this.to_read.min(buffer.remaining());
        if this.ahead.is_empty() {
            let mut part = ReadBuf::new(buffer.initialize_unfilled_to(wanted));
            ready!(Pin::new(&mut this.socket).poll_read(cx, &mut part))?;
            let read = part.filled().len();
            if read == 0 && wanted > 0 {
                return Poll::Ready(Err(torn()));
            }
            buffer.advance(read);
            this.to_read -= read;
            return Poll::Ready(Ok(()));
        }
        let part = this.ahead.split_to(wanted.min(this.ahead.len()));
        buffer.put_slice(&part);
        this.to_read -= part.len();
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Pipe<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if this.to_write == 0 {
            let length = data.len().min(CHUNK_BYTES_MAX);
            this.head.extend_from_slice(&(length as u32).to_be_bytes());
            this.to_write = length;
        }
        this.poll_chunk(cx, data)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    /// Ends this direction. In the middle of a chunk, which only a caller that gave up a write can leave behind, there is no end: it breaks.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.closing {
            if this.to_write > 0 {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            this.head.extend_from_slice(&0_u32.to_be_bytes());
            this.closing = true;
        }
        ready!(this.poll_chunk(cx, &[]))?;
        Pin::new(&mut this.socket).poll_flush(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::duplex;

    fn pair(buffer: usize) -> (Pipe<tokio::io::DuplexStream>, Pipe<tokio::io::DuplexStream>) {
        let (one, other) = duplex(buffer);
        (Pipe::new(one), Pipe::new(other))
    }

    #[tokio::test]
    async fn bytes_and_both_ends_pass_whatever_the_socket_takes_at_a_time() {
        for buffer in [1, 3, 4, 5, 1000, 1 << 20] {
            let (mut near, far) = pair(buffer);
            let sent: Vec<u8> =
                (0..300_000_u32).flat_map(u32::to_le_bytes).take(if buffer < 1000 { 3000 } else { 1_000_000 }).collect();
            let (mut from, mut to) = tokio::io::split(far);
            let echo = async {
                tokio::io::copy(&mut from, &mut to).await.unwrap();
                to.shutdown().await.unwrap();
            };
            let (mut reader, mut writer) = tokio::io::split(&mut near);
            let write = async {
                for part in sent.chunks(7001) {
                    writer.write_all(part).await.unwrap();
                }
                writer.shutdown().await.unwrap();
            };
            let mut back = Vec::new();
            let (_, _, read) = tokio::join!(echo, write, reader.read_to_end(&mut back));
            read.unwrap();
            assert!(back == sent, "{buffer}");
        }
    }

    #[tokio::test]
    async fn a_break_says_why_and_a_closed_socket_is_one() {
        let (mut near, mut far) = pair(64);
        let told = io::Error::new(io::ErrorKind::ConnectionRefused, "nothing answers there");
        let failing = async {
            far.write_all(b"some").await.unwrap();
            far.fail(&told).await.unwrap();
        };
        let reading = async {
            let mut all = Vec::new();
            let error = near.read_to_end(&mut all).await.unwrap_err();
            drop(near);
            (all, error.kind(), error.to_string())
        };
        let ((), (all, kind, text)) = tokio::join!(failing, reading);
        assert_eq!((all.as_slice(), kind, text.as_str()), (&b"some"[..], told.kind(), "nothing answers there"));

        let (mut near, mut far) = pair(64);
        far.write_all(b"some").await.unwrap();
        drop(far);
        assert_eq!(near.read_to_end(&mut Vec::new()).await.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    }

    #[tokio::test]
    async fn dropping_it_ends_it_where_that_was_wanted_and_else_breaks_it() {
        for (gives_up, ends) in [(false, true), (true, false)] {
            let (near, far) = duplex(64);
            let (mut near, mut far) = (Pipe::new(near), Pipe::ending(far));
            far.write_all(b"some").await.unwrap();
            if gives_up {
                far.abort()
            } else {
                drop(far)
            }
            let mut all = Vec::new();
            assert_eq!((near.read_to_end(&mut all).await.is_ok(), near.has_ended()), (ends, ends));
            assert_eq!(all, b"some");
        }
    }

    #[tokio::test]
    async fn a_break_that_is_none_of_ours_is_an_error() {
        for bytes in [&b"\xff\xff\xff\xff\x00\x02{}"[..], b"\xff\xff\xff\xff\xff\xff", b"\x00\x00\x00\x05ab"] {
            let (mut raw, far) = duplex(64);
            let mut far = Pipe::new(far);
            raw.write_all(bytes).await.unwrap();
            drop(raw);
            assert!(far.read_to_end(&mut Vec::new()).await.is_err(), "{bytes:?}");
        }
    }
}
