//! A relay that sleeps while nobody needs it: the sweep's half. The dispatcher's is to wake it; the table draws the whole
//! (`berth_store::relay`).

use berth_domain::Timestamp;
use berth_store::{RelayState, Store, TableError};
use std::future::Future;

/// Starts and stops the relay. On one machine it is a part of the server and always on.
pub trait Power: Sync {
    /// Asks that the relay runs, or does not. Asking twice is the same as asking once.
    fn set(&self, on: bool) -> impl Future<Output = Result<(), PowerError>> + Send;
}

/// Why the relay was neither started nor stopped; the next sweep tries again.
#[derive(Debug, thiserror::Error)]
#[error("cannot {} the relay: {cause}", if *.on { "start" } else { "stop" })]
pub struct PowerError {
    /// What was asked.
    pub on: bool,
    /// Why, with all its causes.
    pub cause: String,
}

/// Why a relay was not looked after; the next sweep does.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The table failed.
    #[error("cannot read or write whether the relay is awake")]
    Table(#[from] TableError),
    /// It cannot be started or stopped.
    #[error(transparent)]
    Power(#[from] PowerError),
}

/// Looks after a relay that is due: starts it while anybody needs it, and stops it when for a minute nobody did.
///
/// # Errors
/// When the table fails, or the relay cannot be started or stopped.
pub(crate) async fn look_after(store: &Store, power: &impl Power, now: Timestamp) -> Result<(), RelayError> {
    let Some(seen) = store.relay().await? else { return Ok(()) };
    if seen.state == RelayState::Waking || store.is_relay_needed().await? {
        power.set(true).await?;
        store.relay_becomes(seen, RelayState::Awake, now).await?;
    } else if seen.state == RelayState::Awake {
        store.relay_becomes(seen, RelayState::Drowsy, now).await?;
    } else {
        power.set(false).await?;
        if store.relay_sleeps(seen).await? {
            tracing::info!("the relay sleeps: no workspace runs");
        } else {
            // Somebody came between: whoever was the last to speak to ECS, it is on in the end.
            power.set(true).await?;
        }
    }
    Ok(())
}
