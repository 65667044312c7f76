//! The keys with which AWS signs instances' identity documents, by region.

use base64::{Engine, engine::general_purpose::STANDARD};
use std::{collections::BTreeMap, fmt};

/// AWS's RSA-2048 keys as of November 2026: a region, and the public key of its certificate in PKCS #1 DER, base64. Source: the EC2 User Guide, "AWS
/// public certificates for instance identity document signatures".
const AWS: &str = include_str!("keys.txt");

/// Whose signatures are believed.
#[derive(Clone)]
pub struct InstanceKeys(BTreeMap<String, Vec<u8>>);

impl fmt::Debug for InstanceKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InstanceKeys({} regions)", self.0.len())
    }
}

impl InstanceKeys {
    /// AWS's own.
    #[must_use]
    pub fn aws() -> Self {
        let pair = |line: &str| {
            let (region, key) = line.split_once(' ')?;
            Some((region.to_owned(), STANDARD.decode(key).ok()?))
        };
        Self(AWS.lines().filter_map(pair).collect())
    }

    /// Nobody but the owner of this key, in PKCS #1 DER, and in this region.
    #[must_use]
    pub fn of_one(region: &str, key: &[u8]) -> Self {
        Self(BTreeMap::from([(region.to_owned(), key.to_vec())]))
    }

    pub(super) fn of(&self, region: &str) -> Option<&[u8]> {
        self.0.get(region).map(Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_a_region_with_a_key_of_2048_bits() {
        let keys = InstanceKeys::aws();
        assert_eq!(keys.0.len(), AWS.lines().count());
        for (region, key) in &keys.0 {
            // A sequence of 266 bytes: a modulus of 257 (the first is zero), and an exponent of 3.
            assert!(key.starts_with(&[0x30, 0x82, 0x01, 0x0a, 0x02, 0x82, 0x01, 0x01, 0x00]) && key.len() == 270, "{region}");
        }
        assert!(["eu-central-1", "us-east-1", "us-gov-west-1"].iter().all(|region| keys.of(region).is_some()));
    }
}
