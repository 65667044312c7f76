//! The proxies that this machine's programs are told to use.

use super::{Finding, Place, Verdict};
use crate::config::Environment;

/// The variables that name one, in the order in which they count for `https`.
const VARIABLES: [&str; 6] = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "http_proxy", "HTTP_PROXY"];
const EXCEPTIONS: [&str; 2] = ["no_proxy", "NO_PROXY"];

/// Which proxy there is. Its password is not shown.
pub(super) fn finding(environment: &Environment, place: &Place) -> Finding {
    const CHECK: &str = "proxy";
    let named = VARIABLES.iter().find_map(|name| Some((*name, environment.get(name)?)));
    let Some((name, url)) = named else { return Finding::new(CHECK, "", Verdict::Ok, "none is set") };
    let shown = without_password(url);
    if place.is_loopback() {
        return Finding::new(CHECK, shown, Verdict::Ok, format!("{name} is set, and not used for a deployment on this machine"));
    }
    let exceptions = EXCEPTIONS.iter().find_map(|name| environment.get(name));
    let except = exceptions.map(|list| format!(", except for {list}")).unwrap_or_default();
    Finding::new(CHECK, shown, Verdict::Ok, format!("{name} is set{except}; the API and the relay are reached through it"))
}

/// A proxy's URL without whoever is known to it.
fn without_password(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").map_or(("", url), |(scheme, rest)| (scheme, rest));
    let bare = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    if scheme.is_empty() { bare.to_owned() } else { format!("{scheme}://{bare}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_shown_and_its_password_is_not() {
        let place = Place::parse("https://berth.example.com").unwrap();
        let shown = |pairs: &[(&str, &str)]| finding(&Environment::of(pairs), &place).to_string();
        assert_eq!(shown(&[]), "ok    proxy      none is set");
        let set = shown(&[("HTTPS_PROXY", "http://ada:s3cret@proxy.example:3128"), ("NO_PROXY", "localhost")]);
        insta::assert_snapshot!(set, @"ok    proxy      http://proxy.example:3128  HTTPS_PROXY is set, except for localhost; the API and the relay are reached through it");
    }
}
