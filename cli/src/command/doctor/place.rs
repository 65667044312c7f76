//! The hosts of a deployment.

use std::net::IpAddr;

/// The first labels under the deployment's own name.
const RELAY: &str = "relay.";
const APPS: &str = "apps.";
/// Stands for any name under the apps' domain.
const ANY_APP: &str = "berth-doctor.";

/// What a host is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::command) enum Role {
    Api,
    Relay,
    Apps,
}

/// Where something is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::command) struct Place {
    pub(in crate::command) encrypted: bool,
    pub(in crate::command) host: String,
    pub(in crate::command) port: u16,
}

impl Place {
    /// Reads a URL's scheme, host and port.
    pub(in crate::command) fn parse(url: &str) -> Option<Self> {
        let url: http::Uri = url.parse().ok()?;
        let encrypted = url.scheme_str()? == "https";
        let host = url.host()?.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        Some(Self { encrypted, host, port: url.port_u16().unwrap_or(if encrypted { 443 } else { 80 }) })
    }

    /// Whether it is found by DNS.
    pub(in crate::command) fn has_name(&self) -> bool {
        self.address().is_none() && self.host != "localhost"
    }

    pub(in crate::command) fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.address().is_some_and(|address| address.is_loopback())
    }

    pub(in crate::command) fn is_at(&self, other: &Self) -> bool {
        self.host == other.host && self.port == other.port
    }

    fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// `https://host`, with the port where it is not the usual one.
    pub(in crate::command) fn url(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match (self.encrypted, self.port) {
            (true, 443) => format!("https://{host}"),
            (false, 80) => format!("http://{host}"),
            (true, port) => format!("https://{host}:{port}"),
            (false, port) => format!("http://{host}:{port}"),
        }
    }

    /// Where a deployment on AWS has its relay, for when the API does not tell.
    pub(in crate::command) fn usual_relay(&self) -> Option<String> {
        (self.encrypted && self.has_name()).then(|| format!("https://{RELAY}{}", self.host))
    }

    /// A name of a web app, when the deployment has its hosts where one on AWS has them.
    pub(in crate::command) fn apps(&self, relay: &Self) -> Option<Self> {
        let is_usual = self.has_name() && relay.host.strip_prefix(RELAY) == Some(&self.host);
        is_usual.then(|| Self { host: format!("{ANY_APP}{APPS}{}", self.host), ..relay.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(url: &str) -> Place {
        Place::parse(url).unwrap()
    }

    #[test]
    fn the_hosts_of_a_deployment_follow_from_its_name() {
        let api = place("https://berth.example.com");
        let relay = place(&api.usual_relay().unwrap());
        assert_eq!(relay.url(), "https://relay.berth.example.com");
        assert_eq!(api.apps(&relay).unwrap().host, "berth-doctor.apps.berth.example.com");
        assert_eq!(api.apps(&place("https://elsewhere.example.com")), None);
    }

    #[test]
    fn a_server_on_this_machine_has_neither_name_nor_apps() {
        for url in ["http://127.0.0.1:7090", "http://localhost:7090", "http://[::1]:7090"] {
            let api = place(url);
            assert!(api.is_loopback() && !api.has_name() && api.usual_relay().is_none(), "{url}");
            assert_eq!((api.url().as_str(), api.apps(&api)), (url, None));
        }
    }
}
