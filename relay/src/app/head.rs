//! The heads of messages on their way: what is refused, what is ours and stays here, and what belongs to one connection alone.

use super::{Visit, cookie, page::Page};
use berth_wire::{SESSION_HEADER, domain::SessionToken};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header, request::Parts};
use std::net::SocketAddr;

/// What is about one connection (RFC 9110, section 7.6.1), besides what `Connection` names.
const OF_THE_CONNECTION: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];
/// What only we say of the way that a request took; from a browser it would be a claim.
const OF_THE_WAY: [HeaderName; 6] = [
    FORWARDED_FOR,
    FORWARDED_HOST,
    FORWARDED_PROTO,
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-real-ip"),
    header::FORWARDED,
];
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// The one protocol that a connection to an app is handed over to.
const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");

/// Refuses what no browser sends and what two servers could read in two ways. How long a body is, hyper has found out by now, and says anew
/// to the app; here it is enough that there was one way to find out.
pub(super) fn check(head: &Parts) -> Result<(), Page> {
    let headers = &head.headers;
    if matches!(head.method, Method::CONNECT | Method::TRACE) {
        return Err(Page::bad_method());
    }
    let path = head.uri.path_and_query().map(http::uri::PathAndQuery::as_str).unwrap_or_default();
    if !path.starts_with('/') {
        return Err(Page::bad_request("the address of the request is not a path"));
    }
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let chunked = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"chunked");
    let (coding, more) = (codings.next(), codings.next());
    if more.is_some() || coding.is_some_and(|coding| !chunked(coding)) {
        return Err(Page::bad_request("the body has a transfer coding other than chunked"));
    }
    let lengths = headers.get_all(header::CONTENT_LENGTH).iter().count();
    if lengths > 1 || (lengths == 1 && coding.is_some()) {
        return Err(Page::bad_request("the body has two lengths"));
    }
    Ok(())
}

/// Whether a request wants its connection to become a websocket (RFC 6455, section 4.1). Any other upgrade is passed over in silence, as it
/// may be (RFC 9110, section 7.8).
pub(super) fn is_websocket(head: &Parts) -> bool {
    let headers = &head.headers;
    let mut wanted = headers.get_all(header::UPGRADE).iter();
    let (protocol, more) = (wanted.next(), wanted.next());
    let is_protocol = protocol.is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(WEBSOCKET.as_bytes()));
    let upgrades = tokens(headers).any(|token| token.eq_ignore_ascii_case(b"upgrade"));
    head.method == Method::GET && head.version == Version::HTTP_11 && is_protocol && more.is_none() && upgrades
}

/// What an app gets of a request's head: everything but what is ours or the connection's, and whose browser it is.
pub(super) fn to_app(visit: &Visit, (host, scheme): (&str, &'static str), peer: SocketAddr, websocket: bool) -> HeaderMap {
    let mut headers = visit.head.headers.clone();
    let trailers = headers.get_all(header::TE).iter().any(|value| value.as_bytes().eq_ignore_ascii_case(b"trailers"));
    strip_connection(&mut headers);
    for name in OF_THE_WAY {
        headers.remove(name);
    }
    headers.remove(SESSION_HEADER);
    headers.remove(header::EXPECT);
    headers.remove(header::CONTENT_LENGTH);
    if headers.get_all(header::AUTHORIZATION).iter().any(is_our_bearer) {
        headers.remove(header::AUTHORIZATION);
    }
    cookie::take_out(&mut headers);
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    if websocket {
        upgrade(&mut headers);
    }
    if let (Ok(host), Ok(peer)) = (HeaderValue::from_str(host), HeaderValue::from_str(&peer.ip().to_string())) {
        headers.insert(header::HOST, host.clone());
        headers.insert(FORWARDED_HOST, host);
        headers.insert(FORWARDED_FOR, peer);
    }
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static(scheme));
    headers
}

/// What a browser gets of an answer's head.
pub(super) fn to_browser(headers: &mut HeaderMap, websocket: bool) {
    strip_connection(headers);
    // Where else this host could be found: nowhere.
    headers.remove(header::ALT_SVC);
    cookie::fence_in(headers);
    if websocket {
        upgrade(headers);
    }
}

fn upgrade(headers: &mut HeaderMap) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, WEBSOCKET);
}

fn strip_connection(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = tokens(headers).filter_map(|token| HeaderName::from_bytes(token).ok()).collect();
    for name in named.into_iter().chain(OF_THE_CONNECTION) {
        headers.remove(name);
    }
}

/// What `Connection` names.
fn tokens(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let values = headers.get_all(header::CONNECTION).iter();
    values.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
}

/// Whether it is a session or API token of ours. An app's own tokens are its own.
fn is_our_bearer(value: &HeaderValue) -> bool {
    let token = value.to_str().ok().and_then(|value| value.split_once(' '));
    token.is_some_and(|(_, token)| SessionToken::parse(token.trim()).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_wire::domain::AppAddress;
    use http::Request;

    fn passed(headers: &[(&str, &str)]) -> Vec<String> {
        let mut request = Request::get("/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let head = request.body(()).unwrap().into_parts().0;
        let websocket = is_websocket(&head);
        let visit = Visit { app: AppAddress::parse("a--b--c").unwrap(), origin: String::new(), head, session: None };
        let headers = to_app(&visit, ("a--b--c.apps.example.com", "https"), "192.0.2.1:9".parse().unwrap(), websocket);
        let told = ["host", "x-forwarded-host", "x-forwarded-for", "x-forwarded-proto"];
        assert_eq!(headers["x-forwarded-for"], "192.0.2.1");
        assert_eq!(headers.get_all("host").iter().count(), 1);
        let others = headers.iter().filter(|(name, _)| !told.contains(&name.as_str()));
        others.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect()
    }

    const OURS: &str = "0123456789abcdef0123456789abcdef-0123456789abcdef0123456789abcdef";

    #[test]
    fn what_is_ours_stays_here_and_the_rest_goes_on() {
        assert_eq!(passed(&[("accept", "*/*"), ("x-own", "1")]), ["accept: */*", "x-own: 1"]);
        assert_eq!(passed(&[("coder-session-token", OURS), ("x-forwarded-for", "6.6.6.6"), ("forwarded", "for=6.6.6.6")]), [""; 0]);
        assert_eq!(passed(&[("authorization", &format!("Bearer {OURS}"))]), [""; 0]);
        assert_eq!(passed(&[("authorization", &format!("bearer  {OURS} "))]), [""; 0]);
        assert_eq!(passed(&[("authorization", "Bearer of-the-app")]), ["authorization: Bearer of-the-app"]);
        assert_eq!(passed(&[("authorization", "Basic YTpi")]), ["authorization: Basic YTpi"]);
    }

    #[test]
    fn what_is_of_the_connection_does_not_go_on() {
        let hop = [("connection", "close, X-Own"), ("x-own", "1"), ("keep-alive", "1"), ("te", "gzip"), ("upgrade", "h2c")];
        assert_eq!(passed(&hop), [""; 0]);
        assert_eq!(passed(&[("te", "trailers")]), ["te: trailers"]);
        let socket = [("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket"), ("sec-websocket-key", "k")];
        assert_eq!(passed(&socket), ["sec-websocket-key: k", "connection: Upgrade", "upgrade: websocket"]);
        assert_eq!(passed(&[("connection", "upgrade"), ("upgrade", "websocket"), ("upgrade", "h2c")]), [""; 0]);
        assert_eq!(passed(&[("connection", "host, x-forwarded-for, x-forwarded-proto")]), [""; 0]);
    }

    #[test]
    fn a_body_has_one_length() {
        let refused = |headers: &[(&str, &str)]| {
            let mut request = Request::post("/");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            check(&request.body(()).unwrap().into_parts().0).is_err()
        };
        assert!(!refused(&[("content-length", "1")]) && !refused(&[("transfer-encoding", "Chunked")]));
        assert!(refused(&[("transfer-encoding", "chunked"), ("content-length", "1")]));
        assert!(refused(&[("transfer-encoding", "gzip, chunked")]));
        assert!(refused(&[("transfer-encoding", "chunked"), ("transfer-encoding", "identity")]));
        assert!(refused(&[("content-length", "1"), ("content-length", "1")]));
    }
}
