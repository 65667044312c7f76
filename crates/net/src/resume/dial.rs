//! How a client gets a connection, and gets another one when it is lost.

use berth_wire::tunnel::Target;
use std::{sync::Arc, time::Duration};
use tokio::io::{AsyncRead, AsyncWrite};

/// The pause after the first attempt that failed; each next one doubles.
const PAUSE_MIN: Duration = Duration::from_millis(250);
/// The longest pause while somebody is likely to wait.
const PAUSE_MAX: Duration = Duration::from_secs(4);
/// The longest pause after [`PATIENCE`]: a laptop may be away for the night.
const PAUSE_LONG_MAX: Duration = Duration::from_secs(15);
/// How long the short pauses go on.
const PATIENCE: Duration = Duration::from_secs(300);

/// Opens tunnel streams to one agent, whatever it takes: an endpoint of this process's own, or another process that has one.
pub trait Dial: Send + Sync + 'static {
    /// What it opens. Errors of its reads say what the agent answered, as those of [`crate::TunnelStream`] do: `PermissionDenied`,
    /// `ConnectionRefused`, `NotFound` (the stream to resume is over), `Unsupported`. An end of reading without an error means that the
    /// connection is lost, too. Dropping it while its process lives must end it in order; anything else that ends it must be an error.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// Opens a stream for `target` and writes its first frame. Does not wait for the agent's answer. May be dropped at any time.
    ///
    /// # Errors
    /// [`DialError`]: whether trying again makes sense.
    fn dial(&self, target: Target) -> impl Future<Output = Result<Self::Stream, DialError>> + Send;

    /// Waits until an attempt is more likely to succeed than at the time of the call: another network, a relay that is back.
    fn improved(&self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }
}

impl<T: Dial> Dial for Arc<T> {
    type Stream = T::Stream;

    fn dial(&self, target: Target) -> impl Future<Output = Result<Self::Stream, DialError>> + Send {
        self.as_ref().dial(target)
    }

    fn improved(&self) -> impl Future<Output = ()> + Send {
        self.as_ref().improved()
    }
}

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// It may come back: the network, the relay or the agent does not answer.
    #[error("{0}")]
    Away(String),
    /// It will not: the workspace stopped, or may not be entered any more.
    #[error("{0}")]
    Over(String),
}

/// The pauses between attempts: longer each time, never in step with others, cut short when something improves.
#[derive(Debug)]
pub(super) struct Pauses {
    next: Duration,
    waited: Duration,
}

impl Pauses {
    pub(super) const fn new() -> Self {
        Self { next: PAUSE_MIN, waited: Duration::ZERO }
    }

    /// The next one, where `jitter` is between 0 and 1.
    pub(super) fn next(&mut self, jitter: f64) -> Duration {
        let pause = self.next.mul_f64(jitter.mul_add(0.5, 0.5));
        self.waited += pause;
        let longest = if self.waited < PATIENCE { PAUSE_MAX } else { PAUSE_LONG_MAX };
        self.next = (self.next * 2).min(longest);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_but_stay_short_while_somebody_waits() {
        let mut pauses = Pauses::new();
        let first: Duration = (0..10).map(|_| pauses.next(1.0)).sum();
        assert!(first < Duration::from_secs(32), "{first:?}");
        while pauses.waited < PATIENCE {
            assert!(pauses.next(0.0) <= PAUSE_MAX / 2);
        }
        assert_eq!((0..9).map(|_| pauses.next(1.0)).last(), Some(PAUSE_LONG_MAX));
    }
}
