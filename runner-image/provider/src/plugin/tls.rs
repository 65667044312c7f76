//! TLS between Terraform and the plugin, mutual: each side knows the other's certificate byte for byte, and nobody else's will do.
//!
//! Terraform's certificate is made for one start of a plugin: ECDSA on P-521 with SHA-512, self-signed, marked as an authority. `ring`
//! has no P-521, and the usual verifiers refuse an authority as a client; so the certificate is compared with the one that came in the
//! environment, and the signature of the handshake is checked with RustCrypto's `p521`.

use std::sync::Arc;

use p521::ecdsa::signature::Verifier;
use p521::ecdsa::{DerSignature, VerifyingKey};
use p521::pkcs8::DecodePublicKey;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, ring};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible, PeerMisbehaved, ServerConfig,
    SignatureScheme,
};
use tokio_rustls::TlsAcceptor;

/// The name by which Terraform's certificate check calls us.
const SERVER_NAME: &str = "localhost";

/// Why the secure channel cannot be prepared.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// No key or certificate can be made.
    #[error("cannot make a certificate")]
    Certificate(#[from] rcgen::Error),
    /// The keys do not make a configuration.
    #[error("cannot configure tls")]
    Configuration(#[from] Error),
}

/// Who we are for one client.
pub(super) struct Identity {
    /// Our certificate, made for this process.
    pub(super) certificate: CertificateDer<'static>,
    /// Secures connections of the one client.
    pub(super) acceptor: TlsAcceptor,
}

/// A fresh identity that serves nobody but the client with this certificate.
pub(super) fn identity(client: CertificateDer<'static>) -> Result<Identity, TlsError> {
    let ours = rcgen::generate_simple_self_signed([SERVER_NAME.to_owned()])?;
    let certificate = ours.cert.der().clone();
    let key = PrivatePkcs8KeyDer::from(ours.signing_key.serialize_der());
    let provider = Arc::new(ring::default_provider());
    let verifier = OnlyClient { key: key_of(&client), certificate: client, algorithms: provider.signature_verification_algorithms };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_single_cert(vec![certificate.clone()], key.into())?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.send_tls13_tickets = 0;
    Ok(Identity { certificate, acceptor: TlsAcceptor::from(Arc::new(config)) })
}

/// The public key of a certificate that is on P-521.
fn key_of(certificate: &CertificateDer<'_>) -> Option<VerifyingKey> {
    let info = webpki::EndEntityCert::try_from(certificate).ok()?.subject_public_key_info();
    p521::PublicKey::from_public_key_der(&info).ok().map(VerifyingKey::from)
}

/// Verifies the one client.
#[derive(Debug)]
struct OnlyClient {
    certificate: CertificateDer<'static>,
    /// Its key when that is on P-521; the other curves are `ring`'s.
    key: Option<VerifyingKey>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for OnlyClient {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if *end_entity == self.certificate {
            return Ok(ClientCertVerified::assertion());
        }
        Err(CertificateError::UnknownIssuer.into())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if signed.scheme != SignatureScheme::ECDSA_NISTP521_SHA512 {
            return rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.algorithms);
        }
        let key = self.key.as_ref().ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
        verify(key, message, signed.signature()).map(|()| HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let mut schemes = vec![SignatureScheme::ECDSA_NISTP521_SHA512];
        schemes.extend(self.algorithms.supported_schemes());
        schemes
    }
}

/// Checks an ECDSA signature on P-521 with SHA-512.
fn verify(key: &VerifyingKey, message: &[u8], signature: &[u8]) -> Result<(), Error> {
    let signature = DerSignature::try_from(signature).map_err(|_| CertificateError::BadSignature)?;
    key.verify(message, &signature).map_err(|_| CertificateError::BadSignature.into())
}

#[cfg(test)]
mod tests;
