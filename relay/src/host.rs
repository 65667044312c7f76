//! Which names the relay answers to, and how it dresses every answer.

use crate::{config::Config, refusal::Refusal};
use axum::{
    body::Body,
    extract::Request,
    http::{HeaderValue, Response, StatusCode, header, uri::Authority},
    middleware::Next,
    response::IntoResponse,
};
use std::{net::IpAddr, sync::Arc};

/// The relay's own name. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct RelayHost {
    /// None on a test bed, which has no name.
    host: Option<Arc<str>>,
}

impl RelayHost {
    pub(crate) fn new(config: &Config) -> Self {
        Self { host: config.public.as_ref().map(|public| public.host.as_str().into()) }
    }

    /// Answers only to our own name, so that a page of another host that was pointed here (DNS rebinding) reads nothing.
    pub(crate) async fn guard(&self, request: Request, next: Next) -> Response<Body> {
        let named = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let response = if self.is_ours(named) {
            next.run(request).await
        } else {
            Refusal::new(StatusCode::MISDIRECTED_REQUEST, "this relay does not answer to this name").into_response()
        };
        dress(response, self.host.is_some())
    }

    fn is_ours(&self, named: &str) -> bool {
        let Ok(authority) = named.parse::<Authority>() else { return false };
        let bare = authority.host().trim_start_matches('[').trim_end_matches(']');
        match &self.host {
            Some(host) => bare.eq_ignore_ascii_case(host),
            None => bare == "localhost" || bare.parse::<IpAddr>().is_ok(),
        }
    }
}

fn dress(mut response: Response<Body>, encrypted: bool) -> Response<Body> {
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let policy = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    if encrypted {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_relays_own_name_is_answered() {
        let public = RelayHost { host: Some("relay.example.com".into()) };
        assert!(public.is_ours("relay.example.com") && public.is_ours("Relay.example.com:443"));
        for other in ["", "example.com", "relay.example.com.evil", "127.0.0.1", "dev.apps.example.com", "a b"] {
            assert!(!public.is_ours(other), "{other}");
        }
        let bed = RelayHost { host: None };
        assert!(bed.is_ours("127.0.0.1:9") && bed.is_ours("[::1]:9") && bed.is_ours("localhost"));
        assert!(!bed.is_ours("attacker.example"));
    }
}
