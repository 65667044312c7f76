//! Holding the lease, and every reason to stop before Terraform is done.
//!
//! ```text
//! none --it takes too long, or is silent--> Overdue, Silent
//! none --cancel in a heartbeat's answer--> Canceled --+
//! none --SIGTERM or SIGINT--------------> Told -------+--> Lost: the API refused us (401, 404, 409), nothing is written any more
//! none --no answer until the lease ended-> Unreachable +
//! ```
//! A stop only ever becomes more urgent: the order of the variants.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use berth_client::{ClientError, RunnerClient};
use berth_domain::Timestamp;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    time::Instant,
};
use tokio_util::task::AbortOnDropHandle;

use crate::task::owned;

/// How soon a failed heartbeat is repeated.
const RETRY: Duration = Duration::from_secs(2);

/// Why the work must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// It said and did nothing for too long.
    Silent,
    /// It took too long.
    Overdue,
    /// Someone asked to cancel the build.
    Canceled,
    /// The runner was told to stop (SIGTERM): the machine wants to go.
    Told,
    /// The API did not answer until the lease ended. What we know is still offered to it; the fence decides.
    Unreachable,
    /// The lease is another's or nobody's. Nothing may be written.
    Lost,
}

/// Where reasons to stop are announced and seen.
#[derive(Debug, Clone)]
pub struct Stops {
    stop: watch::Sender<Option<Stop>>,
    reason: Arc<OnceLock<String>>,
}

impl Default for Stops {
    fn default() -> Self {
        Self { stop: watch::Sender::new(None), reason: Arc::default() }
    }
}

impl Stops {
    /// Announces a reason, unless a more urgent one is known.
    pub fn announce(&self, stop: Stop) {
        self.stop.send_if_modified(|now| {
            let more_urgent = now.is_none_or(|now| stop > now);
            if more_urgent {
                tracing::info!(?stop, "stopping");
                *now = Some(stop);
            }
            more_urgent
        });
    }

    /// Announces a reason of our own, in words for the person who asked for the build.
    pub fn give_up(&self, stop: Stop, reason: String) {
        let _first = self.reason.set(reason);
        self.announce(stop);
    }

    /// The words of [`Stops::give_up`].
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.reason.get().map(String::as_str)
    }

    /// The most urgent reason so far.
    #[must_use]
    pub fn now(&self) -> Option<Stop> {
        *self.stop.borrow()
    }

    /// Sees every change.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Option<Stop>> {
        self.stop.subscribe()
    }

    /// Whether the lease is known to be another's.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.now() == Some(Stop::Lost)
    }

    /// Notes that the API refused us, if that is what the error says. True when it did.
    pub fn note(&self, error: &ClientError) -> bool {
        let refused = error.is_unauthorized() || error.is_conflict() || error.is_not_found();
        if refused {
            tracing::warn!(%error, "the lease is lost");
            self.announce(Stop::Lost);
        }
        refused
    }
}

/// Listens for SIGTERM and SIGINT until dropped.
///
/// # Errors
/// When the signals cannot be caught.
pub fn listen(stops: &Stops) -> std::io::Result<AbortOnDropHandle<()>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stops = stops.clone();
    Ok(owned(async move {
        loop {
            tokio::select! {
                Some(()) = terminate.recv() => {}
                Some(()) = interrupt.recv() => {}
            }
            stops.announce(Stop::Told);
        }
    }))
}

/// Renews the lease every `period` until dropped or lost. Costs one small request per period.
pub fn keep(client: RunnerClient, stops: Stops, period: Duration, ends: Timestamp) -> AbortOnDropHandle<()> {
    owned(async move {
        let mut ends = instant(ends);
        let mut pause = period;
        loop {
            tokio::time::sleep(pause).await;
            match client.heartbeat().await {
                Ok(heartbeat) => {
                    ends = instant(heartbeat.lease_ends);
                    pause = period;
                    if heartbeat.cancel {
                        stops.announce(Stop::Canceled);
                    }
                }
                Err(error) if stops.note(&error) => return,
                Err(error) => {
                    tracing::warn!(%error, "a heartbeat failed");
                    pause = RETRY.min(period);
                    if Instant::now() >= ends {
                        stops.announce(Stop::Unreachable);
                    }
                }
            }
        }
    })
}

/// The same moment on the clock that never jumps.
fn instant(at: Timestamp) -> Instant {
    let left = at.duration_since(Timestamp::now());
    Instant::now() + Duration::try_from(left).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_only_becomes_more_urgent() {
        let stops = Stops::default();
        assert_eq!(stops.now(), None);
        stops.announce(Stop::Told);
        stops.announce(Stop::Canceled);
        assert_eq!(stops.now(), Some(Stop::Told));
        stops.announce(Stop::Lost);
        stops.announce(Stop::Unreachable);
        assert!(stops.is_lost());
    }
}
