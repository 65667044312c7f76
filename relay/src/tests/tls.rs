//! TLS at the port, and address discovery with the same certificate.

use super::{PATIENCE, in_seconds};
use crate::{Certificates, Keys, Port, Relay, RelayConfig, discovery::Discovery, serve};
use axum::{Router, routing::get};
use berth_wire::ticket::{RelayRole, SigningKey};
use futures_util::{SinkExt, StreamExt};
use iroh::{RelayUrl, SecretKey, dns::DnsResolver};
use iroh_relay::{
    client::{Client, ClientBuilder},
    protos::relay::{ClientToRelayMsg, RelayToClientMsg},
    quic::QuicClient,
    tls::{CaTlsConfig, default_provider},
};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{
    ClientConfig,
    pki_types::{CertificateDer, ServerName},
};
use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// A relay that ends TLS as `localhost`.
struct Encrypted {
    key: SigningKey,
    relay: Relay,
    address: SocketAddr,
    certificates: Certificates,
    _served: JoinSet<()>,
}

impl Encrypted {
    async fn start() -> Self {
        let key = SigningKey::new([7; 32]);
        let mut config = RelayConfig::new(Keys::fixed(vec![key.verifying()]));
        config.head_within = Duration::from_millis(300);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (relay, address, certificates) = (Relay::new(config), listener.local_addr().unwrap(), Certificates::default());
        let port = Port { listener, tls: Some(Arc::new(certificates.server_config().unwrap())) };
        let router = Router::new().route("/hello", get(|| async { "hello" }));
        let mut served = JoinSet::new();
        served.spawn(serve(port, router, relay.clone(), CancellationToken::new()));
        Self { key, relay, address, certificates, _served: served }
    }

    /// Puts a new certificate into use, and gives the root to trust it by.
    fn renew(&self) -> CertificateDer<'static> {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        self.certificates.replace(&cert.pem(), &signing_key.serialize_pem()).unwrap();
        cert.der().clone()
    }

    async fn connect(&self, root: &CertificateDer<'static>) -> Client {
        let me = SecretKey::generate();
        let token = self.key.relay(&me.public().to_string(), RelayRole::Client, Uuid::nil(), in_seconds(60)).unwrap();
        let url: RelayUrl = format!("https://localhost:{}", self.address.port()).parse().unwrap();
        let tls = CaTlsConfig::custom_roots([root.clone()]).client_config(default_provider()).unwrap();
        let builder = ClientBuilder::new(url, me, DnsResolver::new()).tls_client_config(tls).auth_token(token.expose().clone());
        timeout(PATIENCE, builder.connect()).await.unwrap().unwrap()
    }

    /// The certificate that a handshake shows now, if it succeeds.
    async fn shown(&self, root: &CertificateDer<'static>) -> Option<CertificateDer<'static>> {
        let connector = TlsConnector::from(Arc::new(trusting(root)));
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = timeout(PATIENCE, connector.connect(name, stream)).await.unwrap().ok()?;
        stream.get_ref().1.peer_certificates()?.first().cloned()
    }
}

pub(super) fn trusting(root: &CertificateDer<'static>) -> ClientConfig {
    CaTlsConfig::custom_roots([root.clone()]).client_config(default_provider()).unwrap()
}

async fn assert_served(client: &mut Client) {
    client.send(ClientToRelayMsg::Ping([3; 8])).await.unwrap();
    let answered = async { while !matches!(client.next().await.unwrap().unwrap(), RelayToClientMsg::Pong(_)) {} };
    timeout(PATIENCE, answered).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_certificate_is_shown_at_once_and_costs_no_connection() {
    let world = Encrypted::start().await;
    let CertifiedKey { cert: unused, .. } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    assert_eq!(world.shown(unused.der()).await, None, "no handshake succeeds before there is a certificate");
    let first = world.renew();
    let mut endpoint = world.connect(&first).await;
    assert_served(&mut endpoint).await;
    let second = world.renew();
    assert_eq!(world.shown(&second).await, Some(second.clone()));
    assert_served(&mut endpoint).await;
    assert_served(&mut world.connect(&second).await).await;
    assert!(world.certificates.replace("garbage", "garbage").is_err());
    assert_eq!(world.shown(&second).await, Some(second), "what cannot be used replaces nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_shakes_no_hands_is_hung_up_on_and_keeps_no_one_out() {
    let world = Encrypted::start().await;
    let root = world.renew();
    let started = Instant::now();
    let mut silent = Vec::new();
    for number in 0..200 {
        let mut stream = TcpStream::connect(world.address).await.unwrap();
        if number % 2 == 0 {
            // The beginning of a handshake record that never goes on.
            stream.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]).await.unwrap();
        }
        silent.push(stream);
    }
    let mut endpoint = world.connect(&root).await;
    assert_served(&mut endpoint).await;
    for mut stream in silent {
        let end = timeout(PATIENCE, stream.read(&mut [0; 64])).await.unwrap();
        assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
        assert_served(&mut endpoint).await;
    }
    assert!(started.elapsed() >= Duration::from_millis(300));
    assert_eq!(world.relay.endpoints(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_learns_its_address_over_udp() {
    let certificates = Certificates::default();
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let discovery = Discovery::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), &certificates).await.unwrap();
    // It comes after the port is open, as the relay's does.
    certificates.replace(&cert.pem(), &signing_key.serialize_pem()).unwrap();
    let endpoint = noq::Endpoint::client(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let client = QuicClient::new(endpoint.clone(), trusting(cert.der()));
    let connection = timeout(PATIENCE, client.create_conn(discovery.address().unwrap(), "localhost")).await.unwrap().unwrap();
    let seen = timeout(PATIENCE, connection.observed_external_addr().next()).await.unwrap().unwrap();
    assert_eq!(seen, endpoint.local_addr().unwrap());
    connection.close(1_u32.into(), b"finished");
    discovery.stop().await;
}
