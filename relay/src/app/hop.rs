//! The way of a sign-in to an app's host and back: to the dashboard with the hash of a secret, back with a ticket that names this hash.
//!
//! The secret is a cookie of the app's host. So a ticket is of use only to the browser that asked for it: whoever follows a stranger's link
//! does not find themselves signed in as the stranger.

use super::{Visit, cookie, host::Site, see_other, set_cookie};
use axum::body::Body;
use berth_wire::{
    app::{AUTH_REDIRECT_PATH, TICKET_PARAMETER, query_value},
    domain::Secret,
};
use http::{Method, Response, request::Parts};
use sha2::{Digest, Sha256};

/// The length of the secret, in bytes.
const NONCE_BYTES: usize = 16;
/// A longer address is not come back to: its path is left out.
const ADDRESS_BYTES_MAX: usize = 4 * 1024;

/// Sends a browser to the dashboard to say who it is.
pub(super) fn begin(site: &Site, dashboard: &str, visit: &Visit) -> Response<Body> {
    let cookies = site.cookies();
    // One that is on its way already, in another tab, stays good.
    let known = cookie::value(&visit.head.headers, cookies.hop).filter(|nonce| is_nonce(nonce));
    let nonce = Secret::new(known.unwrap_or_else(|| hex::encode(rand::random::<[u8; NONCE_BYTES]>())));
    let path = visit.head.uri.path_and_query().map(http::uri::PathAndQuery::as_str).unwrap_or_default();
    let path = if path.len() > ADDRESS_BYTES_MAX { "/" } else { path };
    let (address, state) =
        (query_value(&format!("{}{path}", visit.origin)), hex::encode(Sha256::digest(nonce.expose().as_bytes())));
    let mut response = see_other(&format!("{dashboard}{AUTH_REDIRECT_PATH}?redirect_uri={address}&state={state}"));
    set_cookie(response.headers_mut(), &cookies.bound(&nonce));
    response
}

/// The ticket in an address, and the path and query without it, byte for byte.
pub(super) fn arrival(head: &Parts) -> Option<(Secret, String)> {
    let query = head.uri.query().filter(|_| head.method == Method::GET)?;
    let is_ticket = |pair: &&str| pair.split('=').next() == Some(TICKET_PARAMETER);
    let mut tickets = query.split('&').filter(is_ticket);
    let (ticket, more) = (tickets.next()?, tickets.next());
    if more.is_some() {
        return None;
    }
    let ticket = ticket.split_once('=').map(|(_, ticket)| ticket.to_owned())?;
    let others: Vec<_> = query.split('&').filter(|pair| !is_ticket(pair)).collect();
    let (path, joint) = (head.uri.path(), if others.is_empty() { "" } else { "?" });
    Some((Secret::new(ticket), format!("{path}{joint}{}", others.join("&"))))
}

fn is_nonce(text: &str) -> bool {
    text.len() == 2 * NONCE_BYTES && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrived(uri: &str) -> Option<(String, String)> {
        arrival(&http::Request::get(uri).body(()).unwrap().into_parts().0).map(|(ticket, clean)| (ticket.expose().clone(), clean))
    }

    #[test]
    fn a_ticket_leaves_an_address_as_it_was() {
        let clean = |uri: &str| arrived(uri).map(|(ticket, clean)| format!("{ticket} {clean}"));
        assert_eq!(clean("/?berth_app_ticket=t").as_deref(), Some("t /"));
        assert_eq!(clean("/a%2F..//b?x=%31&berth_app_ticket=t").as_deref(), Some("t /a%2F..//b?x=%31"));
        assert_eq!(clean("/?berth_app_ticket=t&&y").as_deref(), Some("t /?&y"));
        assert_eq!(clean("/?xberth_app_ticket=t"), None);
        assert_eq!(clean("/?berth_app_ticket=t&berth_app_ticket=u"), None);
        assert_eq!(clean("/?berth_app_ticket"), None);
    }
}
