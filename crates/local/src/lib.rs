//! The assembly on one machine: API, dispatcher, reaper, sweep and relay in one process, an embedded table, a runner process per job.
//!
//! `berth server` starts it; the stories in `tests/` run it as they would be run. On AWS the same libraries are Lambdas, a queue and tasks.

pub mod config;
mod dashboard;
mod host;
mod keys;
mod presence;
mod queue;
mod server;
mod task;

pub use config::{Config, Options};
pub use server::{ServeError, serve};
