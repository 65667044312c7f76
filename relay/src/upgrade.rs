//! An endpoint's way in: the WebSocket upgrade, its proof of who it is, the gate, and then iroh's relay.
//!
//! [`iroh_relay::server::http_server::RelayService`] does the same, but wants the socket to be of a type of its own, which knows no slots, and
//! does it in a task that nobody owns and that has no deadline. Its parts are public.

use crate::{Relay, channel::Channel};
use axum::body::Body;
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures_util::{Sink, Stream};
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode,
    header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE},
    request::Parts,
};
use hyper::{body::Incoming, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use iroh_relay::{
    ExportKeyingMaterial, MAX_PACKET_SIZE,
    http::{CLIENT_AUTH_HEADER, ProtocolVersion},
    protos::{handshake, streams::StreamError},
    server::{ClientRequest, client, streams::RelayedStream},
};
use sha1::{Digest, Sha1};
use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio_websockets::{Limits, Message, ServerBuilder, WebSocketStream};

/// What is appended to the client's key (RFC 6455, section 1.3).
const ACCEPT_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The only WebSocket version there is.
const VERSION: HeaderValue = HeaderValue::from_static("13");
/// The largest frame, as in iroh's own server; a batch of packets.
const FRAME_BYTES_MAX: usize = 1024 * 1024;
const _: () = assert!(MAX_PACKET_SIZE < FRAME_BYTES_MAX);

/// An endpoint that asked to be let in and has yet to prove who it is.
#[derive(Debug)]
pub(crate) struct Upgrade {
    parts: Parts,
    upgraded: OnUpgrade,
    version: ProtocolVersion,
}

/// Why a request to `/relay` cannot be answered with an upgrade.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
enum BadUpgrade {
    #[error("header {0} is missing")]
    Missing(HeaderName),
    #[error("header {0} does not ask for websocket version 13")]
    NotWebsocket(HeaderName),
    #[error("no relay protocol in common; this relay speaks {}", ProtocolVersion::all_joined())]
    Protocol,
}

/// Why an endpoint that was upgraded is not let in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdmitError {
    #[error("the connection ended before its upgrade")]
    Upgrade(#[from] hyper::Error),
    #[error("the connection is not one of this port")]
    Foreign,
    #[error("the endpoint spoke before its turn")]
    Early,
    #[error("the endpoint was not let in: {0:#}")]
    Handshake(#[from] handshake::Error),
}

impl Upgrade {
    /// Answers a request to `/relay`. The connection is to be given to [`Upgrade::admit`] once the answer is sent.
    pub(crate) fn answer(mut request: Request<Incoming>) -> (Response<Body>, Option<Self>) {
        match agree(request.headers()) {
            Ok((version, response)) => {
                let upgraded = hyper::upgrade::on(&mut request);
                (response, Some(Self { parts: request.into_parts().0, upgraded, version }))
            }
            Err(bad) => {
                let mut response = Response::new(Body::from(bad.to_string()));
                *response.status_mut() = StatusCode::BAD_REQUEST;
                response.headers_mut().insert(SEC_WEBSOCKET_VERSION, VERSION);
                (response, None)
            }
        }
    }

    /// Lets the endpoint prove who it is, asks the gate, and hands the connection to the relay. The caller sets the deadline.
    pub(crate) async fn admit(self, relay: &Relay) -> Result<(), AdmitError> {
        let upgraded = self.upgraded.await?.downcast::<TokioIo<Channel>>().map_err(|_| AdmitError::Foreign)?;
        if !upgraded.read_buf.is_empty() {
            return Err(AdmitError::Early);
        }
        let limits = Limits::default().max_payload_len(Some(FRAME_BYTES_MAX));
        let mut frames = Frames(ServerBuilder::new().limits(limits).serve(upgraded.io.into_inner()));
        let proof = self.parts.headers.get(CLIENT_AUTH_HEADER).cloned();
        let proven = handshake::serverside(&mut frames, proof).await?;
        let request = ClientRequest::new(proven.client_key, self.version, self.parts);
        let guard = proven.authorize_with(&request, relay.access(), &mut frames).await?;
        frames.0.get_mut().leave_slot();
        let stream = RelayedStream::new(frames, relay.keys().clone());
        relay.clients().register(client::Config::new(guard, stream, self.version), relay.metrics().clone());
        Ok(())
    }
}

/// The relay protocol that both sides speak, and the answer that says so.
fn agree(headers: &HeaderMap) -> Result<(ProtocolVersion, Response<Body>), BadUpgrade> {
    let header = |name: HeaderName| headers.get(&name).ok_or(BadUpgrade::Missing(name));
    if !header(UPGRADE)?.as_bytes().eq_ignore_ascii_case(b"websocket") {
        return Err(BadUpgrade::NotWebsocket(UPGRADE));
    }
    if header(SEC_WEBSOCKET_VERSION)? != VERSION {
        return Err(BadUpgrade::NotWebsocket(SEC_WEBSOCKET_VERSION));
    }
    let digest = Sha1::new().chain_update(header(SEC_WEBSOCKET_KEY)?).chain_update(ACCEPT_SUFFIX).finalize();
    let accept = HeaderValue::try_from(STANDARD.encode(digest)).map_err(|_| BadUpgrade::Missing(SEC_WEBSOCKET_KEY))?;
    let offered = header(SEC_WEBSOCKET_PROTOCOL)?.to_str().map_err(|_| BadUpgrade::Protocol)?;
    let common = offered.split(',').filter_map(|name| ProtocolVersion::match_from_str(name.trim()));
    let version = common.max().ok_or(BadUpgrade::Protocol)?;

    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().extend([
        (CONNECTION, HeaderValue::from_static("upgrade")),
        (UPGRADE, HeaderValue::from_static("websocket")),
        (SEC_WEBSOCKET_ACCEPT, accept),
        (SEC_WEBSOCKET_PROTOCOL, version.to_header_value()),
    ]);
    Ok((version, response))
}

/// The binary frames of a WebSocket, as iroh's relay reads and writes them.
#[derive(Debug)]
struct Frames(WebSocketStream<Channel>);

impl Stream for Frames {
    type Item = Result<Bytes, StreamError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match ready!(Pin::new(&mut self.0).poll_next(cx)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(StreamError::from_std(error)))),
                Some(Ok(message)) if message.is_close() => return Poll::Ready(None),
                Some(Ok(message)) if message.is_binary() => return Poll::Ready(Some(Ok(message.into_payload().into()))),
                // Pings are answered below us; text has no meaning here.
                Some(Ok(_)) => {}
            }
        }
    }
}

impl Sink<Bytes> for Frames {
    type Error = StreamError;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Pin::new(&mut self.0).poll_ready(cx).map_err(StreamError::from_std)
    }

    fn start_send(mut self: Pin<&mut Self>, bytes: Bytes) -> Result<(), Self::Error> {
        Pin::new(&mut self.0).start_send(Message::binary(bytes)).map_err(StreamError::from_std)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Pin::new(&mut self.0).poll_flush(cx).map_err(StreamError::from_std)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Pin::new(&mut self.0).poll_close(cx).map_err(StreamError::from_std)
    }
}

impl ExportKeyingMaterial for Frames {
    /// Where TLS does not end in this process there is none, and the endpoint signs a challenge instead.
    fn export_keying_material<T: AsMut<[u8]>>(&self, output: T, label: &[u8], context: Option<&[u8]>) -> Option<T> {
        self.0.get_ref().export_keying_material(output, label, context)
    }
}
