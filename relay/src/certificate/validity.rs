//! From when until when a certificate is good.

use berth_wire::domain::Timestamp;
use jiff::SignedDuration;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use x509_parser::{parse_x509_certificate, time::ASN1Time};

/// The life of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) begins: Timestamp,
    pub(super) ends: Timestamp,
}

impl Validity {
    /// That of the first certificate in a PEM chain.
    pub(super) fn of(chain: &str) -> Result<Self, String> {
        let leaf = CertificateDer::from_pem_slice(chain.as_bytes()).map_err(|error| error.to_string())?;
        let (_, leaf) = parse_x509_certificate(&leaf).map_err(|error| error.to_string())?;
        let time = |time: ASN1Time| Timestamp::from_second(time.timestamp()).map_err(|error| error.to_string());
        Ok(Self { begins: time(leaf.validity.not_before)?, ends: time(leaf.validity.not_after)? })
    }

    /// Whether it is good now. Not the last minute: a handshake wants to end.
    pub(super) fn is_good(&self, now: Timestamp) -> bool {
        self.begins <= now && now + SignedDuration::from_mins(1) < self.ends
    }

    /// When to renew: after two thirds of its life, and `jitter` (0 to 1) of another twentieth, so that a thousand deployments that began
    /// on one day do not renew in one minute.
    pub(super) fn renewal(&self, jitter: f64) -> Timestamp {
        let life = self.ends.duration_since(self.begins);
        self.begins + life * 2 / 3 + (life / 20).mul_f64(jitter.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    #[test]
    fn a_certificate_is_renewed_in_the_last_third_of_its_life() {
        let mut params = CertificateParams::new(["relay.example.com".to_owned()]).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(2026, 1, 1), date_time_ymd(2026, 4, 1));
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let validity = Validity::of(&certificate.pem()).unwrap();
        assert_eq!(validity.renewal(0.0).to_string(), "2026-03-02T00:00:00Z");
        assert_eq!(validity.renewal(1.0).to_string(), "2026-03-06T12:00:00Z");
        let good = |text: &str| validity.is_good(text.parse().unwrap());
        assert!(good("2026-01-01T00:00:00Z") && good("2026-03-31T23:58:00Z"));
        assert!(!good("2025-12-31T23:59:59Z") && !good("2026-03-31T23:59:30Z"));
        assert!(Validity::of("not a certificate").is_err());
    }
}
