//! Sockets in the workspace that lead here (`-R`): which connection from there goes where.

use crate::forward::{Bound, Reached, Reverse};
use russh::{
    Channel, ChannelOpenFailure,
    client::{ChannelOpenHandle, Handle, Handler, Msg},
};
use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};

/// How much is moved at a time.
const BUFFER_BYTES: usize = 128 * 1024;

/// What is wanted, and of it what the workspace has agreed to.
#[derive(Debug, Clone, Default)]
pub struct Routes {
    wanted: Vec<Reverse>,
    agreed: Arc<Mutex<Vec<Reverse>>>,
}

impl Routes {
    /// Nothing of it is agreed yet.
    #[must_use]
    pub fn new(wanted: &[Reverse]) -> Self {
        Self { wanted: wanted.to_vec(), agreed: Arc::default() }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    /// Asks the workspace for all of it; gives a line for each, and whether any was agreed to.
    pub(super) async fn ask<H: Handler>(&self, handle: &Handle<H>) -> (Vec<String>, bool) {
        let (mut lines, mut any) = (Vec::new(), false);
        for Reverse { there, here } in &self.wanted {
            let agreed = match there {
                Bound::Tcp { address, port } => {
                    let bound = handle.tcpip_forward(address.as_str(), u32::from(*port)).await;
                    // The answer names the port only where any was wanted.
                    let chosen = bound.map(|chosen| u16::try_from(chosen).ok().filter(|chosen| *chosen > 0).unwrap_or(*port));
                    chosen.map(|port| (Bound::Tcp { address: address.clone(), port }, format!("port {port}")))
                }
                Bound::Unix(path) => handle.streamlocal_forward(path.as_str()).await.map(|()| (there.clone(), path.clone())),
            };
            match agreed {
                Ok((there, shown)) => {
                    any = true;
                    lines.push(format!("{shown} in the workspace is {here} here"));
                    self.agreed.lock().unwrap_or_else(PoisonError::into_inner).push(Reverse { there, here: here.clone() });
                }
                Err(_) => lines.push(format!("{} in the workspace cannot be listened at: is it taken?", shown(there))),
            }
        }
        (lines, any)
    }

    /// Where a connection to a port of the workspace leads.
    pub(super) fn of_port(&self, address: &str, port: u32) -> Option<Reached> {
        let agreed = self.agreed.lock().unwrap_or_else(PoisonError::into_inner);
        let matches = |route: &&Reverse, exact: bool| match &route.there {
            Bound::Tcp { address: bound, port: own } => u32::from(*own) == port && (!exact || bound == address),
            Bound::Unix(_) => false,
        };
        let exact = agreed.iter().find(|route| matches(route, true));
        exact.or_else(|| agreed.iter().find(|route| matches(route, false))).map(|route| route.here.clone())
    }

    /// Where a connection to a socket of the workspace leads.
    pub(super) fn of_socket(&self, path: &str) -> Option<Reached> {
        let agreed = self.agreed.lock().unwrap_or_else(PoisonError::into_inner);
        agreed.iter().find(|route| matches!(&route.there, Bound::Unix(own) if own == path)).map(|route| route.here.clone())
    }
}

fn shown(there: &Bound) -> String {
    match there {
        Bound::Tcp { port, .. } => format!("port {port}"),
        Bound::Unix(path) => path.clone(),
    }
}

/// Joins a channel from the workspace to what it leads to.
pub(super) async fn lead(channel: Channel<Msg>, reply: ChannelOpenHandle, to: Reached) {
    let connected = match &to {
        Reached::Tcp { host, port } => TcpStream::connect((host.as_str(), *port)).await.map(|socket| {
            let _set = socket.set_nodelay(true);
            Socket::Tcp(socket)
        }),
        Reached::Unix(path) => UnixStream::connect(path).await.map(Socket::Unix),
    };
    match connected {
        Ok(Socket::Tcp(socket)) => join(channel, reply, socket).await,
        Ok(Socket::Unix(socket)) => join(channel, reply, socket).await,
        Err(error) => {
            tracing::info!(%error, %to, "nothing answers here");
            reply.reject(ChannelOpenFailure::ConnectFailed).await;
        }
    }
}

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Either side may go away; nothing else is to be done then.
async fn join(channel: Channel<Msg>, reply: ChannelOpenHandle, mut socket: impl AsyncRead + AsyncWrite + Unpin) {
    reply.accept().await;
    let mut stream = channel.into_stream();
    let joined: io::Result<_> =
        tokio::io::copy_bidirectional_with_sizes(&mut stream, &mut socket, BUFFER_BYTES, BUFFER_BYTES).await;
    if let Err(error) = joined {
        tracing::debug!(%error, "a forwarded connection broke");
    }
}
