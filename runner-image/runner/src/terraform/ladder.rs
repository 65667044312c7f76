//! The kill ladder: ask, wait, ask again, kill. Protocol only; [`super::process`] sends the signals.
//!
//! ```text
//! Working --a stop--> Asked (SIGINT to Terraform) --grace--> Urged (SIGINT again) --10 s--> Killed (SIGKILL to its process group)
//! ```

use std::time::Duration;

use tokio::time::Instant;

use crate::lease::Stop;

/// After the second interrupt, which makes Terraform give up on what is in flight.
const URGED: Duration = Duration::from_secs(10);
/// The most patience when the machine goes away: a Fargate task has 120 seconds from SIGTERM to SIGKILL (Amazon ECS, `stopTimeout`), and
/// the last state and the outcome take some of them.
const GRACE_TOLD: Duration = Duration::from_secs(95);
/// The most patience when another runner may already work on the same resources.
const GRACE_LOST: Duration = Duration::from_secs(20);

/// Where on the ladder a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rung {
    Working,
    Asked { since: Instant },
    Urged { since: Instant },
    Killed,
}

/// What to send now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Send {
    /// SIGINT to Terraform alone: providers must live on to answer it.
    Interrupt,
    /// SIGKILL to the process group.
    Kill,
}

/// One run's way down.
#[derive(Debug)]
pub struct Ladder {
    rung: Rung,
    grace: Duration,
}

impl Ladder {
    /// A run that works, and how long it may take to end once it was asked.
    #[must_use]
    pub const fn new(grace: Duration) -> Self {
        Self { rung: Rung::Working, grace }
    }

    /// What to send now, given the most urgent stop so far. Call it at every change of that and at [`Ladder::deadline`].
    pub fn step(&mut self, now: Instant, stop: Option<Stop>) -> Option<Send> {
        let stop = stop?;
        match self.rung {
            Rung::Working => {
                self.rung = Rung::Asked { since: now };
                Some(Send::Interrupt)
            }
            Rung::Asked { since } if now >= since + self.patience(stop) => {
                self.rung = Rung::Urged { since: now };
                Some(Send::Interrupt)
            }
            Rung::Urged { since } if now >= since + URGED => {
                self.rung = Rung::Killed;
                Some(Send::Kill)
            }
            _ => None,
        }
    }

    /// When [`Ladder::step`] has something to do even if nothing changes.
    #[must_use]
    pub fn deadline(&self, stop: Option<Stop>) -> Option<Instant> {
        match self.rung {
            Rung::Working | Rung::Killed => None,
            Rung::Asked { since } => Some(since + self.patience(stop?)),
            Rung::Urged { since } => Some(since + URGED),
        }
    }

    /// Whether Terraform was ever asked to stop.
    #[must_use]
    pub fn was_asked(&self) -> bool {
        self.rung != Rung::Working
    }

    fn patience(&self, stop: Stop) -> Duration {
        match stop {
            Stop::Silent | Stop::Overdue | Stop::Canceled => self.grace,
            Stop::Told => self.grace.min(GRACE_TOLD),
            Stop::Unreachable | Stop::Lost => self.grace.min(GRACE_LOST),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_asked_then_urged_then_killed() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut ladder = Ladder::new(180 * second);
        assert_eq!(ladder.step(start, None), None);
        assert!(!ladder.was_asked());
        assert_eq!(ladder.step(start, Some(Stop::Canceled)), Some(Send::Interrupt));
        assert_eq!(ladder.deadline(Some(Stop::Canceled)), Some(start + 180 * second));
        assert_eq!(ladder.step(start + 179 * second, Some(Stop::Canceled)), None);
        assert_eq!(ladder.step(start + 180 * second, Some(Stop::Canceled)), Some(Send::Interrupt));
        assert_eq!(ladder.step(start + 190 * second, Some(Stop::Canceled)), Some(Send::Kill));
        assert_eq!((ladder.step(start + 500 * second, Some(Stop::Lost)), ladder.deadline(Some(Stop::Lost))), (None, None));
    }

    #[test]
    fn a_more_urgent_stop_shortens_the_wait() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut ladder = Ladder::new(180 * second);
        ladder.step(start, Some(Stop::Canceled));
        assert_eq!(ladder.deadline(Some(Stop::Told)), Some(start + GRACE_TOLD));
        assert_eq!(ladder.step(start + 20 * second, Some(Stop::Lost)), Some(Send::Interrupt));
    }
}
