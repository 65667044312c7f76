//! The API, as the relay asks it: with a caller's own credentials, or for what is public. The relay has none of its own.

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode,
    header::{
        ACCEPT, ACCEPT_LANGUAGE, AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, LOCATION, ORIGIN, RETRY_AFTER,
    },
};
use reqwest::Url;
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use std::{fmt, time::Duration};

/// How long a connection to the API may take to stand.
const CONNECT: Duration = Duration::from_secs(3);
/// How long an answer may take in all; a function that starts cold answers within a second or two.
const ANSWER: Duration = Duration::from_secs(20);
/// The largest answer that is read; a function can give 6 MB.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;
/// The session header, in lower case as [`HeaderName`] wants it.
const SESSION: HeaderName = HeaderName::from_static("coder-session-token");
/// Says that a request comes from a relay. One that comes back to a relay would go round for ever.
const RELAYED: HeaderName = HeaderName::from_static("x-berth-relayed");
/// The headers by which a caller is known; handed on as they came.
const CREDENTIALS: [HeaderName; 3] = [SESSION, AUTHORIZATION, COOKIE];
/// What else of a request the API gets to see.
const PASSED_UP: [HeaderName; 2] = [ACCEPT, ACCEPT_LANGUAGE];
/// What of an answer the caller gets to see, the body aside.
const PASSED_DOWN: [HeaderName; 5] = [CONTENT_TYPE, CONTENT_LENGTH, LOCATION, RETRY_AFTER, CACHE_CONTROL];

/// The API of one deployment. Cheap to clone; connections are kept.
#[derive(Debug, Clone)]
pub struct Upstream {
    base: Url,
    http: reqwest::Client,
}

/// Why the API cannot be asked at all.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// No URL.
    #[error("{0:?} is not an http or https URL")]
    Url(String),
    /// The TLS of this machine cannot be used.
    #[error("cannot set up TLS: {0}")]
    Tls(String),
}

/// Why a question to the API had no usable answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// It said no: 400 to 499, but for [`StatusCode::TOO_MANY_REQUESTS`].
    #[error("the API answered {0}")]
    Refused(StatusCode),
    /// It is away or busy; ask again later.
    #[error("the API does not answer: {0}")]
    Away(String),
    /// It answered, and not what this question is answered with.
    #[error("the API's answer cannot be read: {0}")]
    Malformed(String),
}

/// What a caller proves itself with. Only handed on, never kept beyond a socket.
#[derive(Clone)]
pub(crate) struct Credentials(HeaderMap);

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials([redacted])")
    }
}

impl Credentials {
    /// Those of a request.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut own = HeaderMap::new();
        for name in CREDENTIALS {
            for value in headers.get_all(&name) {
                let mut value = value.clone();
                value.set_sensitive(true);
                own.append(&name, value);
            }
        }
        Self(own)
    }

    /// A name for whoever holds them, to count their sockets by; says nothing about them.
    pub(crate) fn holder(&self) -> [u8; 32] {
        let digest = self.0.iter().fold(Sha256::new(), |digest, (name, value)| {
            digest.chain_update(name.as_str()).chain_update([0]).chain_update(value.as_bytes()).chain_update([0])
        });
        digest.finalize().into()
    }
}

impl Upstream {
    /// The API at `base_url`. No request is made.
    ///
    /// # Errors
    /// [`UpstreamError`].
    pub fn new(base_url: &str) -> Result<Self, UpstreamError> {
        let refused = || UpstreamError::Url(base_url.to_owned());
        let base: Url = base_url.parse().map_err(|_| refused())?;
        if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none_or(str::is_empty) {
            return Err(refused());
        }
        let tls = berth_client::tls_config(base.scheme() == "https").map_err(|error| UpstreamError::Tls(error.to_string()))?;
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .user_agent(concat!("berth-relay/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            .timeout(ANSWER)
            .tcp_nodelay(true)
            .redirect(reqwest::redirect::Policy::none());
        if is_loopback(&base) {
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|error| UpstreamError::Tls(error.to_string()))?;
        Ok(Self { base, http })
    }

    /// Scheme, host and port of the API, as a browser says them in `Origin`.
    pub(crate) fn origin(&self) -> String {
        self.base.origin().ascii_serialization()
    }

    /// Something that everyone may read.
    pub(crate) async fn public<T: DeserializeOwned>(&self, path: &str) -> Result<T, AskError> {
        self.json(path, "", &Credentials(HeaderMap::new())).await
    }

    /// Something that the caller may read.
    pub(crate) async fn json<T: DeserializeOwned>(&self, path: &str, query: &str, caller: &Credentials) -> Result<T, AskError> {
        value(self.get(path, query, caller.0.clone()).await?).await
    }

    /// The answer to a question whose body holds what proves the caller.
    pub(crate) async fn post<Q: Serialize + Sync, T: DeserializeOwned>(&self, path: &str, question: &Q) -> Result<T, AskError> {
        let request = self.http.post(self.url(path, "")).json(question).header(RELAYED, HeaderValue::from_static("1"));
        value(request.send().await.map_err(|error| AskError::Away(root_cause(&error)))?).await
    }

    /// Something that the caller may ask for, and that is not merely read. It is asked as by a page of the deployment's own: whether the
    /// caller is one, somebody has looked at.
    pub(crate) async fn post_for<T: DeserializeOwned>(
        &self,
        path: &str,
        question: &(impl Serialize + Sync),
        caller: &Credentials,
    ) -> Result<T, AskError> {
        let request = self.http.post(self.url(path, "")).headers(caller.0.clone()).json(question);
        let request = request.header(RELAYED, HeaderValue::from_static("1")).header(ORIGIN, self.origin());
        value(request.send().await.map_err(|error| AskError::Away(root_cause(&error)))?).await
    }

    /// Hands a request on, and the answer back as it comes.
    pub(crate) async fn pass(&self, path: &str, query: &str, headers: &HeaderMap) -> Result<Response<Body>, AskError> {
        let mut up = Credentials::of(headers).0;
        up.extend(picked(headers, &PASSED_UP));
        let response = self.get(path, query, up).await?;
        let mut answer = Response::builder().status(response.status());
        for (name, value) in picked(response.headers(), &PASSED_DOWN) {
            answer = answer.header(name, value);
        }
        let body = Body::from_stream(response.bytes_stream());
        answer.body(body).map_err(|error| AskError::Malformed(error.to_string()))
    }

    async fn get(&self, path: &str, query: &str, headers: HeaderMap) -> Result<reqwest::Response, AskError> {
        let request = self.http.get(self.url(path, query)).headers(headers).header(RELAYED, HeaderValue::from_static("1"));
        request.send().await.map_err(|error| AskError::Away(root_cause(&error)))
    }

    fn url(&self, path: &str, query: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(path);
        url.set_query(Some(query).filter(|query| !query.is_empty()));
        url
    }
}

/// Whether a request was sent by a relay.
pub(crate) fn is_relayed(headers: &HeaderMap) -> bool {
    headers.contains_key(RELAYED)
}

/// Whether the API is on this machine: then no proxy is asked.
fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn picked<'a>(headers: &'a HeaderMap, names: &'a [HeaderName]) -> impl Iterator<Item = (HeaderName, HeaderValue)> + 'a {
    names.iter().filter_map(|name| headers.get(name).map(|value| (name.clone(), value.clone())))
}

/// The value of an answer, when it is a yes.
async fn value<T: DeserializeOwned>(response: reqwest::Response) -> Result<T, AskError> {
    let status = response.status();
    let body = read(response).await?;
    match status {
        status if status.is_success() => serde_json::from_slice(&body).map_err(|error| AskError::Malformed(error.to_string())),
        StatusCode::TOO_MANY_REQUESTS => Err(AskError::Away(status.to_string())),
        status if status.is_client_error() => Err(AskError::Refused(status)),
        status => Err(AskError::Away(status.to_string())),
    }
}

async fn read(mut response: reqwest::Response) -> Result<Bytes, AskError> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| AskError::Away(root_cause(&error)))? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(AskError::Malformed(format!("it is larger than {ANSWER_BYTES_MAX} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// The last cause of an error: "connection refused" rather than "error sending request".
pub(crate) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
