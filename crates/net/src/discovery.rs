//! Asking a relay over UDP how it sees us, as an endpoint does before it goes direct (QUIC address discovery).

use futures_util::StreamExt;
use iroh_relay::quic::QuicClient;
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

/// The UDP port of a relay's address discovery.
pub const DISCOVERY_PORT: u16 = iroh_relay::defaults::DEFAULT_RELAY_QUIC_PORT;

/// What a relay saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Discovered {
    /// The address that our packets come from, behind whatever NAT there is.
    pub address: SocketAddr,
    /// The address of this machine's interface that they left by.
    pub local: IpAddr,
    /// The port that they left by: the other one, seen from outside, is another where a NAT changes ports.
    pub local_port: u16,
    /// How long it took, the handshake included.
    pub took: Duration,
}

/// Why a relay did not tell.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    /// This machine lets us use no UDP.
    #[error("cannot open a UDP socket: {0}")]
    Socket(#[from] std::io::Error),
    /// No packet came back, or the server is no relay.
    #[error("no answer: {0}")]
    Silent(String),
}

/// Asks the relay `host` at `server`; `tls` says whom we trust. Costs two round trips and leaves nothing behind. It may take as long as the
/// transport waits for an answer (35 s): the caller has the deadline.
///
/// # Errors
/// [`DiscoveryError`].
pub async fn discover(host: &str, server: SocketAddr, tls: rustls::ClientConfig) -> Result<Discovered, DiscoveryError> {
    let silent = |error: &dyn std::fmt::Display| DiscoveryError::Silent(error.to_string());
    let any = if server.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
    let local = way_to(any, server)?;
    let endpoint = noq::Endpoint::client(SocketAddr::new(any, 0))?;
    let local_port = endpoint.local_addr()?.port();
    let began = Instant::now();
    let connection = QuicClient::new(endpoint.clone(), tls).create_conn(server, host).await;
    let connection = connection.map_err(|error| DiscoveryError::Silent(root_cause(&error)))?;
    let seen = connection.observed_external_addr().next().await.ok_or_else(|| silent(&"it does not tell our address"))?;
    let took = began.elapsed();
    connection.close(iroh_relay::quic::QUIC_ADDR_DISC_CLOSE_CODE, iroh_relay::quic::QUIC_ADDR_DISC_CLOSE_REASON);
    endpoint.wait_idle().await;
    Ok(Discovered { address: SocketAddr::new(seen.ip().to_canonical(), seen.port()), local, local_port, took })
}

/// Which of our addresses packets to `server` have. Sends none.
fn way_to(any: IpAddr, server: SocketAddr) -> std::io::Result<IpAddr> {
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(server)?;
    socket.local_addr().map(|address| address.ip())
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use iroh_relay::server::{QuicConfig, Server, ServerConfig};
    use rustls::{ClientConfig, RootCertStore, ServerConfig as Tls, crypto::ring, pki_types::PrivateKeyDer};
    use std::sync::Arc;

    #[tokio::test]
    async fn a_relay_tells_our_address_and_whoever_is_none_tells_nothing() {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        let provider = Arc::new(ring::default_provider());
        let builder = Tls::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions().unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let tls = builder.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap();
        let mut quic = QuicConfig::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        quic.server_config = Some(tls);
        let mut config = ServerConfig::default();
        config.quic = Some(quic);
        let server = Server::spawn(config).await.unwrap();
        let address = server.quic_addr().unwrap();

        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).unwrap();
        let client = |roots: RootCertStore| {
            let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions().unwrap();
            builder.with_root_certificates(roots).with_no_client_auth()
        };
        let seen = discover("localhost", address, client(roots)).await.unwrap();
        assert_eq!((seen.address.ip(), seen.local), (Ipv4Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()));
        assert_eq!(seen.address.port(), seen.local_port, "nothing changes ports here");
        let error = discover("localhost", address, client(RootCertStore::empty())).await.unwrap_err();
        assert!(error.to_string().starts_with("no answer: "), "{error}");
        server.shutdown().await.unwrap();
        let silence = Duration::from_millis(500);
        assert!(tokio::time::timeout(silence, discover("localhost", address, client(RootCertStore::empty()))).await.is_err());
    }
}
