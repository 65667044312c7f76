//! Secrets as types: they never print themselves, and what is stored of them is a hash.

use crate::TokenId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;
use subtle::ConstantTimeEq;

/// A value that must not reach a log, a `Debug` output or an error text.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
#[serde(transparent)]
#[schemars(inline)]
pub struct Secret<T = String>(T);

impl<T> Secret<T> {
    /// Wraps a secret.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The secret itself; the name makes every use easy to find.
    pub const fn expose(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// SHA-256 of a random token: enough for secrets of 128 random bits or more, never for passwords.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash of a token's text.
    #[must_use]
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }

    /// Whether this is the hash of `token`; constant time.
    #[must_use]
    pub fn matches(&self, token: &str) -> bool {
        self.0.ct_eq(&Self::of(token).0).into()
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hash]")
    }
}

impl From<TokenHash> for String {
    fn from(hash: TokenHash) -> Self {
        hex::encode(hash.0)
    }
}

impl TryFrom<String> for TokenHash {
    type Error = hex::FromHexError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes)?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// A session or API token as a client presents it: `<id>-<secret>`, where the id finds the row and the secret proves it.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionToken {
    /// The public half.
    pub id: TokenId,
    /// The secret half: 32 hexadecimal digits or more.
    pub secret: Secret,
}

impl SessionToken {
    /// Makes a token from 16 random bytes.
    #[must_use]
    pub fn new(id: TokenId, random: [u8; 16]) -> Self {
        Self { id, secret: Secret::new(hex::encode(random)) }
    }

    /// Reads a presented token; `None` when it has not the form `<32 hex>-<32 hex>`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.split_once('-')?;
        let well_formed = |part: &str| part.len() == 32 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !well_formed(id) || !well_formed(secret) {
            return None;
        }
        Some(Self { id: id.parse().ok()?, secret: Secret::new(secret.to_owned()) })
    }

    /// The text to hand to the client, once.
    #[must_use]
    pub fn expose(&self) -> String {
        format!("{}-{}", self.id.0.simple(), self.secret.expose())
    }

    /// What the store keeps of it.
    #[must_use]
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(self.secret.expose())
    }
}

impl fmt::Debug for SessionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionToken({}, [redacted])", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_its_text_and_hides_its_secret() {
        let token = SessionToken::new(TokenId::new(crate::Timestamp::UNIX_EPOCH, [7; 10]), [9; 16]);
        assert_eq!(SessionToken::parse(&token.expose()).unwrap(), token);
        assert!(token.hash().matches(token.secret.expose()));
        assert!(!format!("{token:?}").contains(token.secret.expose()));
        assert!(SessionToken::parse("abc-def").is_none());
    }
}
