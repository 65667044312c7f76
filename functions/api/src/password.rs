//! Passwords: argon2id off the async threads, a few at a time, and the same work whether or not the user exists.

use crate::error::ApiError;
use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use berth_domain::{
    Secret,
    limit::{PASSWORD_BYTES_MAX, PASSWORD_CHARS_MIN},
};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// OWASP's first choice for argon2id (Password Storage Cheat Sheet, 2025): 19 MiB, 2 passes, 1 lane.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// How many hashes run at once: bounds memory and CPU under a flood of logins.
const HASHES_AT_ONCE: usize = 2;

/// A hash that no password matches, as long and as much work as a user's; checked when there is no user, so that both take the same time.
/// It is written down and not made: making it is 25 times the work of all else that a Lambda does before its first request.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Hashes and checks passwords.
#[derive(Debug, Clone)]
pub(crate) struct Passwords {
    permits: Arc<Semaphore>,
}

/// A password that may be set.
pub(crate) struct NewPassword(Secret);

impl NewPassword {
    /// Checks the length rules.
    pub(crate) fn parse(password: Secret) -> Result<Self, ApiError> {
        let text = password.expose();
        if text.chars().count() < PASSWORD_CHARS_MIN {
            return Err(ApiError::field("password", format!("must have {PASSWORD_CHARS_MIN} characters or more")));
        }
        if text.len() > PASSWORD_BYTES_MAX {
            return Err(ApiError::field("password", format!("must have {PASSWORD_BYTES_MAX} bytes or fewer")));
        }
        Ok(Self(password))
    }
}

/// A hash could not be made or checked: the machine is out of memory, or the server is stopping.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PasswordError {
    #[error("argon2 failed")]
    Argon(#[from] argon2::password_hash::Error),
    #[error("argon2 has no such parameters")]
    Parameters(#[from] argon2::Error),
    #[error("the hashing task ended early")]
    Task(#[from] tokio::task::JoinError),
    #[error("the server stops")]
    Stopped(#[from] tokio::sync::AcquireError),
}

impl From<PasswordError> for ApiError {
    fn from(error: PasswordError) -> Self {
        Self::internal("check the password", &error)
    }
}

fn argon() -> Result<Argon2<'static>, PasswordError> {
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(MEMORY_KIB, PASSES, LANES, None)?))
}

fn hash(password: &[u8]) -> Result<String, PasswordError> {
    let salt: [u8; 16] = rand::random();
    let hash: PasswordHash = argon()?.hash_password_with_salt(password, &salt)?;
    Ok(hash.to_string())
}

fn matches(password: &[u8], hash: &str) -> bool {
    let Ok(parsed) = PasswordHash::new(hash) else { return false };
    argon().is_ok_and(|argon| argon.verify_password(password, &parsed).is_ok())
}

impl Default for Passwords {
    fn default() -> Self {
        Self { permits: Arc::new(Semaphore::new(HASHES_AT_ONCE)) }
    }
}

impl Passwords {
    /// The PHC string of a new password.
    pub(crate) async fn hash(&self, password: NewPassword) -> Result<Secret, PasswordError> {
        let _permit = self.permits.acquire().await?;
        let text = tokio::task::spawn_blocking(move || hash(password.0.expose().as_bytes())).await??;
        Ok(Secret::new(text))
    }

    /// Whether the password is the user's; with no hash the same work is done and the answer is no.
    pub(crate) async fn verify(&self, password: Secret, stored: Option<Secret>) -> Result<bool, PasswordError> {
        if password.expose().len() > PASSWORD_BYTES_MAX {
            return Ok(false);
        }
        let _permit = self.permits.acquire().await?;
        let known = stored.is_some();
        let work = move || {
            let hash = stored.as_ref().map_or(NOBODY, |hash| hash.expose().as_str());
            matches(password.expose().as_bytes(), hash)
        };
        Ok(tokio::task::spawn_blocking(work).await? && known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_is_checked_and_nobody_has_none() {
        let passwords = Passwords::default();
        let hash = passwords.hash(NewPassword::parse(Secret::new("correct horse".into())).ok().unwrap()).await.unwrap();
        assert!(hash.expose().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert!(passwords.verify(Secret::new("correct horse".into()), Some(hash.clone())).await.unwrap());
        assert!(!passwords.verify(Secret::new("battery staple".into()), Some(hash.clone())).await.unwrap());
        assert!(!passwords.verify(Secret::new("correct horse".into()), None).await.unwrap());
        let (nobody, somebody) = (PasswordHash::new(NOBODY).unwrap(), PasswordHash::new(hash.expose()).unwrap());
        assert_eq!((nobody.algorithm, nobody.version), (somebody.algorithm, somebody.version));
        assert_eq!(nobody.params, somebody.params, "both are the same work");
        assert_eq!(nobody.hash.map(|hash| hash.len()), somebody.hash.map(|hash| hash.len()));
        assert!(NewPassword::parse(Secret::new("short".into())).is_err());
        assert!(NewPassword::parse(Secret::new("x".repeat(513))).is_err());
    }
}
