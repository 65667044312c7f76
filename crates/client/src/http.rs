//! Requests and answers: base URL, token, limits, and the one place where an answer becomes a value or an error.

use crate::{ClientError, Result, error::unanswered, tls};
use berth_wire::{BuildInfo, ErrorBody, SESSION_HEADER, domain::Secret, upload::ELSEWHERE_HEADER};
use bytes::{Bytes, BytesMut};
use reqwest::{
    Method, RequestBuilder, Response, Url,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use serde::{Serialize, de::DeserializeOwned};
use std::{sync::Arc, time::Duration};
use uuid::Uuid;

/// How long a connection may take to stand.
const CONNECT: Duration = Duration::from_secs(5);
/// How long an ordinary call may take in all.
pub(crate) const REQUEST: Duration = Duration::from_secs(60);
/// How long a call with a large body, up or down, may take in all.
pub(crate) const TRANSFER: Duration = Duration::from_secs(15 * 60);
/// Shorter than the server's patience with an idle connection (10 s), so that we never write into one it is closing.
const POOL_IDLE: Duration = Duration::from_secs(8);
/// The largest JSON answer that is read.
const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;
/// The largest error answer that is read.
const ERROR_BYTES_MAX: usize = 64 * 1024;

/// The header that carries a token, and the token.
#[derive(Clone)]
pub(crate) struct Credential {
    name: HeaderName,
    value: HeaderValue,
}

impl Credential {
    pub(crate) fn session(token: &Secret) -> Result<Self> {
        let name = HeaderName::from_bytes(SESSION_HEADER.as_bytes()).map_err(|_| ClientError::Token)?;
        Self::new(name, token.expose())
    }

    pub(crate) fn bearer(token: &Secret) -> Result<Self> {
        Self::new(reqwest::header::AUTHORIZATION, &format!("Bearer {}", token.expose()))
    }

    fn new(name: HeaderName, text: &str) -> Result<Self> {
        let mut value = HeaderValue::from_str(text.trim()).map_err(|_| ClientError::Token)?;
        value.set_sensitive(true);
        Ok(Self { name, value })
    }
}

/// A client of one deployment, with or without a token. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    base: Arc<str>,
    root: Url,
    http: reqwest::Client,
    tls: Arc<rustls::ClientConfig>,
    credential: Option<Credential>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Client({}{})", self.base, if self.credential.is_some() { ", [redacted]" } else { "" })
    }
}

impl Client {
    /// A client of the deployment at `base_url` (`https://berth.example.com`, `http://127.0.0.1:7080`), as the holder of `token`: a
    /// user's session or API token, or an agent's token. Does no I/O besides reading the machine's root certificates for `https`.
    ///
    /// # Errors
    /// [`ClientError::Url`], [`ClientError::Token`], [`ClientError::Setup`].
    pub fn new(base_url: &str, token: Option<Secret>) -> Result<Self> {
        let root = parse_base(base_url)?;
        let encrypted = root.scheme() == "https";
        let tls = tls::config(encrypted)?;
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls.clone())
            .user_agent(user_agent())
            .connect_timeout(CONNECT)
            .timeout(REQUEST)
            .pool_idle_timeout(POOL_IDLE)
            .tcp_nodelay(true)
            .redirect(reqwest::redirect::Policy::none());
        if is_loopback(&root) {
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|error| ClientError::Setup(Box::new(error)))?;
        let credential = token.as_ref().map(Credential::session).transpose()?;
        let base = root.as_str().trim_end_matches('/').into();
        Ok(Self { base, root, http, tls: Arc::new(tls), credential })
    }

    /// The same deployment and connections with another token.
    ///
    /// # Errors
    /// [`ClientError::Token`].
    pub fn with_token(&self, token: &Secret) -> Result<Self> {
        Ok(self.with_credential(Credential::session(token)?))
    }

    pub(crate) fn with_credential(&self, credential: Credential) -> Self {
        Self { credential: Some(credential), ..self.clone() }
    }

    /// The deployment's URL without a slash at its end.
    #[must_use]
    pub fn base_url(&self) -> &str {
        &self.base
    }

    /// `GET buildinfo`: which version answers. Needs no token.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn build_info(&self) -> Result<BuildInfo> {
        self.get(&["buildinfo"]).await
    }

    pub(crate) fn tls(&self) -> Arc<rustls::ClientConfig> {
        Arc::clone(&self.tls)
    }

    /// The headers of every request: the token.
    pub(crate) fn headers(&self) -> HeaderMap {
        self.credential.iter().map(|credential| (credential.name.clone(), credential.value.clone())).collect()
    }

    /// `base/api/v2/segments...`, each segment percent-encoded.
    pub(crate) fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.root.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["api", "v2"]).extend(segments);
        }
        url
    }

    /// A request for a path that is not below `api/v2`, without the token.
    pub(crate) fn plain(&self, path: &str) -> RequestBuilder {
        self.http.get(format!("{}/{}", self.base, path.trim_start_matches('/')))
    }

    pub(crate) fn request(&self, method: Method, segments: &[&str]) -> RequestBuilder {
        self.http.request(method, self.url(segments)).headers(self.headers())
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, segments: &[&str]) -> Result<T> {
        self.json(self.request(Method::GET, segments)).await
    }

    pub(crate) async fn post<T: DeserializeOwned>(&self, segments: &[&str], body: &impl Serialize) -> Result<T> {
        self.json(self.request(Method::POST, segments).json(body)).await
    }

    /// Sends, and reads the answer as JSON.
    pub(crate) async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T> {
        let response = self.send(request).await?;
        self.decode(response).await
    }

    /// Reads an answer as JSON.
    pub(crate) async fn decode<T: DeserializeOwned>(&self, response: Response) -> Result<T> {
        let url = response.url().to_string();
        let bytes = self.read(response, ANSWER_BYTES_MAX).await?;
        serde_json::from_slice(&bytes).map_err(|source| ClientError::Decode { url, source })
    }

    /// Sends, and leaves the answer's body alone.
    pub(crate) async fn done(&self, request: RequestBuilder) -> Result<()> {
        // The body is read, small as it is, so that the connection can be used again.
        let response = self.send(request).await?;
        self.read(response, ANSWER_BYTES_MAX).await.map(drop)
    }

    /// Sends; an answer of 400 or above is an error, and so is a redirect: a token must not follow one elsewhere. An answer that is
    /// too large for the API's own host is read, without the token, from where it says.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Result<Response> {
        let response = request.send().await.map_err(|error| ClientError::from_reqwest(&self.base, &error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let location = response.headers().get(reqwest::header::LOCATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
        if let Some(location) = location.as_deref().filter(|_| response.headers().contains_key(ELSEWHERE_HEADER)) {
            return self.fetch(location).await;
        }
        let bytes = self.read(response, ERROR_BYTES_MAX).await.unwrap_or_default();
        Err(ClientError::Api { status: status.as_u16(), body: error_body(status, location.as_deref(), &bytes) })
    }

    /// Reads the body of an answer from the address that the answer gave.
    async fn fetch(&self, location: &str) -> Result<Response> {
        self.send_elsewhere(self.bare(Method::GET, location)?, location).await
    }

    /// A request to another host that the API named: without the token, and encrypted if the API is.
    pub(crate) fn bare(&self, method: Method, url: &str) -> Result<RequestBuilder> {
        let parsed = Url::parse(url).map_err(|error| ClientError::elsewhere(&self.base, url, error.to_string()))?;
        if parsed.scheme() != "https" && parsed.scheme() != self.root.scheme() {
            return Err(ClientError::elsewhere(&self.base, url, "its address is not encrypted"));
        }
        Ok(self.http.request(method, parsed).timeout(TRANSFER))
    }

    pub(crate) async fn send_elsewhere(&self, request: RequestBuilder, url: &str) -> Result<Response> {
        let sent = request.send().await;
        let response = sent.map_err(|error| ClientError::elsewhere(&self.base, url, unanswered(&error)))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        Err(ClientError::elsewhere(&self.base, url, format!("it answered {status}")))
    }

    /// Reads a body of at most `limit` bytes.
    pub(crate) async fn read(&self, mut response: Response, limit: usize) -> Result<Bytes> {
        let url = response.url().to_string();
        let too_large = || ClientError::TooLarge { url: url.clone(), limit };
        if response.content_length().is_some_and(|length| length > limit as u64) {
            return Err(too_large());
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| ClientError::from_reqwest(&self.base, &error))? {
            if body.len() + chunk.len() > limit {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }
}

pub(crate) fn user_agent() -> String {
    format!("berth/{}", env!("CARGO_PKG_VERSION"))
}

/// An identifier as a path segment.
pub(crate) fn segment(id: Uuid) -> String {
    id.to_string()
}

/// The error envelope, or one made from the status when a proxy answered in its own words.
pub(crate) fn error_body(status: reqwest::StatusCode, location: Option<&str>, bytes: &[u8]) -> ErrorBody {
    if let Ok(body) = serde_json::from_slice::<ErrorBody>(bytes)
        && !body.message.is_empty()
    {
        return body;
    }
    let message = match location {
        Some(location) => format!("berth is elsewhere: the server redirects to {location}"),
        None => format!("the server answered {status}"),
    };
    ErrorBody { message, ..ErrorBody::default() }
}

fn parse_base(text: &str) -> Result<Url> {
    let refused = |reason: &str| ClientError::Url { url: text.to_owned(), reason: reason.to_owned() };
    let trimmed = text.trim();
    let mut url = Url::parse(trimmed).map_err(|error| refused(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(refused("it must begin with http:// or https://"));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(refused("it names no host"));
    }
    url.set_query(None);
    url.set_fragment(None);
    Ok(url)
}

/// Whether the deployment is on this machine: then no proxy is asked.
fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_encoded_and_a_base_path_is_kept() {
        let client = Client::new("http://127.0.0.1:1/berth/", None).unwrap();
        assert_eq!(client.url(&["users", "a/b ?"]).as_str(), "http://127.0.0.1:1/berth/api/v2/users/a%2Fb%20%3F");
        assert_eq!(client.base_url(), "http://127.0.0.1:1/berth");
    }

    #[test]
    fn what_is_not_a_url_is_refused_with_the_reason() {
        for (text, reason) in [("berth", "relative URL"), ("ftp://x", "must begin"), ("", "relative URL")] {
            let error = Client::new(text, None).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn a_token_never_shows_itself() {
        let client = Client::new("https://berth.example.com", Some(Secret::new("s3cret".to_owned()))).unwrap();
        assert!(!format!("{client:?} {:?}", client.headers()).contains("s3cret"));
        assert!(Client::new("http://x", Some(Secret::new("a\nb".to_owned()))).is_err());
    }
}
