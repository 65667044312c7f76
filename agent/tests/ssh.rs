//! The SSH server, tried with the OpenSSH programs that people use.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "helpers of tests; clippy only knows the tests themselves"
)]

#[path = "ssh/bench.rs"]
mod bench;
#[path = "ssh/exec.rs"]
mod exec;
#[path = "ssh/files.rs"]
mod files;
#[path = "ssh/forwards.rs"]
mod forwards;
#[path = "ssh/terminals.rs"]
mod terminals;
