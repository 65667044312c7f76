//! What a connection of the port carries its bytes in: the bare socket, or TLS on top of it.

use crate::{socket::Socket, tls::HTTP_2};
use iroh_relay::ExportKeyingMaterial;
use rustls::ServerConfig;
use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// One connection.
#[derive(Debug)]
pub(crate) enum Channel {
    /// On loopback, or behind something that ends TLS.
    Plain(Socket),
    /// TLS ends here.
    Tls(Box<TlsStream<Socket>>),
}

impl Channel {
    /// Shakes hands if there is TLS. The caller sets the deadline.
    pub(crate) async fn accept(socket: Socket, tls: Option<Arc<ServerConfig>>) -> io::Result<Self> {
        match tls {
            None => Ok(Self::Plain(socket)),
            Some(config) => Ok(Self::Tls(Box::new(TlsAcceptor::from(config).accept(socket).await?))),
        }
    }

    /// Whether the two ends agreed to speak HTTP/2; never without TLS.
    pub(crate) fn is_http2(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(HTTP_2),
        }
    }

    /// Frees the connection's slot; see [`Socket::leave_slot`].
    pub(crate) fn leave_slot(&mut self) {
        match self {
            Self::Plain(socket) => socket.leave_slot(),
            Self::Tls(stream) => stream.get_mut().0.leave_slot(),
        }
    }
}

impl ExportKeyingMaterial for Channel {
    /// What only the two ends of this very TLS connection know. An endpoint that signed it is proven without another round trip.
    fn export_keying_material<T: AsMut<[u8]>>(&self, output: T, label: &[u8], context: Option<&[u8]>) -> Option<T> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(stream) => stream.get_ref().1.export_keying_material(output, label, context).ok(),
        }
    }
}

impl AsyncRead for Channel {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Channel {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(socket) => Pin::new(socket).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(socket) => socket.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
