//! The relay: the meeting point of the tailnet, on one port with our HTTP.
//!
//! It admits endpoints that hold a token of ours ([`Relay`]), carries their encrypted packets without being able to read them, and knows
//! which agents are connected ([`Presence`]). [`serve`] puts it and an axum router behind one listener.

mod admission;
mod presence;
mod serve;
mod socket;
#[cfg(test)]
mod tests;
mod upgrade;

pub use admission::{Relay, RelayConfig};
pub use presence::{Change, Presence};
pub use serve::serve;
