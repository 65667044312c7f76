//! Moving bytes between an SSH channel and a stream, without ever holding more than a named number of them.

use std::io;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use russh::server::Msg;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::flow::{Backlog, Flow};

/// Bytes read from a process or socket at a time. An SSH packet holds 32 KiB.
const OUTPUT_CHUNK_BYTES: usize = 128 << 10;

/// Room below which the output buffer is renewed.
const OUTPUT_CHUNK_BYTES_MIN: usize = 32 << 10;

/// How long input may wait for its consumer after the client has closed the channel.
const LAST_INPUT: Duration = Duration::from_secs(2);

/// After the process has ended, how long its output may stay silent while somebody else still holds the pipe.
const LINGER: Duration = Duration::from_millis(300);

/// What a client says about a running session besides its input.
#[derive(Debug)]
pub(super) enum Control {
    /// The terminal has another size.
    Resize(pty_process::Size),
    /// A signal for the process group.
    Signal(russh::Sig),
}

/// Feeds a channel's data to `writer` and its other messages to `control`, until the client closes the channel. The client's end of file closes
/// `writer`; a `writer` that fails is closed and the rest of the input discarded, as a shell pipeline does. Either cancels `finished`. The channel is
/// read whether or not `writer` takes anything, because an unread channel stops its whole connection; `backlog` is told what waits.
pub(super) async fn inward<W>(
    channel: &mut ChannelReadHalf,
    writer: W,
    mut backlog: Backlog,
    finished: &CancellationToken,
    mut control: impl FnMut(Control, Option<&W>),
) where
    W: AsyncWrite + Unpin,
{
    let mut writer = Some(writer);
    let mut pending = BytesMut::new();
    let mut ended = false;
    loop {
        if pending.is_empty() && ended {
            close(&mut writer).await;
            finished.cancel();
        }
        tokio::select! {
            written = write_some(&mut writer, &pending), if !pending.is_empty() && writer.is_some() => match written {
                Ok(count) => pending.advance(count),
                Err(error) => {
                    tracing::debug!(%error, "the consumer of a channel went away");
                    writer = None;
                }
            },
            message = channel.wait(), if backlog.has_room() => match message {
                Some(ChannelMsg::Data { data }) if writer.is_some() => pending.extend_from_slice(&data),
                Some(ChannelMsg::Eof) => ended = true,
                Some(ChannelMsg::Close) | None => return flush(writer, &pending).await,
                Some(other) => {
                    if let Some(message) = as_control(other) {
                        control(message, writer.as_ref());
                    }
                }
            },
        }
        if writer.is_none() {
            pending.clear();
            finished.cancel();
        }
        backlog.set(pending.len());
    }
}

async fn write_some<W: AsyncWrite + Unpin>(writer: &mut Option<W>, pending: &[u8]) -> io::Result<usize> {
    match writer {
        Some(writer) => match writer.write(pending).await? {
            0 => Err(io::ErrorKind::WriteZero.into()),
            count => Ok(count),
        },
        None => Ok(0),
    }
}

/// Delivers what the client sent before it closed the channel. A consumer that does not take it in time has seen the last of it: its terminal
/// must hang up.
async fn flush<W: AsyncWrite + Unpin>(writer: Option<W>, pending: &[u8]) {
    if let Some(mut writer) = writer {
        let written = async {
            writer.write_all(pending).await.ok();
            writer.shutdown().await.ok();
        };
        timeout(LAST_INPUT, written).await.ok();
    }
}

async fn close<W: AsyncWrite + Unpin>(writer: &mut Option<W>) {
    if let Some(mut writer) = writer.take() {
        writer.shutdown().await.ok();
    }
}

fn as_control(message: ChannelMsg) -> Option<Control> {
    match message {
        ChannelMsg::WindowChange { col_width, row_height, pix_width, pix_height } => {
            Some(Control::Resize(super::terminal::size(col_width, row_height, pix_width, pix_height)))
        }
        ChannelMsg::Signal { signal } => Some(Control::Signal(signal)),
        _ => None,
    }
}

/// Sends what `reader` yields to the client as data, or as extended data `ext` (1 is standard error), within the client's window. Ends at end of
/// file. Once `ended` is cancelled, silence for [`LINGER`] ends it too: a background child may hold the pipe for ever.
pub(super) async fn outward<R>(mut reader: R, channel: &ChannelWriteHalf<Msg>, ext: Option<u32>, ended: &CancellationToken)
where
    R: AsyncRead + Unpin,
{
    let mut buffer = BytesMut::new();
    loop {
        if !read_some(&mut reader, &mut buffer, ended).await {
            return;
        }
        let bytes = buffer.split().freeze();
        let sent = match ext {
            None => channel.data_bytes(bytes).await,
            Some(ext) => channel.extended_data_bytes(ext, bytes).await,
        };
        if sent.is_err() {
            return;
        }
    }
}

/// Adds what `reader` yields to `buffer`. False at end of file, and after silence for [`LINGER`] once `ended` is cancelled.
pub(crate) async fn read_some<R: AsyncRead + Unpin>(reader: &mut R, buffer: &mut BytesMut, ended: &CancellationToken) -> bool {
    if buffer.capacity() - buffer.len() < OUTPUT_CHUNK_BYTES_MIN {
        buffer.reserve(OUTPUT_CHUNK_BYTES);
    }
    if !ended.is_cancelled() {
        tokio::select! {
            read = reader.read_buf(buffer) => return is_some(&read),
            () = ended.cancelled() => {}
        }
    }
    timeout(LINGER, reader.read_buf(buffer)).await.is_ok_and(|read| is_some(&read))
}

/// A terminal whose other side is closed answers EIO (pty(7)).
fn is_some(read: &io::Result<usize>) -> bool {
    matches!(read, Ok(count) if *count > 0)
}

/// Joins a channel to a socket until both directions have ended, the client closes the channel, or the connection does.
pub(super) async fn splice<S>(channel: Channel<Msg>, socket: S, flow: &Flow, closed: &CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut from_client, to_client) = channel.split();
    let (reader, writer) = tokio::io::split(socket);
    let never = CancellationToken::new();
    let both = async {
        let input_done = CancellationToken::new();
        let output = async {
            outward(reader, &to_client, None, &never).await;
            to_client.eof().await.ok();
            input_done.cancelled().await;
        };
        tokio::select! {
            () = inward(&mut from_client, writer, flow.backlog(to_client.id()), &input_done, |_, _| ()) => {}
            () = output => {}
        }
    };
    tokio::select! {
        () = both => drop(to_client.close().await),
        () = closed.cancelled() => {}
    }
}
