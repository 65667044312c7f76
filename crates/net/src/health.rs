//! How an endpoint fares with its relay, and what is done when it fares badly.

use crate::tailnet::Inner;
use iroh::{Watcher, endpoint::RelayStatus};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// Off the relay for this long: perhaps the network changed and nobody noticed.
const NUDGE_AFTER: Duration = Duration::from_secs(60);
/// Off the relay for this long: perhaps the endpoint is wedged (iroh issue 4476). It is replaced, unless it carries connections.
const REBUILD_AFTER: Duration = Duration::from_secs(180);

/// How the connection to the relay is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Not there yet.
    Connecting,
    /// The relay has let us in.
    Connected,
    /// The relay refuses us, and will until [`crate::Tailnet::update_relay`].
    Denied {
        /// What it said.
        reason: String,
    },
    /// It is lost or cannot be reached; attempts go on.
    Disconnected {
        /// Since when.
        since: Instant,
        /// What went wrong last.
        reason: String,
    },
}

impl Health {
    /// Whether the relay has let us in.
    #[must_use]
    pub const fn is_connected(&self) -> bool {
        matches!(self, Self::Connected)
    }

    /// The next state, given what iroh says. A new attempt does not hide the last failure.
    fn next(&self, statuses: &[RelayStatus], now: Instant) -> Self {
        if statuses.iter().any(RelayStatus::is_connected) {
            return Self::Connected;
        }
        if let Some(reason) = statuses.iter().find_map(RelayStatus::auth_denied_reason) {
            return Self::Denied { reason: reason.to_owned() };
        }
        match (self, statuses.iter().find_map(RelayStatus::last_error)) {
            (Self::Disconnected { since, .. }, Some(error)) => Self::Disconnected { since: *since, reason: innermost(error) },
            (_, Some(error)) => Self::Disconnected { since: now, reason: innermost(error) },
            (Self::Connected, None) => Self::Disconnected { since: now, reason: "the connection to the relay was lost".to_owned() },
            (same, None) => same.clone(),
        }
    }
}

/// The cause of the cause: what a person needs of a chain of wrappers.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// Publishes health, and nudges or replaces an endpoint that does not come back by itself.
pub(crate) async fn supervise(inner: Arc<Inner>) {
    let mut current = inner.subscribe();
    loop {
        let endpoint = current.borrow_and_update().clone();
        let mut status = endpoint.home_relay_status();
        let (mut down_since, mut nudged) = (Instant::now(), false);
        loop {
            let statuses = status.get();
            inner.publish(&current, |health| health.next(&statuses, Instant::now()));
            let up = inner.is_connected();
            if up {
                (down_since, nudged) = (Instant::now(), false);
            }
            tokio::select! {
                () = inner.closed().cancelled() => return,
                replaced = current.changed() => match replaced {
                    Ok(()) => break,
                    Err(_) => return,
                },
                updated = status.updated() => if updated.is_err() { return },
                () = tokio::time::sleep_until(down_since + NUDGE_AFTER), if !up && !nudged => {
                    nudged = true;
                    endpoint.network_change().await;
                }
                () = tokio::time::sleep_until(down_since + REBUILD_AFTER), if !up => {
                    down_since = Instant::now();
                    if inner.is_unused() && let Err(error) = inner.rebuild().await {
                        tracing::warn!(%error, "cannot replace the tailnet endpoint");
                    }
                }
            }
        }
    }
}
