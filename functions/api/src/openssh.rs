//! Ed25519 keys as OpenSSH writes them.

use base64::{Engine, engine::general_purpose::STANDARD};
use berth_domain::Secret;

const KIND: &[u8] = b"ssh-ed25519";
/// What a private key begins with, its last byte zero.
const MAGIC: &[u8] = b"openssh-key-v1\0";
/// What the part of a private key that might be encrypted is padded to: the block of no cipher.
const BLOCK_BYTES: usize = 8;
/// The length of its lines.
const LINE_BYTES: usize = 70;

/// The public half as a line, `ssh-ed25519 AAAA...` (RFC 8709, section 4).
pub(crate) fn public_line(seed: &Secret<[u8; 32]>) -> String {
    format!("ssh-ed25519 {}", STANDARD.encode(public_blob(&public(seed))))
}

/// The private key as `ssh-keygen` writes one without a passphrase (OpenSSH's PROTOCOL.key).
pub(crate) fn private_text(seed: &Secret<[u8; 32]>) -> Secret {
    let public = public(seed);
    // Two equal numbers tell whether the right passphrase was given; there is none.
    let mut secret = vec![0; 8];
    strings(&mut secret, &[KIND, &public, &[seed.expose().as_slice(), &public].concat(), b""]);
    let missing = secret.len().next_multiple_of(BLOCK_BYTES) - secret.len();
    secret.extend((1..).take(missing));

    let mut key = MAGIC.to_vec();
    strings(&mut key, &[b"none", b"none", b""]);
    key.extend_from_slice(&1_u32.to_be_bytes());
    strings(&mut key, &[&public_blob(&public), &secret]);
    let text = STANDARD.encode(key);
    let mut lines = String::from("-----BEGIN OPENSSH PRIVATE KEY-----\n");
    for (index, character) in text.chars().enumerate() {
        if index > 0 && index % LINE_BYTES == 0 {
            lines.push('\n');
        }
        lines.push(character);
    }
    lines.push_str("\n-----END OPENSSH PRIVATE KEY-----\n");
    Secret::new(lines)
}

fn public(seed: &Secret<[u8; 32]>) -> [u8; 32] {
    ed25519_dalek::SigningKey::from_bytes(seed.expose()).verifying_key().to_bytes()
}

fn public_blob(public: &[u8]) -> Vec<u8> {
    let mut blob = Vec::with_capacity(51);
    strings(&mut blob, &[KIND, public]);
    blob
}

/// Appends each with its length before it (RFC 4251, section 5).
fn strings(to: &mut Vec<u8>, parts: &[&[u8]]) {
    for part in parts {
        to.extend_from_slice(&u32::try_from(part.len()).unwrap_or_default().to_be_bytes());
        to.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt, process::Command};

    #[test]
    fn ssh_keygen_reads_the_private_key_and_finds_the_same_public_one() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("key");
        for byte in [0, 1, 255] {
            let seed = Secret::new([byte; 32]);
            fs::write(&file, private_text(&seed).expose()).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
            let read = Command::new("ssh-keygen").arg("-y").arg("-f").arg(&file).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&read.stdout).trim(), public_line(&seed), "{read:?}");
            fs::remove_file(&file).unwrap();
        }
    }
}
