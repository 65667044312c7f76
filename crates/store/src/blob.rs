//! Blobs: large things by key. A put is kept when it returns, or it never happened. In a directory each blob is sealed with the
//! deployment's key ([`crate::seal`]); in a bucket S3 does that with KMS.

mod bucket;
mod directory;

use std::{collections::BTreeMap, path::Path, sync::Arc};

use bytes::Bytes;

use crate::seal::{Keys, SealError};

pub use bucket::Bucket;
pub use directory::Directory;

/// Why a blob was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// No room. Nothing was written.
    #[error("the disk is full")]
    Full,
    /// A key with other than `a-z A-Z 0-9 - _ .` between its slashes, or with an empty or dotted part.
    #[error("{0:?} is not a blob key")]
    Key(String),
    /// A blob that must be there is not.
    #[error("blob {0} is missing")]
    Missing(String),
    /// A blob is not what was put there: changed, cut off, or moved from another place.
    #[error("blob {0} is damaged")]
    Damaged(String),
    /// The key that it was sealed with is not there.
    #[error("blob {key} is sealed with the key {id}, which is not in the key directory")]
    Sealed {
        /// Which blob.
        key: String,
        /// The identifier of the key.
        id: String,
    },
    /// The disk failed.
    #[error("cannot read or write blob {key}")]
    Disk {
        /// Which.
        key: String,
        /// Why.
        source: std::io::Error,
    },
    /// The bucket refused or cannot be reached.
    #[error("bucket {bucket} did not answer {operation} of blob {key}: {cause}")]
    Bucket {
        /// The bucket's name.
        bucket: String,
        /// The operation of S3.
        operation: &'static str,
        /// Which blob.
        key: String,
        /// Why, with all its causes.
        cause: String,
    },
}

/// Where blobs are kept.
#[derive(Debug, Clone)]
pub enum Blobs {
    /// Files in a directory, named by their keys.
    Directory(Arc<Directory>),
    /// Objects in a bucket of S3, named by their keys.
    Bucket(Arc<Bucket>),
}

/// Where someone without credentials can put one blob, by HTTP `PUT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The signed address.
    pub url: String,
    /// Headers without which it is refused.
    pub headers: BTreeMap<String, String>,
}

impl Blobs {
    /// Keeps blobs in `root`, sealed with the newest key in `keys`; both are made if need be.
    ///
    /// # Errors
    /// When a directory cannot be made, or a key that blobs are sealed with is not there.
    pub fn directory(root: &Path, keys: &Path) -> Result<Self, SealError> {
        let prepared = directory::prepare(root);
        prepared.map_err(|source| SealError::Disk { path: root.to_owned(), source })?;
        Ok(Self::Directory(Arc::new(Directory::new(root, Keys::open(keys, root)?, None))))
    }

    /// Keeps blobs in a directory that goes with the last handle. For tests.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn temporary() -> std::io::Result<Self> {
        let temporary = tempfile::tempdir()?;
        let root = temporary.path().to_owned();
        directory::prepare(&root)?;
        Ok(Self::Directory(Arc::new(Directory::new(&root, Keys::fresh()?, Some(temporary)))))
    }

    /// Writes a blob, replacing what was there. Two fsyncs, or one request.
    ///
    /// # Errors
    /// When the key is bad, the disk is full, or the disk or the bucket fails.
    pub async fn put(&self, key: &str, bytes: Bytes) -> Result<(), BlobError> {
        checked(key)?;
        match self {
            Self::Directory(directory) => directory.put(key, bytes).await,
            Self::Bucket(bucket) => bucket.put(key, bytes).await,
        }
    }

    /// Writes a blob unless there is one, and says whether it did. Of two at the same time one does.
    ///
    /// # Errors
    /// When the key is bad, the disk is full, or the disk or the bucket fails.
    pub async fn put_new(&self, key: &str, bytes: Bytes) -> Result<bool, BlobError> {
        checked(key)?;
        match self {
            Self::Directory(directory) => directory.put_new(key, bytes).await,
            Self::Bucket(bucket) => bucket.put_new(key, bytes).await,
        }
    }

    /// Reads a blob; `None` when there is none.
    ///
    /// # Errors
    /// When the key is bad, the blob is damaged or its key is missing, or the disk or the bucket fails.
    pub async fn get(&self, key: &str) -> Result<Option<Bytes>, BlobError> {
        checked(key)?;
        match self {
            Self::Directory(directory) => directory.get(key).await,
            Self::Bucket(bucket) => bucket.get(key).await,
        }
    }

    /// Where someone else can put the bytes of this length and SHA-256 as this blob, for minutes; `None` for a directory. No request.
    ///
    /// # Errors
    /// When the key is bad, or there are no credentials to sign with.
    pub async fn place(&self, key: &str, size: u64, sha256: [u8; 32]) -> Result<Option<Place>, BlobError> {
        checked(key)?;
        match self {
            Self::Directory(_) => Ok(None),
            Self::Bucket(bucket) => bucket.place(key, size, sha256).await.map(Some),
        }
    }

    /// Where someone else can read this blob, for minutes, as this media type; `None` for a directory. No request.
    ///
    /// # Errors
    /// When the key is bad, or there are no credentials to sign with.
    pub async fn address(&self, key: &str, media_type: &str) -> Result<Option<String>, BlobError> {
        checked(key)?;
        match self {
            Self::Directory(_) => Ok(None),
            Self::Bucket(bucket) => bucket.address(key, media_type).await.map(Some),
        }
    }

    /// Whether others can be given addresses of blobs: not of those in a directory.
    #[must_use]
    pub const fn have_addresses(&self) -> bool {
        matches!(self, Self::Bucket(_))
    }

    /// Removes a blob, if it is there. A versioned bucket keeps what it was.
    ///
    /// # Errors
    /// When the key is bad, or the disk or the bucket fails.
    pub async fn delete(&self, key: &str) -> Result<(), BlobError> {
        checked(key)?;
        match self {
            Self::Directory(directory) => directory.delete(key).await,
            Self::Bucket(bucket) => bucket.delete(key).await,
        }
    }
}

fn checked(key: &str) -> Result<(), BlobError> {
    let part = |part: &str| {
        !part.starts_with('.')
            && !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    if key.split('/').all(part) { Ok(()) } else { Err(BlobError::Key(key.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_blob_is_there_until_it_is_deleted_and_no_key_leaves_the_directory() {
        let blobs = Blobs::temporary().unwrap();
        blobs.put("state/a/1", Bytes::from_static(b"one")).await.unwrap();
        blobs.put("state/a/1", Bytes::from_static(b"two")).await.unwrap();
        assert_eq!(blobs.get("state/a/1").await.unwrap().unwrap(), "two");
        blobs.delete("state/a/1").await.unwrap();
        blobs.delete("state/a/1").await.unwrap();
        assert_eq!(blobs.get("state/a/1").await.unwrap(), None);
        for key in ["", "/etc/passwd", "a/../b", "..", "a//b", "a/.hidden", "a b"] {
            assert!(matches!(blobs.get(key).await, Err(BlobError::Key(_))), "{key:?}");
        }
    }

    #[tokio::test]
    async fn of_many_that_put_a_new_blob_one_does_and_the_others_find_it_whole() {
        let blobs = Blobs::temporary().unwrap();
        let mut puts = tokio::task::JoinSet::new();
        for rival in 0..8_u8 {
            let blobs = blobs.clone();
            puts.spawn(async move { (rival, blobs.put_new("keys/deployment", vec![rival; 64].into()).await.unwrap()) });
        }
        let winners: Vec<_> = puts.join_all().await.into_iter().filter(|(_, won)| *won).collect();
        assert_eq!(winners.len(), 1);
        assert_eq!(blobs.get("keys/deployment").await.unwrap().unwrap(), vec![winners[0].0; 64]);
    }
}
