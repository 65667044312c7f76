//! Which names this server answers to: its own. A page whose host name was pointed at this machine (DNS rebinding) is not answered.

use axum::{
    body::Body,
    extract::Request,
    http::{StatusCode, Uri, header},
    middleware::Next,
    response::Response,
};
use std::{net::IpAddr, sync::Arc};

/// Refuses a request whose Host is neither an address, nor localhost, nor the access URL's host.
pub(crate) async fn guard(own: Arc<str>, request: Request, next: Next) -> Response {
    let named = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if is_ours(named, &own) {
        return next.run(request).await;
    }
    let text = format!("{{\"message\":\"this server does not answer to this name; it is at {own}\"}}");
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = StatusCode::MISDIRECTED_REQUEST;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

fn is_ours(named: &str, own: &str) -> bool {
    let Some(host) = named.parse::<http::uri::Authority>().ok().map(|authority| authority.host().to_ascii_lowercase()) else {
        return false;
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let is_own = own.parse::<Uri>().ok().and_then(|own| own.host().map(|own| own.eq_ignore_ascii_case(&host))).unwrap_or(false);
    is_own || bare == "localhost" || bare.ends_with(".localhost") || bare.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_localhost_and_the_access_urls_host_are_ours() {
        let own = "https://berth.example.com/";
        for named in ["127.0.0.1:7090", "[::1]:7090", "localhost", "app.localhost:1", "BERTH.example.com", "10.0.0.7"] {
            assert!(is_ours(named, own), "{named}");
        }
        for named in [
            "",
            "attacker.example:7090",
            "127.0.0.1.attacker.example",
            "localhost.attacker.example",
            "berth.example.com.evil",
            "a b",
        ] {
            assert!(!is_ours(named, own), "{named}");
        }
    }
}
