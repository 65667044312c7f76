//! The resumable stream: bytes both ways that outlive the connection they travel on.
//!
//! A tunnel stream ends with its QUIC connection: a relay that is gone for minutes, a laptop that sleeps, a new network. A [`Resumable`] does
//! not. Each end numbers the bytes it sends, keeps those the other has not consumed, and after a loss goes on where the other has received.
//!
//! ```text
//! client: Resumable::open(dial, Service) ── driver: dial, greet, move bytes, notice a loss, dial again
//! agent:  Request::accept_resumable() ───── driver: greet, move bytes, wait for the client to come back
//!                                              │
//!                                           Machine: bytes and instants in, bytes and a deadline out
//! ```
//!
//! On the wire, after the tunnel's own first frame and status byte, both ends send frames (`frame.rs`). The agent begins with a welcome, which
//! tells a new stream its id and its limit, and a resumed one how far the agent has received; the client told the same in its first frame. A
//! client of a new stream sends on without waiting; one that resumes waits for the welcome, one round trip.
//!
//! | what | limit |
//! |---|---|
//! | bytes one end keeps for the other | 4 MiB each way, [`HELD_BYTES_MAX`] for all streams of an agent |
//! | a stream without a connection | 8 hours, as the welcome says; then the agent forgets it |
//! | streams of an agent | [`RESUMABLES_MAX`]; the one that is away for the longest makes room |
//! | a silent path, while something is unanswered | 5 seconds, then the client dials again |
//!
//! The client end decides when a connection is dead, because only it can dial. A connection that *ends in order* in the middle of the frames
//! means that whoever held the other end of the stream is gone for good: a multiplexer whose client process was killed. A connection that
//! *breaks* means nothing.

mod client;
mod dial;
mod frame;
mod incoming;
mod liveness;
mod machine;
mod outgoing;
mod registry;
mod stream;
#[cfg(test)]
mod tests;

pub use dial::{Dial, DialError};
pub use frame::Reason;
pub use machine::Ended;
pub use registry::{HELD_BYTES_MAX, RESUMABLES_MAX, Resumables};
pub use stream::{Phase, Resumable};
