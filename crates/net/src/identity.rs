//! Who an endpoint is.

use berth_wire::domain::Secret;
use iroh::{EndpointId, SecretKey};

/// An endpoint's key pair. An agent keeps one on the workspace's disk; a CLI process makes a new one each time, because of two endpoints
/// with one key the relay serves only the newer.
#[derive(Debug, Clone)]
pub struct Identity(Secret<[u8; 32]>);

impl Identity {
    /// A new key pair.
    #[must_use]
    pub fn generate() -> Self {
        Self(Secret::new(rand::random()))
    }

    /// The key pair of a kept seed.
    #[must_use]
    pub const fn from_seed(seed: [u8; 32]) -> Self {
        Self(Secret::new(seed))
    }

    /// The seed, to be kept in a file that only its owner can read.
    #[must_use]
    pub const fn seed(&self) -> &Secret<[u8; 32]> {
        &self.0
    }

    /// The public half in its text form: the name of this endpoint on the tailnet and in tickets.
    #[must_use]
    pub fn endpoint_id(&self) -> String {
        self.public().to_string()
    }

    pub(crate) fn public(&self) -> EndpointId {
        self.key().public()
    }

    pub(crate) fn key(&self) -> SecretKey {
        SecretKey::from_bytes(self.0.expose())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_the_whole_identity_and_does_not_show() {
        let identity = Identity::generate();
        assert_eq!(Identity::from_seed(*identity.seed().expose()).endpoint_id(), identity.endpoint_id());
        assert_ne!(Identity::generate().endpoint_id(), identity.endpoint_id());
        assert_eq!(format!("{identity:?}"), "Identity([redacted])");
    }
}
