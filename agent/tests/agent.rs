//! The agent's own binary against a control plane that a test writes: hello, scripts, reports, and the end.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "helpers of tests; clippy only knows the tests themselves"
)]

#[path = "agent/inside.rs"]
mod inside;
#[path = "agent/plane.rs"]
mod plane;
#[path = "agent/start.rs"]
mod start;
#[path = "agent/tailnet.rs"]
mod tailnet;
