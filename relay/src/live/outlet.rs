//! A websocket that we only send on. What the client sends is read and dropped, so that its pings and its closing are answered.

use super::pace::{Pace, Turn};
use crate::refusal::Refusal;
use axum::{
    extract::{
        FromRequestParts,
        ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code, rejection::WebSocketUpgradeRejection},
    },
    http::{StatusCode, request::Parts},
    response::Response,
};
use std::{convert::Infallible, time::Duration};

/// How long a frame may wait for a client that does not read.
const SEND: Duration = Duration::from_secs(30);
/// How long we wait for the client's half of a closing.
const CLOSE: Duration = Duration::from_secs(3);
/// The largest frame a client may send; it has nothing to say.
const FRAME_BYTES_MAX: usize = 4 * 1024;

/// The request as a websocket upgrade, if it is one.
#[derive(Debug)]
pub(crate) struct Upgrade(Result<WebSocketUpgrade, WebSocketUpgradeRejection>);

impl<S: Send + Sync> FromRequestParts<S> for Upgrade {
    type Rejection = Infallible;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        Ok(Self(WebSocketUpgrade::from_request_parts(parts, state).await))
    }
}

impl Upgrade {
    /// That this is one; a plain request is told what is wanted.
    pub(crate) fn wanted(self) -> Result<Agreed, Refusal> {
        let wanted =
            |_| Refusal::new(StatusCode::UPGRADE_REQUIRED, "this route is a websocket: connect with one, or leave out ?follow");
        self.0.map(Agreed).map_err(wanted)
    }
}

/// An upgrade that can be accepted.
#[derive(Debug)]
pub(crate) struct Agreed(WebSocketUpgrade);

impl Agreed {
    /// Answers 101 and hands the socket itself to `serve`; its frames may be this large, in bytes.
    pub(crate) fn accept_both_ways<F, Fut>(self, frame_bytes_max: usize, serve: F) -> Response
    where
        F: FnOnce(WebSocket) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.0.max_message_size(frame_bytes_max).max_frame_size(frame_bytes_max).on_upgrade(serve)
    }

    /// Answers 101 and hands the socket to `serve`.
    pub(crate) fn accept<F, Fut>(self, serve: F) -> Response
    where
        F: FnOnce(Outlet) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let upgrade = self.0.max_message_size(FRAME_BYTES_MAX).max_frame_size(FRAME_BYTES_MAX);
        upgrade.on_upgrade(|socket| serve(Outlet(socket)))
    }
}

/// How a socket ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// This was all.
    Complete,
    /// The relay drains, or the session ended.
    Stop,
    /// The API has been away for too long.
    Away,
}

/// The client is gone, or does not read.
#[derive(Debug)]
pub(crate) struct Gone;

/// The socket.
#[derive(Debug)]
pub(crate) struct Outlet(WebSocket);

impl Outlet {
    /// Sends a text frame.
    pub(crate) async fn send(&mut self, text: String) -> Result<(), Gone> {
        self.message(Message::text(text)).await
    }

    async fn message(&mut self, message: Message) -> Result<(), Gone> {
        match tokio::time::timeout(SEND, self.0.send(message)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Gone),
        }
    }

    /// Waits until it is time to ask again, and keeps the connection alive meanwhile. `beat` is sent as the sign of life, else a ping.
    pub(crate) async fn turn(&mut self, pace: &mut Pace, beat: Option<&str>) -> Result<Turn, Gone> {
        loop {
            let turn = tokio::select! {
                turn = pace.turn() => turn,
                message = self.0.recv() => match message {
                    None | Some(Err(_) | Ok(Message::Close(_))) => return Err(Gone),
                    Some(Ok(_)) => continue,
                },
            };
            match (turn, beat) {
                (Turn::Beat, Some(text)) => self.send(text.to_owned()).await?,
                (Turn::Beat, None) => self.message(Message::Ping(bytes::Bytes::new())).await?,
                (turn, _) => return Ok(turn),
            }
        }
    }

    /// Says how it ended (RFC 6455, section 7.4.1: 1000, 1001, 1011), and waits a moment for the client to agree.
    pub(crate) async fn close(mut self, end: End) {
        let (code, reason) = match end {
            End::Complete => (close_code::NORMAL, ""),
            End::Stop => (close_code::AWAY, "the server stops, or the session ended"),
            End::Away => (close_code::ERROR, "the API does not answer the relay"),
        };
        let frame = CloseFrame { code, reason: reason.into() };
        if self.message(Message::Close(Some(frame))).await.is_ok() {
            let answered = async { while let Some(Ok(_)) = self.0.recv().await {} };
            let _answered = tokio::time::timeout(CLOSE, answered).await;
        }
    }
}
