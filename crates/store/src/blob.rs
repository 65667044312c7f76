//! Blobs: large things by key. A put is on the disk when it returns, or it never happened. In a directory each blob is sealed with the
//! deployment's key ([`crate::seal`]); S3 will do that with KMS.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;

use crate::seal::{Keys, OpenFailure, SealError};

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
}

/// Where blobs are kept.
#[derive(Debug, Clone)]
pub enum Blobs {
    /// Files in a directory, named by their keys.
    Directory(Arc<Directory>),
}

/// A directory of blobs.
#[derive(Debug)]
pub struct Directory {
    root: PathBuf,
    keys: Keys,
    /// Removed with the last handle.
    _temporary: Option<tempfile::TempDir>,
}

/// Unfinished blobs; emptied when the directory is opened.
const UNFINISHED: &str = ".unfinished";

impl Blobs {
    /// Keeps blobs in `root`, sealed with the newest key in `keys`; both are made if need be.
    ///
    /// # Errors
    /// When a directory cannot be made, or a key that blobs are sealed with is not there.
    pub fn directory(root: &Path, keys: &Path) -> Result<Self, SealError> {
        prepare(root).map_err(|source| SealError::Disk { path: root.to_owned(), source })?;
        let keys = Keys::open(keys, root)?;
        Ok(Self::Directory(Arc::new(Directory { root: root.to_owned(), keys, _temporary: None })))
    }

    /// Keeps blobs in a directory that goes with the last handle. For tests.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn temporary() -> std::io::Result<Self> {
        let directory = tempfile::tempdir()?;
        let root = directory.path().to_owned();
        prepare(&root)?;
        Ok(Self::Directory(Arc::new(Directory { root, keys: Keys::fresh()?, _temporary: Some(directory) })))
    }

    /// Writes a blob, replacing what was there. Two fsyncs.
    ///
    /// # Errors
    /// When the key is bad, the disk is full or fails.
    pub async fn put(&self, key: &str, bytes: Bytes) -> Result<(), BlobError> {
        let name = key.to_owned();
        self.on_disk(key, move |directory, path| {
            let sealed = directory.keys.seal(&name, &bytes)?;
            write(&directory.root, path, &sealed)
        })
        .await
    }

    /// Reads a blob; `None` when there is none.
    ///
    /// # Errors
    /// When the key is bad, the blob is damaged or its key is missing, or the disk fails.
    pub async fn get(&self, key: &str) -> Result<Option<Bytes>, BlobError> {
        let name = key.to_owned();
        let read = self.on_disk(key, move |directory, path| match fs::read(path) {
            Ok(bytes) => Ok(Some(directory.keys.open_blob(&name, bytes))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        });
        match read.await? {
            None => Ok(None),
            Some(Ok(bytes)) => Ok(Some(bytes.into())),
            Some(Err(OpenFailure::Damaged)) => Err(BlobError::Damaged(key.to_owned())),
            Some(Err(OpenFailure::UnknownKey(id))) => Err(BlobError::Sealed { key: key.to_owned(), id }),
        }
    }

    /// Removes a blob, if it is there.
    ///
    /// # Errors
    /// When the key is bad or the disk fails.
    pub async fn delete(&self, key: &str) -> Result<(), BlobError> {
        self.on_disk(key, |_, path| match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        })
        .await
    }

    async fn on_disk<T: Send + 'static>(
        &self,
        key: &str,
        work: impl FnOnce(&Directory, &Path) -> std::io::Result<T> + Send + 'static,
    ) -> Result<T, BlobError> {
        let Self::Directory(directory) = self;
        let directory = Arc::clone(directory);
        let relative = relative(key)?;
        let failed = |source: std::io::Error| match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => BlobError::Full,
            _ => BlobError::Disk { key: key.to_owned(), source },
        };
        let done = tokio::task::spawn_blocking(move || work(&directory, &directory.root.join(relative))).await;
        done.map_err(std::io::Error::other).and_then(|done| done).map_err(failed)
    }
}

/// Makes the directory and empties the place of unfinished blobs.
fn prepare(root: &Path) -> std::io::Result<()> {
    let unfinished = root.join(UNFINISHED);
    match fs::remove_dir_all(&unfinished) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => fs::create_dir_all(&unfinished)?,
    }
    #[cfg(unix)]
    fs::set_permissions(root, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    Ok(())
}

fn relative(key: &str) -> Result<PathBuf, BlobError> {
    let part = |part: &str| {
        !part.starts_with('.')
            && !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    if key.split('/').all(part) { Ok(PathBuf::from(key)) } else { Err(BlobError::Key(key.to_owned())) }
}

fn write(root: &Path, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(root.join(UNFINISHED))?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    let parent = path.parent().unwrap_or(root);
    make(parent)?;
    file.persist(path).map_err(|error| error.error)?;
    File::open(parent)?.sync_all()
}

/// Makes a directory and those above it, each on the disk before the next.
fn make(directory: &Path) -> std::io::Result<()> {
    match fs::create_dir(directory) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            make(directory.parent().ok_or(error)?)?;
            make(directory)
        }
        Err(error) => Err(error),
        Ok(()) => directory.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all()),
    }
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
}
