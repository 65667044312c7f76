//! The SDK's HTTP connector: hyper's client, with rustls over ring and compiled-in roots.
//!
//! The SDK's own connector takes roots from the system or as PEM, which it parses before the first request, and cannot be given
//! them as they are compiled in.

use std::{error::Error, path::Path, sync::Arc, time::Duration};

use aws_smithy_runtime_api::client::{
    connector_metadata::ConnectorMetadata,
    http::{HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector},
    orchestrator::{HttpRequest, HttpResponse},
    result::ConnectorError,
    runtime_components::RuntimeComponents,
};
use aws_smithy_types::{body::SdkBody, retry::ErrorKind};
use http::{Uri, header::AUTHORIZATION};
use hyper_rustls::{HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::{
    client::legacy::{self, Client, connect},
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio::net::TcpStream;
use tower::{
    BoxError,
    timeout::{Timeout, error::Elapsed},
    util::BoxCloneSyncService,
};

use crate::{AwsError, CONNECT_TIMEOUT};

/// How long a connection that nobody uses is kept. A service closes it after about as long; a Lambda that slept longer connects anew.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;

/// One pool of connections, for `https` and, for stand-ins on this machine, `http`.
#[derive(Debug, Clone)]
pub(crate) struct Connector {
    client: Client<BoxCloneSyncService<Uri, Stream, BoxError>, SdkBody>,
}

impl Connector {
    /// With Mozilla's roots, or with the certificates of this file instead.
    pub(crate) fn new(bundle: Option<&Path>) -> Result<Self, AwsError> {
        let roots = match bundle {
            Some(path) => bundled(path).map_err(|reason| AwsError::Bundle { path: path.to_owned(), reason })?,
            None => RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() },
        };
        let mut tcp = connect::HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(IDLE_TIMEOUT));
        let https = HttpsConnectorBuilder::new().with_tls_config(tls(roots)).https_or_http().enable_http1().wrap_connector(tcp);
        let within = BoxCloneSyncService::new(Timeout::new(https, CONNECT_TIMEOUT));
        let client =
            Client::builder(TokioExecutor::new()).pool_idle_timeout(IDLE_TIMEOUT).pool_timer(TokioTimer::new()).build(within);
        Ok(Self { client })
    }

    /// Makes one request; `limit` is the longest until the answer begins.
    pub(crate) async fn send(&self, request: HttpRequest, limit: Option<Duration>) -> Result<HttpResponse, ConnectorError> {
        let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
        let answer = self.client.request(request);
        let answer = match limit {
            None => answer.await,
            Some(limit) => match tokio::time::timeout(limit, answer).await {
                Ok(answer) => answer,
                Err(elapsed) => return Err(ConnectorError::timeout(elapsed.into())),
            },
        };
        let answer = answer.map_err(sorted)?.map(SdkBody::from_body_1_x);
        HttpResponse::try_from(answer).map_err(|error| ConnectorError::other(error.into(), None))
    }

    /// Reads from this address, for what is not a service of the SDK.
    pub(crate) async fn get(&self, uri: &Uri, authorization: Option<&str>) -> Result<HttpResponse, ConnectorError> {
        let mut request = http::Request::get(uri);
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let request = request.body(SdkBody::empty()).map_err(|error| ConnectorError::user(error.into()))?;
        let request = HttpRequest::try_from(request).map_err(|error| ConnectorError::user(error.into()))?;
        self.send(request, Some(CONNECT_TIMEOUT)).await
    }
}

impl HttpClient for Connector {
    fn http_connector(&self, settings: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(Limited { connector: self.clone(), limit: settings.read_timeout() })
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        Some(ConnectorMetadata::new("hyper", Some("1.x".into())))
    }
}

/// The pool with a service's patience.
#[derive(Debug)]
struct Limited {
    connector: Connector,
    limit: Option<Duration>,
}

impl HttpConnector for Limited {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (connector, limit) = (self.connector.clone(), self.limit);
        HttpConnectorFuture::new(async move { connector.send(request, limit).await })
    }
}

fn tls(roots: RootCertStore) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    // Only a provider without any cipher of a version has none: ring has them all.
    #[allow(clippy::expect_used)]
    let builder = versions.expect("ring offers TLS 1.2 and 1.3");
    builder.with_root_certificates(roots).with_no_client_auth()
}

fn bundled(path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| error.to_string())? {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    if roots.is_empty() { Err("it holds no certificate".to_owned()) } else { Ok(roots) }
}

/// What the SDK asks of an error: whether to try again. A request that met a connection which the other side had closed may.
fn sorted(error: legacy::Error) -> ConnectorError {
    if error.is_connect() {
        let late = find::<Elapsed>(&error).is_some();
        let error = if late { ConnectorError::timeout(error.into()) } else { ConnectorError::io(error.into()) };
        return error.never_connected();
    }
    let http = find::<hyper::Error>(&error);
    let user = http.is_some_and(hyper::Error::is_user);
    let closed = http.is_some_and(|http| http.is_closed() || http.is_canceled() || http.is_incomplete_message());
    if user {
        ConnectorError::user(error.into())
    } else if closed || find::<std::io::Error>(&error).is_some() {
        ConnectorError::io(error.into())
    } else {
        ConnectorError::other(error.into(), Some(ErrorKind::TransientError))
    }
}

/// The cause of this kind.
fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    std::iter::successors(Some(error), |error| (*error).source()).find_map(<dyn Error>::downcast_ref)
}
