//! Ends processes and everything that came from them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tokio::sync::watch;
use tokio::time::Instant;

use super::platform::{self, Marks, Seen};
use crate::value::{Object, Value, at, text_at};

/// How often the process table is read while processes end.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How long the kernel may take to end a process after SIGKILL.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);

/// Why processes could not be ended.
#[derive(Debug, thiserror::Error)]
pub enum EndError {
    /// The process table cannot be read.
    #[error("process table cannot be read")]
    Table(#[from] io::Error),
    /// Terraform was interrupted while the processes ended by themselves. They got SIGTERM; the next build ends them.
    #[error("interrupted while processes {0:?} were ending; start the build again")]
    Interrupted(Vec<i32>),
    /// They survived SIGKILL: they belong to another user or hang in the kernel.
    #[error("processes {0:?} cannot be ended; end them by hand and start the build again")]
    Survived(Vec<i32>),
}

/// The identity of a process: a number alone may name a stranger after a while or after a reboot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Leader {
    pub(super) pid: i32,
    pub(super) start: String,
    pub(super) boot: String,
}

impl Leader {
    /// The process that has this number now.
    pub(super) fn observe(pid: i32) -> io::Result<Self> {
        let seen = platform::one(pid).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        Ok(Self { pid, start: seen.start, boot: platform::boot_id()? })
    }

    /// The process that a state names, if it names one.
    pub(super) fn stored(state: &Object) -> Option<Self> {
        let pid = at(state, "pid").as_whole().and_then(|pid| i32::try_from(pid).ok()).filter(|pid| *pid > 1)?;
        Some(Self { pid, start: text_at(state, "start_time").into(), boot: text_at(state, "boot_id").into() })
            .filter(|_| *at(state, "id") != Value::Null)
    }

    /// True while this very process runs.
    pub(super) fn is_alive(&self) -> bool {
        platform::boot_id().is_ok_and(|boot| boot == self.boot) && platform::one(self.pid).is_some_and(|seen| self.is(&seen))
    }

    fn is(&self, seen: &Seen) -> bool {
        seen.pid == self.pid && seen.start == self.start && !seen.zombie
    }
}

/// What tells a process that is to end by its environment.
pub(super) type Marked = Box<dyn Fn(&Marks) -> bool + Send + Sync>;

/// Processes to end: the leader with its session and descendants, and all that are marked.
pub(super) struct Ending {
    pub(super) leader: Option<Leader>,
    pub(super) marked: Marked,
    pub(super) grace: Duration,
    pub(super) stopping: watch::Receiver<bool>,
}

/// What became of processes that were to end: none is left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Gone {
    /// How many there were.
    pub(super) count: usize,
    /// Whether some did not end by themselves in time.
    pub(super) was_killed: bool,
}

/// What one look at the process table found.
struct Look {
    victims: BTreeMap<i32, Seen>,
    leader_lives: bool,
}

impl Ending {
    /// Sends SIGTERM, waits, sends SIGKILL, and returns once none is left. The leader is told first: it may need the others to end well, as an
    /// agent does for its stop scripts. They are told when it is gone, or when most of the time is over.
    pub(super) async fn run(self) -> Result<Gone, EndError> {
        let stopping = self.stopping.clone();
        let deadline = Instant::now() + self.grace;
        let patience_ends = deadline - self.grace / 4;
        let ending = std::sync::Arc::new(self);
        let mut known: BTreeSet<(i32, String)> = BTreeSet::new();
        let mut told = BTreeSet::new();
        let mut first = true;
        let mut was_killed = false;
        loop {
            let (this, already) = (std::sync::Arc::clone(&ending), known.clone());
            let look = tokio::task::spawn_blocking(move || this.look(&already)).await.map_err(io::Error::other)??;
            if look.victims.is_empty() {
                return Ok(Gone { count: known.len(), was_killed });
            }
            let left: Vec<i32> = look.victims.keys().copied().collect();
            let now = Instant::now();
            if now >= deadline + KILL_TIMEOUT {
                return Err(EndError::Survived(left));
            }
            if now >= deadline {
                look.signal(&ending.signal_leader(&look, Signal::SIGKILL), Signal::SIGKILL);
                was_killed = true;
            } else if !look.leader_lives || now >= patience_ends {
                look.signal(&told, Signal::SIGTERM);
                told.extend(look.victims.values().map(|seen| (seen.pid, seen.start.clone())));
            } else if first {
                told = ending.signal_leader(&look, Signal::SIGTERM);
            }
            if now < deadline && *stopping.borrow() {
                look.signal(&told, Signal::SIGTERM);
                return Err(EndError::Interrupted(left));
            }
            let fresh = first || !look.leader_lives || now >= deadline;
            if fresh {
                known.extend(look.victims.into_values().map(|seen| (seen.pid, seen.start)));
            }
            first = false;
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Finds what is to end: the known ones that still run, the marked, the leader's session, and their descendants.
    fn look(&self, known: &BTreeSet<(i32, String)>) -> io::Result<Look> {
        let own = i32::try_from(std::process::id()).unwrap_or_default();
        let mut rest = platform::all()?;
        rest.retain(|seen| !seen.zombie && seen.pid > 1 && seen.pid != own);
        let leader = self.leader.as_ref().filter(|leader| leader.is_alive());
        let mut victims = BTreeMap::new();
        loop {
            let before = victims.len();
            let (found, others): (Vec<_>, Vec<_>) = rest.into_iter().partition(|seen| {
                victims.contains_key(&seen.parent)
                    || known.contains(&(seen.pid, seen.start.clone()))
                    || leader.is_some_and(|leader| leader.is(seen) || seen.session == leader.pid || seen.group == leader.pid)
                    || (before == 0 && (self.marked)(&platform::marks(seen.pid)))
            });
            victims.extend(found.into_iter().map(|seen| (seen.pid, seen)));
            rest = others;
            if victims.len() == before {
                return Ok(Look { victims, leader_lives: leader.is_some() });
            }
        }
    }

    /// Signals the leader's group, if the leader lives; says who is in it.
    fn signal_leader(&self, look: &Look, signal: Signal) -> BTreeSet<(i32, String)> {
        let Some(leader) = self.leader.as_ref().filter(|_| look.leader_lives) else { return BTreeSet::new() };
        let _ = killpg(Pid::from_raw(leader.pid), signal);
        let group = look.victims.values().filter(|seen| seen.group == leader.pid);
        group.map(|seen| (seen.pid, seen.start.clone())).collect()
    }
}

impl Look {
    /// Signals the victims that are not in `spared`, one by one.
    fn signal(&self, spared: &BTreeSet<(i32, String)>, signal: Signal) {
        for seen in self.victims.values() {
            let is_spared = spared.contains(&(seen.pid, seen.start.clone()));
            // One that ended meanwhile, or that is not ours to signal, shows in the next look.
            if !is_spared && platform::one(seen.pid).is_some_and(|now| now.start == seen.start) {
                let _ = kill(Pid::from_raw(seen.pid), signal);
            }
        }
    }
}
