//! `berth netcheck`: this machine's network, as a connection to a workspace will find it.

mod proxy;

use super::doctor::{
    Report, api, collect,
    finding::{Finding, Verdict},
    place::Place,
    relay,
};
use crate::{
    config::normalize_url,
    failure::{Failure, Outcome},
    printer::{Format, FormatFlag},
    session::Session,
};
use berth_client::Client;
use berth_net::{DISCOVERY_PORT, Discovered, DiscoveryError, discover};
use clap::Args;
use futures_util::{
    StreamExt,
    future::LocalBoxFuture,
    stream::{self, Stream},
};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};
use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(4);
/// The port that every network lets out.
const HTTPS: u16 = 443;
/// Addresses of the documentation ranges (RFC 5737, RFC 3849): asked for the way there, never sent to.
const FAR: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))];

/// Towards which deployment.
#[derive(Debug, Args)]
pub struct Arguments {
    /// URL of the deployment; else --url, else the one signed in to last
    #[arg(value_name = "URL")]
    deployment: Option<String>,
    #[command(flatten)]
    format: FormatFlag,
}

/// Looks at all of it. Needs no token, and changes nothing.
pub(super) async fn run(arguments: &Arguments, session: &Session) -> Outcome {
    let url = match &arguments.deployment {
        Some(url) => normalize_url(url)?,
        None => session.config.deployment()?.url,
    };
    let is_table = arguments.format.output == Format::Table;
    let report = examine(url, session, is_table).await?;
    if !is_table {
        session.printer.json(&report)?;
    }
    report.verdict()
}

/// Looks at the way to the deployment at `url`; prints each finding as it comes if it is told to.
pub(super) async fn examine(url: String, session: &Session, prints: bool) -> Outcome<Report> {
    let place = Place::parse(&url).ok_or_else(|| Failure::usage(format!("{url:?} names no host")))?;
    let client = Client::new(&url, None)?;
    let mut progress = session.printer.progress();
    progress.stage(&format!("Asking {url} for its relay"));
    let heard = api::ask(&client).await;
    let relay_url = heard.relay_url.clone().filter(|url| !url.is_empty()).or_else(|| place.usual_relay());
    let relay = relay_url.as_deref().and_then(Place::parse);
    progress.stage("Looking at the network");
    let first: Vec<Finding> = heard.findings.into_iter().filter(|finding| finding.check == "api").collect();
    let proxy = proxy::finding(&session.config.environment, &place);
    let all = stream::iter(first.into_iter().chain([proxy])).chain(checks(&place, relay.as_ref()));
    collect(url, all, (&progress, session.printer), prints).await
}

fn checks<'a>(place: &'a Place, relay: Option<&'a Place>) -> impl Stream<Item = Finding> + 'a {
    let mut all: Vec<LocalBoxFuture<'a, Finding>> =
        vec![Box::pin(family(FAR[0])), Box::pin(family(FAR[1])), Box::pin(https(place))];
    if let Some(relay) = relay {
        all.push(Box::pin(relay::answers(relay)));
        all.push(Box::pin(latency(relay)));
        all.push(Box::pin(udp(relay, "udp4", |address| address.is_ipv4())));
        all.push(Box::pin(udp(relay, "udp6", |address| address.is_ipv6())));
    }
    stream::iter(all).buffered(usize::MAX)
}

/// Whether this machine has a way out by this family of addresses. Sends nothing.
async fn family(far: IpAddr) -> Finding {
    let (check, any) = match far {
        IpAddr::V4(_) => ("ipv4", IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        IpAddr::V6(_) => ("ipv6", IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
    };
    let way = UdpSocket::bind((any, 0)).and_then(|socket| socket.connect((far, HTTPS)).and_then(|()| socket.local_addr()));
    match way {
        Ok(local) => Finding::new(check, "", Verdict::Ok, format!("leaves this machine by {}", local.ip())),
        Err(_) if check == "ipv6" => Finding::new(check, "", Verdict::Skip, "this machine has no way out by IPv6"),
        Err(error) => Finding::new(check, "", Verdict::Warn, format!("no way out: {}", crate::config::plain(&error)))
            .hint("is this machine connected to a network?"),
    }
}

/// Whether the port that every network lets out leads to the deployment.
async fn https(place: &Place) -> Finding {
    const CHECK: &str = "port 443";
    if place.port != HTTPS {
        let says = format!("this deployment is at port {}: a network that lets out 443 only does not reach it", place.port);
        let verdict = if place.is_loopback() { Verdict::Skip } else { Verdict::Warn };
        return Finding::new(CHECK, &place.host, verdict, says);
    }
    match connect(place).await {
        Ok(took) => Finding::new(CHECK, &place.host, Verdict::Ok, format!("opens in {} ms", took.as_millis())),
        Err(why) => Finding::new(CHECK, &place.host, Verdict::Warn, format!("does not open: {why}"))
            .hint("behind a proxy that is so, and the lines for api and relay count"),
    }
}

/// The time for one round trip to the relay.
async fn latency(relay: &Place) -> Finding {
    const CHECK: &str = "latency";
    match connect(relay).await {
        Ok(took) => {
            Finding::new(CHECK, relay.url(), Verdict::Ok, format!("one round trip takes {:.1} ms", took.as_secs_f64() * 1000.0))
        }
        Err(why) => Finding::new(CHECK, relay.url(), Verdict::Warn, format!("no direct way: {why}"))
            .hint("behind a proxy that is so, and the line for the relay counts"),
    }
}

/// Opens a TCP connection, which takes one round trip.
async fn connect(place: &Place) -> Result<Duration, String> {
    let mut found = lookup_host((place.host.as_str(), place.port)).await.map_err(|error| crate::config::plain(&error))?;
    let address = found.next().ok_or("no address")?;
    let began = Instant::now();
    let connected = timeout(PATIENCE, TcpStream::connect(address)).await.map_err(|_| "no answer".to_owned())?;
    connected.map(|_| began.elapsed()).map_err(|error| crate::config::plain(&error))
}

/// How the relay sees us over UDP by one family of addresses, and what that says about the NAT between.
async fn udp(relay: &Place, check: &'static str, is_wanted: fn(&SocketAddr) -> bool) -> Finding {
    let target = format!("{}:{DISCOVERY_PORT}", relay.host);
    if !relay.encrypted {
        let says = "a relay without TLS does no address discovery; ends on one network meet without it";
        return Finding::new(check, "", Verdict::Skip, says);
    }
    let server = lookup_host((relay.host.as_str(), DISCOVERY_PORT)).await.ok().and_then(|mut found| found.find(is_wanted));
    let (Some(server), Ok(tls)) = (server, berth_client::tls_config(true)) else {
        return Finding::new(check, target, Verdict::Skip, "the relay has no such address");
    };
    let answer = timeout(PATIENCE, discover(&relay.host, server, tls)).await;
    match answer.unwrap_or_else(|_| Err(DiscoveryError::Silent("no packet came back".to_owned()))) {
        Ok(seen) => Finding::new(check, target, Verdict::Ok, nat(&seen)),
        Err(error) => Finding::new(check, target, Verdict::Warn, format!("{error}; connections from here go through the relay"))
            .hint(format!("let UDP out of this network, and UDP {DISCOVERY_PORT} into the relay's security group")),
    }
}

/// What one answer tells. Whether a NAT gives each destination another port would take a second relay to ask.
fn nat(seen: &Discovered) -> String {
    let (address, took) = (seen.address, seen.took.as_millis());
    let kind = match (address.ip() == seen.local, address.port() == seen.local_port) {
        (true, _) => "no NAT: direct connections work unless a firewall is in between",
        (false, true) => "a NAT that keeps ports: direct connections are likely",
        (false, false) => {
            "a NAT that changes ports: direct connections work if the workspace has a public address, else perhaps not"
        }
    };
    format!("the relay sees {address}, in {took} ms; {kind}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nat_is_told_by_what_it_does_to_the_port() {
        let seen = |address: &str, local: &str| {
            nat(&Discovered {
                address: address.parse().unwrap(),
                local: local.parse().unwrap(),
                local_port: 7,
                took: Duration::ZERO,
            })
        };
        assert!(seen("203.0.113.7:7", "203.0.113.7").contains("no NAT"));
        assert!(seen("203.0.113.7:7", "10.0.0.2").contains("keeps ports"));
        assert!(seen("203.0.113.7:9", "10.0.0.2").contains("changes ports"));
    }
}
