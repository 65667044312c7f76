//! A resumable stream as its users see it, and how its bytes are moved: the file that joins the machine to tokio.

use super::{
    client,
    dial::Dial,
    frame::{Credentials, DATA_BYTES_MAX, Reason, Violation},
    machine::{Ended, Machine},
    registry::Budget,
};
use crate::{credit::lock, link::spawn, stream::ByteStream};
use berth_wire::tunnel::{Service, Target};
use std::{
    future::poll_fn,
    io,
    mem::MaybeUninit,
    pin::{Pin, pin},
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::{Notify, watch},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::task::AbortOnDropHandle;

/// How many reads and writes a driver does before others get a turn.
const STEPS_MAX: usize = 16;
/// A client that never said that it knows how to resume a stream gets it kept for this long.
const UNKNOWN_LIMIT: Duration = Duration::from_secs(60);
/// How long a client's end that was dropped tries to say so.
pub(super) const FAREWELL: Duration = Duration::from_secs(2);
/// So much may a stream of an agent keep even when all of them together keep too much.
const KEPT_BYTES_MIN: usize = 64 * 1024;

/// How a resumable stream goes at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// It has its first connection, or is getting it.
    Beginning,
    /// It has a connection.
    Connected,
    /// It lost its connection and is looking for another one.
    Away {
        /// Since when.
        since: Instant,
        /// What went wrong last.
        reason: String,
    },
    /// It is over.
    Ended(Ended),
}

/// Bytes to and from the other end, over as many connections as it takes. Reads and writes wait while there is none. Dropping it closes it:
/// what was written still arrives if the other end can be reached; a client's process has to wait for that with [`Resumable::close`].
#[derive(Debug)]
pub struct Resumable {
    shared: Arc<Shared>,
    driver: Option<AbortOnDropHandle<()>>,
}

/// What is moved over: any byte stream.
pub(crate) trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// What the user's calls and the driver share.
pub(super) struct Shared {
    state: Mutex<State>,
    phase: watch::Sender<Phase>,
    /// Told when the user's end is dropped.
    dropped: Notify,
}

struct State {
    machine: Machine,
    connection: Option<Box<dyn Connection>>,
    /// Whether `connection` is the first one.
    is_first: bool,
    /// The client's connection before this one, until the welcome.
    held: Option<Box<dyn Connection>>,
    /// Whether the agent has welcomed the client on this connection.
    is_welcome: bool,
    /// Since when there is no connection, at the client's end none with a welcome.
    away: Option<Instant>,
    phase: watch::Sender<Phase>,
    /// Why `connection` is no good any more, found out by whoever used it.
    lost: Option<Lost>,
    /// Whether `connection` takes nothing any more. Its reading side says why.
    is_deaf: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    driver: Option<Waker>,
    /// When the driver's timer rings, if it is set.
    alarm: Option<Instant>,
    is_dropped: bool,
    budget: Option<Arc<Budget>>,
    /// What this stream has taken of the budget.
    counted: usize,
}

/// A connection that is no good any more.
pub(super) struct Loss {
    pub(super) why: Lost,
    /// Whether the agent had welcomed us on it.
    pub(super) was_welcome: bool,
    /// To be kept until the welcome on the next one: its end would tell the agent that we are gone for good.
    pub(super) connection: Option<Box<dyn Connection>>,
}

/// Why a connection is no good any more.
pub(super) enum Lost {
    /// It ended in order.
    Ended,
    /// It broke.
    Error(io::Error),
    /// The other end did not keep to the protocol.
    Violation(Violation),
    /// Nothing is heard.
    Silent,
}

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ended => f.write_str("the agent ended the connection"),
            Self::Error(error) => error.fmt(f),
            Self::Violation(violation) => write!(f, "the other end broke the protocol: {violation}"),
            Self::Silent => f.write_str("nothing was heard any more"),
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("phase", &*self.phase.borrow()).finish_non_exhaustive()
    }
}

impl Resumable {
    /// The client's end of a new stream to `of`. Returns at once: it is writable from the beginning, and [`Resumable::phase`] tells how it goes.
    /// Costs one stream of the tunnel; every connection after the first one costs a round trip more.
    pub fn open(dial: impl Dial, of: Service) -> Self {
        let shared = Arc::new(Shared::new(None));
        let driver = spawn(client::keep(Arc::clone(&shared), dial, of));
        Self { shared, driver: Some(driver) }
    }

    /// The agent's end of a new stream, on its first connection, and the driver to be kept.
    pub(super) fn accept(
        connection: impl Connection + 'static,
        credentials: &Credentials,
        budget: Arc<Budget>,
    ) -> (Self, Arc<Shared>) {
        let shared = Arc::new(Shared::new(Some(budget)));
        {
            let mut state = lock(&shared.state);
            state.machine.greet(credentials);
            state.connection = Some(Box::new(connection));
        }
        (Self { shared: Arc::clone(&shared), driver: None }, shared)
    }

    /// How it goes, and each change of it.
    #[must_use]
    pub fn phase(&self) -> watch::Receiver<Phase> {
        self.shared.phase.subscribe()
    }

    /// Closes it and waits until the other end knows, 2 seconds at the most; not at all while there is no connection.
    pub async fn close(self) {
        let shared = Arc::clone(&self.shared);
        drop(self);
        timeout(FAREWELL, shared.ended()).await.ok();
    }

    /// Gives the stream up: the other end reads an error instead of an end. For a byte stream that broke in the middle.
    pub fn abort(self) {
        self.shared.close(Reason::Broken);
    }
}

impl ByteStream for Resumable {
    fn abort(self) {
        Self::abort(self);
    }
}

impl Drop for Resumable {
    fn drop(&mut self) {
        lock(&self.shared.state).is_dropped = true;
        self.shared.close(Reason::Done);
        self.shared.dropped.notify_one();
        if let Some(driver) = self.driver.take() {
            // It ends by itself, within the time of a farewell.
            driver.detach();
        }
    }
}

impl AsyncRead for Resumable {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut state = lock(&self.shared.state);
        if state.read(buffer) > 0 || buffer.remaining() == 0 {
            state.flush_now();
            return Poll::Ready(Ok(()));
        }
        // Without waiting for the driver's turn.
        if state.fill_now() && state.read(buffer) > 0 {
            state.flush_now();
            return Poll::Ready(Ok(()));
        }
        let end = state.machine.poll_end();
        if end.is_pending() {
            state.reader = Some(cx.waker().clone());
        }
        end
    }
}

impl AsyncWrite for Resumable {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = lock(&self.shared.state);
        let allowed = state.allowed();
        let count = state.machine.write(data.get(..allowed).unwrap_or(data))?;
        if count == 0 && !data.is_empty() {
            state.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        state.flush_now();
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = lock(&self.shared.state);
        state.machine.finish();
        state.flush_now();
        Poll::Ready(Ok(()))
    }
}

impl Shared {
    fn new(budget: Option<Arc<Budget>>) -> Self {
        let phase = watch::Sender::new(Phase::Beginning);
        let state = State {
            machine: Machine::new(),
            connection: None,
            is_first: true,
            held: None,
            is_welcome: false,
            away: None,
            phase: phase.clone(),
            lost: None,
            is_deaf: false,
            reader: None,
            writer: None,
            driver: None,
            alarm: None,
            is_dropped: false,
            budget,
            counted: 0,
        };
        Self { state: Mutex::new(state), phase, dropped: Notify::new() }
    }

    /// Closes the stream, and says so to the other end when it can be reached.
    pub(super) fn close(&self, reason: Reason) {
        let mut state = lock(&self.state);
        state.machine.close(reason);
        if state.is_dropped {
            state.machine.discard();
        }
        state.flush_now();
        state.wake_driver();
    }

    /// Ends the stream here, without a word to the other end.
    pub(super) fn end(&self, ended: Ended) {
        let mut state = lock(&self.state);
        state.machine.end(ended);
        (state.connection, state.held) = (None, None);
        state.wake();
    }

    /// Waits until it is over.
    pub(super) async fn ended(&self) {
        self.phase.subscribe().wait_for(|phase| matches!(phase, Phase::Ended(_))).await.ok();
    }

    /// Waits until the user's end is dropped.
    pub(super) async fn dropped(&self) {
        self.dropped.notified().await;
    }

    /// Publishes the end, once everything is said.
    pub(super) fn publish_end(&self) {
        let ended = lock(&self.state).machine.ended().cloned().unwrap_or(Ended::Closed(Reason::Done));
        self.phase.send_replace(Phase::Ended(ended));
    }

    /// A new connection for the agent's end takes the place of the one at hand.
    pub(super) fn readmit(&self, received: u64, connection: impl Connection + 'static) -> Result<(), Violation> {
        let mut state = lock(&self.state);
        state.machine.readmit(received)?;
        let old = state.connection.replace(Box::new(connection));
        (state.is_first, state.lost, state.is_deaf, state.away) = (false, None, false, None);
        state.wake_driver();
        drop(state);
        drop(old);
        Ok(())
    }

    /// Since when there is no connection.
    pub(super) fn away_since(&self) -> Option<Instant> {
        lock(&self.state).away
    }

    /// The agent's driver: moves bytes, waits for the client to come back, ends what is away for longer than `limit`.
    pub(super) async fn serve(&self, limit: Duration) {
        while self.run().await.is_some() {
            let is_known = lock(&self.state).machine.is_known();
            let limit = if is_known { limit } else { limit.min(UNKNOWN_LIMIT) };
            let back = poll_fn(|cx| {
                let mut state = lock(&self.state);
                state.driver = Some(cx.waker().clone());
                if state.connection.is_some() || state.machine.is_over() { Poll::Ready(()) } else { Poll::Pending }
            });
            if timeout(limit, back).await.is_err() {
                self.end(Ended::Expired(limit));
            }
        }
        self.publish_end();
    }

    /// What to ask the agent for: the stream, or to resume it; and for how long it may be away.
    pub(super) fn wanted(&self, of: &Service) -> (Target, Option<Duration>) {
        match lock(&self.state).machine.resumption() {
            None => (Target::Session { of: of.clone() }, None),
            Some((Credentials { id, limit }, received)) => (Target::Resume { id, received }, Some(limit)),
        }
    }

    /// The client's end has a new connection, on which it asked for the stream or, `resuming`, for its continuation.
    pub(super) fn attach(&self, connection: Box<dyn Connection>, held: Option<Box<dyn Connection>>, resuming: bool) {
        let mut state = lock(&self.state);
        if resuming {
            state.machine.rejoin(Instant::now());
        } else {
            state.machine.begin(Instant::now());
        }
        (state.connection, state.held) = (Some(connection), held);
        (state.is_welcome, state.is_deaf) = (false, false);
    }

    /// Publishes that there is no connection, and why.
    pub(super) fn publish_away(&self, reason: String) {
        let since = *lock(&self.state).away.get_or_insert_with(Instant::now);
        tracing::info!(away_ms = since.elapsed().as_millis(), reason, "no connection");
        self.phase.send_replace(Phase::Away { since, reason });
    }

    /// Moves bytes until the connection is lost, which it then is for the machine, too; `None` when the stream is over.
    fn poll_drive(&self, cx: &mut Context<'_>) -> Poll<Option<Loss>> {
        let mut state = lock(&self.state);
        state.driver = Some(cx.waker().clone());
        let why = match state.lost.take() {
            Some(why) => Poll::Ready(why),
            None => state.drive(cx),
        };
        if let (Poll::Ready(why), false) = (&why, state.machine.is_over()) {
            let is_first = state.is_first;
            match why {
                Lost::Ended => state.machine.lose_in_order(is_first),
                _ => state.machine.lose(),
            }
            state.away.get_or_insert_with(Instant::now);
        }
        let over = state.machine.conclude();
        state.wake();
        if over {
            (state.connection, state.held) = (None, None);
            return Poll::Ready(None);
        }
        let why = ready!(why);
        let connection = state.connection.take();
        Poll::Ready(Some(match state.held.take() {
            // Without a welcome the agent never took this one for ours; the one before still is.
            Some(held) => Loss { why, was_welcome: false, connection: Some(held) },
            None => Loss { why, was_welcome: state.is_welcome, connection },
        }))
    }

    /// Moves bytes and watches the time until the connection is lost; `None` when the stream is over.
    pub(super) async fn run(&self) -> Option<Loss> {
        let mut alarm = pin!(sleep_until(Instant::now()));
        poll_fn(|cx| {
            loop {
                if let Poll::Ready(lost) = self.poll_drive(cx) {
                    return Poll::Ready(lost);
                }
                let mut state = lock(&self.state);
                let Some(deadline) = state.machine.deadline() else { return Poll::Pending };
                // One that moved to a later time is looked at when it rings, not each time.
                if state.alarm.is_none_or(|set| deadline < set) {
                    alarm.as_mut().reset(deadline);
                    state.alarm = Some(deadline);
                }
                if alarm.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                state.alarm = None;
                if !state.machine.check(Instant::now()) {
                    state.lost = Some(Lost::Silent);
                }
            }
        })
        .await
    }
}

impl State {
    /// Moves bytes until the connection neither has nor takes any.
    fn drive(&mut self, cx: &mut Context<'_>) -> Poll<Lost> {
        for _ in 0..STEPS_MAX {
            match self.fill(cx).and_then(|filled| Ok(filled | self.flush(cx)?)) {
                Ok(true) => {}
                Ok(false) => return Poll::Pending,
                Err(lost) => return Poll::Ready(lost),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads once from the connection; whether anything was there.
    fn fill(&mut self, cx: &mut Context<'_>) -> Result<bool, Lost> {
        let Some(connection) = &mut self.connection else { return Ok(false) };
        let mut space = [const { MaybeUninit::uninit() }; DATA_BYTES_MAX];
        let mut buffer = ReadBuf::uninit(&mut space);
        match Pin::new(connection).poll_read(cx, &mut buffer) {
            Poll::Pending => Ok(false),
            Poll::Ready(Err(error)) => Err(Lost::Error(error)),
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => Err(Lost::Ended),
            Poll::Ready(Ok(())) => {
                self.machine.receive(buffer.filled(), Instant::now()).map_err(Lost::Violation)?;
                if self.is_dropped {
                    self.machine.discard();
                }
                Ok(true)
            }
        }
    }

    /// Writes what is due; whether anything was written.
    fn flush(&mut self, cx: &mut Context<'_>) -> Result<bool, Lost> {
        let Some(connection) = &mut self.connection else { return Ok(false) };
        let mut connection = Pin::new(connection);
        let mut any = false;
        while !self.is_deaf {
            let pending = self.machine.pending();
            if pending.is_empty() {
                break;
            }
            match connection.as_mut().poll_write(cx, pending) {
                Poll::Ready(Ok(count @ 1..)) => self.machine.sent(count, Instant::now()),
                Poll::Ready(_) => self.is_deaf = true,
                Poll::Pending => break,
            }
            any = true;
        }
        if any {
            self.is_deaf |= matches!(connection.poll_flush(cx), Poll::Ready(Err(_)));
        }
        Ok(any)
    }

    /// Writes what is due from the user's own call, in the driver's name.
    fn flush_now(&mut self) {
        self.in_drivers_name(Self::flush);
        self.count();
        if let Some(deadline) = self.machine.deadline()
            && self.alarm.is_none_or(|alarm| deadline < alarm)
        {
            self.wake_driver();
        }
    }

    /// Reads what has arrived from the user's own call, in the driver's name; whether anything was there.
    fn fill_now(&mut self) -> bool {
        let filled = self.in_drivers_name(Self::fill);
        if filled {
            self.wake();
        }
        if self.machine.ended().is_some() {
            self.wake_driver();
        }
        filled
    }

    fn in_drivers_name(&mut self, step: impl FnOnce(&mut Self, &mut Context<'_>) -> Result<bool, Lost>) -> bool {
        let Some(driver) = self.driver.clone() else { return false };
        if self.lost.is_some() {
            return false;
        }
        match step(self, &mut Context::from_waker(&driver)) {
            Ok(any) => any,
            Err(lost) => {
                self.lost = Some(lost);
                driver.wake();
                false
            }
        }
    }

    /// Fills `buffer` with what has arrived; how many bytes.
    fn read(&mut self, buffer: &mut ReadBuf<'_>) -> usize {
        let before = buffer.filled().len();
        loop {
            let unread = self.machine.unread();
            let part = unread.get(..buffer.remaining()).unwrap_or(unread);
            if part.is_empty() {
                return buffer.filled().len() - before;
            }
            buffer.put_slice(part);
            let count = part.len();
            self.machine.consume(count);
        }
    }

    /// Wakes those whose wait is over.
    fn wake(&mut self) {
        self.count();
        if !self.is_welcome && self.machine.is_welcome() {
            if let Some(since) = self.away.take() {
                tracing::info!(away_ms = since.elapsed().as_millis(), "connected again");
            }
            (self.is_welcome, self.held) = (true, None);
            self.phase.send_replace(Phase::Connected);
        }
        if self.machine.is_readable()
            && let Some(reader) = self.reader.take()
        {
            reader.wake();
        }
        if self.machine.is_writable()
            && self.allowed() > 0
            && let Some(writer) = self.writer.take()
        {
            writer.wake();
        }
    }

    fn wake_driver(&self) {
        if let Some(driver) = &self.driver {
            driver.wake_by_ref();
        }
    }

    /// Tells the budget what is kept.
    fn count(&mut self) {
        if let Some(budget) = &self.budget {
            let kept = self.machine.kept();
            budget.change(self.counted, kept);
            self.counted = kept;
        }
    }

    /// How many bytes may be written, as far as all streams of this agent together are concerned.
    fn allowed(&self) -> usize {
        match &self.budget {
            Some(budget) if !budget.has_room() && self.machine.ended().is_none() => KEPT_BYTES_MIN.saturating_sub(self.counted),
            _ => usize::MAX,
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        if let Some(budget) = &self.budget {
            budget.change(self.counted, 0);
        }
    }
}
