//! How many connections a request makes: each new one to AWS is a handshake that somebody waits for.

use super::{Deployment, Url};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

/// TLS before a plain service, counting its handshakes. It lives as long as this.
pub(super) struct Doorman {
    url: String,
    certificate: tempfile::NamedTempFile,
    handshakes: Arc<AtomicUsize>,
    _server: JoinSet<()>,
}

impl Doorman {
    /// A deployment whose functions come to their table past the doorman.
    pub(super) async fn before_table(deployment: Deployment) -> (Deployment, Self) {
        let plain = deployment.environment["AWS_ENDPOINT_URL_DYNAMODB"].trim_start_matches("http://").to_owned();
        let doorman = Self::before(&plain).await;
        let bundle = doorman.certificate.path().to_str().unwrap().to_owned();
        (deployment.with("AWS_ENDPOINT_URL_DYNAMODB", &doorman.url).with("AWS_CA_BUNDLE", &bundle), doorman)
    }

    async fn before(plain: &str) -> Self {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let certificate = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(certificate.path(), cert.pem()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
        let config = config.with_no_client_auth().with_single_cert(vec![cert.der().clone()], key).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let handshakes = Arc::new(AtomicUsize::new(0));
        let (acceptor, plain, counted) = (TlsAcceptor::from(Arc::new(config)), plain.to_owned(), Arc::clone(&handshakes));
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let (acceptor, plain, counted) = (acceptor.clone(), plain.clone(), Arc::clone(&counted));
                connections.spawn(async move {
                    let Ok(mut outer) = acceptor.accept(socket).await else { return };
                    counted.fetch_add(1, Ordering::Relaxed);
                    let mut inner = TcpStream::connect(&plain).await.unwrap();
                    let _ended = copy_bidirectional(&mut outer, &mut inner).await;
                });
            }
        });
        Self { url, certificate, handshakes, _server: server }
    }

    fn handshakes(&self) -> usize {
        self.handshakes.load(Ordering::Relaxed)
    }
}

#[tokio::test]
async fn the_first_request_finds_the_tables_connection_made() {
    let Some(deployment) = Deployment::new().await else { return };
    let (deployment, doorman) = Doorman::before_table(deployment).await;
    let api = deployment.function("berth-api").await;
    assert_eq!(doorman.handshakes(), 1, "made before the first event");
    let nobody = Url { api: &api, token: String::new() };
    for _ in 0..3 {
        assert_eq!(nobody.ask("GET", "/api/v2/users/first", "").await.0, 404);
    }
    assert_eq!(doorman.handshakes(), 1);
    for name in ["berth-dispatch", "berth-reap", "berth-sweep"] {
        let before = doorman.handshakes();
        let function = deployment.function(name).await;
        assert_eq!(doorman.handshakes() - before, 1, "{name}");
        let event = if name == "berth-dispatch" {
            super::batch(&[r#"{"job":"build-00000000000040008000000000000001"}"#])
        } else {
            serde_json::json!({})
        };
        function.invoke(event).await.unwrap();
        assert_eq!(doorman.handshakes() - before, 1, "{name}");
    }
}
