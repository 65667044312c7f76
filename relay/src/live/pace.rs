//! When a follower asks the API again: soon while there is news, less often while there is none, at once when an agent comes or goes.

use super::{AWAY, Live};
use crate::{
    presence::{Change, Presence},
    upstream::AskError,
};
use std::{collections::HashSet, time::Duration};
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

/// How soon it asks again while there is news.
const SOON: Duration = Duration::from_millis(700);
/// How seldom it asks while there is none. What the API of a laptop does when nobody pokes it.
const SELDOM: Duration = Duration::from_secs(3);
/// How often a quiet socket gets a sign of life; proxies close idle connections after 60 s.
const PING: Duration = Duration::from_secs(15);

/// What a follower does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Ask again.
    Read,
    /// Send a sign of life.
    Beat,
    /// End: the relay drains.
    Stop,
}

/// The pace of one follower. Make it before the first question, so that no change is missed.
#[derive(Debug)]
pub(crate) struct Pace {
    drain: CancellationToken,
    presence: Presence,
    changes: Receiver<Change>,
    agents: HashSet<String>,
    interval: Duration,
    next: Instant,
    beat: Instant,
    /// Since when the API has been away.
    away: Option<Instant>,
}

impl Pace {
    pub(crate) fn new(live: &Live) -> Self {
        let now = Instant::now();
        let presence = live.0.presence.clone();
        let (drain, changes) = (live.0.drain.clone(), presence.changed());
        Self { drain, presence, changes, agents: HashSet::new(), interval: SOON, next: now + SOON, beat: now + PING, away: None }
    }

    /// The agents whose coming and going is news.
    pub(crate) fn listen_to(&mut self, agents: impl IntoIterator<Item = String>) {
        self.agents = agents.into_iter().collect();
    }

    /// That the API answered, and whether it told anything new.
    pub(crate) fn told(&mut self, news: bool) {
        self.away = None;
        self.interval = if news { SOON } else { (self.interval * 3 / 2).min(SELDOM) };
        self.next = Instant::now() + self.interval;
    }

    /// That it did not answer. Gives the error back when that has lasted too long, or when asking again would not help.
    pub(crate) fn not_told(&mut self, error: AskError) -> Result<(), AskError> {
        let since = *self.away.get_or_insert_with(Instant::now);
        if !matches!(error, AskError::Away(_)) || since.elapsed() >= AWAY {
            if !matches!(error, AskError::Refused(_)) {
                tracing::warn!(%error, "a follower is given up");
            }
            return Err(error);
        }
        tracing::debug!(%error, "asking the API again for a follower");
        (self.interval, self.next) = (SELDOM, Instant::now() + SELDOM);
        Ok(())
    }

    /// Waits for the next turn. Dropping the future loses nothing.
    pub(crate) async fn turn(&mut self) -> Turn {
        loop {
            tokio::select! {
                () = self.drain.cancelled() => return Turn::Stop,
                () = tokio::time::sleep_until(self.next) => return Turn::Read,
                () = tokio::time::sleep_until(self.beat) => {
                    self.beat = Instant::now() + PING;
                    return Turn::Beat;
                }
                change = self.changes.recv() => match change {
                    Ok(change) if !self.agents.contains(&change.subject) => {}
                    Ok(_) => return Turn::Read,
                    // We were behind: begin anew with what comes, and look at what there is.
                    Err(RecvError::Lagged(_)) => return Turn::Read,
                    Err(RecvError::Closed) => self.changes = self.presence.changed(),
                },
            }
        }
    }
}
