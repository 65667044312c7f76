//! Which proxy leads to a relay: the same that the rest of Berth's HTTP goes through.

use hyper_util::client::proxy::matcher::Matcher;
use iroh::RelayUrl;
use std::net::IpAddr;
use url::Url;

/// The proxy to `relay` that the environment names: `HTTPS_PROXY`, `HTTP_PROXY` or `ALL_PROXY`, but for what `NO_PROXY` excepts, and never
/// to a relay on this machine. An endpoint reaches the relay through it with CONNECT; it knows no SOCKS.
pub(crate) fn to(relay: &RelayUrl) -> Option<Url> {
    let found = through(relay, &Matcher::from_env())?;
    if matches!(found.scheme(), "http" | "https") {
        return Some(found);
    }
    tracing::warn!(
        proxy.scheme = found.scheme(),
        "the relay is not reached through this kind of proxy; set HTTPS_PROXY to an http:// one"
    );
    None
}

fn through(relay: &RelayUrl, environment: &Matcher) -> Option<Url> {
    if relay.host_str().is_none_or(is_loopback) {
        return None;
    }
    let proxy = environment.intercept(&relay.as_str().parse().ok()?)?;
    let mut url: Url = proxy.uri().to_string().parse().ok()?;
    if let Some((user, password)) = proxy.basic_auth().and_then(|header| credentials(header.to_str().ok()?)) {
        url.set_username(&user).ok()?;
        url.set_password(Some(&password)).ok()?;
    }
    Some(url)
}

/// User and password of a `Basic` header.
fn credentials(header: &str) -> Option<(String, String)> {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let decoded = String::from_utf8(STANDARD.decode(header.strip_prefix("Basic ")?).ok()?).ok()?;
    decoded.split_once(':').map(|(user, password)| (user.to_owned(), password.to_owned()))
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proxy_is_the_one_of_the_scheme_and_not_for_what_is_excepted_or_here() {
        let environment =
            Matcher::builder().https("http://ada:s%40cret@proxy.example:3128").no("inside.example,10.0.0.0/8").build();
        let to = |relay: &str| through(&relay.parse().unwrap(), &environment).map(|url| url.to_string());
        assert_eq!(to("https://relay.example.com").as_deref(), Some("http://ada:s%40cret@proxy.example:3128/"));
        for direct in [
            "https://relay.inside.example",
            "https://10.1.2.3",
            "https://localhost:7090",
            "https://[::1]",
            "http://relay.example.com",
        ] {
            assert_eq!(to(direct), None, "{direct}");
        }
    }
}
