//! SSH host keys of agents: derived, not stored, so that they stay the same for a workspace's life and cost no row.

use berth_domain::{Secret, WorkspaceId};
use sha2::{Digest, Sha256};

/// The block size of SHA-256, in bytes.
const BLOCK: usize = 64;

/// HMAC-SHA-256 (RFC 2104) with a 32-byte key.
fn hmac(key: &[u8; 32], message: &[u8]) -> [u8; 32] {
    let pad = |byte: u8| {
        let mut block = [byte; BLOCK];
        for (slot, key) in block.iter_mut().zip(key) {
            *slot ^= key;
        }
        block
    };
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().into()
}

/// The Ed25519 seed of the SSH host key of one agent, by its workspace and name.
#[must_use]
pub fn host_key_seed(secret: &Secret<[u8; 32]>, workspace: WorkspaceId, agent: &str) -> Secret<[u8; 32]> {
    let message = [b"berth ssh host key 1\0", workspace.0.as_bytes().as_slice(), agent.as_bytes()].concat();
    Secret::new(hmac(secret.expose(), &message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hmac_is_that_of_rfc_4231() {
        // RFC 4231, test case 1, with its 20-byte key padded by zeros: HMAC pads shorter keys so itself.
        let mut key = [0; 32];
        key[..20].fill(0x0b);
        assert_eq!(hex::encode(hmac(&key, b"Hi There")), "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    }

    #[test]
    fn a_host_key_follows_from_workspace_and_agent_alone() {
        let secret = Secret::new([7; 32]);
        let (a, b) = (WorkspaceId(uuid::Uuid::from_u128(1)), WorkspaceId(uuid::Uuid::from_u128(2)));
        assert_eq!(host_key_seed(&secret, a, "main"), host_key_seed(&secret, a, "main"));
        assert_ne!(host_key_seed(&secret, a, "main"), host_key_seed(&secret, b, "main"));
        assert_ne!(host_key_seed(&secret, a, "main"), host_key_seed(&secret, a, "other"));
        let line = crate::openssh::public_line(&Secret::new([1; 32]));
        assert!(line.starts_with("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI"), "{line}");
    }
}
