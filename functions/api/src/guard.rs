//! What stands before every handler: the Origin of upgrades, the headers of every answer, and the two answers to unknown requests.

use crate::error::ApiError;
use axum::{extract::Request, middleware::Next, response::Response};
use http::{HeaderMap, HeaderValue, Uri, header};

/// Refuses websocket upgrades (cross-site websocket hijacking) and changes (forged requests, also those that need no session, such as
/// making the first user) from pages of other hosts, and dresses every answer.
pub(crate) async fn guard(request: Request, next: Next) -> Response {
    let upgrade = request.headers().contains_key(header::UPGRADE);
    if upgrade && !same_origin(request.headers()) {
        return dress(axum::response::IntoResponse::into_response(ApiError::forbidden("the websocket's Origin is another host")));
    }
    if !request.method().is_safe() && !same_origin(request.headers()) {
        let refused = ApiError::forbidden("a request that changes something was sent by a page of another site");
        return dress(axum::response::IntoResponse::into_response(refused));
    }
    dress(next.run(request).await)
}

fn dress(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let policy = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(policy);
    // Not `no-referrer`: with that a browser says `Origin: null` when our own form is sent (Fetch, "append a request Origin header").
    headers.entry(header::REFERRER_POLICY).or_insert(HeaderValue::from_static("same-origin"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Whether the request comes from no page, or from a page of the host it goes to. Hosts are compared whole, port included.
pub(crate) fn same_origin(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let (Ok(origin), Some(Ok(host))) = (origin.to_str(), headers.get(header::HOST).map(HeaderValue::to_str)) else { return false };
    let Ok(origin) = origin.parse::<Uri>() else { return false };
    origin.authority().is_some_and(|authority| authority.as_str().eq_ignore_ascii_case(host))
}

/// Whether a request that changes something and is authenticated by a cookie comes from our own pages for certain.
pub(crate) fn from_own_page(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    match site {
        Some(site) => site == b"same-origin",
        None => headers.contains_key(header::ORIGIN) && same_origin(headers),
    }
}

/// 404 in the envelope.
pub(crate) async fn unknown_route(uri: Uri) -> ApiError {
    ApiError::new(http::StatusCode::NOT_FOUND, "there is no such route").detail(uri.path().chars().take(200).collect::<String>())
}

/// 405 in the envelope.
pub(crate) async fn wrong_method(method: http::Method) -> ApiError {
    ApiError::new(http::StatusCode::METHOD_NOT_ALLOWED, format!("this route does not know {method}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(origin: Option<&str>, host: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        headers
    }

    #[test]
    fn an_origin_is_ours_only_when_the_whole_host_is() {
        assert!(same_origin(&headers(None, "berth.example.com")));
        assert!(same_origin(&headers(Some("https://berth.example.com"), "berth.example.com")));
        assert!(same_origin(&headers(Some("http://127.0.0.1:3000"), "127.0.0.1:3000")));
        for evil in [
            "https://berth.example.com.evil.com",
            "https://evil.com/berth.example.com",
            "https://berth.example.com:444",
            "https://a@berth.example.com",
            "null",
            "https://berth.example.co",
            "",
        ] {
            assert!(!same_origin(&headers(Some(evil), "berth.example.com")), "{evil}");
        }
    }

    #[test]
    fn a_cookie_changes_things_only_from_our_own_page() {
        let mut own = headers(Some("https://a.example"), "a.example");
        assert!(from_own_page(&own));
        own.insert("sec-fetch-site", "cross-site".parse().unwrap());
        assert!(!from_own_page(&own));
        assert!(!from_own_page(&headers(None, "a.example")));
    }
}
