//! The command's side.

use super::{Answer, Ask, Introduced, Look, Pipe, Place, Question, Settings, Status, VERSION, read_frame, start, write_frame};
use crate::{failure::Outcome, session::Session, wait::Scripts};
use berth_wire::tunnel::Target;
use std::{io, time::Duration};
use tokio::{
    net::UnixStream,
    time::{Instant, sleep, timeout},
};

/// How long an answer may take that needs no network.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
/// The same with an agent to connect to, whose own patience is shorter.
const CONNECTS_WITHIN: Duration = Duration::from_secs(45);
/// How long another one may take to leave the place, and a new one to be there.
const STARTS_WITHIN: Duration = Duration::from_secs(3);
/// The pause before it is looked again.
const LOOK: Duration = Duration::from_millis(20);

/// What the multiplexer gave.
#[derive(Debug)]
pub enum Found {
    /// A stream.
    Opened {
        /// Its bytes.
        pipe: Pipe<UnixStream>,
        /// The agent's SSH host key.
        ssh_host_key: String,
        /// The agent.
        agent: Introduced,
    },
    /// Find the agent and introduce it.
    Unknown,
    /// The agent is not connected any more.
    Away,
}

/// A deployment's multiplexer, running or not.
#[derive(Debug, Clone)]
pub struct Multiplexer {
    place: Place,
    settings: Settings,
}

impl Multiplexer {
    /// The one for this session. None when it is switched off, or nobody is signed in. Connects to nothing.
    ///
    /// # Errors
    /// When no deployment is known, or a setting of the multiplexer is not understood.
    pub fn of(session: &Session) -> Outcome<Option<Self>> {
        let deployment = session.config.deployment()?;
        let Some(settings) = Settings::of(&session.config, &deployment)? else { return Ok(None) };
        Ok(Some(Self { place: Place::of(&session.config, &settings), settings }))
    }

    /// A stream to a workspace's agent that is known already. Starts the multiplexer if need be.
    ///
    /// # Errors
    /// The outer one when there is no multiplexer to be had: go on without. The inner one when the workspace cannot be reached.
    pub async fn open(&self, name: &str, scripts: Scripts, target: &Target) -> io::Result<Outcome<Found>> {
        self.stream(Ask::Open { name: name.to_owned(), scripts, target: target.clone() }).await
    }

    /// A stream to an agent that was found connected.
    ///
    /// # Errors
    /// As [`Multiplexer::open`].
    pub async fn introduce(&self, name: &str, agent: Introduced, target: &Target) -> io::Result<Outcome<Found>> {
        self.stream(Ask::Introduce { name: name.to_owned(), agent, target: target.clone() }).await
    }

    /// How the connection to a workspace's agent goes, if there is one.
    pub async fn look(&self, name: &str) -> Option<Look> {
        let asked = ask(&self.place, Ask::Look { name: name.to_owned() }, ANSWERS_WITHIN).await;
        match asked {
            Ok((Answer::Path(look), _)) => Some(look),
            _ => None,
        }
    }

    /// Tells one that runs that names may stand for something else. Starts none.
    pub async fn forget(&self) {
        // Without one there is nothing to forget.
        let _told = ask(&self.place, Ask::Forget, ANSWERS_WITHIN).await;
    }

    async fn stream(&self, wanted: Ask) -> io::Result<Outcome<Found>> {
        for fresh in [false, true] {
            match ask(&self.place, wanted.clone(), CONNECTS_WITHIN).await {
                Ok((Answer::Opened { ssh_host_key, agent }, socket)) => {
                    return Ok(Ok(Found::Opened { pipe: Pipe::ending(socket), ssh_host_key, agent }));
                }
                Ok((Answer::Unknown, _)) => return Ok(Ok(Found::Unknown)),
                Ok((Answer::Away, _)) => return Ok(Ok(Found::Away)),
                Ok((Answer::Failed(told), _)) => return Ok(Err(told.into())),
                Ok((Answer::Version { version }, _)) if !fresh => {
                    tracing::info!(version, own = VERSION, "another version of the multiplexer is replaced");
                    leave(&self.place).await?;
                }
                Ok((other, _)) => return Err(io::Error::new(io::ErrorKind::InvalidData, format!("it answered {other:?}"))),
                // None is there, or it has just ended.
                Err(error) if !fresh => tracing::debug!(%error, "no multiplexer"),
                Err(error) => return Err(error),
            }
            start::start(&self.place, &self.settings).await?;
            reachable(&self.place).await?;
        }
        Err(io::ErrorKind::NotConnected.into())
    }
}

/// What a multiplexer does. None when nobody serves there.
pub(crate) async fn status(place: &Place) -> Option<Status> {
    match ask(place, Ask::Status, ANSWERS_WITHIN).await {
        Ok((Answer::Status(status), _)) => Some(status),
        _ => None,
    }
}

/// Asks one to end, and waits until its place is free.
pub(crate) async fn leave(place: &Place) -> io::Result<()> {
    ask(place, Ask::Leave, ANSWERS_WITHIN).await?;
    let started = Instant::now();
    while place.connect().await.is_ok() {
        if started.elapsed() > STARTS_WITHIN {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the multiplexer does not leave"));
        }
        sleep(LOOK).await;
    }
    Ok(())
}

/// Waits until someone serves there: ours, or that of another command which was faster.
async fn reachable(place: &Place) -> io::Result<()> {
    let started = Instant::now();
    loop {
        match place.connect().await {
            Ok(_) => return Ok(()),
            Err(error) if started.elapsed() > STARTS_WITHIN => return Err(error),
            Err(_) => sleep(LOOK).await,
        }
    }
}

/// One question and its answer; what follows is on the socket.
async fn ask(place: &Place, ask: Ask, within: Duration) -> io::Result<(Answer, UnixStream)> {
    let mut socket = place.connect().await?;
    let asking = async {
        write_frame(&mut socket, &Question { version: VERSION.to_owned(), ask }).await?;
        read_frame(&mut socket).await
    };
    let answer = timeout(within, asking).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    Ok((answer, socket))
}
