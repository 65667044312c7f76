//! The state of a resumable stream at one end, without I/O: bytes and instants in, bytes and a deadline out.
//!
//! ```text
//!             begin (client), greet (agent)              close, the other's close
//!  Away ──────────────────────────────────────> Open ──────────────────────────────> ended
//!   ^ │                                          ^ │                                   ^
//!   │ └─ rejoin (client) ──> Greeting ─ welcome ─┘ │      end: gone, refused, vanished  │
//!   │    readmit (agent) ──────────────────────────┘      ─────────────────────────────┘
//!   └──────────────────────── lose ────────────────
//! ```

use super::{
    frame::{CREDENTIALS_BYTES, Credentials, Frame, HEADER_BYTES, Reason, Violation},
    incoming::Incoming,
    liveness::{Liveness, Verdict},
    outgoing::Outgoing,
};
use std::{io, task::Poll, time::Duration};
use tokio::time::Instant;

/// How a stream ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// The other end closed it, and said why.
    Closed(Reason),
    /// The process that held the other end is gone.
    Vanished,
    /// The agent does not know it any more: it was away for too long, or the agent restarted.
    Gone,
    /// It was away for longer than this, its limit.
    Expired(Duration),
    /// It never came about, or may not go on.
    Refused(io::ErrorKind, String),
}

impl Ended {
    /// What readers and writers are told; `None` is a plain end.
    fn error(&self) -> Option<io::Error> {
        use io::ErrorKind as Kind;
        let (kind, text) = match self {
            Self::Closed(Reason::Done | Reason::Stopped) => return None,
            Self::Closed(Reason::Broken) => (Kind::ConnectionReset, "the other end gave the stream up".to_owned()),
            Self::Closed(Reason::Revoked) => (Kind::PermissionDenied, "you may not be in the workspace any more".to_owned()),
            Self::Vanished => (Kind::ConnectionAborted, "the other end is gone".to_owned()),
            Self::Gone => (Kind::ConnectionAborted, "the agent does not know the session any more".to_owned()),
            Self::Expired(limit) => {
                (Kind::TimedOut, format!("the session was without a connection for more than {} minutes", limit.as_secs() / 60))
            }
            Self::Refused(kind, text) => (*kind, text.clone()),
        };
        Some(io::Error::new(kind, text))
    }
}

/// How the stream and the connection at hand are to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// There is none.
    Away,
    /// The client asked to resume; nothing is sent before the welcome.
    Greeting,
    /// Frames go both ways.
    Open,
}

/// The part of a frame that has arrived.
#[derive(Debug)]
enum Parser {
    Header { bytes: [u8; HEADER_BYTES], have: usize },
    Data { left: usize },
    Credentials { bytes: [u8; CREDENTIALS_BYTES], have: usize },
}

impl Parser {
    const START: Self = Self::Header { bytes: [0; HEADER_BYTES], have: 0 };
}

/// One end of a resumable stream.
#[derive(Debug)]
pub(super) struct Machine {
    outgoing: Outgoing,
    incoming: Incoming,
    parser: Parser,
    line: Line,
    /// Encoded and not yet on the connection, before the body of `outgoing`; `staged_sent` of it already is.
    staged: Vec<u8>,
    staged_sent: usize,
    /// Only the client's end: watches the connection.
    liveness: Option<Liveness>,
    asking: bool,
    /// What the welcome told the client.
    credentials: Option<Credentials>,
    /// Whether the agent's end has heard that its client knows the credentials.
    is_known: bool,
    /// Whether a frame has arrived on the connection at hand.
    has_heard: bool,
    closing: Option<Reason>,
    close_staged: bool,
    ended: Option<Ended>,
}

impl Machine {
    pub(super) fn new() -> Self {
        Self {
            outgoing: Outgoing::default(),
            incoming: Incoming::default(),
            parser: Parser::START,
            line: Line::Away,
            staged: Vec::new(),
            staged_sent: 0,
            liveness: None,
            asking: false,
            credentials: None,
            is_known: false,
            has_heard: false,
            closing: None,
            close_staged: false,
            ended: None,
        }
    }

    // Connections come and go.

    /// The client's end has a connection for a new stream. Also after one that was lost before its welcome: nothing was received on it.
    pub(super) fn begin(&mut self, now: Instant) {
        self.outgoing.restart();
        self.join(Line::Open);
        self.liveness = Some(Liveness::new(now));
    }

    /// The client's end has a connection on which it asked to resume.
    pub(super) fn rejoin(&mut self, now: Instant) {
        self.join(Line::Greeting);
        let mut liveness = Liveness::new(now);
        liveness.await_welcome(now);
        self.liveness = Some(liveness);
    }

    /// The agent's end has its first connection.
    pub(super) fn greet(&mut self, credentials: &Credentials) {
        self.join(Line::Open);
        self.staged.extend_from_slice(&Frame::Welcome { received: 0, is_new: true }.encode());
        self.staged.extend_from_slice(&credentials.encode());
    }

    /// The agent's end has a new connection, whose client has received everything before `received`. On a violation the old one stays.
    pub(super) fn readmit(&mut self, received: u64) -> Result<(), Violation> {
        self.outgoing.rewind(received)?;
        self.join(Line::Open);
        self.staged.extend_from_slice(&Frame::Welcome { received: self.incoming.received(), is_new: false }.encode());
        Ok(())
    }

    fn join(&mut self, line: Line) {
        self.lose();
        self.line = line;
        self.incoming.reconnect();
    }

    /// The connection at hand is lost.
    pub(super) fn lose(&mut self) {
        self.line = Line::Away;
        self.parser = Parser::START;
        (self.staged, self.staged_sent) = (Vec::new(), 0);
        (self.liveness, self.asking, self.has_heard, self.close_staged) = (None, false, false, false);
        self.outgoing.interrupt();
        self.rest();
    }

    /// The connection ended in order in the middle of the frames. At the agent's end that says that the client is gone for good, unless it
    /// never said anything on this connection: then it had given it up before.
    pub(super) fn lose_in_order(&mut self, is_first: bool) {
        let vanished = self.liveness.is_none() && (is_first || self.has_heard);
        self.lose();
        if vanished {
            self.end(Ended::Vanished);
        }
    }

    /// What resumes the stream, and how far we have received; `None` before the welcome.
    pub(super) fn resumption(&self) -> Option<(Credentials, u64)> {
        self.credentials.clone().map(|credentials| (credentials, self.incoming.received()))
    }

    /// Whether the welcome has come, at the client's end.
    pub(super) fn is_welcome(&self) -> bool {
        self.line == Line::Open && self.credentials.is_some()
    }

    /// Whether the other end knows how to resume.
    pub(super) const fn is_known(&self) -> bool {
        self.is_known
    }

    // The person's side.

    /// Takes what there is room for; 0 while there is none.
    pub(super) fn write(&mut self, data: &[u8]) -> Result<usize, io::Error> {
        if let Some(ended) = &self.ended {
            return Err(ended.error().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into()));
        }
        if self.outgoing.has_ended() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        Ok(self.outgoing.write(data))
    }

    /// No bytes follow those written.
    pub(super) const fn finish(&mut self) {
        self.outgoing.end();
    }

    /// The next bytes to be read, as far as they lie in one piece; none at the end, and while there are none.
    pub(super) fn unread(&self) -> &[u8] {
        self.incoming.unread()
    }

    /// So many of [`Machine::unread`] were read.
    pub(super) fn consume(&mut self, count: usize) {
        self.incoming.consume(count);
    }

    /// What it means that nothing is [unread](Machine::unread): the end, an error, or pending.
    pub(super) fn poll_end(&self) -> Poll<io::Result<()>> {
        match &self.ended {
            _ if self.incoming.is_at_end() => Poll::Ready(Ok(())),
            Some(ended) => Poll::Ready(ended.error().map_or(Ok(()), Err)),
            None => Poll::Pending,
        }
    }

    /// Whether a reader need not wait.
    pub(super) fn is_readable(&self) -> bool {
        self.incoming.held() > 0 || self.incoming.is_at_end() || self.ended.is_some()
    }

    /// Whether a writer need not wait.
    pub(super) fn is_writable(&self) -> bool {
        self.outgoing.room() > 0 || self.outgoing.has_ended() || self.ended.is_some()
    }

    /// Bytes kept for the other end.
    pub(super) fn kept(&self) -> usize {
        self.outgoing.held()
    }

    /// Bytes that wait to be read.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.incoming.held()
    }

    /// Nobody reads any more.
    pub(super) fn discard(&mut self) {
        self.incoming.discard();
    }

    /// Tells the other end that it is over: after everything written, or at once when the reason is abrupt.
    pub(super) fn close(&mut self, reason: Reason) {
        if self.closing.is_none() || reason != Reason::Done {
            self.outgoing.end();
            self.closing = Some(reason);
        }
    }

    /// It is over, without a word to the other end. That an agent has forgotten a stream of which nothing is missing is no loss.
    pub(super) fn end(&mut self, ended: Ended) {
        if self.ended.is_none() {
            let nothing_is_missing = self.outgoing.has_ended() && self.incoming.is_at_end();
            self.outgoing.forget();
            self.ended = Some(if ended == Ended::Gone && nothing_is_missing { Ended::Closed(Reason::Done) } else { ended });
        }
    }

    pub(super) const fn ended(&self) -> Option<&Ended> {
        self.ended.as_ref()
    }

    /// Whether there is nothing more to do: it ended, and what is to be said about that is on the connection or cannot be said.
    pub(super) fn is_over(&self) -> bool {
        let heard = self.ended.is_some() || self.closing.is_some_and(|reason| reason != Reason::Done);
        match self.line {
            // An agent that knows everything was read, both ways, waits for no farewell. The client says it on another connection.
            Line::Away => heard || (self.credentials.is_none() && self.is_done()),
            Line::Greeting => self.ended.is_some(),
            Line::Open => {
                heard && (self.ended.as_ref().is_some_and(|ended| !matches!(ended, Ended::Closed(_))) || self.is_flushed())
            }
        }
    }

    /// Whether both directions have ended and everything was read.
    fn is_done(&self) -> bool {
        self.outgoing.is_consumed() && self.incoming.is_at_end()
    }

    /// Ends the stream here, too, once there is nothing more to do; whether that is so.
    pub(super) fn conclude(&mut self) -> bool {
        let over = self.is_over();
        if over {
            self.end(Ended::Closed(self.closing.unwrap_or(Reason::Done)));
        }
        over
    }

    fn is_flushed(&self) -> bool {
        self.close_staged && self.staged_sent == self.staged.len()
    }

    // The connection's side.

    /// What is to be written to the connection next; empty when there is nothing.
    pub(super) fn pending(&mut self) -> &[u8] {
        if self.staged_sent == self.staged.len() && self.outgoing.body().is_empty() {
            self.staged.clear();
            self.staged_sent = 0;
            self.stage();
        }
        match self.staged.get(self.staged_sent..) {
            Some(rest) if !rest.is_empty() => rest,
            _ => self.outgoing.body(),
        }
    }

    /// So many bytes of [`Machine::pending`] were written.
    pub(super) fn sent(&mut self, count: usize, now: Instant) {
        if self.staged_sent < self.staged.len() {
            self.staged_sent += count;
        } else {
            self.outgoing.sent(count);
        }
        if self.outgoing.is_unconfirmed()
            && let Some(liveness) = &mut self.liveness
        {
            liveness.sent(now);
        }
    }

    /// Encodes what is due: what the other end is to know first, then bytes, then a farewell.
    fn stage(&mut self) {
        if self.line != Line::Open || self.close_staged {
            return;
        }
        if std::mem::take(&mut self.asking) {
            self.staged.extend_from_slice(&Frame::Ping.encode());
        }
        if let Some(offset) = self.incoming.tell_received() {
            self.staged.extend_from_slice(&Frame::Received(offset).encode());
        }
        if let Some(offset) = self.incoming.tell_consumed() {
            self.staged.extend_from_slice(&Frame::Consumed(offset).encode());
        }
        let is_abrupt = self.ended.is_some() || self.closing.is_some_and(Reason::is_abrupt);
        if !is_abrupt {
            self.outgoing.stage(&mut self.staged);
        }
        // A stream whose two directions have ended and were read is done, unasked.
        if self.closing.is_none() && self.is_done() {
            self.closing = Some(Reason::Done);
        }
        let farewell = match (&self.ended, self.closing) {
            (Some(_), reason) => Some(reason.unwrap_or(Reason::Done)),
            (None, Some(_)) if !(is_abrupt || self.outgoing.is_sent() && self.outgoing.body().is_empty()) => None,
            (None, reason) => reason,
        };
        if let Some(reason) = farewell {
            self.staged.extend_from_slice(&Frame::Close(reason).encode());
            self.close_staged = true;
        }
    }

    /// Bytes have arrived on the connection.
    pub(super) fn receive(&mut self, mut input: &[u8], now: Instant) -> Result<(), Violation> {
        if let Some(liveness) = &mut self.liveness {
            liveness.heard(now);
        }
        while !input.is_empty() && self.ended.is_none() {
            input = self.receive_some(input, now)?;
        }
        Ok(())
    }

    /// Takes the first part of `input`, gives the rest.
    fn receive_some<'a>(&mut self, input: &'a [u8], now: Instant) -> Result<&'a [u8], Violation> {
        match &mut self.parser {
            Parser::Header { bytes, have } => {
                let rest = fill(bytes, have, input);
                if *have == HEADER_BYTES {
                    let frame = Frame::decode(*bytes)?;
                    self.parser = Parser::START;
                    self.take(frame, now)?;
                }
                Ok(rest)
            }
            Parser::Data { left } => {
                let (bytes, rest) = input.split_at(input.len().min(*left));
                *left -= bytes.len();
                if *left == 0 {
                    self.parser = Parser::START;
                }
                self.incoming.push(bytes, now);
                if let Some(liveness) = &mut self.liveness {
                    liveness.used(now);
                }
                Ok(rest)
            }
            Parser::Credentials { bytes, have } => {
                let rest = fill(bytes, have, input);
                if *have == CREDENTIALS_BYTES {
                    self.credentials = Credentials::decode(bytes);
                    self.parser = Parser::START;
                    self.incoming.ask();
                }
                Ok(rest)
            }
        }
    }

    fn take(&mut self, frame: Frame, now: Instant) -> Result<(), Violation> {
        let welcome_due = self.liveness.is_some() && (self.line == Line::Greeting || self.credentials.is_none());
        if welcome_due != matches!(frame, Frame::Welcome { .. }) {
            return Err(Violation::Welcome);
        }
        (self.has_heard, self.is_known) = (true, self.is_known || !matches!(frame, Frame::Data { .. } | Frame::End(_)));
        match frame {
            Frame::Data { offset, length } => {
                self.incoming.expect(offset, length)?;
                self.parser = Parser::Data { left: length };
            }
            Frame::End(offset) => self.incoming.end(offset)?,
            Frame::Consumed(offset) => self.outgoing.consume(offset)?,
            Frame::Received(offset) => {
                self.outgoing.confirm(offset)?;
                self.answered();
            }
            Frame::Ping => {
                self.incoming.ask();
                self.rest();
            }
            Frame::Close(reason) => self.end(Ended::Closed(reason)),
            Frame::Welcome { received, is_new } => self.welcome(received, is_new, now)?,
        }
        Ok(())
    }

    fn welcome(&mut self, received: u64, is_new: bool, now: Instant) -> Result<(), Violation> {
        if is_new != (self.line == Line::Open) {
            return Err(Violation::Welcome);
        }
        if is_new {
            self.parser = Parser::Credentials { bytes: [0; CREDENTIALS_BYTES], have: 0 };
            return Ok(());
        }
        self.outgoing.rewind(received)?;
        self.line = Line::Open;
        // Says that we are there even when we have nothing to send.
        self.incoming.ask();
        self.liveness = Some(Liveness::new(now));
        Ok(())
    }

    fn answered(&mut self) {
        if let Some(liveness) = &mut self.liveness {
            liveness.answered();
            self.rest();
        }
    }

    /// The other end has been silent for a while: gives memory back that a burst needed.
    fn rest(&mut self) {
        self.outgoing.rest();
        self.incoming.rest();
    }

    // Time.

    /// When [`Machine::check`] is to be called.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.liveness.as_ref()?.deadline(self.outgoing.is_unconfirmed())
    }

    /// Looks whether the connection is alive; false when it is dead.
    pub(super) fn check(&mut self, now: Instant) -> bool {
        let unconfirmed = self.outgoing.is_unconfirmed();
        let Some(liveness) = &mut self.liveness else { return true };
        let verdict = liveness.check(now, unconfirmed);
        self.asking |= verdict == Verdict::Ask;
        verdict != Verdict::Dead
    }
}

/// Moves the beginning of `input` to the free part of `space`; gives the rest.
fn fill<'a>(space: &mut [u8], have: &mut usize, input: &'a [u8]) -> &'a [u8] {
    let free = space.get_mut(*have..).unwrap_or_default();
    let (now, later) = input.split_at(input.len().min(free.len()));
    if let Some(free) = free.get_mut(..now.len()) {
        free.copy_from_slice(now);
    }
    *have += now.len();
    later
}
