//! Whether the connection at hand still carries anything. Only the client watches: only it can dial again.

use std::time::Duration;
use tokio::time::Instant;

/// Something is unanswered, or nothing more has come, for this long: ask.
const ASK_AFTER: Duration = Duration::from_secs(2);
/// Nothing was heard for this long after asking: the connection is dead.
const DEAD_AFTER: Duration = Duration::from_secs(3);
/// A stream in use is asked this often even when nothing is unanswered: the other end may be sending into the void.
const HEARTBEAT: Duration = Duration::from_secs(20);
/// A stream over which nothing went for this long is idle: nothing is asked until something goes again.
const IDLE_AFTER: Duration = Duration::from_secs(600);

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Fine,
    Ask,
    Dead,
}

/// What is known of one connection.
#[derive(Debug)]
pub(super) struct Liveness {
    /// When the other end was heard last.
    heard: Instant,
    /// When something was sent last that wants an answer.
    sent: Instant,
    /// When bytes of the stream went last, either way.
    used: Instant,
    /// Whether bytes of the stream were heard after the last answer: more may be on its way, or may not get here any more.
    expects: bool,
    /// When we asked, while there is no answer.
    asked: Option<Instant>,
}

impl Liveness {
    pub(super) const fn new(now: Instant) -> Self {
        Self { heard: now, sent: now, used: now, expects: false, asked: None }
    }

    /// Bytes of the stream were sent.
    pub(super) const fn sent(&mut self, now: Instant) {
        self.sent = now;
        self.used = now;
    }

    /// Anything was heard.
    pub(super) const fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    /// Bytes of the stream were heard.
    pub(super) const fn used(&mut self, now: Instant) {
        self.used = now;
        self.expects = true;
    }

    /// The other end answered what we asked.
    pub(super) const fn answered(&mut self) {
        self.asked = None;
        self.expects = false;
    }

    /// A welcome is awaited, as if we had asked for it.
    pub(super) fn await_welcome(&mut self, now: Instant) {
        self.asked = Some(now + ASK_AFTER);
    }

    /// When to look again. `unconfirmed`: whether something sent may not have arrived.
    pub(super) fn deadline(&self, unconfirmed: bool) -> Option<Instant> {
        if let Some(asked) = self.asked {
            return Some(asked.max(self.heard) + DEAD_AFTER);
        }
        if unconfirmed || self.expects {
            return Some(self.sent.max(self.heard) + ASK_AFTER);
        }
        let beat = self.heard + HEARTBEAT;
        (beat < self.used + IDLE_AFTER).then_some(beat)
    }

    /// Looks, at `now`.
    pub(super) fn check(&mut self, now: Instant, unconfirmed: bool) -> Verdict {
        match self.deadline(unconfirmed) {
            Some(deadline) if now >= deadline => {
                if self.asked.is_some() {
                    return Verdict::Dead;
                }
                self.asked = Some(now);
                Verdict::Ask
            }
            _ => Verdict::Fine,
        }
    }
}
