//! The agent: the one Berth process inside a workspace.
//!
//! It dials out, proves itself with its token, and from then on answers the owner: SSH ([`ssh`]), forwarded ports, scripts. Everything it
//! starts runs as the user it runs as itself, and ends with it ([`process`]).

pub mod process;
pub mod ssh;
pub mod user;
