//! The tailnet: an authenticated, encrypted connection between a developer's machine and an agent, direct when the networks allow it and
//! through the relay when not.
//!
//! ```text
//! client: Tailnet::bind -> connect(&Ticket) -> Peer -> open(Target) -> TunnelStream
//! agent:  Tailnet::bind -> accept() -> Incoming -> verify(&VerifyingKey) -> Session -> next() -> Request -> accept() -> TunnelStream
//! ```
//!
//! Both ends are iroh endpoints (QUIC, ed25519 identities); no public infrastructure is ever asked. A stream begins with the frame of
//! [`berth_wire::tunnel`]; after it, the bytes are the caller's. Beside the streams, each end tells the other how far it has *consumed* each
//! stream (see `credit.rs`), so that a reader who pauses stops the writer instead of killing the connection.

mod credit;
mod datagram;
mod discovery;
mod health;
mod identity;
mod inbox;
mod link;
mod open;
mod peer;
mod proxy;
mod repeat;
mod resume;
mod session;
mod speedtest;
mod stream;
mod tailnet;
mod transport;

pub use datagram::{DATAGRAM_BYTES_MAX, read_datagram, write_datagram};
pub use discovery::{DISCOVERY_PORT, Discovered, DiscoveryError, discover};
pub use health::Health;
pub use identity::Identity;
pub use peer::{ConnectError, PathInfo, Peer};
pub use resume::{Dial, DialError, Ended, HELD_BYTES_MAX, Phase, RESUMABLES_MAX, Reason, Resumable, Resumables};
pub use session::{Incoming, Refusal, Request, Session};
pub use speedtest::{Measured, measure};
pub use stream::{ByteStream, TunnelStream, splice};
pub use tailnet::{BindError, OnlineError, Tailnet, TailnetConfig};
