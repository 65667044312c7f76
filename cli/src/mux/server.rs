//! The background process: admission, one question a connection, and an end.

use super::{
    Answer, Ask, FRAME_WITHIN, Pipe, Place, Question, Settings, Status, VERSION,
    desk::{Desk, Opened, Refused},
    read_frame, write_frame,
};
use crate::{
    config::plain,
    failure::{Failure, Outcome},
    signal,
};
use berth_net::TunnelStream;
use berth_wire::tunnel::Target;
use std::{io, sync::Arc, time::Duration};
use tokio::{
    io::copy_bidirectional_with_sizes,
    net::UnixStream,
    sync::Notify,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout},
};

/// Commands at a time.
const CLIENTS_MAX: usize = 256;
/// How often unused connections are looked for.
const TIDY: Duration = Duration::from_secs(60);
/// The pause after a connection could not be taken, as when too many files are open.
const BREATH: Duration = Duration::from_millis(100);
/// How much is moved at a time.
const BUFFER_BYTES: usize = 128 * 1024;
/// How long a command is given to hear why its stream broke.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Who can be connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// This process.
    Ready,
    /// Another one, which was faster.
    Taken,
}

/// What all connections share.
struct Server {
    desk: Desk,
    settings: Settings,
    started: Instant,
    /// Told when no more questions are to be taken.
    leave: Notify,
}

/// Serves at `place` until nobody has used it for the time in `settings`, it is told to leave, or a signal comes. `ready` is called once there
/// is someone to connect to.
///
/// # Errors
/// When it cannot be made ready.
pub async fn serve(place: &Place, settings: Settings, ready: impl FnOnce(Standing)) -> Outcome {
    let listening = match place.listen() {
        Ok(listening) => listening,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            ready(Standing::Taken);
            return Ok(());
        }
        Err(error) => return Err(Failure::new(format!("cannot listen: {}", plain(&error))).hint("commands go on without")),
    };
    let idle = settings.idle;
    let desk = Desk::new(settings.clone())?;
    let server = Arc::new(Server { desk, settings, started: Instant::now(), leave: Notify::new() });
    ready(Standing::Ready);
    let mut ended = std::pin::pin!(signal::ended());
    tracing::info!(version = VERSION, pid = std::process::id(), "serving");
    let mut clients = JoinSet::new();
    let mut used = Instant::now();
    let mut tidy = interval(TIDY);
    tidy.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let terminated = loop {
        tokio::select! {
            taken = listening.accept() => match taken {
                // One too many is closed: its command goes on without us.
                Ok(socket) if clients.len() < CLIENTS_MAX => drop(clients.spawn(Arc::clone(&server).answer(socket))),
                Ok(_) => tracing::warn!("there are {CLIENTS_MAX} commands already"),
                Err(error) => {
                    tracing::warn!(%error, "cannot take a connection");
                    sleep(BREATH).await;
                }
            },
            Some(ended) = clients.join_next() => if ended.is_ok_and(|was_used| was_used) { used = Instant::now() },
            () = sleep_until(used + idle), if clients.is_empty() => break false,
            () = server.leave.notified() => break false,
            _ = tidy.tick() => server.desk.tidy(),
            _ = &mut ended => break true,
        }
    };
    // From here on another one may take the place.
    drop(listening);
    if !terminated {
        tokio::select! {
            () = async { while clients.join_next().await.is_some() {} } => {}
            _ = &mut ended => {}
        }
    }
    clients.shutdown().await;
    server.desk.close().await;
    tracing::info!("ended");
    Ok(())
}

impl Server {
    /// Answers one question; whether that was a use, and not only a look.
    async fn answer(self: Arc<Self>, mut socket: UnixStream) -> bool {
        let question = match timeout(FRAME_WITHIN, read_frame::<Question<serde_json::Value>>(&mut socket)).await {
            Ok(Ok(question)) => question,
            Ok(Err(error)) => {
                tracing::debug!(%error, "a command went away");
                return false;
            }
            Err(_) => return false,
        };
        let ask = serde_json::from_value::<Ask>(question.ask).ok();
        let is_ours = question.version == VERSION || matches!(ask, Some(Ask::Leave));
        let answered = match ask.filter(|_| is_ours) {
            Some(ask @ (Ask::Open { .. } | Ask::Introduce { .. })) => {
                if let Err(error) = self.open(ask, socket).await {
                    tracing::debug!(%error, "a stream broke");
                }
                return true;
            }
            Some(ask) => write_frame(&mut socket, &self.say(ask).await).await,
            None => write_frame(&mut socket, &Answer::Version { version: VERSION.to_owned() }).await,
        };
        if let Err(error) = answered {
            tracing::debug!(%error, "a command went away");
        }
        false
    }

    async fn open(&self, ask: Ask, socket: UnixStream) -> io::Result<()> {
        match ask {
            Ask::Open { name, scripts, target } => {
                let resumable = is_resumable(&target);
                let opened = self.desk.open(&name, scripts, target).await;
                tokio::join!(join(opened, socket, resumable), self.desk.confirm(&name)).0
            }
            Ask::Introduce { name, agent, target } => {
                let resumable = is_resumable(&target);
                join(self.desk.introduce(name, agent, target).await, socket, resumable).await
            }
            _ => Ok(()),
        }
    }

    async fn say(&self, ask: Ask) -> Answer {
        match ask {
            Ask::Look { name } => self.desk.look(&name).await.map_or(Answer::Unknown, Answer::Path),
            Ask::Status => Answer::Status(self.status().await),
            Ask::Forget => {
                self.desk.forget();
                Answer::Done
            }
            Ask::Leave => {
                self.leave.notify_one();
                Answer::Done
            }
            Ask::Open { .. } | Ask::Introduce { .. } => Answer::Unknown,
        }
    }

    async fn status(&self) -> Status {
        Status {
            pid: std::process::id(),
            version: VERSION.to_owned(),
            url: self.settings.url.clone(),
            seconds: self.started.elapsed().as_secs(),
            agents: self.desk.status().await,
        }
    }
}

fn is_resumable(target: &Target) -> bool {
    matches!(target, Target::Session { .. } | Target::Resume { .. })
}

/// A stream that breaks when it is let go of, as when this multiplexer is told to end: its command goes on without us.
struct Held(Option<TunnelStream>);

impl Held {
    /// Ends the stream in order.
    fn end(&mut self) {
        drop(self.0.take());
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(stream) = self.0.take() {
            stream.abort();
        }
    }
}

/// Answers, and joins the command to its stream.
async fn join(opened: Result<Opened, Refused>, mut socket: UnixStream, resumable: bool) -> io::Result<()> {
    let Opened { stream, ssh_host_key, agent, use_of_it } = match opened {
        Ok(opened) => opened,
        Err(refused) => {
            let answer = match refused {
                Refused::Unknown => Answer::Unknown,
                Refused::Away => Answer::Away,
                Refused::Failed(failure) => Answer::Failed(failure.into()),
            };
            return write_frame(&mut socket, &answer).await;
        }
    };
    write_frame(&mut socket, &Answer::Opened { ssh_host_key, agent }).await?;
    let (mut held, mut pipe) = (Held(Some(stream)), Pipe::new(socket));
    let joined = match held.0.as_mut() {
        Some(stream) => copy_bidirectional_with_sizes(stream, &mut pipe, BUFFER_BYTES, BUFFER_BYTES).await,
        None => Ok((0, 0)),
    };
    drop(use_of_it);
    let Err(error) = joined else {
        held.end();
        return Ok(());
    };
    // A command that ended in order and is gone before all was said to it is no break. One that was killed in the middle will not resume: the
    // agent must not wait for it. If it is the connection that broke instead, the agent does not hear this end.
    if pipe.has_ended() || resumable {
        held.end();
    }
    drop(held);
    // Which of the two broke is not known; who is there hears it.
    let _told = timeout(LAST_WORDS, pipe.fail(&error)).await;
    Err(error)
}
