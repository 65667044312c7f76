//! Terminals that outlive whoever looks at them: the terminal of a browser, which reloads, sleeps and changes networks.
//!
//! A terminal has an id, which its user made up. Whoever comes with it sees what the terminal showed, as far back as is kept, and everything
//! from then on; several may look at once. The program never waits for one of them: who is too slow misses something, and reads how much.
//!
//! ```text
//!  viewer ── keys, size ──> program ──> scrollback ──> each viewer, from where it is
//!
//!  begun ──> watched <──> unwatched, for a while ──> hung up
//!               └─────────────┴── the program ends, or the user may not stay ──> over
//! ```

mod replay;
mod scrollback;

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use berth_net::{Request, read_datagram};
use berth_wire::tunnel::{self, Target, TerminalInput};
use bytes::{Buf, Bytes, BytesMut};
use nix::sys::signal::Signal;
use pty_process::{OwnedReadPty, OwnedWritePty};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::process::signal_group;
use crate::ssh::{OnTerminal, Server, read_some, terminal_size};
use crate::visitor::Visit;

use replay::without_questions;
use scrollback::{Found, Scrollback};

/// Inputs that wait for a program that does not read; its viewers then wait, too.
const INPUTS_MAX: usize = 16;

/// How much there may be of everything.
#[derive(Clone, Copy, Debug)]
pub struct TerminalLimits {
    /// Terminals at a time.
    pub count: usize,
    /// What each keeps of its output, in bytes.
    pub scrollback_bytes: usize,
    /// How long a terminal stays without anybody who looks at it.
    pub unwatched: Duration,
}

impl Default for TerminalLimits {
    /// 64 terminals of 1 MiB each, for five minutes without viewers: Coder's time, and its page may be closed for as long.
    fn default() -> TerminalLimits {
        TerminalLimits { count: 64, scrollback_bytes: 1 << 20, unwatched: Duration::from_secs(5 * 60) }
    }
}

/// The terminals of an agent. Cheap to clone; clones share them.
#[derive(Clone, Debug)]
pub struct Terminals {
    server: Server,
    limits: TerminalLimits,
    open: Open,
    tasks: Arc<Mutex<JoinSet<()>>>,
}

/// Why somebody does not get a terminal.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// Another user made it.
    #[error("terminal {0} belongs to somebody else")]
    Foreign(Uuid),
    /// There are too many.
    #[error("there are {0} terminals already")]
    Full(usize),
    /// Its program does not start.
    #[error("the program of terminal {id} does not start")]
    Start {
        /// Which terminal.
        id: Uuid,
        /// Why not.
        source: io::Error,
    },
}

impl Terminals {
    /// Terminals whose programs start as `server`'s sessions do. Starts nothing.
    #[must_use]
    pub fn new(server: Server, limits: TerminalLimits) -> Terminals {
        Terminals { server, limits, open: Open::default(), tasks: Arc::default() }
    }

    /// Shows a user the terminal that a stream asks for, until either ends. `admit` notes that the user has something open.
    pub async fn serve(self, request: Request, user: Uuid, admit: impl FnOnce() -> Visit) -> io::Result<()> {
        let Target::Terminal(wanted) = request.target() else { return Ok(()) };
        match self.attach(wanted, user, admit) {
            Ok(viewer) => viewer.serve(request.accept().await?).await,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, user.id = %user, "a terminal was refused");
                request.refuse().await;
                Ok(())
            }
        }
    }

    /// A user's way to the terminal of an id, which begins if there is none. The terminal takes the size of whoever came last.
    ///
    /// # Errors
    /// [`AttachError`].
    pub fn attach(&self, wanted: &tunnel::Terminal, user: Uuid, admit: impl FnOnce() -> Visit) -> Result<Viewer, AttachError> {
        let (id, size) = (wanted.id, (wanted.columns, wanted.rows));
        let mut open = self.open.lock();
        if let Some(terminal) = open.get(&id) {
            if terminal.user != user {
                return Err(AttachError::Foreign(id));
            }
            terminal.size.send_replace(size);
            return Ok(Viewer::of(terminal));
        }
        if open.len() >= self.limits.count {
            return Err(AttachError::Full(self.limits.count));
        }
        let program =
            self.server.start_on_terminal(wanted.command.as_deref(), size).map_err(|source| AttachError::Start { id, source })?;
        let (terminal, inputs) = Terminal::new((id, user), size, self.limits.scrollback_bytes);
        let viewer = Viewer::of(&terminal);
        open.insert(id, Arc::clone(&terminal));
        drop(open);
        self.own(run(terminal, (program, inputs), (self.open.clone(), self.limits.unwatched), admit()));
        Ok(viewer)
    }

    fn own(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }
}

/// The terminals that can be attached to.
#[derive(Clone, Debug, Default)]
struct Open(Arc<Mutex<HashMap<Uuid, Arc<Terminal>>>>);

impl Open {
    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Arc<Terminal>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets nobody attach to it any more. By now its id may be another terminal's.
    fn forget(&self, terminal: &Arc<Terminal>) {
        self.lock().retain(|_, other| !Arc::ptr_eq(other, terminal));
    }

    /// Waits until nobody has looked at a terminal for this long; from then on nobody can.
    async fn forget_unwatched(&self, terminal: &Terminal, patience: Duration) {
        let mut viewers = terminal.viewers.subscribe();
        loop {
            // Fails only when the sender is gone, which `terminal` holds. What it gives keeps the count from changing: it must not live on.
            drop(viewers.wait_for(|count| *count == 0).await);
            let somebody_came = tokio::time::timeout(patience, viewers.wait_for(|count| *count > 0)).await.is_ok();
            let mut open = self.lock();
            // Viewers come under this lock.
            if !somebody_came && *terminal.viewers.borrow() == 0 {
                open.remove(&terminal.id);
                return;
            }
        }
    }
}

/// A terminal: what its viewers and its program share.
#[derive(Debug)]
struct Terminal {
    id: Uuid,
    user: Uuid,
    scrollback: Mutex<Scrollback>,
    /// Told of each change of the scrollback.
    progress: watch::Sender<Progress>,
    input: mpsc::Sender<Bytes>,
    /// Columns and rows.
    size: watch::Sender<(u16, u16)>,
    viewers: watch::Sender<usize>,
}

/// How far a terminal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Goes,
    Over,
}

/// What viewers say to a program, on the program's side.
struct Inputs {
    keys: mpsc::Receiver<Bytes>,
    size: watch::Receiver<(u16, u16)>,
}

impl Terminal {
    fn new((id, user): (Uuid, Uuid), size: (u16, u16), scrollback_bytes: usize) -> (Arc<Terminal>, Inputs) {
        let (input, keys) = mpsc::channel(INPUTS_MAX);
        let size = watch::Sender::new(size);
        let inputs = Inputs { keys, size: size.subscribe() };
        let scrollback = Mutex::new(Scrollback::new(scrollback_bytes));
        let (progress, viewers) = (watch::Sender::new(Progress::Goes), watch::Sender::new(0));
        (Arc::new(Terminal { id, user, scrollback, progress, input, size, viewers }), inputs)
    }

    fn scrollback(&self) -> MutexGuard<'_, Scrollback> {
        self.scrollback.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show(&self, bytes: &[u8]) {
        self.scrollback().push(bytes);
        self.progress.send_replace(Progress::Goes);
    }
}

/// Runs a terminal's program until it ends, or until the terminal has no right to go on: then the program hears that it hung up.
async fn run(terminal: Arc<Terminal>, (program, inputs): (OnTerminal, Inputs), (open, unwatched): (Open, Duration), visit: Visit) {
    let OnTerminal { mut running, pty, greeting } = program;
    let (reader, writer) = pty.into_split();
    tracing::info!(terminal.id = %terminal.id, process.id = running.pid(), "a terminal begins");
    if !greeting.is_empty() {
        terminal.show(&greeting);
    }
    let ended = CancellationToken::new();
    let pid = running.pid();
    let waited = async {
        running.wait().await.ok();
        ended.cancel();
    };
    let is_over = tokio::select! {
        _ = async { tokio::join!(waited, read_all(reader, &terminal, &ended)) } => true,
        never = write_all(writer, inputs) => match never {},
        () = open.forget_unwatched(&terminal, unwatched) => false,
        () = visit.revoked() => false,
    };
    open.forget(&terminal);
    terminal.progress.send_replace(Progress::Over);
    tracing::info!(terminal.id = %terminal.id, "a terminal ends");
    if !is_over {
        signal_group(pid, Signal::SIGHUP);
        // One that goes on after a hang-up, as `nohup` lets it, is waited for all the same, so that it never becomes a zombie.
        running.wait().await.ok();
    }
}

/// Keeps all that the program writes, also when nobody looks.
async fn read_all(mut reader: OwnedReadPty, terminal: &Terminal, ended: &CancellationToken) {
    let mut buffer = BytesMut::new();
    while read_some(&mut reader, &mut buffer, ended).await {
        terminal.show(&buffer);
        buffer.clear();
    }
}

/// Gives the program what was typed, and its terminal the size that was said last.
async fn write_all(mut writer: OwnedWritePty, Inputs { mut keys, mut size }: Inputs) -> std::convert::Infallible {
    let mut pending = Bytes::new();
    loop {
        tokio::select! {
            // The size first: what is typed after it was said counts on it.
            biased;
            Ok(()) = size.changed() => {
                let (columns, rows) = *size.borrow_and_update();
                if let Err(error) = writer.resize(terminal_size(columns.into(), rows.into(), 0, 0)) {
                    tracing::debug!(%error, "terminal not resized");
                }
            }
            written = writer.write(&pending), if !pending.is_empty() => match written {
                Ok(count) if count > 0 => pending.advance(count),
                // The program has closed its side; that it ends is for others to see.
                _ => std::future::pending().await,
            },
            Some(typed) = keys.recv(), if pending.is_empty() => pending = typed,
            else => std::future::pending().await,
        }
    }
}

/// Somebody who looks at a terminal.
#[derive(Debug)]
pub struct Viewer {
    terminal: Arc<Terminal>,
    /// What was there before, on its way to the viewer.
    before: Vec<u8>,
    /// Up to where the viewer has read.
    place: u64,
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.terminal.viewers.send_modify(|count| *count -= 1);
    }
}

impl Viewer {
    /// To be called with the terminals locked.
    fn of(terminal: &Arc<Terminal>) -> Viewer {
        terminal.viewers.send_modify(|count| *count += 1);
        let Found { bytes, next, .. } = terminal.scrollback().all();
        Viewer { terminal: Arc::clone(terminal), before: without_questions(&bytes), place: next }
    }

    /// Joins the viewer's stream to the terminal until the program ends or the viewer leaves.
    ///
    /// # Errors
    /// When the stream breaks, or brings what is no [`TerminalInput`].
    pub async fn serve(mut self, stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
        let terminal = Arc::clone(&self.terminal);
        let (reader, mut writer) = tokio::io::split(stream);
        tokio::select! {
            heard = listen(&terminal, reader) => heard,
            shown = self.show(&mut writer) => shown,
        }
    }

    async fn show(&mut self, writer: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        writer.write_all(&std::mem::take(&mut self.before)).await?;
        let mut progress = self.terminal.progress.subscribe();
        loop {
            // Before what it tells of: nothing that is shown in between is missed.
            let now = *progress.borrow_and_update();
            let Found { bytes, next, lost } = self.terminal.scrollback().after(self.place);
            self.place = next;
            if lost > 0 {
                writer.write_all(&left_out(lost)).await?;
            }
            if !bytes.is_empty() {
                writer.write_all(&bytes).await?;
            } else if now == Progress::Over || progress.changed().await.is_err() {
                return writer.shutdown().await;
            }
        }
    }
}

/// Gives a viewer's inputs to the terminal until there are no more.
async fn listen(terminal: &Terminal, mut reader: impl AsyncRead + Unpin) -> io::Result<()> {
    let mut frame = Vec::new();
    while read_datagram(&mut reader, &mut frame).await? {
        match TerminalInput::decode(&frame) {
            // Fails when the program has ended: what it wrote last is still on its way to the viewer.
            Some(TerminalInput::Keys(keys)) => drop(terminal.input.send(Bytes::copy_from_slice(keys)).await),
            Some(TerminalInput::Resize { columns, rows }) => {
                terminal.size.send_replace((columns, rows));
            }
            None => return Err(io::Error::new(io::ErrorKind::InvalidData, "what the viewer said is not understood")),
        }
    }
    Ok(())
}

/// Tells a viewer that it was too slow. CAN ends a control sequence that may have been cut off.
fn left_out(bytes: u64) -> Vec<u8> {
    format!("\x18\x1b[m\r\n[{bytes} bytes were left out: they came faster than they could be shown]\r\n").into_bytes()
}

#[cfg(test)]
mod tests;
