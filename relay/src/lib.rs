//! The relay: the meeting point of the tailnet, on one port with our HTTP.
//!
//! It admits endpoints that hold a token of ours ([`Relay`]), carries their encrypted packets without being able to read them, and knows
//! which agents are connected ([`Presence`]). [`serve`] puts it and an axum router behind one listener.
//!
//! Web apps of workspaces have hosts on the same port ([`Apps`]), which it reaches by an end of the tailnet of its own ([`Tunnels`]).
//!
//! On a laptop that is all, in one process with the API. As a program of its own ([`run`]) it ends TLS, owns its name, answers the API who
//! is connected, and holds the live sockets ([`Live`]) that a function cannot hold.

// The futures of an end of the tailnet are deep: whether they may move between threads is found out level by level.
#![recursion_limit = "256"]

mod address;
mod admission;
mod app;
mod bucket;
mod certificate;
mod channel;
mod config;
mod discovery;
mod health;
mod host;
mod keys;
mod leader;
mod live;
mod name;
mod presence;
mod program;
mod refusal;
mod serve;
mod socket;
#[cfg(test)]
mod tests;
mod tls;
mod tunnel;
mod upgrade;
mod upstream;
mod zone;

pub use admission::{Relay, RelayConfig};
pub use app::{Apps, SiteError};
pub use config::{Config, ConfigError, Public};
pub use discovery::DiscoveryError;
pub use health::check;
pub use keys::{Keys, ReadKeysError};
pub use live::{FollowersMax, Live};
pub use name::NameError;
pub use presence::{Change, Presence};
pub use program::{RunError, run};
pub use serve::{Port, Web, listen, serve};
pub use tls::{CertificateError, Certificates};
pub use tunnel::{Admitted, TunnelError, Tunnels};
pub use upstream::{Upstream, UpstreamError};
