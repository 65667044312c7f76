//! Our cookies at an app's host, and how they are kept apart from the app's: byte for byte, without touching the others.

use berth_wire::domain::{Secret, limit::APP_SESSION_SECONDS};
use http::{HeaderMap, HeaderValue, header};

/// The longest value that is looked at, in bytes.
const VALUE_BYTES_MAX: usize = 4 * 1024;
/// How long the secret of a sign-in on its way is kept, in seconds.
const HOP_SECONDS: u32 = 600;
/// The dashboard's own cookie, which no app's host has any business with.
const DASHBOARD: &[u8] = b"coder_session_token";
/// What the names of all our other cookies begin with, behind the browser's own prefixes.
const OURS: &[u8] = b"berth_";
/// The prefixes by which a browser promises who has set a cookie (RFC 6265bis, section 4.1.3).
const PREFIXES: [&[u8]; 4] = [b"__Host-", b"__Secure-", b"__Http-", b"__Host-Http-"];

/// The names of our cookies at the hosts of apps.
#[derive(Debug)]
pub(super) struct Cookies {
    /// Who it is.
    pub(super) session: &'static str,
    /// What binds a sign-in on its way to this browser.
    pub(super) hop: &'static str,
    attributes: &'static str,
}

/// With TLS a browser takes such a name from this very host alone.
const OVER_TLS: Cookies =
    Cookies { session: "__Host-berth_app", hop: "__Host-berth_hop", attributes: "; Path=/; Secure; HttpOnly; SameSite=Lax" };
/// Without TLS it takes no such name.
const PLAIN: Cookies = Cookies { session: "berth_app", hop: "berth_hop", attributes: "; Path=/; HttpOnly; SameSite=Lax" };

impl Cookies {
    pub(super) fn over(scheme: &str) -> &'static Self {
        if scheme == "https" { &OVER_TLS } else { &PLAIN }
    }

    /// The cookie that says who it is.
    pub(super) fn kept(&self, session: &Secret) -> String {
        format!("{}={}{}; Max-Age={APP_SESSION_SECONDS}", self.session, session.expose(), self.attributes)
    }

    /// The cookie that binds a sign-in.
    pub(super) fn bound(&self, nonce: &Secret) -> String {
        format!("{}={}{}; Max-Age={HOP_SECONDS}", self.hop, nonce.expose(), self.attributes)
    }
}

/// The value of a cookie. `None` also when it is there twice: one was put there by somebody else.
pub(super) fn value(headers: &HeaderMap, name: &str) -> Option<String> {
    let pairs = headers.get_all(header::COOKIE).iter().flat_map(|cookies| cookies.as_bytes().split(|byte| *byte == b';'));
    let mut values = pairs.map(halves).filter(|(found, _)| *found == name.as_bytes()).map(|(_, value)| value);
    let (value, more) = (values.next()?, values.next());
    if more.is_some() || value.len() > VALUE_BYTES_MAX {
        return None;
    }
    String::from_utf8(value.to_vec()).ok().filter(|value| !value.is_empty())
}

/// Takes our cookies out of what a browser sends. The others stay as they are.
pub(super) fn take_out(headers: &mut HeaderMap) {
    let header::Entry::Occupied(cookies) = headers.entry(header::COOKIE) else { return };
    let kept: Vec<HeaderValue> = cookies.iter().filter_map(without_ours).collect();
    drop(cookies.remove_entry_mult());
    for cookies in kept {
        headers.append(header::COOKIE, cookies);
    }
}

fn without_ours(cookies: &HeaderValue) -> Option<HeaderValue> {
    let pairs = cookies.as_bytes().split(|byte| *byte == b';');
    if !pairs.clone().any(|pair| is_ours(halves(pair).0)) {
        return Some(cookies.clone());
    }
    let others: Vec<&[u8]> = pairs.filter(|pair| !is_ours(halves(pair).0)).collect();
    let others = others.join(b";".as_slice());
    let others = others.trim_ascii_start();
    if others.is_empty() { None } else { HeaderValue::from_bytes(others).ok() }
}

/// Takes out of what an app sets what would be ours, and what would reach other hosts than its own: a cookie for the whole domain could be
/// taken by another app for its own.
pub(super) fn fence_in(headers: &mut HeaderMap) {
    let header::Entry::Occupied(set) = headers.entry(header::SET_COOKIE) else { return };
    let kept: Vec<HeaderValue> = set.iter().filter_map(of_this_host).collect();
    drop(set.remove_entry_mult());
    for cookie in kept {
        headers.append(header::SET_COOKIE, cookie);
    }
}

fn of_this_host(cookie: &HeaderValue) -> Option<HeaderValue> {
    let mut parts = cookie.as_bytes().split(|byte| *byte == b';');
    let (name, value) = halves(parts.next()?);
    // One without a name comes back as its value alone, which may look like a pair.
    if is_ours(name) || (name.is_empty() && is_ours(halves(value).0)) {
        return None;
    }
    let is_domain = |part: &&[u8]| halves(part).0.eq_ignore_ascii_case(b"domain");
    if !parts.clone().any(|part| is_domain(&part)) {
        return Some(cookie.clone());
    }
    let first = cookie.as_bytes().split(|byte| *byte == b';').take(1);
    let kept: Vec<&[u8]> = first.chain(parts.filter(|part| !is_domain(part))).collect();
    HeaderValue::from_bytes(&kept.join(b";".as_slice())).ok()
}

/// Name and value of a pair, without the space around them. One without `=` is a value without a name.
fn halves(pair: &[u8]) -> (&[u8], &[u8]) {
    let (name, value) = match pair.iter().position(|byte| *byte == b'=') {
        Some(at) => (pair.get(..at).unwrap_or_default(), pair.get(at + 1..).unwrap_or_default()),
        None => (&[][..], pair),
    };
    (name.trim_ascii(), value.trim_ascii())
}

fn is_ours(name: &[u8]) -> bool {
    let bare = PREFIXES.iter().filter_map(|prefix| name.strip_prefix(*prefix)).min_by_key(|bare| bare.len()).unwrap_or(name);
    bare == DASHBOARD || bare.starts_with(OURS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(cookies: &[&str]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for cookie in cookies {
            headers.append(header::COOKIE, HeaderValue::from_bytes(cookie.as_bytes()).unwrap());
        }
        take_out(&mut headers);
        headers.get_all(header::COOKIE).iter().map(|value| String::from_utf8(value.as_bytes().to_vec()).unwrap()).collect()
    }

    #[test]
    fn ours_go_and_the_others_stay_byte_for_byte() {
        assert_eq!(sent(&["a=1; berth_app=x; b=2"]), ["a=1; b=2"]);
        assert_eq!(sent(&["berth_app=x;a=\"1 , %;\";  b"]), ["a=\"1 , %;\";  b"]);
        assert_eq!(sent(&["a=1;b=2 ;  ;c"]), ["a=1;b=2 ;  ;c"], "without ours nothing is touched");
        assert_eq!(sent(&["__Host-berth_app=x", "a=1", "coder_session_token=t;__Host-berth_hop=y"]), ["a=1"]);
        assert_eq!(sent(&[" \tberth_app =x; ;berth_app=y; berth_other = z"]), Vec::<String>::new());
        for alike in
            ["xberth_app=1", "Berth_app=1", "berth=1", "my_berth_app=1", "a=berth_app=x", "coder_session_token2=1", "\u{e9}=berth_"]
        {
            assert_eq!(sent(&[alike]), [alike]);
        }
        assert_eq!(sent(&["__Secure-coder_session_token=1"]), Vec::<String>::new());
    }

    #[test]
    fn a_cookie_that_is_there_twice_is_nobodys() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, "x=1; berth_app=a".parse().unwrap());
        assert_eq!(value(&headers, "berth_app").as_deref(), Some("a"));
        headers.append(header::COOKIE, "berth_app=b".parse().unwrap());
        assert_eq!(value(&headers, "berth_app"), None);
    }

    fn set(cookie: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.append(header::SET_COOKIE, cookie.parse().unwrap());
        fence_in(&mut headers);
        headers.get(header::SET_COOKIE).map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn an_app_sets_its_own_cookies_for_its_own_host() {
        assert_eq!(set("a=1; Path=/; Secure").as_deref(), Some("a=1; Path=/; Secure"));
        assert_eq!(set("a=1; Domain=apps.example.com; Path=/").as_deref(), Some("a=1; Path=/"));
        assert_eq!(set("a=1;dOmAiN = x").as_deref(), Some("a=1"));
        assert_eq!(set("domain=1; Path=/").as_deref(), Some("domain=1; Path=/"), "a cookie of that name");
        for ours in [
            "berth_app=1",
            " berth_app = 1; Path=/",
            "=berth_app=1",
            "__Host-berth_app=1",
            "=__Host-berth_hop=1",
            "coder_session_token=1; Domain=x",
        ] {
            assert_eq!(set(ours), None, "{ours}");
        }
    }
}
