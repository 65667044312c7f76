//! UDP ports of the workspace: the datagrams of one client on a stream, joined to sockets of their own.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use berth_net::{DATAGRAM_BYTES_MAX, Request, read_datagram, write_datagram};
use tokio::net::UdpSocket;

/// Moves datagrams between the client and `port` until the client ends. A program answers the socket that asked, so each client has its own.
pub(crate) async fn serve(request: Request, port: u16) -> io::Result<()> {
    let port = match Port::connect(port).await {
        Ok(port) => port,
        Err(error) => {
            request.refuse().await;
            return Err(error);
        }
    };
    let (mut from_client, mut to_client) = tokio::io::split(request.accept().await?);
    let up = async {
        let mut datagram = Vec::new();
        while read_datagram(&mut from_client, &mut datagram).await? {
            port.send(&datagram).await;
        }
        Ok(())
    };
    let down = async {
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        loop {
            let length = port.receive(&mut buffer).await?;
            write_datagram(&mut to_client, buffer.get(..length).unwrap_or_default()).await?;
        }
    };
    tokio::select! {
        ended = up => ended,
        ended = down => ended,
    }
}

/// A port on loopback. Some programs have it on one address only, and not all on the same: when nobody is there, the other one is tried.
struct Port {
    v4: UdpSocket,
    /// None where there is no IPv6.
    v6: Option<UdpSocket>,
    uses_v6: AtomicBool,
    /// What was sent last, until its being refused has been answered.
    last: Mutex<Option<Vec<u8>>>,
}

impl Port {
    async fn connect(port: u16) -> io::Result<Self> {
        let v4 = connected(Ipv4Addr::LOCALHOST.into(), port).await?;
        let v6 = connected(Ipv6Addr::LOCALHOST.into(), port).await.ok();
        Ok(Self { v4, v6, uses_v6: AtomicBool::default(), last: Mutex::default() })
    }

    fn socket(&self) -> &UdpSocket {
        self.v6.as_ref().filter(|_| self.uses_v6.load(Ordering::Relaxed)).unwrap_or(&self.v4)
    }

    /// Sends a datagram. One that cannot be sent is lost, as UDP's are; that an earlier one was refused may show here.
    async fn send(&self, datagram: &[u8]) {
        self.remember(Some(datagram.to_vec()));
        if let Err(error) = self.socket().send(datagram).await
            && error.kind() == io::ErrorKind::ConnectionRefused
        {
            self.turn().await;
        }
    }

    /// Gives what was sent last to the other address. Once for each datagram: two silent addresses must not play ball.
    async fn turn(&self) {
        let Some(last) = self.remember(None) else { return };
        self.uses_v6.fetch_not(Ordering::Relaxed);
        if let Err(error) = self.socket().send(&last).await {
            tracing::debug!(%error, "a datagram was not taken");
        }
    }

    /// Gives what was remembered so far.
    fn remember(&self, datagram: Option<Vec<u8>>) -> Option<Vec<u8>> {
        std::mem::replace(&mut *self.last.lock().unwrap_or_else(PoisonError::into_inner), datagram)
    }

    /// Reads the next datagram from either address into `buffer`; gives its length.
    async fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let readable = tokio::select! {
                readable = self.v4.readable() => readable.map(|()| &self.v4),
                readable = readable_or_never(self.v6.as_ref()) => readable,
            };
            match readable.and_then(|socket| socket.try_recv(buffer)) {
                Ok(length) => {
                    self.remember(None);
                    return Ok(length);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => self.turn().await,
                Err(error) => return Err(error),
            }
        }
    }
}

async fn connected(address: IpAddr, port: u16) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((address, 0)).await?;
    socket.connect((address, port)).await?;
    Ok(socket)
}

async fn readable_or_never(socket: Option<&UdpSocket>) -> io::Result<&UdpSocket> {
    match socket {
        Some(socket) => socket.readable().await.map(|()| socket),
        None => std::future::pending().await,
    }
}
