//! What travels between components: HTTP bodies, runner and agent messages, tunnel frames, tickets.
//!
//! Paths, JSON fields and enum words inside `/api/v2` are Coder's, so that its IDE extensions and scripts work unmodified;
//! the routes under `/api/v2/runner` and the tickets are ours. Nothing here does I/O.

pub mod agent;
pub mod app;
pub mod build;
pub mod deployment;
pub mod error;
pub mod init_script;
pub mod message;
pub mod presence;
pub mod repair;
pub mod resource;
pub mod runner;
pub mod state;
pub mod template;
pub mod ticket;
pub mod tunnel;
pub mod upload;
pub mod user;
pub mod workspace;

/// The nouns inside the bodies, for those who depend on the wire alone.
pub use berth_domain as domain;
pub use deployment::BuildInfo;
pub use error::{ErrorBody, Validation};

/// The version clients see on `/api/v2/buildinfo`; IDE plugins gate features by it.
pub const COMPATIBLE_VERSION: &str = concat!("v2.99.0-devel+berth.", env!("CARGO_PKG_VERSION"));
/// The header that carries a session or API token.
pub const SESSION_HEADER: &str = "Coder-Session-Token";
