//! Terraform (or OpenTofu): finding it, running it, reading what it prints.

pub mod diagnostic;
pub mod download;
pub mod event;
pub mod find;
pub mod guard;
pub mod ladder;
pub mod process;
pub mod user;

pub use diagnostic::Diagnostic;
pub use find::{FindError, Terraform, find};
pub use process::{Ended, Run, RunError};
pub use user::User;
