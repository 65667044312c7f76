//! The agent's side of a connection: nobody gets a stream without a ticket.

use crate::{
    link::{Code, Counted, Link, spawn},
    open::{self, OPEN_WITHIN, OpenError},
    resume::{Resumable, Resumables},
    speedtest,
    stream::TunnelStream,
    tailnet::Tailnet,
};
use berth_wire::{
    ticket::{AgentClaims, VerifyingKey},
    tunnel::{Open, SessionId, Status, Target},
};
use iroh::endpoint::{Connection, RecvStream, SendStream, VarInt};
use std::{io, sync::Arc, time::Duration};
use tokio::{
    io::AsyncWriteExt,
    sync::{OwnedSemaphorePermit, mpsc},
    task::JoinSet,
    time::Instant,
};
use tokio_util::task::AbortOnDropHandle;

/// Connections that have not shown their ticket yet.
pub(crate) const UNVERIFIED_MAX: usize = 64;
/// Connections that have.
pub(crate) const SESSIONS_MAX: usize = 256;
/// Streams at a time within one connection.
pub(crate) const STREAMS_MAX: u32 = 256;
/// Streams at a time before the ticket was seen; a client opens its first ones without waiting.
pub(crate) const STREAMS_UNVERIFIED_MAX: u32 = 8;
/// What a connection may have sent, unread, before its ticket was seen: anyone may connect, and [`UNVERIFIED_MAX`] times this much is held.
pub(crate) const UNVERIFIED_BYTES: u32 = 256 * 1024;
/// How long a refused peer is given to read why.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Why a connection was not let in. Worth a line in the agent's log, no more.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The handshake did not end, or not in time.
    #[error("the connection was not established")]
    Handshake(#[source] io::Error),
    /// No stream with a ticket in time, or one that is not understood.
    #[error("endpoint {peer} showed no ticket: {reason}")]
    NoTicket {
        /// The peer's endpoint id.
        peer: String,
        /// What it did instead.
        reason: String,
    },
    /// The ticket is not one of ours, is over, or is for someone else.
    #[error("endpoint {peer} showed a ticket that is not valid: {reason}")]
    BadTicket {
        /// The peer's endpoint id.
        peer: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It wants to resume a stream that is not there.
    #[error("endpoint {peer} wants to resume a session that is over")]
    Gone {
        /// The peer's endpoint id.
        peer: String,
    },
    /// Too many connections.
    #[error("there are {SESSIONS_MAX} connections already")]
    Busy,
}

/// A connection that has not proven anything yet.
#[derive(Debug)]
pub struct Incoming {
    incoming: iroh::endpoint::Incoming,
    tailnet: Tailnet,
    unverified: OwnedSemaphorePermit,
}

impl Tailnet {
    /// The next connection; `None` once this end is closed. Handle each in a task of its own: [`Incoming::verify`] waits for the peer.
    pub async fn accept(&self) -> Option<Incoming> {
        loop {
            let incoming = self.next_incoming().await?;
            match Arc::clone(self.unverified()).try_acquire_owned() {
                Ok(unverified) => return Some(Incoming { incoming, tailnet: self.clone(), unverified }),
                Err(_) => incoming.refuse(),
            }
        }
    }
}

impl Incoming {
    /// Lets the peer in if it shows, within 10 seconds of the handshake, which has as long, a valid ticket for its own key and ours, or the id of
    /// a resumable stream that is here: then as whoever that belongs to. Otherwise it is told so and the connection is closed with code 403.
    ///
    /// # Errors
    /// [`Refusal`]: why not.
    pub async fn verify(self, key: &VerifyingKey) -> Result<Session, Refusal> {
        let handshake = tokio::time::timeout(OPEN_WITHIN, self.incoming).await;
        let connection = handshake
            .map_err(|_| Refusal::Handshake(io::ErrorKind::TimedOut.into()))?
            .map_err(|error| Refusal::Handshake(io::Error::other(format!("{error:#}"))))?;
        let judge = Judge { key: key.clone(), peer: connection.remote_id().to_string(), own_id: self.tailnet.endpoint_id() };
        let (grant, target, send, recv) = match first_stream(&connection, &judge, &self.tailnet).await {
            Ok(first) => first,
            Err(refusal) => {
                connection.close(Code::Denied.var_int(), b"the agent refused the ticket");
                return Err(refusal);
            }
        };
        // Only now: who has no ticket takes no place from those who have one.
        let Ok(permit) = Arc::clone(self.tailnet.sessions()).try_acquire_owned() else {
            connection.close(Code::Busy.var_int(), b"the agent has too many connections");
            return Err(Refusal::Busy);
        };
        drop(self.unverified);
        connection.set_receive_window(VarInt::from_u32(u32::MAX));
        connection.set_max_concurrent_bi_streams(VarInt::from_u32(STREAMS_MAX));
        let link = Link::new(connection, Counted::new(self.tailnet.links()));
        let door = Door { link, grant, judge: Arc::new(judge), resumables: self.tailnet.resumables().clone() };
        Ok(Session::start(door, (target, send, recv), permit))
    }
}

async fn first_stream(
    connection: &Connection,
    judge: &Judge,
    tailnet: &Tailnet,
) -> Result<(Arc<Grant>, Target, SendStream, RecvStream), Refusal> {
    let peer = judge.peer.clone();
    let no_ticket = |reason: String| Refusal::NoTicket { peer: peer.clone(), reason };
    let deadline = Instant::now() + OPEN_WITHIN;
    let (mut send, mut recv) = match tokio::time::timeout_at(deadline, connection.accept_bi()).await {
        Ok(accepted) => accepted.map_err(|error| no_ticket(error.to_string()))?,
        Err(_) => return Err(no_ticket("it opened no stream".to_owned())),
    };
    let open = match open::read_by(deadline, &mut recv).await {
        Ok(open) => open,
        Err(error) => {
            last_words(&mut send, status_of(&error)).await;
            return Err(no_ticket(error.to_string()));
        }
    };
    if let Target::Resume { id, .. } = &open.target {
        let Some(grant) = tailnet.resumables().grant(id) else {
            last_words(&mut send, Status::Gone).await;
            return Err(Refusal::Gone { peer });
        };
        return Ok((grant, open.target, send, recv));
    }
    match judge.admit(&open) {
        Ok(claims) => Ok((Arc::new(Grant { claims, key_id: judge.key.id.clone() }), open.target, send, recv)),
        Err(reason) => {
            last_words(&mut send, Status::Denied).await;
            Err(Refusal::BadTicket { peer, reason })
        }
    }
}

/// What the tickets of one connection are held against.
#[derive(Debug)]
struct Judge {
    key: VerifyingKey,
    peer: String,
    own_id: String,
}

impl Judge {
    /// The ticket must be ours, for this peer, for this agent and for what it wants.
    fn admit(&self, open: &Open) -> Result<AgentClaims, String> {
        let ticket = open.ticket.as_ref().ok_or("there is none")?;
        let claims = self.key.agent(ticket.expose()).map_err(|error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            cause.unwrap_or_else(|| error.to_string())
        })?;
        if claims.eid != self.peer {
            return Err("it belongs to another endpoint".to_owned());
        }
        if claims.agent != self.own_id {
            return Err("it is for another agent".to_owned());
        }
        if !covers(&claims, &open.target) {
            return Err("it is for another target".to_owned());
        }
        Ok(claims)
    }
}

/// Whether a ticket is good for a target. A ping reaches nothing: it is how a connection begins.
fn covers(claims: &AgentClaims, target: &Target) -> bool {
    claims.only.as_ref().is_none_or(|only| only == target || *target == Target::Ping)
}

const fn status_of(error: &OpenError) -> Status {
    match error {
        OpenError::Malformed => Status::Malformed,
        OpenError::Read(_) | OpenError::Late => Status::Denied,
    }
}

/// Writes the status and waits a moment for it to arrive.
async fn last_words(send: &mut SendStream, status: Status) {
    if send.write_all(&[status as u8]).await.is_ok() && send.finish().is_ok() {
        tokio::time::timeout(LAST_WORDS, send.stopped()).await.ok();
    }
}

/// A connection whose peer showed a valid ticket. Pings and speedtests are answered here; everything else is a [`Request`].
#[derive(Debug)]
pub struct Session {
    door: Door,
    requests: mpsc::Receiver<Request>,
    _streams: AbortOnDropHandle<()>,
    _permit: OwnedSemaphorePermit,
}

/// What let a peer in: the ticket's claims, and which of the deployment's keys had signed them.
#[derive(Debug)]
pub(crate) struct Grant {
    pub(crate) claims: AgentClaims,
    pub(crate) key_id: String,
}

/// What every stream of a connection is served with.
#[derive(Debug, Clone)]
struct Door {
    link: Arc<Link>,
    grant: Arc<Grant>,
    judge: Arc<Judge>,
    resumables: Resumables,
}

impl Door {
    /// Whether a later stream gets what it wants: by a ticket of its own, or by the one that the connection began with. Both are in the name
    /// of one user, since it is the connection that ends when they may not stay.
    fn lets(&self, open: &Open) -> bool {
        match open.ticket {
            None => covers(&self.grant.claims, &open.target),
            Some(_) => self.judge.admit(open).is_ok_and(|claims| claims.sub == self.grant.claims.sub),
        }
    }
}

impl Session {
    fn start(door: Door, first: (Target, SendStream, RecvStream), permit: OwnedSemaphorePermit) -> Self {
        let (found, requests) = mpsc::channel(1);
        let streams = spawn(accept_streams(door.clone(), first, found));
        Self { door, requests, _streams: streams, _permit: permit }
    }

    /// Who is at the other end.
    #[must_use]
    pub fn claims(&self) -> &AgentClaims {
        &self.door.grant.claims
    }

    /// Which of the deployment's keys had signed the ticket.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.door.grant.key_id
    }

    /// The next stream the peer wants; `None` once the connection is over.
    pub async fn next(&mut self) -> Option<Request> {
        self.requests.recv().await
    }

    /// Ends the connection and all its streams now.
    pub fn close(&self) {
        self.door.link.close(Code::Done, "the agent closed the connection");
    }

    /// The same, and tells the peer that it may not come back.
    pub fn revoke(&self) {
        self.door.link.close(Code::Revoked, "access was withdrawn");
    }
}

/// A stream the peer wants.
#[derive(Debug)]
pub struct Request {
    target: Target,
    door: Door,
    send: SendStream,
    recv: RecvStream,
}

impl Request {
    /// What the peer wants it joined to; never what is answered here.
    #[must_use]
    pub const fn target(&self) -> &Target {
        &self.target
    }

    /// Says yes.
    ///
    /// # Errors
    /// When the connection is over.
    pub async fn accept(mut self) -> io::Result<TunnelStream> {
        self.send.write_all(&[Status::Ok as u8]).await?;
        Ok(TunnelStream::new(self.door.link, self.send, self.recv, false))
    }

    /// Says yes to a [`Target::Session`]. The stream outlives the connection: serve it in a task that does, too.
    ///
    /// # Errors
    /// When the connection is over, or the agent has too many such streams.
    pub async fn accept_resumable(self) -> io::Result<Resumable> {
        let Door { grant, resumables, .. } = self.door.clone();
        let begun = resumables.begin(grant, self.accept().await?);
        begun.ok_or_else(|| io::Error::new(io::ErrorKind::QuotaExceeded, "there are too many sessions"))
    }

    /// Says that the target cannot be reached.
    pub async fn refuse(mut self) {
        last_words(&mut self.send, Status::Refused).await;
    }
}

/// Reads the first frame of each stream, side by side: a slow one keeps nobody waiting.
async fn accept_streams(door: Door, first: (Target, SendStream, RecvStream), found: mpsc::Sender<Request>) {
    let mut streams = JoinSet::new();
    let (target, send, recv) = first;
    streams.spawn(dispatch(Request { target, door: door.clone(), send, recv }, found.clone()));
    loop {
        tokio::select! {
            accepted = door.link.connection().accept_bi() => {
                let Ok((send, recv)) = accepted else { return };
                streams.spawn(read_request(door.clone(), send, recv, found.clone()));
            }
            Some(_) = streams.join_next() => {}
        }
    }
}

async fn read_request(door: Door, mut send: SendStream, mut recv: RecvStream, found: mpsc::Sender<Request>) {
    match open::read(&mut recv).await {
        Ok(open) if door.lets(&open) => dispatch(Request { target: open.target, door, send, recv }, found).await,
        Ok(_) => last_words(&mut send, Status::Denied).await,
        Err(error) => last_words(&mut send, status_of(&error)).await,
    }
}

async fn dispatch(request: Request, found: mpsc::Sender<Request>) {
    // What is answered here ends with the stream or the connection; either way there is nobody left to tell.
    match request.target.clone() {
        Target::Ping => drop(echo(request).await),
        Target::Speedtest { direction, seconds } => drop(speedtest::answer(request, direction, seconds).await),
        Target::Resume { id, received } => drop(resume(request, &id, received).await),
        _ => drop(found.send(request).await),
    }
}

async fn resume(mut request: Request, id: &SessionId, received: u64) -> io::Result<()> {
    let resumables = request.door.resumables.clone();
    // Its claims may be another user's: who knows the id may go on with that stream, not with more.
    if resumables.grant(id).is_none() {
        last_words(&mut request.send, Status::Gone).await;
        return Ok(());
    }
    let stream = request.accept().await?;
    resumables.resume(id, received, stream);
    Ok(())
}

async fn echo(request: Request) -> io::Result<()> {
    let (mut reader, mut writer) = tokio::io::split(request.accept().await?);
    tokio::io::copy(&mut reader, &mut writer).await?;
    writer.shutdown().await
}
