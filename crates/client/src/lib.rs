//! The typed HTTP client of Berth's API: one method per route, bodies from `berth-wire`, errors a person understands.
//!
//! The CLI, the agent, the runner and the relay speak to the control plane through this and nothing else. Cloning a [`Client`] is cheap;
//! clones share connections. Nothing is retried here: who calls knows whether a call may run twice.

mod agent;
mod build;
mod error;
mod follow;
mod http;
mod instance;
mod probe;
mod repair;
mod runner;
mod socket;
mod state;
mod template;
#[cfg(test)]
mod tests;
mod tls;
mod upload;
mod user;
mod workspace;

pub use agent::AgentClient;
pub use error::ClientError;
pub use follow::Follow;
pub use http::Client;
pub use instance::{INSTANCE_METADATA, instance_identity};
pub use probe::{AppProbe, Certificate, CertificateError, Heard, certificate};
pub use runner::RunnerClient;
pub use tls::config as tls_config;
pub use workspace::WorkspacesQuery;

/// The result of every call.
pub type Result<T> = std::result::Result<T, ClientError>;
