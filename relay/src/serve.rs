//! One port for the relay and our HTTP.
//!
//! Our own accept loop: `axum::serve` wraps the socket in a type that the relay's upgrade does not know, and has no limits.

use crate::{Relay, admission::Expected};
use axum::{Router, body::Body, extract::ConnectInfo};
use http::{Method, Request, Response, StatusCode};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use iroh_relay::server::{http_server::RelayServiceWithNotify, streams::MaybeTlsStream};
use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// A request's head must be whole within this time, which is also how long an idle connection is kept.
const HEADER_WITHIN: Duration = Duration::from_secs(10);
/// The largest head of a request.
const HEADER_BYTES_MAX: usize = 32 * 1024;
/// An endpoint must have proven itself within this time of its upgrade.
const ADMISSION_WITHIN: Duration = Duration::from_secs(10);
/// HTTP connections at a time, and relay connections that are being admitted. Admitted ones have a limit of their own.
const CONNECTIONS_MAX: usize = 4096;
/// How long requests may go on once we drain.
const GRACE: Duration = Duration::from_secs(10);
/// Pause after an accept that failed for want of file descriptors, so that the loop does not spin.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Serves `router` and `relay` on `listener` until `drain` is cancelled; then takes no more connections, lets running requests end within 10
/// seconds, and disconnects the endpoints. `/relay`, `/ping` and `/generate_204` are the relay's, everything else is the router's, websockets
/// included. Handlers find the peer's address as [`ConnectInfo<SocketAddr>`].
pub async fn serve(listener: TcpListener, router: Router, relay: Relay, drain: CancellationToken) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = drain.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &slots) => accepted,
        };
        let Some((stream, peer, slot)) = accepted else { continue };
        let connection = Connection { router: router.clone(), relay: relay.clone(), peer, relayed: OnceLock::new() };
        connections.spawn(connection.serve(stream, drain.clone(), slot));
    }
    drop(listener);
    let finished = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, finished).await.is_err() {
        tracing::warn!(connections = connections.len(), "requests cut off after the grace period");
        connections.shutdown().await;
    }
    relay.shutdown().await;
}

async fn accept(listener: &TcpListener, slots: &Arc<Semaphore>) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    // The slot first: when there is none, connections wait in the kernel's queue.
    let slot = Arc::clone(slots).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => {
            tune(&stream, peer);
            Some((stream, peer, slot))
        }
        Err(error) => {
            tracing::warn!(%error, "cannot accept a connection");
            tokio::time::sleep(ACCEPT_AGAIN).await;
            None
        }
    }
}

/// No Nagle; and BBR where the kernel has it, which carries 30 times as much as cubic over a lossy long link. Both are best effort.
fn tune(stream: &TcpStream, peer: SocketAddr) {
    stream.set_nodelay(true).ok();
    #[cfg(target_os = "linux")]
    if !peer.ip().is_loopback() {
        rustix::net::sockopt::set_tcp_congestion(stream, "bbr").ok();
    }
    #[cfg(not(target_os = "linux"))]
    let _ = peer;
}

/// One TCP connection.
struct Connection {
    router: Router,
    relay: Relay,
    peer: SocketAddr,
    /// Set once the connection was handed to the relay.
    relayed: OnceLock<Expected>,
}

impl Connection {
    async fn serve(self, stream: TcpStream, drain: CancellationToken, slot: OwnedSemaphorePermit) {
        // A second handle on the socket, to hang up on an endpoint that upgrades and then does not prove itself.
        let handle = rustix::io::dup(&stream).ok();
        let this = Arc::new(self);
        let answering = Arc::clone(&this);
        let service = service_fn(move |request| {
            let this = Arc::clone(&answering);
            async move { Ok::<_, Infallible>(this.answer(request).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_WITHIN)
            .max_header_size(HEADER_BYTES_MAX)
            .serve_connection(TokioIo::new(MaybeTlsStream::Plain(stream)), service)
            .with_upgrades();
        let mut connection = std::pin::pin!(connection);
        let result = tokio::select! {
            result = connection.as_mut() => result,
            () = drain.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = result {
            // A peer that hangs up, is slow, or speaks something else: its own business.
            tracing::debug!(%error, "connection ended");
        }
        if let (Some(expected), Some(handle)) = (this.relayed.get(), handle)
            && tokio::time::timeout(ADMISSION_WITHIN, expected.decided()).await.is_err()
        {
            rustix::net::shutdown(&handle, rustix::net::Shutdown::Both).ok();
        }
        drop(slot);
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/relay") => self.upgrade(request).await,
            (&Method::GET, "/ping") => plain(StatusCode::OK),
            (&Method::GET, "/generate_204") => no_content(&request),
            _ => {
                let mut request = request.map(Body::new);
                request.extensions_mut().insert(ConnectInfo(self.peer));
                match self.router.clone().oneshot(request).await {
                    Ok(response) => response,
                    Err(never) => match never {},
                }
            }
        }
    }

    /// Hands the connection to the relay, which must admit or refuse the endpoint in time.
    async fn upgrade(&self, mut request: Request<Incoming>) -> Response<Body> {
        let expected = self.relay.expect();
        expected.mark(request.headers_mut());
        let service = RelayServiceWithNotify::new(self.relay.service().clone(), Arc::default());
        let response = match hyper::service::Service::call(&service, request).await {
            Ok(response) => response.map(Body::new),
            Err(error) => {
                tracing::warn!(%error, "the relay cannot answer");
                return plain(StatusCode::INTERNAL_SERVER_ERROR);
            }
        };
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            self.relayed.set(expected).ok();
        }
        response
    }
}

fn plain(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// How clients tell us from a captive portal: the challenge comes back.
fn no_content(request: &Request<Incoming>) -> Response<Body> {
    let mut response = plain(StatusCode::NO_CONTENT);
    let challenge = request.headers().get("X-Iroh-Challenge").and_then(|value| value.to_str().ok());
    let allowed = |character: char| character.is_ascii_alphanumeric() || matches!(character, '.' | '-' | '_');
    if let Some(challenge) = challenge.filter(|text| !text.is_empty() && text.len() < 64 && text.chars().all(allowed))
        && let Ok(value) = format!("response {challenge}").parse()
    {
        response.headers_mut().insert("X-Iroh-Response", value);
    }
    response
}
