//! One connection of Terraform, over whatever carries it, and the services that it finds there.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::Server;
use tonic::transport::server::{Connected, Router};

use crate::engine::Session;
use crate::proto::controller::grpc_controller_server::GrpcControllerServer;
use crate::proto::provider::provider_server::ProviderServer;
use crate::service::{Controller, Service};

/// The largest message of the protocol: a plan with large values passes, tonic's own 4 MiB would refuse it.
const MESSAGE_BYTES_MAX: usize = 256 * 1024 * 1024;

/// The provider and its controller, ready to serve [`Connection`]s.
pub(crate) fn router(controller: Controller) -> Router {
    let provider =
        ProviderServer::new(Service).max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX);
    Server::builder().add_service(provider).add_service(GrpcControllerServer::new(controller))
}

/// A connection of Terraform, with its session.
pub(crate) struct Connection<S> {
    stream: S,
    session: Session,
}

impl<S> Connection<S> {
    pub(crate) fn new(stream: S, session: Session) -> Self {
        Self { stream, session }
    }
}

impl<S> Connected for Connection<S> {
    type ConnectInfo = Session;

    fn connect_info(&self) -> Session {
        self.session.clone()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
