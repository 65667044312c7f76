//! Questions about the way to a deployment, for who looks for what is wrong with it: raw answers whatever their status, and certificates.

use crate::{Client, ClientError, Result, tls};
use reqwest::{
    RequestBuilder, Response,
    header::{CONNECTION, DATE, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE},
};
use rustls::{CertificateError as Refusal, pki_types::ServerName};
use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The most of an answer that is kept, in bytes.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// Any 16 bytes will do (RFC 6455, section 4.1); the answer is not kept long enough to matter.
const WEBSOCKET_KEY: &str = "YmVydGggZG9jdG9yIHNheXM=";

/// An answer as it came.
#[derive(Debug, Clone)]
pub struct Heard {
    /// The HTTP status.
    pub status: u16,
    /// The server's clock, as an HTTP date.
    pub date: Option<String>,
    /// The body as text, cut at 64 KiB.
    pub body: String,
    /// From the question to the head of the answer.
    pub took: Duration,
}

/// A certificate that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// When it ends to be valid, in seconds since 1970.
    pub expires: i64,
    /// Who signed it: the organization, else the whole name.
    pub issuer: String,
}

/// Why a server has no certificate that would do.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The name is no host's.
    #[error("{0:?} is no host name")]
    Name(String),
    /// Nobody takes the connection.
    #[error("no connection: {0}")]
    Unreachable(String),
    /// Something answers, but not with TLS.
    #[error("no TLS: {0}")]
    NoTls(String),
    /// The certificate is over, or not valid yet.
    #[error("the certificate has expired, or a clock is wrong: {0}")]
    Expired(String),
    /// It is for other names.
    #[error("the certificate is for another name: {0}")]
    OtherName(String),
    /// Nobody whom this machine trusts has signed it.
    #[error("the certificate comes from an authority that this machine does not trust")]
    Untrusted,
    /// Something else is wrong with it.
    #[error("the certificate is not accepted: {0}")]
    Other(String),
    /// TLS cannot be set up here.
    #[error(transparent)]
    Setup(#[from] ClientError),
}

/// Asks web apps near this process whether they answer. No proxy is asked, no redirect followed, and no connection kept.
#[derive(Debug, Clone)]
pub struct AppProbe(reqwest::Client);

impl AppProbe {
    /// Makes no request. Reads the machine's root certificates if an app is asked by `https`.
    ///
    /// # Errors
    /// [`ClientError::Setup`].
    pub fn new(encrypted: bool) -> Result<Self> {
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls::config(encrypted)?)
            .user_agent("berth-agent")
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(0)
            .no_proxy()
            .build();
        http.map(Self).map_err(|error| ClientError::Setup(Box::new(error)))
    }

    /// The status that an app answers to a `GET`; its body is not read.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`], also when there is no answer within the time.
    pub async fn status(&self, url: &str, within: Duration) -> Result<u16> {
        let answer = self.0.get(url).timeout(within).send().await;
        answer.map(|answer| answer.status().as_u16()).map_err(|error| ClientError::from_reqwest(url, &error))
    }
}

impl Client {
    /// `GET` of a path of the deployment, not below `/api/v2`, and without the token; an error only when there is no answer.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`].
    pub async fn look(&self, path: &str) -> Result<Heard> {
        self.hear(self.plain(path)).await
    }

    /// The same, asking for a websocket that speaks `protocol`. The answer to one that is granted has status 101, and the socket is closed.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`].
    pub async fn look_for_socket(&self, path: &str, protocol: &str) -> Result<Heard> {
        let request = self.plain(path).header(CONNECTION, "Upgrade").header(UPGRADE, "websocket");
        let request = request.header(SEC_WEBSOCKET_VERSION, "13").header(SEC_WEBSOCKET_KEY, WEBSOCKET_KEY);
        self.hear(request.header(SEC_WEBSOCKET_PROTOCOL, protocol)).await
    }

    async fn hear(&self, request: RequestBuilder) -> Result<Heard> {
        let began = Instant::now();
        let response = request.send().await.map_err(|error| ClientError::from_reqwest(self.base_url(), &error))?;
        let took = began.elapsed();
        let status = response.status().as_u16();
        let date = response.headers().get(DATE).and_then(|value| value.to_str().ok()).map(str::to_owned);
        // After an upgrade there is no body, and no end to wait for.
        let body = if status == 101 { String::new() } else { self.text(response).await };
        Ok(Heard { status, date, body, took })
    }

    async fn text(&self, response: Response) -> String {
        let bytes = self.read(response, BODY_BYTES_MAX).await.unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// Shakes hands with `host` and answers its certificate, if it is one that every client of Berth would accept. No proxy is asked, and no
/// request is made. The caller has the deadline.
///
/// # Errors
/// [`CertificateError`], which says what is wrong with it.
pub async fn certificate(host: &str, port: u16) -> std::result::Result<Certificate, CertificateError> {
    let name = ServerName::try_from(host.to_owned()).map_err(|_| CertificateError::Name(host.to_owned()))?;
    let connector = TlsConnector::from(Arc::new(tls::config(true)?));
    let stream = TcpStream::connect((host, port)).await.map_err(|error| CertificateError::Unreachable(error.to_string()))?;
    let stream = connector.connect(name, stream).await.map_err(|error| refusal(&error))?;
    let leaf = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let leaf = leaf.ok_or_else(|| CertificateError::NoTls("the server shows no certificate".to_owned()))?;
    let (_, parsed) = X509Certificate::from_der(leaf).map_err(|error| CertificateError::Other(error.to_string()))?;
    let issuer = parsed.issuer();
    let organization = issuer.iter_organization().next().and_then(|name| name.as_str().ok()).map(str::to_owned);
    Ok(Certificate { expires: parsed.validity().not_after.timestamp(), issuer: organization.unwrap_or_else(|| issuer.to_string()) })
}

fn refusal(error: &io::Error) -> CertificateError {
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
        return CertificateError::NoTls(error.to_string());
    };
    let rustls::Error::InvalidCertificate(refused) = tls else { return CertificateError::NoTls(tls.to_string()) };
    let words = refused.to_string();
    match refused {
        Refusal::Expired | Refusal::ExpiredContext { .. } | Refusal::NotValidYet | Refusal::NotValidYetContext { .. } => {
            CertificateError::Expired(words)
        }
        Refusal::NotValidForName | Refusal::NotValidForNameContext { .. } => CertificateError::OtherName(words),
        Refusal::UnknownIssuer => CertificateError::Untrusted,
        _ => CertificateError::Other(words),
    }
}
