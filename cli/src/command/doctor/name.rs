//! Names and certificates.

use super::{
    finding::{Finding, Verdict},
    place::{Place, Role},
    within,
};
use berth_client::CertificateError;
use berth_wire::domain::Timestamp;
use std::collections::BTreeSet;

/// A certificate that is over this soon should have been renewed.
const SOON_DAYS: i64 = 14;
const DAY_SECONDS: i64 = 24 * 3600;

/// Whether a name leads anywhere.
pub(super) async fn resolve(role: Role, place: Place) -> Finding {
    const CHECK: &str = "dns";
    if !place.has_name() {
        return Finding::new(CHECK, place.host, Verdict::Skip, "an address needs no DNS");
    }
    let hint = match role {
        Role::Api => {
            "the hosted zone needs an alias record for it: was ZoneId given at the deployment, and does the domain's registrar name that zone's servers?"
        }
        Role::Relay => {
            "the relay writes this record when it starts: its log says why it did not (a relay that sleeps wakes with the first build)"
        }
        Role::Apps => "the relay writes the record *.apps.DOMAIN when it starts: its log says why it did not",
    };
    let work = async {
        match tokio::net::lookup_host((place.host.as_str(), place.port)).await {
            Ok(found) => {
                let addresses: BTreeSet<_> = found.map(|one| one.ip().to_string()).collect();
                let addresses = addresses.into_iter().collect::<Vec<_>>().join(", ");
                Finding::new(CHECK, &place.host, Verdict::Ok, format!("is {addresses}"))
            }
            Err(error) => Finding::new(CHECK, &place.host, Verdict::Fail, format!("has no address: {error}")).hint(hint),
        }
    };
    within(CHECK, &place.host, work).await
}

/// Whether a certificate is one that every client accepts, and for how long.
pub(super) async fn certificate(role: Role, place: Place) -> Finding {
    const CHECK: &str = "tls";
    if !place.encrypted {
        let found = |verdict, says| Finding::new(CHECK, &place.host, verdict, says);
        return match place.is_loopback() {
            true => found(Verdict::Skip, "plain HTTP, which does not leave this machine"),
            false => found(Verdict::Warn, "plain HTTP: whoever is in between reads and changes everything")
                .hint("put something that ends TLS in front, and give Berth its https:// URL"),
        };
    }
    let work = async {
        match berth_client::certificate(&place.host, place.port).await {
            Ok(certificate) => lasting(&place, role, (certificate.expires, &certificate.issuer)),
            Err(error) => {
                let hint = what_to_do(role, &error);
                Finding::new(CHECK, &place.host, Verdict::Fail, error.to_string()).hint(hint)
            }
        }
    };
    within(CHECK, &place.host, work).await
}

fn lasting(place: &Place, role: Role, (expires, issuer): (i64, &str)) -> Finding {
    let days = (expires - Timestamp::now().as_second()) / DAY_SECONDS;
    let says = format!("good for {days} more days, signed by {issuer}");
    if days >= SOON_DAYS {
        return Finding::new("tls", &place.host, Verdict::Ok, says);
    }
    Finding::new("tls", &place.host, Verdict::Warn, says).hint(match role {
        Role::Api => "ACM renews by itself while its validation record is in DNS: look at the certificate in us-east-1",
        Role::Relay | Role::Apps => "the relay renews after two thirds of a certificate's life: its log says why it did not",
    })
}

fn what_to_do(role: Role, error: &CertificateError) -> &'static str {
    match (error, role) {
        (CertificateError::Unreachable(_), Role::Api) => {
            "is TCP open to it from here, and does the name lead to the right machine?"
        }
        (CertificateError::Unreachable(_), _) => "is the relay's task running, and TCP 443 open in its security group?",
        (CertificateError::NoTls(_), _) => "something else answers on this port: does the name lead to the right machine?",
        (CertificateError::Untrusted, _) => {
            "a staging directory (BERTH_ACME_DIRECTORY) gives such certificates, and so does a proxy that opens TLS: then add its authority to this machine's"
        }
        (CertificateError::OtherName(_), Role::Api) => {
            "the distribution's certificate must be for this name: deploy with Domain set to it"
        }
        (CertificateError::OtherName(_), _) => "does the name lead to this deployment's relay, and is BERTH_RELAY_HOST this name?",
        (CertificateError::Expired(_), Role::Api) => {
            "is this machine's clock right? Else look at the certificate in ACM, in us-east-1"
        }
        (CertificateError::Expired(_), _) => "is this machine's clock right? Else the relay's log says why it was not renewed",
        _ => "look at it with `openssl s_client -connect HOST:443 -servername HOST`",
    }
}
