//! The little that we ask of a URL: is it one, its port, and its root.
//!
//! The rules are those of Go's `net/url`, which are lax: templates give `/icon/x.svg` and emoji paths as URLs too.

/// The URL of the deployment as templates see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AccessUrl {
    /// As it was given.
    pub(crate) text: String,
    /// `scheme://host:port/`, or `/` when the URL is only a path.
    pub(crate) root: String,
    /// The given port, else the usual one of the scheme.
    pub(crate) port: u16,
}

/// Used when neither the template nor the build names a URL, as when a template is validated on a laptop.
pub(crate) const PLACEHOLDER: &str = "https://berth.example.com";

impl AccessUrl {
    /// Reads a URL, or says what is wrong with it in one clause.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("the url is empty".into());
        }
        check(text)?;
        let Some((scheme, rest)) = text.split_once("://") else {
            return Ok(Self { text: text.into(), root: "/".into(), port: 80 });
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let usual = if scheme.eq_ignore_ascii_case("https") { 443 } else { 80 };
        let port = match port(authority) {
            None | Some("") => usual,
            Some(digits) => digits.parse().map_err(|_| format!("\"{digits}\" is not a port"))?,
        };
        Ok(Self { text: text.into(), root: format!("{scheme}://{authority}/"), port })
    }
}

/// Says what keeps `text` from being a URL or a relative reference to one.
pub(crate) fn check(text: &str) -> Result<(), String> {
    if text.chars().any(|character| character.is_ascii_control()) {
        return Err("a url has no control characters".into());
    }
    if let Some(escape) = bad_escape(text) {
        return Err(format!("\"{escape}\" is not a url escape"));
    }
    let first = text.split(['/', '?', '#']).next().unwrap_or_default();
    if let Some((scheme, _)) = first.split_once(':') {
        let mut letters = scheme.chars();
        let starts_well = letters.next().is_some_and(|letter| letter.is_ascii_alphabetic());
        if !starts_well || !letters.all(|letter| letter.is_ascii_alphanumeric() || "+-.".contains(letter)) {
            return Err("the url has a colon before its first slash but no scheme".into());
        }
    }
    let Some((_, rest)) = text.split_once("://") else { return Ok(()) };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains([' ', '"', '<', '>']) {
        return Err(format!("\"{authority}\" is not a host"));
    }
    match port(authority) {
        Some(digits) if !digits.chars().all(|digit| digit.is_ascii_digit()) => Err(format!("\"{digits}\" is not a port")),
        _ => Ok(()),
    }
}

/// The text after the last colon of the host, ignoring those inside an IPv6 address.
fn port(authority: &str) -> Option<&str> {
    let host = authority.rsplit('@').next().unwrap_or_default();
    let after = host.rsplit(']').next().unwrap_or_default();
    after.split_once(':').map(|(_, port)| port)
}

fn bad_escape(text: &str) -> Option<String> {
    let path = text.split('?').next().unwrap_or_default();
    path.split('%').skip(1).find_map(|rest| {
        let escape: String = rest.chars().take(2).collect();
        let good = escape.len() == 2 && escape.chars().all(|digit| digit.is_ascii_hexdigit());
        (!good).then(|| format!("%{escape}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_gives_its_port_and_its_root() {
        for (text, port, root) in [
            ("https://berth.example.com", 443, "https://berth.example.com/"),
            ("http://berth.example.com/some/path", 80, "http://berth.example.com/"),
            ("http://127.0.0.1:7080", 7080, "http://127.0.0.1:7080/"),
            ("https://[::1]:8443/x?y#z", 8443, "https://[::1]:8443/"),
            ("/only/a/path", 80, "/"),
        ] {
            let url = AccessUrl::parse(text).unwrap();
            assert_eq!((url.port, url.root.as_str()), (port, root), "{text}");
        }
        assert!(AccessUrl::parse("").is_err());
        assert!(AccessUrl::parse("http://host:99999").is_err());
    }

    #[test]
    fn what_go_accepts_as_a_url_is_accepted_and_what_it_refuses_is_refused() {
        for good in ["", "/icon/code.svg", "/emojis/1f4be.png", "https://x.dev/a%20b", "code", "mailto:a@b.c", "é", "vscode://x/y"]
        {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [":foo", "1a:b", "https://x y/", "https://host:port/", "/a%zz", "/a%2", "a\nb"] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
