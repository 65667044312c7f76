//! Both ends of the channel in one process. Terraform's own certificate, on P-521, is met in the tests with real Terraform.

use rcgen::{CertifiedKey, KeyPair};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use super::*;

fn client() -> CertifiedKey<KeyPair> {
    rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap()
}

/// Connects with the certificate of `presented` and the key of `signing`, if at all, to a server that serves `expected`; says what the
/// client hears.
async fn talk(expected: &CertifiedKey<KeyPair>, presented: Option<(&CertifiedKey<KeyPair>, &KeyPair)>) -> std::io::Result<String> {
    let identity = identity(expected.cert.der().clone()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(identity.certificate.clone()).unwrap();
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(roots);
    let config = match presented {
        Some((certificate, key)) => {
            let key = PrivatePkcs8KeyDer::from(key.serialize_der());
            builder.with_client_auth_cert(vec![certificate.cert.der().clone()], key.into())
        }
        None => Ok(builder.with_no_client_auth()),
    };
    let (near, far) = tokio::io::duplex(16 * 1024);
    let server = async {
        let mut stream = identity.acceptor.accept(far).await?;
        stream.write_all(b"served").await?;
        stream.shutdown().await
    };
    let client = async {
        let name = ServerName::try_from(SERVER_NAME).unwrap();
        let mut stream = TlsConnector::from(Arc::new(config.map_err(std::io::Error::other)?)).connect(name, near).await?;
        let mut heard = String::new();
        stream.read_to_string(&mut heard).await.map(|_| heard)
    };
    let (served, heard) = tokio::join!(server, client);
    assert_eq!(served.is_ok(), heard.is_ok(), "{served:?} {heard:?}");
    heard
}

#[tokio::test]
async fn the_client_whose_certificate_is_known_is_served_and_nobody_else() {
    let (known, other) = (client(), client());
    assert_eq!(talk(&known, Some((&known, &known.signing_key))).await.unwrap(), "served");
    assert!(talk(&known, Some((&other, &other.signing_key))).await.is_err(), "another certificate");
    assert!(talk(&known, None).await.is_err(), "no certificate");
}

#[tokio::test]
async fn a_client_that_shows_the_certificate_without_its_key_is_refused() {
    let (known, other) = (client(), client());
    assert!(talk(&known, Some((&known, &other.signing_key))).await.is_err());
}

#[test]
fn a_signature_on_p521_is_checked() {
    let key = p521::ecdsa::SigningKey::from_slice(&[1; 66]).unwrap();
    let signature: DerSignature = p521::ecdsa::signature::Signer::sign(&key, b"transcript");
    let check = |message: &[u8], signature: &[u8]| verify(key.verifying_key(), message, signature).is_ok();
    assert!(check(b"transcript", signature.as_bytes()));
    assert!(!check(b"Transcript", signature.as_bytes()));
    assert!(!check(b"transcript", &signature.as_bytes()[1..]) && !check(b"transcript", b""));
}
