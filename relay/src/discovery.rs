//! Address discovery: over UDP, an endpoint learns the address that its NAT gives it, without which two behind NATs never meet directly.

use crate::tls::{CertificateError, Certificates};
use iroh_relay::server::{QuicConfig, Server, ServerConfig};
use std::net::SocketAddr;

/// The service. It ends with this value.
#[derive(Debug)]
pub(crate) struct Discovery {
    server: Server,
}

/// Why it cannot start.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    /// There is no TLS for it.
    #[error(transparent)]
    Tls(#[from] CertificateError),
    /// The port cannot be used.
    #[error("cannot listen on UDP {address}: {reason}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        reason: String,
    },
}

impl Discovery {
    /// Answers on `address`, with the certificates of the port.
    pub(crate) async fn start(address: SocketAddr, certificates: &Certificates) -> Result<Self, DiscoveryError> {
        let mut quic = QuicConfig::new(address);
        quic.server_config = Some(certificates.server_config()?);
        let mut config = ServerConfig::default();
        config.quic = Some(quic);
        let spawned = Server::spawn(config).await;
        let server = spawned.map_err(|error| DiscoveryError::Listen { address, reason: format!("{error:#}") })?;
        Ok(Self { server })
    }

    /// Where it answers.
    #[cfg(test)]
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.server.quic_addr()
    }

    /// Ends it, and waits until it has.
    pub(crate) async fn stop(self) {
        if let Err(error) = self.server.shutdown().await {
            tracing::debug!(error = format!("{error:#}"), "address discovery ended badly");
        }
    }
}
