//! A request on its way to an app and the answer on its way back: HTTP/1.1 over a stream to the agent, streamed both ways, never held.

use super::{Apps, Visit, Visitor, head, page::Page, redirect, upgrade};
use crate::{
    presence::lock,
    tunnel::{Admitted, TunnelError},
};
use axum::body::Body;
use berth_net::TunnelStream;
use berth_wire::{app::Opening, tunnel::Target};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version, request::Parts};
use hyper::{
    body::{Body as HttpBody, Frame, Incoming, SizeHint},
    client::conn::http1::{self, Connection, SendRequest},
    upgrade::OnUpgrade,
};
use hyper_util::rt::TokioIo;
use std::{
    error::Error,
    io,
    pin::{Pin, pin},
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep_until, timeout},
};

/// An app must say something within this time of the last byte that it was sent.
const FIRST_BYTE: Duration = Duration::from_secs(120);
/// The largest head of an app's answer.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// The most headers of it.
const HEADERS_MAX: usize = 200;
/// The most connections to apps that are kept for one connection of a browser.
const KEPT_MAX: usize = 8;
/// How long a connection that failed has to say why.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Connections to apps that wait for the next request of the same browser's connection. Nobody else's requests ever share them.
#[derive(Debug, Default)]
pub(crate) struct Kept(Mutex<Vec<Line>>);

/// A connection to an app.
#[derive(Debug)]
struct Line {
    to: (String, u16),
    sender: SendRequest<Watched>,
    /// Why it broke, once it has.
    broke: oneshot::Receiver<io::ErrorKind>,
}

impl Kept {
    /// One that is ready. Those that are over go.
    fn take(&self, to: &(String, u16)) -> Option<Line> {
        let mut lines = lock(&self.0);
        lines.retain(|line| !line.sender.is_closed());
        let at = lines.iter().position(|line| line.to == *to && line.sender.is_ready())?;
        Some(lines.swap_remove(at))
    }

    fn keep(&self, line: Line) {
        let mut lines = lock(&self.0);
        if lines.len() < KEPT_MAX {
            lines.push(line);
        }
    }
}

/// Why an app gave no answer.
enum Failure {
    /// The request was not sent and can be: the connection had ended while it was kept.
    Unsent(Box<Request<Watched>>),
    Shown(Page),
    /// The request was sent, and the connection ended before an answer.
    HungUp,
    /// The agent refused the ticket.
    Denied,
    /// There is no way to the agent.
    Unreachable(TunnelError),
}

/// Shows an app to a visitor who may see it.
pub(super) async fn forward(
    apps: &Apps,
    (visit, body): (Visit, Body),
    opening: &Opening,
    from: Visitor<'_>,
) -> Result<Response<Body>, Page> {
    if let Some(root) = elsewhere(&visit, opening) {
        return Ok(redirect(StatusCode::TEMPORARY_REDIRECT, &root));
    }
    let websocket = head::is_websocket(&visit.head);
    let (site, to) = (&apps.0.site, (opening.ticket.agent_endpoint_id.clone(), opening.port));
    let headers = head::to_app(&visit, (&site.host(&visit.app), site.scheme()), from.peer, websocket);
    let Visit { app, mut head, session, .. } = visit;
    let browser = head.extensions.remove::<OnUpgrade>().filter(|_| websocket);
    let (request, active) = outgoing(head, headers, body);

    let kept = if websocket { None } else { from.kept.take(&to) };
    let (mut response, line) = match exchange(apps, opening, (to, kept), (request, active)).await {
        Ok(answered) => answered,
        Err(Failure::Denied) => {
            apps.0.admissions.forget(&app, session.as_ref());
            return Err(Page::broken("The workspace did not let the relay in"));
        }
        Err(Failure::Unreachable(error)) => {
            // Perhaps the agent is another one by now.
            apps.0.admissions.forget(&app, session.as_ref());
            return Err(Page::tunnel(&error));
        }
        Err(Failure::Shown(page)) => return Err(page),
        Err(Failure::Unsent(_) | Failure::HungUp) => return Err(Page::broken("It hung up before it had answered")),
    };
    let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    head::to_browser(response.headers_mut(), switched);
    match browser {
        Some(browser) if switched => {
            let socket = (browser, hyper::upgrade::on(&mut response));
            apps.0.tasks.spawn(upgrade::join(apps.clone(), socket, (app, session)));
        }
        _ if switched => return Err(Page::broken("It changed the protocol without being asked")),
        _ => from.kept.keep(line),
    }
    Ok(response.map(Body::new))
}

/// Where an app begins that does not begin at `/`. Every other path goes to the app as it is.
fn elsewhere(visit: &Visit, opening: &Opening) -> Option<String> {
    let reads = matches!(visit.head.method, Method::GET | Method::HEAD);
    let at_root = visit.head.uri.path_and_query().is_some_and(|path| path.as_str() == "/");
    (reads && at_root && opening.root != "/").then(|| format!("{}{}", visit.origin, opening.root))
}

/// When the last byte was sent to the app.
type Active = Arc<Mutex<Instant>>;

/// The request as the app gets it: the target as it came, byte for byte.
fn outgoing(head: Parts, headers: HeaderMap, body: Body) -> (Request<Watched>, Active) {
    let active = Arc::new(Mutex::new(Instant::now()));
    let mut out = Request::new(Watched { body, active: Arc::clone(&active) });
    *out.method_mut() = head.method;
    *out.version_mut() = Version::HTTP_11;
    *out.headers_mut() = headers;
    // Without scheme and host, which a request over HTTP/2 has there.
    *out.uri_mut() = head.uri.path_and_query().map(|path| Uri::from(path.clone())).unwrap_or_default();
    (out, active)
}

/// Sends a request by the kept connection, or by a new one when there is none or it had ended.
async fn exchange(
    apps: &Apps,
    opening: &Opening,
    (to, kept): ((String, u16), Option<Line>),
    (request, active): (Request<Watched>, Active),
) -> Result<(Response<Incoming>, Line), Failure> {
    // The app may have hung up just then: whatever asks and changes nothing is asked once more.
    let again = if kept.is_some() { copy(&request) } else { None };
    let request = match kept {
        None => request,
        Some(line) => match send(line, (request, &active), opening.port).await {
            Err(Failure::Unsent(request)) => *request,
            Err(Failure::HungUp) if again.is_some() => again.ok_or(Failure::HungUp)?,
            other => return other,
        },
    };
    let line = dial(apps, opening, to).await?;
    send(line, (request, &active), opening.port).await
}

/// The same request again, if it has no body and may be sent twice.
fn copy(request: &Request<Watched>) -> Option<Request<Watched>> {
    let body = request.body();
    if !request.method().is_safe() || !body.is_end_stream() {
        return None;
    }
    let mut copy = Request::new(Watched { body: Body::empty(), active: Arc::clone(&body.active) });
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}

/// A new connection to the app.
async fn dial(apps: &Apps, opening: &Opening, to: (String, u16)) -> Result<Line, Failure> {
    let agent = Admitted::from(opening.ticket.clone());
    let stream = apps.0.tunnels.open(&agent, Target::Tcp { port: opening.port }).await.map_err(Failure::Unreachable)?;
    let mut builder = http1::Builder::new();
    builder.max_headers(HEADERS_MAX).max_header_size(HEAD_BYTES_MAX);
    let shaken = builder.handshake::<_, Watched>(TokioIo::new(stream)).await;
    let (sender, connection) = shaken.map_err(|_| Failure::HungUp)?;
    let (broke, hears) = oneshot::channel();
    apps.0.tasks.spawn(carry(connection, broke));
    Ok(Line { to, sender, broke: hears })
}

async fn carry(connection: Connection<TokioIo<TunnelStream>, Watched>, broke: oneshot::Sender<io::ErrorKind>) {
    if let Err(error) = connection.with_upgrades().await {
        // Nobody waits for it when it was kept.
        broke.send(kind(&error).unwrap_or(io::ErrorKind::Other)).ok();
    }
}

async fn send(
    mut line: Line,
    (request, active): (Request<Watched>, &Active),
    port: u16,
) -> Result<(Response<Incoming>, Line), Failure> {
    *lock(active) = Instant::now();
    let sent = within(FIRST_BYTE, active, line.sender.try_send_request(request)).await;
    let mut failed = match sent {
        None => return Err(Failure::Shown(Page::slow(FIRST_BYTE.as_secs()))),
        Some(Ok(response)) => return Ok((response, line)),
        Some(Err(failed)) => failed,
    };
    let why = match kind(failed.error()) {
        Some(kind) => Some(kind),
        None => timeout(LAST_WORDS, &mut line.broke).await.ok().and_then(Result::ok),
    };
    match (why, failed.take_message()) {
        (Some(io::ErrorKind::ConnectionRefused), _) => Err(Failure::Shown(Page::not_listening(port))),
        (Some(io::ErrorKind::PermissionDenied), _) => Err(Failure::Denied),
        (_, Some(request)) => Err(Failure::Unsent(Box::new(request))),
        (_, None) => {
            tracing::debug!(error = %failed.error(), "an app did not answer");
            Err(Failure::HungUp)
        }
    }
}

/// Waits for as long as something was sent within `patience`.
async fn within<T>(patience: Duration, active: &Active, answer: impl Future<Output = T>) -> Option<T> {
    let mut answer = pin!(answer);
    loop {
        let until = *lock(active) + patience;
        if until <= Instant::now() {
            return None;
        }
        tokio::select! {
            answered = &mut answer => return Some(answered),
            () = sleep_until(until) => {}
        }
    }
}

/// What kind of I/O error is behind an error.
fn kind(error: &hyper::Error) -> Option<io::ErrorKind> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Some(error.kind());
        }
        cause = error.source();
    }
    None
}

/// The body of a request, which notes when it was last read.
#[derive(Debug)]
struct Watched {
    body: Body,
    active: Active,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if polled.is_ready() {
            *lock(&self.active) = Instant::now();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
