//! Stories on the real thing: the built binaries, the embedded table, real Terraform, real SSH clients.
//!
//! `cargo xtask test` builds the binaries first; each story starts its own server on a free port with its own data directory.

// All of this is test code: here a panic is the message, and output goes to whoever runs the tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::print_stderr, clippy::disallowed_methods)]

mod agent;
mod app;
mod architecture;
mod archive;
mod aws;
mod bed;
mod build;
mod canary;
mod clients;
mod contract;
mod crash;
mod dashboard;
mod deployed;
mod forward;
mod freeze;
mod functions;
mod harness;
mod module;
mod moto;
mod mux;
mod network;
mod network_tools;
mod parameter;
mod relay;
mod repair;
mod resume;
mod schedule;
mod script;
mod server;
mod ssh;
mod starter;
mod state;
mod template;
mod terminal;
mod upload;
mod user;
mod verb;
mod workspace;
