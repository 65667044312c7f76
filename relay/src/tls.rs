//! TLS at the port: one certificate, which can be replaced while connections are open.

use crate::presence::lock;
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use std::sync::{Arc, Mutex};

/// How HTTP/2 is called in a handshake (RFC 9113, section 3.2).
pub(crate) const HTTP_2: &[u8] = b"h2";

/// The certificate in use. Cheap to clone; handshakes of all clones take what was put there last. Before the first, none succeeds.
#[derive(Debug, Clone, Default)]
pub struct Certificates(Arc<Current>);

#[derive(Debug, Default)]
struct Current(Mutex<Option<Arc<CertifiedKey>>>);

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// Not PEM, or no certificate in it.
    #[error("the certificate chain is not PEM: {0}")]
    Chain(String),
    /// Not PEM, or no private key in it.
    #[error("the certificate's key is not PEM: {0}")]
    Key(String),
    /// They do not belong together, or are of a kind that we do not know.
    #[error("the certificate and its key do not fit: {0}")]
    Unfit(#[source] rustls::Error),
}

impl Certificates {
    /// Uses this chain and key, both PEM, for every handshake from now on.
    ///
    /// # Errors
    /// [`CertificateError`]; the one in use stays.
    pub fn replace(&self, chain: &str, key: &str) -> Result<(), CertificateError> {
        let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|error| CertificateError::Chain(error.to_string()))?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|error| CertificateError::Key(error.to_string()))?;
        let certified = CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(CertificateError::Unfit)?;
        *lock(&self.0.0) = Some(Arc::new(certified));
        Ok(())
    }

    /// Whether there is one.
    #[must_use]
    pub fn any(&self) -> bool {
        lock(&self.0.0).is_some()
    }

    /// A TLS configuration that uses them: TLS 1.3, and 1.2 for whoever needs it.
    ///
    /// # Errors
    /// Never in practice: these versions are compiled in.
    pub fn server_config(&self) -> Result<ServerConfig, CertificateError> {
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().map_err(CertificateError::Unfit)?;
        let resolver: Arc<dyn ResolvesServerCert> = Arc::<Current>::clone(&self.0);
        let mut config = builder.with_no_client_auth().with_cert_resolver(resolver);
        config.alpn_protocols = vec![HTTP_2.to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        lock(&self.0).clone()
    }
}
