//! Where apps have their hosts: which app a request is for, and which pages may send it.

use super::{cookie::Cookies, page::Page};
use berth_wire::domain::AppAddress;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, header, request::Parts, uri::Authority};

/// Says from where a request was sent, as only a browser can (W3C Fetch Metadata).
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// Says what for.
const FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// Why apps cannot have hosts there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SiteError {
    /// No URL of a domain.
    #[error("{0:?} is not an http or https URL of a domain, such as https://apps.example.com")]
    Url(String),
    /// What runs in workspaces would be at home with the dashboard.
    #[error("the apps at {apps} and the dashboard at {dashboard} share a host; give the apps a domain of their own")]
    Shared {
        /// Where the apps are.
        apps: String,
        /// Where the dashboard is.
        dashboard: String,
    },
}

/// Where the apps of a deployment have their hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Site {
    scheme: &'static str,
    /// In lower case, as everything here.
    domain: String,
    /// The domain, and the port unless it is the scheme's own.
    authority: String,
}

impl Site {
    pub(super) fn parse(apps_url: &str, access_url: &str) -> Result<Self, SiteError> {
        let refused = || SiteError::Url(apps_url.to_owned());
        let url: Uri = apps_url.parse().map_err(|_| refused())?;
        let scheme = match url.scheme_str() {
            Some("https") => "https",
            Some("http") => "http",
            _ => return Err(refused()),
        };
        let authority = url.authority().map(|authority| authority.as_str().to_ascii_lowercase()).ok_or_else(refused)?;
        let domain = url.host().map(str::to_ascii_lowercase).filter(|host| is_domain(host)).ok_or_else(refused)?;
        let bare = authority.strip_suffix(default_port(scheme)).unwrap_or(&authority).to_owned();
        if url.path() != "/" || url.query().is_some() || authority.contains('@') {
            return Err(refused());
        }
        let dashboard = access_url.parse::<Uri>().ok().and_then(|url| url.host().map(str::to_ascii_lowercase));
        if dashboard.is_some_and(|dashboard| dashboard == domain || dashboard.ends_with(&format!(".{domain}"))) {
            return Err(SiteError::Shared { apps: apps_url.to_owned(), dashboard: access_url.to_owned() });
        }
        Ok(Self { scheme, domain, authority: bare })
    }

    pub(super) fn cookies(&self) -> &'static Cookies {
        Cookies::over(self.scheme)
    }

    pub(super) const fn scheme(&self) -> &'static str {
        self.scheme
    }

    /// Scheme, host and port of an app, as a browser says them.
    pub(super) fn origin(&self, app: &AppAddress) -> String {
        format!("{}://{}", self.scheme, self.host(app))
    }

    /// Host and port of an app.
    pub(super) fn host(&self, app: &AppAddress) -> String {
        format!("{app}.{}", self.authority)
    }

    /// Whether the domain of the apps stands in any place that could be taken for the request's host.
    pub(super) fn is_named_in<B>(&self, request: &Request<B>) -> bool {
        let domain = self.domain.as_bytes();
        let holds = |text: &[u8]| text.windows(domain.len()).any(|part| part.eq_ignore_ascii_case(domain));
        let target = request.uri().authority().map(Authority::as_str).unwrap_or_default();
        holds(target.as_bytes()) || request.headers().get_all(header::HOST).iter().any(|host| holds(host.as_bytes()))
    }

    /// The app that a request is for. It must be named once, and in full.
    pub(super) fn app(&self, head: &Parts) -> Result<AppAddress, Page> {
        let named = named(head).ok_or_else(Page::bad_host)?.to_ascii_lowercase();
        let named = named.strip_suffix(default_port(self.scheme)).unwrap_or(&named);
        let label = named.strip_suffix(&self.authority).and_then(|label| label.strip_suffix('.')).ok_or_else(Page::bad_host)?;
        AppAddress::parse(label).map_err(|_| Page::no_address())
    }

    /// The app of an `Origin`, if it is one of ours.
    fn app_of(&self, origin: &HeaderValue) -> Option<AppAddress> {
        let host = origin.to_str().ok()?.strip_prefix(self.scheme)?.strip_prefix("://")?;
        AppAddress::parse(host.strip_suffix(&self.authority)?.strip_suffix('.')?).ok()
    }

    /// Refuses what the page of another site, or of another workspace's app, sends: sockets and changes always, and what rides on our cookie
    /// unless it is a person who goes there. Apps of one workspace trust each other: they are on one machine.
    pub(super) fn check_origin(&self, app: &AppAddress, head: &Parts, signed_in: bool) -> Result<(), Page> {
        let headers = &head.headers;
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let (origin, more) = (origins.next(), origins.next());
        let is_ours = |origin: &HeaderValue| self.app_of(origin).is_some_and(|other| other.is_beside(app));
        let from_ours = origin.is_some_and(is_ours);
        let changes = !head.method.is_safe() || headers.contains_key(header::UPGRADE);
        if more.is_some() || (changes && origin.is_some() && !from_ours) {
            return Err(Page::foreign());
        }
        if signed_in && !from_ours && !is_wanted(headers, &head.method) {
            return Err(Page::foreign());
        }
        Ok(())
    }
}

/// Whether a browser that tells says: by the app's own page, or by a person who goes there.
fn is_wanted(headers: &HeaderMap, method: &Method) -> bool {
    let text = |name: HeaderName| headers.get(name).map(HeaderValue::as_bytes);
    match text(FETCH_SITE) {
        None | Some(b"same-origin" | b"none") => true,
        Some(_) => method.is_safe() && text(FETCH_MODE) == Some(b"navigate".as_slice()),
    }
}

/// The one host that a request names. Over HTTP/1.1 that is its `Host`, and the target is a path; over HTTP/2 it is the target's.
fn named(head: &Parts) -> Option<&str> {
    let mut hosts = head.headers.get_all(header::HOST).iter().map(|host| host.to_str().ok());
    let (host, more, target) = (hosts.next(), hosts.next(), head.uri.authority().map(Authority::as_str));
    match (host, more, target) {
        (Some(host), None, None) => host,
        (None, None, Some(target)) if head.version == Version::HTTP_2 => Some(target),
        (Some(host), None, Some(target)) if head.version == Version::HTTP_2 => host.filter(|host| *host == target),
        _ => None,
    }
}

fn default_port(scheme: &str) -> &'static str {
    if scheme == "https" { ":443" } else { ":80" }
}

fn is_domain(host: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let is_label = |label: &str| !label.is_empty() && label.bytes().all(letter);
    host.contains('.') && host.split('.').all(is_label) && host.parse::<std::net::IpAddr>().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site() -> Site {
        Site::parse("https://apps.example.com", "https://berth.example.com/").unwrap()
    }

    fn app(host: &str) -> Option<String> {
        let request = Request::get("/").header("host", host).body(()).unwrap();
        site().app(&request.into_parts().0).ok().map(|app| app.to_string())
    }

    #[test]
    fn a_host_is_compared_whole() {
        assert_eq!(app("web--dev--ada.apps.example.com").as_deref(), Some("web--dev--ada"));
        assert_eq!(app("WEB--main--dev--ada.Apps.Example.com:443").as_deref(), Some("web--main--dev--ada"));
        for wrong in [
            "",
            "apps.example.com",
            "web--dev--ada.apps.example.com.",
            "web--dev--ada.apps.example.com:80",
            "web--dev--ada.apps.example.com.evil",
            "web--dev--adaapps.example.com",
            "a.web--dev--ada.apps.example.com",
            "user@web--dev--ada.apps.example.com",
            "web--dev--ada.apps.example.com, web--dev--eve.apps.example.com",
            "web--dev--ada%2eapps.example.com",
        ] {
            assert_eq!(app(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn apps_have_a_domain_that_is_not_the_dashboards() {
        let parse = |apps: &str, dashboard: &str| Site::parse(apps, dashboard);
        assert_eq!(parse("http://apps.localhost:7090/", "http://127.0.0.1:7090/").unwrap().authority, "apps.localhost:7090");
        assert_eq!(parse("https://APPS.example.com:443", "https://x.example/").unwrap().authority, "apps.example.com");
        for (apps, dashboard) in
            [("https://example.com", "https://berth.example.com/"), ("https://berth.example.com", "https://BERTH.example.com/")]
        {
            assert!(matches!(parse(apps, dashboard), Err(SiteError::Shared { .. })), "{apps}");
        }
        for wrong in [
            "apps.example.com",
            "ftp://apps.example.com",
            "https://localhost",
            "https://10.0.0.1",
            "https://a.b/c",
            "https://u@a.b",
        ] {
            assert!(matches!(parse(wrong, "https://x.example/"), Err(SiteError::Url(_))), "{wrong}");
        }
    }

    #[test]
    fn a_page_elsewhere_sends_nothing_that_changes_or_that_rides_on_a_cookie() {
        let site = site();
        let own = AppAddress::parse("web--dev--ada").unwrap();
        let passes = |method: &str, headers: &[(&str, &str)], signed_in| {
            let mut request = Request::builder().method(method).uri("/");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            site.check_origin(&own, &request.body(()).unwrap().into_parts().0, signed_in).is_ok()
        };
        let (here, beside) = ("https://web--dev--ada.apps.example.com", "https://8080--dev--ada.apps.example.com");
        for origin in [here, beside] {
            assert!(passes("POST", &[("origin", origin)], true), "{origin}");
            assert!(passes("GET", &[("origin", origin), ("upgrade", "websocket")], true), "{origin}");
        }
        for origin in [
            "https://web--dev--eve.apps.example.com",
            "https://web--dev2--ada.apps.example.com",
            "https://berth.example.com",
            "http://web--dev--ada.apps.example.com",
            "https://web--dev--ada.apps.example.com.evil",
            "https://web--dev--ada.apps.example.com:8443",
            "null",
            "",
        ] {
            assert!(!passes("POST", &[("origin", origin)], false), "{origin}");
            assert!(!passes("GET", &[("origin", origin), ("upgrade", "websocket")], false), "{origin}");
        }
        assert!(passes("GET", &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")], true));
        assert!(!passes("GET", &[("sec-fetch-site", "same-site"), ("sec-fetch-mode", "no-cors")], true));
        assert!(!passes("POST", &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")], true));
        assert!(passes("GET", &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")], false));
        assert!(!passes("GET", &[("origin", here), ("origin", here)], true), "two origins");
    }
}
