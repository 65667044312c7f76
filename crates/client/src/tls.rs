//! TLS: rustls with ring, trusting the public roots and whatever the machine trusts besides.

use crate::ClientError;
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use std::sync::Arc;

/// The configuration for `https` and `wss`. The provider is given explicitly, so no process-wide default is needed.
///
/// The machine's own roots (a company's proxy) come on top of the built-in ones (a bare container has none); reading them costs a few
/// milliseconds, so plain `http` deployments skip them.
///
/// # Errors
/// [`ClientError::Setup`].
pub fn config(encrypted: bool) -> Result<ClientConfig, ClientError> {
    let mut roots = RootCertStore::empty();
    if encrypted {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| ClientError::Setup(Box::new(error)))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
