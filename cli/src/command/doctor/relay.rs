//! The relay: over TCP, over UDP, and its sockets through whatever is in front of the API.

use super::{
    finding::{Finding, Verdict},
    place::Place,
    within,
};
use berth_client::Client;
use berth_net::{DISCOVERY_PORT, Discovered, discover};
use std::time::Duration;

/// The relay protocols that we speak, for the relay to choose from.
const PROTOCOLS: &str = "iroh-relay-v2, iroh-relay-v1";
/// How long a relay has to answer over UDP: several tries of the handshake.
const DISCOVERY: Duration = Duration::from_secs(4);
/// A relay's path behind the API's name, which is sent to it like that of any live route.
const SOCKET_PATH: &str = "/api/v2/relay/watch";

/// Whether the relay answers at all.
pub(in crate::command) async fn answers(relay: &Place) -> Finding {
    const CHECK: &str = "relay";
    let url = relay.url();
    let found = |verdict, says: String| Finding::new(CHECK, &url, verdict, says);
    let work = async {
        let heard = match Client::new(&url, None) {
            Ok(client) => client.look("/healthz").await,
            Err(error) => Err(error),
        };
        match heard {
            Ok(heard) if heard.status == 200 => found(Verdict::Ok, format!("answers in {} ms", heard.took.as_millis())),
            Ok(heard) => found(Verdict::Fail, format!("is not ready (status {}): {}", heard.status, first_line(&heard.body)))
                .hint("wait a minute; if it stays so, its log says what is missing"),
            Err(error) => found(Verdict::Fail, crate::failure::chain(&error)).hint(
                "is the relay's task running, and TCP open in its security group? A relay that sleeps wakes with the first build",
            ),
        }
    };
    within(CHECK, &url, work).await
}

/// Whether the relay answers over UDP, and what it tells of the way to us. Nobody depends on it: without, connections go through the relay.
pub(in crate::command) async fn discovers(relay: &Place) -> Finding {
    const CHECK: &str = "udp";
    let target = format!("{}:{DISCOVERY_PORT}", relay.host);
    if !relay.encrypted {
        return Finding::new(
            CHECK,
            "",
            Verdict::Skip,
            "a relay without TLS does no address discovery; ends on one network meet without it",
        );
    }
    let silent = |why: String| {
        let says = format!("{why}; connections from here go through the relay, which carries them all the same");
        Finding::new(CHECK, &target, Verdict::Warn, says)
            .hint(format!("let UDP out of this network, and UDP {DISCOVERY_PORT} into the relay's security group"))
    };
    let work = async {
        let server = tokio::net::lookup_host((relay.host.as_str(), DISCOVERY_PORT)).await.ok().and_then(|mut found| found.next());
        let (Some(server), Ok(tls)) = (server, berth_client::tls_config(true)) else { return silent("no address".to_owned()) };
        match discover(&relay.host, server, tls).await {
            Ok(seen) => Finding::new(CHECK, &target, Verdict::Ok, directness(&seen)),
            Err(error) => silent(error.to_string()),
        }
    };
    tokio::time::timeout(DISCOVERY, work).await.unwrap_or_else(|_| silent("no answer".to_owned()))
}

fn directness(seen: &Discovered) -> String {
    let (address, took) = (seen.address, seen.took.as_millis());
    match seen.address.ip() == seen.local {
        true => {
            format!("sees us at {address}, our own address, in {took} ms: direct connections work unless a firewall is in between")
        }
        false => format!("sees us at {address}, behind a NAT, in {took} ms: direct connections are likely (`berth ping` tells)"),
    }
}

/// Whether a websocket gets through to the relay under the API's name: followed logs and watched workspaces need it.
pub(in crate::command) async fn upgrades(client: &Client) -> Finding {
    const CHECK: &str = "websocket";
    let target = format!("{}{SOCKET_PATH}", client.base_url());
    let failed = |says: String| Finding::new(CHECK, &target, Verdict::Fail, says);
    let work = async {
        match client.look_for_socket(SOCKET_PATH, PROTOCOLS).await {
            Ok(heard) if heard.status == 101 => {
                Finding::new(CHECK, &target, Verdict::Ok, format!("opens in {} ms", heard.took.as_millis()))
            }
            Ok(heard) if heard.status == 400 && heard.body.contains("header ") => {
                failed(format!("something in between takes the upgrade away: {}", first_line(&heard.body)))
                    .hint("a proxy must pass Upgrade, Connection and Sec-WebSocket-* on (CloudFront does so by itself)")
            }
            Ok(heard) => failed(format!("no upgrade, but status {}", heard.status))
                .hint("CloudFront must send /api/v2/*/watch* and /api/v2/*/logs to the relay, and the relay must be ready"),
            Err(error) => failed(crate::failure::chain(&error)).hint("the lines above say how far the way goes"),
        }
    };
    within(CHECK, &target, work).await
}

fn first_line(body: &str) -> String {
    body.lines().next().unwrap_or("no reason").chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nat_is_told_from_an_address_of_our_own() {
        let seen = |address: &str, local: &str| {
            directness(&Discovered {
                address: address.parse().unwrap(),
                local: local.parse().unwrap(),
                local_port: 1,
                took: Duration::ZERO,
            })
        };
        assert!(seen("203.0.113.7:1", "10.0.0.2").contains("behind a NAT"));
        assert!(seen("203.0.113.7:1", "203.0.113.7").contains("our own address"));
    }
}
