//! The key with which a user's workspaces prove who they are to git servers: one blob per user, sealed like all of them, made when it is first read.
//!
//! Its content is `{"seed":"<64 hexadecimal digits>","created_at":...,"updated_at":...}`.

use berth_domain::{Secret, Timestamp, UserId};
use serde::{Deserialize, Serialize};

use crate::{BlobError, Store, TableError, seal::random};

/// The Ed25519 key of one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitKey {
    /// What all of it follows from.
    pub seed: Secret<[u8; 32]>,
    /// When the user's first key was made.
    pub created_at: Timestamp,
    /// When this one was.
    pub updated_at: Timestamp,
}

/// The key as it is kept.
#[derive(Serialize, Deserialize)]
struct Document {
    seed: Secret,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl Store {
    /// A user's key, which is made when there is none yet: of many that ask at the same time one makes it, and all get the same. One blob read;
    /// the first time also one written and one more read.
    ///
    /// # Errors
    /// When the blobs fail, or what is there is not a key: then nothing replaces it but [`Store::renew_git_key`].
    pub async fn git_key(&self, user: UserId, now: Timestamp) -> Result<GitKey, TableError> {
        let place = place(user);
        if let Some(bytes) = self.blobs.get(&place).await? {
            return Ok(read(&bytes).ok_or(BlobError::Damaged(place))?);
        }
        self.blobs.put_new(&place, fresh(&place, (now, now))?.into()).await?;
        // Read again, whoever was first: also a write of ours whose answer was lost says that it was not.
        let bytes = self.blobs.get(&place).await?.ok_or_else(|| BlobError::Missing(place.clone()))?;
        Ok(read(&bytes).ok_or(BlobError::Damaged(place))?)
    }

    /// Gives a user another key; the old one is gone. One blob read and one written.
    ///
    /// # Errors
    /// When the blobs fail.
    pub async fn renew_git_key(&self, user: UserId, now: Timestamp) -> Result<GitKey, TableError> {
        let place = place(user);
        let before = self.blobs.get(&place).await?.and_then(|bytes| read(&bytes));
        let bytes = fresh(&place, (before.map_or(now, |key| key.created_at), now))?;
        let key = read(&bytes).ok_or_else(|| BlobError::Damaged(place.clone()))?;
        self.blobs.put(&place, bytes.into()).await?;
        Ok(key)
    }
}

fn place(user: UserId) -> String {
    format!("keys/git/{user}")
}

fn fresh(place: &str, (created_at, updated_at): (Timestamp, Timestamp)) -> Result<Vec<u8>, BlobError> {
    let seed = random::<32>().map_err(|source| BlobError::Disk { key: place.to_owned(), source })?;
    let document = Document { seed: Secret::new(hex::encode(seed)), created_at, updated_at };
    serde_json::to_vec(&document).map_err(|_| BlobError::Damaged(place.to_owned()))
}

fn read(bytes: &[u8]) -> Option<GitKey> {
    let Document { seed, created_at, updated_at } = serde_json::from_slice(bytes).ok()?;
    let seed = hex::decode(seed.expose()).ok()?.try_into().ok()?;
    Some(GitKey { seed: Secret::new(seed), created_at, updated_at })
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[tokio::test]
    async fn all_that_ask_at_once_get_the_same_key_and_every_user_another() {
        let store = Store::memory().await.unwrap();
        let (ada, bob) = (UserId(Uuid::from_u128(1)), UserId(Uuid::from_u128(2)));
        let mut asked = tokio::task::JoinSet::new();
        for second in 0..8 {
            let store = store.clone();
            asked.spawn(async move { store.git_key(ada, at(second)).await.unwrap() });
        }
        let keys = asked.join_all().await;
        assert!(keys.iter().all(|key| *key == keys[0]));
        assert_ne!(store.git_key(bob, at(1)).await.unwrap().seed, keys[0].seed);
        assert!(!format!("{:?}", keys[0]).contains(&hex::encode(keys[0].seed.expose())));
    }

    #[tokio::test]
    async fn a_renewed_key_is_another_one_and_a_damaged_one_is_not_replaced_unasked() {
        let store = Store::memory().await.unwrap();
        let ada = UserId(Uuid::from_u128(1));
        let first = store.git_key(ada, at(1)).await.unwrap();
        let second = store.renew_git_key(ada, at(2)).await.unwrap();
        assert_ne!(first.seed, second.seed);
        assert_eq!((second.created_at, second.updated_at), (at(1), at(2)));
        assert_eq!(store.git_key(ada, at(3)).await.unwrap(), second);
        store.blobs().put(&place(ada), bytes::Bytes::from_static(b"{}")).await.unwrap();
        assert!(matches!(store.git_key(ada, at(4)).await, Err(TableError::Blob(BlobError::Damaged(_)))));
        assert_eq!(store.renew_git_key(ada, at(5)).await.unwrap().updated_at, at(5));
    }
}
