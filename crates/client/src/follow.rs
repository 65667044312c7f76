//! Followed streams: a websocket whose frames are JSON values.

use crate::{Client, ClientError, Result, error::root_cause, http, socket::Listening};
use futures_util::{SinkExt, Stream, StreamExt, stream};
use reqwest::{StatusCode, Url, header::HeaderValue};
use serde::de::DeserializeOwned;
use std::{collections::VecDeque, marker::PhantomData, time::Duration};
use tokio::time::Instant;
use tokio_tungstenite::{
    Connector, MaybeTlsStream, WebSocketStream,
    tungstenite::{self, Message, client::IntoClientRequest, protocol::WebSocketConfig},
};

/// We say something this often, so that proxies keep the connection and a dead one shows.
const PING: Duration = Duration::from_secs(20);
/// A server that says nothing for this long, not even a pong, is gone.
const SILENCE: Duration = Duration::from_secs(60);
/// How long the handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(15);
/// The largest frame that is read.
const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How the text of a frame becomes values: one, or several.
type Parse<T> = fn(&str) -> serde_json::Result<Vec<T>>;

/// A followed stream of `T`. It ends when the server closes it in order; anything else is an error, after which it is over.
#[derive(Debug)]
pub struct Follow<T> {
    url: String,
    socket: WebSocketStream<MaybeTlsStream<Listening>>,
    ready: VecDeque<T>,
    parse: Parse<T>,
    heard: Instant,
    next_ping: Instant,
    over: bool,
    value: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Follow<T> {
    /// The next value; `None` when the stream ended in order. Cancel safe: a value is never lost by dropping the future.
    pub async fn next(&mut self) -> Option<Result<T>> {
        loop {
            if let Some(value) = self.ready.pop_front() {
                return Some(Ok(value));
            }
            if self.over {
                return None;
            }
            if let Err(error) = self.step().await {
                self.over = true;
                return Some(Err(error));
            }
        }
    }

    /// The same as a [`Stream`].
    pub fn into_stream(self) -> impl Stream<Item = Result<T>> + Send
    where
        T: Send,
    {
        stream::unfold(self, |mut follow| async move { follow.next().await.map(|item| (item, follow)) })
    }

    /// Waits for one frame or for the time to say something.
    async fn step(&mut self) -> Result<()> {
        let gone = self.heard + SILENCE;
        tokio::select! {
            frame = self.socket.next() => {
                self.heard = Instant::now();
                self.receive(frame)
            }
            () = tokio::time::sleep_until(gone) => Err(self.broken(format!("nothing heard for {} seconds", SILENCE.as_secs()))),
            () = tokio::time::sleep_until(self.next_ping) => {
                self.next_ping = Instant::now() + PING;
                let sent = tokio::time::timeout(PING, self.socket.send(Message::Ping(bytes::Bytes::new()))).await;
                match sent {
                    Ok(Ok(())) => Ok(()),
                    Ok(Err(error)) => Err(self.broken(root_cause(&error))),
                    Err(_) => Err(self.broken("the connection is stuck".to_owned())),
                }
            }
        }
    }

    fn receive(&mut self, frame: Option<tungstenite::Result<Message>>) -> Result<()> {
        match frame {
            Some(Ok(Message::Text(text))) => self.take(text.as_str()),
            Some(Ok(Message::Binary(bytes))) => match std::str::from_utf8(&bytes) {
                Ok(text) => self.take(text),
                Err(_) => Err(self.broken("a frame is not text".to_owned())),
            },
            Some(Ok(Message::Close(Some(close)))) if !is_orderly(close.code.into()) => {
                let reason = if close.reason.is_empty() { format!("closed with {}", close.code) } else { close.reason.to_string() };
                Err(self.broken(reason))
            }
            Some(Ok(Message::Close(_))) => {
                self.over = true;
                Ok(())
            }
            Some(Ok(_)) => Ok(()),
            Some(Err(error)) => Err(self.broken(root_cause(&error))),
            None => Err(self.broken("the connection was closed".to_owned())),
        }
    }

    fn take(&mut self, text: &str) -> Result<()> {
        let values = (self.parse)(text).map_err(|source| ClientError::Decode { url: self.url.clone(), source })?;
        self.ready.extend(values);
        Ok(())
    }

    fn broken(&self, reason: String) -> ClientError {
        ClientError::Broken { url: self.url.clone(), reason }
    }
}

/// One value per frame.
pub(crate) fn one<T: DeserializeOwned>(text: &str) -> serde_json::Result<Vec<T>> {
    serde_json::from_str(text).map(|value| vec![value])
}

/// An array of values per frame.
pub(crate) fn many<T: DeserializeOwned>(text: &str) -> serde_json::Result<Vec<T>> {
    serde_json::from_str(text)
}

impl Client {
    /// Opens a websocket on a route, with the same token as every call.
    pub(crate) async fn follow<T: DeserializeOwned>(&self, mut url: Url, parse: Parse<T>) -> Result<Follow<T>> {
        let shown = url.to_string();
        let scheme = if url.scheme() == "https" { "wss" } else { "ws" };
        if url.set_scheme(scheme).is_err() {
            return Err(ClientError::Url { url: shown, reason: "it must begin with http:// or https://".to_owned() });
        }
        let mut request = url.as_str().into_client_request().map_err(|error| self.handshake_failed(error))?;
        request.headers_mut().extend(self.headers());
        if let Ok(agent) = HeaderValue::from_str(&http::user_agent()) {
            request.headers_mut().insert(reqwest::header::USER_AGENT, agent);
        }
        let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = url.port_or_known_default().unwrap_or(443);
        let handshake = async {
            let stream = Listening::connect(&host, port).await?;
            let limits = WebSocketConfig::default().max_message_size(Some(FRAME_BYTES_MAX)).max_frame_size(Some(FRAME_BYTES_MAX));
            let connector = Connector::Rustls(self.tls());
            tokio_tungstenite::client_async_tls_with_config(request, stream, Some(limits), Some(connector)).await
        };
        let (socket, _) = tokio::time::timeout(HANDSHAKE, handshake)
            .await
            .map_err(|_| ClientError::timed_out(self.base_url(), HANDSHAKE))?
            .map_err(|error| self.handshake_failed(error))?;
        let now = Instant::now();
        let (ready, value) = (VecDeque::new(), PhantomData);
        Ok(Follow { url: shown, socket, ready, parse, heard: now, next_ping: now + PING, over: false, value })
    }

    fn handshake_failed(&self, error: tungstenite::Error) -> ClientError {
        match error {
            tungstenite::Error::Http(response) => {
                let status = StatusCode::from_u16(response.status().as_u16()).unwrap_or(StatusCode::BAD_GATEWAY);
                let bytes = response.body().as_deref().unwrap_or_default();
                ClientError::Api { status: status.as_u16(), body: http::error_body(status, None, bytes) }
            }
            error => ClientError::Unreachable { url: self.base_url().to_owned(), reason: root_cause(&error) },
        }
    }
}

/// RFC 6455, section 7.4.1: 1000 is a normal end. A close frame without a code arrives as none and is one, too.
const fn is_orderly(code: u16) -> bool {
    code == 1000
}
