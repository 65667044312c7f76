//! The deployment's keys on AWS: one blob, made by whoever needs it first and never replaced by us.
//!
//! Its content is `{"ticket":"<64 hexadecimal digits>","host_key":"<64 hexadecimal digits>"}`. A blob rather than a parameter of
//! another service: it is encrypted, versioned and backed up with the bucket, and read over the same connection.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{BlobError, Store, seal::random};

/// Where they are.
const KEY: &str = "keys/deployment";
const KEY_BYTES: usize = 32;

/// The keys of a deployment.
#[derive(Clone, PartialEq, Eq)]
pub struct DeploymentKeys {
    /// Signs tickets.
    pub ticket: [u8; KEY_BYTES],
    /// SSH host keys are derived from it.
    pub host_key: [u8; KEY_BYTES],
}

impl fmt::Debug for DeploymentKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeploymentKeys([redacted])")
    }
}

/// The keys as they are kept.
#[derive(Serialize, Deserialize)]
struct Document {
    ticket: String,
    host_key: String,
}

impl Store {
    /// The deployment's keys, which are made when there are none yet: of many that do so at the same time one does, and all get the
    /// same. One blob read; the first time also one written.
    ///
    /// # Errors
    /// When the bucket fails, or what is there is not a pair of keys: then it must be put back, for nothing here replaces it.
    pub async fn keys(&self) -> Result<DeploymentKeys, BlobError> {
        let damaged = || BlobError::Damaged(KEY.to_owned());
        if let Some(bytes) = self.blobs.get(KEY).await? {
            return read(&bytes).ok_or_else(damaged);
        }
        let made = fresh().map_err(|source| BlobError::Disk { key: KEY.to_owned(), source })?;
        let bytes = serde_json::to_vec(&made).map_err(|_| damaged())?;
        self.blobs.put_new(KEY, bytes.into()).await?;
        // Read again, whoever was first: also a write of ours whose answer was lost says that it was not.
        let bytes = self.blobs.get(KEY).await?.ok_or_else(|| BlobError::Missing(KEY.to_owned()))?;
        read(&bytes).ok_or_else(damaged)
    }
}

fn fresh() -> std::io::Result<Document> {
    let key = || random::<KEY_BYTES>().map(hex::encode);
    Ok(Document { ticket: key()?, host_key: key()? })
}

fn read(bytes: &[u8]) -> Option<DeploymentKeys> {
    let Document { ticket, host_key } = serde_json::from_slice(bytes).ok()?;
    let key = |text: &str| hex::decode(text).ok()?.try_into().ok();
    Some(DeploymentKeys { ticket: key(&ticket)?, host_key: key(&host_key)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_that_start_at_once_get_the_same_keys_and_damaged_ones_are_never_replaced() {
        let store = Store::memory().await.unwrap();
        let mut starts = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let store = store.clone();
            starts.spawn(async move { store.keys().await.unwrap() });
        }
        let keys = starts.join_all().await;
        assert!(keys.iter().all(|one| *one == keys[0]));
        assert_ne!(keys[0].ticket, keys[0].host_key);
        assert_eq!(format!("{:?}", keys[0]), "DeploymentKeys([redacted])");

        store.blobs().put(KEY, bytes::Bytes::from_static(b"{}")).await.unwrap();
        assert!(matches!(store.keys().await, Err(BlobError::Damaged(_))));
        assert_eq!(store.blobs().get(KEY).await.unwrap().unwrap(), "{}");
    }
}
