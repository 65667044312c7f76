//! Open sockets: a websocket that only sends, and the pace at which any follower reads the store again.

use crate::{Listener, Shared, Topic, error::ApiError, session::Authenticated};
use axum::{
    extract::{
        FromRequestParts,
        ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code},
    },
    response::Response,
};
use http::{StatusCode, Uri, request::Parts};
use std::{collections::HashSet, time::Duration};
use tokio::time::Instant;

/// How often a watched thing is read again even if nobody poked.
const READ_AGAIN: Duration = Duration::from_secs(3);
/// How often a quiet socket gets a sign of life; proxies close idle connections after 60 s.
const PING: Duration = Duration::from_secs(15);
/// How often an open socket's session is checked: signing out or being suspended ends it within this time.
const CHECK_SESSION: Duration = Duration::from_secs(30);
/// How long a frame may wait for a client that does not read.
const SEND: Duration = Duration::from_secs(30);
/// How long we wait for the client's half of a closing.
const CLOSE: Duration = Duration::from_secs(3);
/// The largest frame a client may send; it has nothing to say.
const FRAME_BYTES_MAX: usize = 4 * 1024;

/// The request as a websocket upgrade, if it is one and sockets are held open here.
pub(crate) struct Upgrade(Result<WebSocketUpgrade, ApiError>);

impl FromRequestParts<Shared> for Upgrade {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, api: &Shared) -> Result<Self, ApiError> {
        if let Err(elsewhere) = held_here(api, &parts.uri) {
            return Ok(Self(Err(elsewhere)));
        }
        Ok(Self(WebSocketUpgrade::from_request_parts(parts, api).await.map_err(|rejection| {
            let message = "this route is a websocket: connect with one, or leave out ?follow";
            ApiError::new(StatusCode::UPGRADE_REQUIRED, message).detail(rejection.body_text())
        })))
    }
}

/// Refuses what goes on for as long as someone listens where that is not held open, and says where it is.
pub(crate) fn held_here(api: &Shared, uri: &Uri) -> Result<(), ApiError> {
    let Some(elsewhere) = &api.app.config.sockets_url else { return Ok(()) };
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let message =
        "this answer goes on for as long as you listen, and here no connection is held open: ask the relay, or leave out ?follow";
    Err(ApiError::new(StatusCode::UPGRADE_REQUIRED, message).detail(format!("{}{path}", elsewhere.trim_end_matches('/'))))
}

impl Upgrade {
    /// Answers 101 and hands the socket to `serve`; a plain request is told what is wanted.
    pub(crate) fn accept<F, Fut>(self, serve: F) -> Result<Response, ApiError>
    where
        F: FnOnce(Outlet) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        match self.0 {
            Ok(upgrade) => {
                let upgrade = upgrade.max_message_size(FRAME_BYTES_MAX).max_frame_size(FRAME_BYTES_MAX);
                Ok(upgrade.on_upgrade(|socket| serve(Outlet(socket))))
            }
            Err(refused) => Err(refused),
        }
    }
}

/// A websocket that we only send on. What the client sends is read and dropped, so that its pings and its closing are answered.
pub(crate) struct Outlet(WebSocket);

/// The client is gone, or does not read.
pub(crate) struct Gone;

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

    /// Waits for the pace's next turn, and keeps the connection alive meanwhile. `beat` is sent as the sign of life, else a ping.
    pub(crate) async fn turn(&mut self, pace: &mut Pace, topics: &HashSet<Topic>, beat: Option<&str>) -> Result<Turn, Gone> {
        loop {
            let turn = tokio::select! {
                turn = pace.turn(topics) => turn,
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

    /// Says that this was all (1000) or that the server goes away (1001), and waits a moment for the client to agree.
    pub(crate) async fn close(mut self, turn: Turn) {
        let (code, reason) = match turn {
            Turn::Stop => (close_code::AWAY, "the server stops, or the session ended"),
            _ => (close_code::NORMAL, ""),
        };
        let frame = CloseFrame { code, reason: reason.into() };
        if self.message(Message::Close(Some(frame))).await.is_ok() {
            let answered = async { while let Some(Ok(_)) = self.0.recv().await {} };
            let _ = tokio::time::timeout(CLOSE, answered).await;
        }
    }
}

/// What a follower does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Read the store again.
    Read,
    /// Send a sign of life.
    Beat,
    /// End: the server drains, or the session ended.
    Stop,
}

/// When a follower reads again. Make it before the first read, so that no change is missed.
pub(crate) struct Pace {
    api: Shared,
    caller: Authenticated,
    listener: Listener,
    /// Hears of the caller's session alone, so that what is told of others cannot drown it.
    session: Listener,
    session_topic: HashSet<Topic>,
    check: Instant,
    beat: Instant,
}

impl Pace {
    pub(crate) fn new(api: &Shared, caller: &Authenticated) -> Self {
        let now = Instant::now();
        let (listener, session) = (api.app.changes.listen(), api.app.changes.listen());
        let session_topic = HashSet::from([Topic::Session(caller.0.session.id)]);
        let (check, beat) = (now + CHECK_SESSION, now + PING);
        Self { api: Shared::clone(api), caller: caller.clone(), listener, session, session_topic, check, beat }
    }

    /// Waits for the next turn. Dropping the future loses nothing.
    pub(crate) async fn turn(&mut self, topics: &HashSet<Topic>) -> Turn {
        loop {
            if self.check <= Instant::now() {
                if !self.caller.0.still_stands(&self.api).await {
                    return Turn::Stop;
                }
                self.check = Instant::now() + CHECK_SESSION;
            }
            tokio::select! {
                () = self.api.app.drain.cancelled() => return Turn::Stop,
                () = self.session.changed(&self.session_topic, CHECK_SESSION) => self.check = Instant::now(),
                () = self.listener.changed(topics, READ_AGAIN) => return Turn::Read,
                () = tokio::time::sleep_until(self.beat) => {
                    self.beat = Instant::now() + PING;
                    return Turn::Beat;
                }
            }
        }
    }
}
