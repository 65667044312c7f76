//! Stories on the real thing: the built binaries, the embedded table, real Terraform, real SSH clients.
//!
//! `cargo xtask test` builds the binaries first; each story starts its own server on a free port with its own data directory.

mod agent;
mod architecture;
mod build;
mod forward;
mod harness;
mod server;
mod ssh;
mod template;
mod user;
mod workspace;
