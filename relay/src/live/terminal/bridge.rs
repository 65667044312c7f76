//! Joins a client's websocket to a terminal's stream.

use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use berth_net::write_datagram;
use berth_wire::tunnel::{TERMINAL_KEYS_BYTES_MAX, TerminalInput};
use bytes::{Bytes, BytesMut};
use futures_util::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use serde::Deserialize;
use std::{io, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    sync::watch,
    time::{MissedTickBehavior, interval, timeout},
};

/// How much of the stream becomes one frame, in bytes.
const READ_BYTES: usize = 32 * 1024;
/// How far a client that says what it has shown may be behind, in bytes: a page shows as much in a blink, and a person who interrupts a
/// program waits for no more.
const BEHIND_BYTES_MAX: u64 = 512 * 1024;
/// How often a quiet socket gets a sign of life; proxies close idle connections after 60 s.
const PING: Duration = Duration::from_secs(15);
/// How long a frame may wait for a client that does not read, such as a laptop that sleeps. It finds its terminal again all the same.
const SEND: Duration = Duration::from_secs(300);
/// How long we wait for the client's half of a closing.
const CLOSE: Duration = Duration::from_secs(3);
/// The longest reason of a closing (RFC 6455, section 5.5, less the code), in bytes.
const REASON_BYTES_MAX: usize = 123;

/// What a client says in one frame.
#[derive(Debug, Default, Deserialize)]
struct Said {
    /// What was typed or pasted.
    #[serde(default)]
    data: String,
    /// Rows.
    height: Option<u16>,
    /// Columns.
    width: Option<u16>,
    /// How many of the bytes it was sent it has shown. A client that never says so is sent all at once.
    ack: Option<u64>,
}

impl Said {
    fn inputs(&self) -> impl Iterator<Item = TerminalInput<'_>> {
        let resize = self.width.zip(self.height).map(|(columns, rows)| TerminalInput::Resize { columns, rows });
        resize.into_iter().chain(self.data.as_bytes().chunks(TERMINAL_KEYS_BYTES_MAX).map(TerminalInput::Keys))
    }
}

/// How a terminal's socket ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The program has ended.
    Complete,
    /// The client is gone, or does not read.
    Gone,
    /// The relay drains: another one has the terminal, too.
    Away,
    /// The client may not have it, or is not understood; coming again does not help.
    Refused(String),
    /// The way to the agent broke; coming again may help.
    Broken(String),
}

impl End {
    fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => {
                Self::Refused("the agent refused the terminal: it is somebody else's, or there are too many".to_owned())
            }
            io::ErrorKind::PermissionDenied => Self::Refused(error.to_string()),
            _ => Self::Broken(error.to_string()),
        }
    }

    /// The code (RFC 6455, section 7.4.1) and the reason.
    fn words(self) -> Option<(u16, String)> {
        match self {
            Self::Gone => None,
            Self::Complete => Some((close_code::NORMAL, "the program has ended".to_owned())),
            Self::Away => Some((close_code::AWAY, "the relay stops; connect again".to_owned())),
            Self::Refused(reason) => Some((close_code::POLICY, reason)),
            Self::Broken(reason) => Some((close_code::ERROR, reason)),
        }
    }
}

/// Joins the two until one ends or `until` says why it is to end.
pub(super) async fn join(socket: WebSocket, stream: impl AsyncRead + AsyncWrite, until: impl Future<Output = End>) {
    let (mut to_client, mut from_client) = socket.split();
    let (reader, writer) = tokio::io::split(stream);
    let (shown, has_shown) = watch::channel(None);
    let end = tokio::select! {
        end = outward(reader, &mut to_client, has_shown) => end,
        end = inward(&mut from_client, writer, shown) => end,
        end = until => end,
    };
    if let Some((code, mut reason)) = end.words() {
        reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
        let closing = to_client.send(Message::Close(Some(CloseFrame { code, reason: reason.into() })));
        let answered = async { while let Some(Ok(_)) = from_client.next().await {} };
        let _answered = timeout(CLOSE, async { tokio::join!(closing, answered) }).await;
    }
}

/// Sends the client what the program writes, no further ahead than it says it can follow.
async fn outward(
    mut reader: impl AsyncRead + Unpin,
    to_client: &mut SplitSink<WebSocket, Message>,
    mut has_shown: watch::Receiver<Option<u64>>,
) -> End {
    let (mut sent, mut buffer) = (0_u64, BytesMut::new());
    let mut beat = interval(PING);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let read = async {
            // Fails once the client's half is over, and with it this.
            drop(has_shown.wait_for(|shown| shown.is_none_or(|shown| sent.saturating_sub(shown) < BEHIND_BYTES_MAX)).await);
            buffer.reserve(READ_BYTES);
            reader.read_buf(&mut buffer).await
        };
        let message = tokio::select! {
            read = read => match read {
                Ok(0) => return End::Complete,
                Ok(count) => {
                    sent += count as u64;
                    Message::Binary(buffer.split().freeze())
                }
                Err(error) => return End::of(&error),
            },
            _ = beat.tick() => Message::Ping(Bytes::new()),
        };
        if !matches!(timeout(SEND, to_client.send(message)).await, Ok(Ok(()))) {
            return End::Gone;
        }
    }
}

/// Gives the terminal what the client says.
async fn inward(
    from_client: &mut SplitStream<WebSocket>,
    mut writer: impl AsyncWrite + Unpin,
    shown: watch::Sender<Option<u64>>,
) -> End {
    while let Some(Ok(message)) = from_client.next().await {
        let frame = match message {
            Message::Text(text) => Bytes::from(text),
            Message::Binary(bytes) => bytes,
            Message::Close(_) => return End::Gone,
            Message::Ping(_) | Message::Pong(_) => continue,
        };
        let Ok(said) = serde_json::from_slice::<Said>(&frame) else {
            return End::Refused("a frame is not understood: it is not JSON like {\"data\":\"ls\\r\"}".to_owned());
        };
        for input in said.inputs() {
            // Fails when the program has ended; what it wrote last is still on its way to the client.
            write_datagram(&mut writer, &input.encode()).await.ok();
        }
        if said.ack.is_some() {
            shown.send_replace(said.ack);
        }
    }
    End::Gone
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Said {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_frame_holds_keys_or_a_size_or_both_and_a_long_paste_is_many_inputs() {
        assert_eq!(said(r#"{"data":"ls\r"}"#).inputs().collect::<Vec<_>>(), [TerminalInput::Keys(b"ls\r")]);
        let resize = TerminalInput::Resize { columns: 80, rows: 24 };
        assert_eq!(said(r#"{"height":24,"width":80}"#).inputs().collect::<Vec<_>>(), [resize]);
        let both = said(r#"{"height":24,"width":80,"data":"x","other":1}"#);
        assert_eq!(both.inputs().collect::<Vec<_>>(), [resize, TerminalInput::Keys(b"x")]);
        assert_eq!(said(r#"{"height":24}"#).inputs().count(), 0);
        let paste = Said { data: "é".repeat(TERMINAL_KEYS_BYTES_MAX), ..Said::default() };
        let joined: Vec<u8> = paste.inputs().flat_map(|input| input.encode().split_off(1)).collect();
        assert_eq!((paste.inputs().count(), joined), (2, paste.data.into_bytes()));
        assert!(serde_json::from_str::<Said>(r#"{"height":-1}"#).is_err());
    }

    #[test]
    fn a_refusal_tells_a_client_not_to_come_again_and_a_broken_way_that_it_may() {
        let code = |kind: io::ErrorKind| End::of(&kind.into()).words().unwrap().0;
        assert_eq!(code(io::ErrorKind::ConnectionRefused), close_code::POLICY);
        assert_eq!(code(io::ErrorKind::PermissionDenied), close_code::POLICY);
        assert_eq!(code(io::ErrorKind::TimedOut), close_code::ERROR);
        assert_eq!(End::Complete.words().unwrap().0, close_code::NORMAL);
        assert_eq!(End::Gone.words(), None);
    }
}
