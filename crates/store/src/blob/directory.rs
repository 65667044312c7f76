//! Blobs as files, each sealed with the deployment's key.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use tempfile::NamedTempFile;

use super::BlobError;
use crate::seal::{Keys, OpenFailure};

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

impl Directory {
    pub(super) fn new(root: &Path, keys: Keys, temporary: Option<tempfile::TempDir>) -> Self {
        Self { root: root.to_owned(), keys, _temporary: temporary }
    }

    pub(super) async fn put(self: &Arc<Self>, key: &str, bytes: Bytes) -> Result<(), BlobError> {
        let name = key.to_owned();
        let written = self.on_disk(key, move |directory, path| {
            let file = directory.unfinished(&name, &bytes)?;
            file.persist(path).map_err(|error| error.error)?;
            sync(path)
        });
        written.await
    }

    pub(super) async fn put_new(self: &Arc<Self>, key: &str, bytes: Bytes) -> Result<bool, BlobError> {
        let name = key.to_owned();
        let written =
            self.on_disk(key, move |directory, path| match directory.unfinished(&name, &bytes)?.persist_noclobber(path) {
                Ok(_) => sync(path).map(|()| true),
                Err(error) if error.error.kind() == ErrorKind::AlreadyExists => Ok(false),
                Err(error) => Err(error.error),
            });
        written.await
    }

    pub(super) async fn get(self: &Arc<Self>, key: &str) -> Result<Option<Bytes>, BlobError> {
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

    pub(super) async fn delete(self: &Arc<Self>, key: &str) -> Result<(), BlobError> {
        let removed = self.on_disk(key, |_, path| match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        });
        removed.await
    }

    async fn on_disk<T: Send + 'static>(
        self: &Arc<Self>,
        key: &str,
        work: impl FnOnce(&Self, &Path) -> io::Result<T> + Send + 'static,
    ) -> Result<T, BlobError> {
        let (directory, path) = (Arc::clone(self), self.root.join(key));
        let failed = |source: io::Error| match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => BlobError::Full,
            _ => BlobError::Disk { key: key.to_owned(), source },
        };
        let done = tokio::task::spawn_blocking(move || work(&directory, &path)).await;
        done.map_err(io::Error::other).and_then(|done| done).map_err(failed)
    }

    /// The sealed blob on the disk, without its name yet; the directory that it will be in is there.
    fn unfinished(&self, key: &str, bytes: &[u8]) -> io::Result<NamedTempFile> {
        let sealed = self.keys.seal(key, bytes)?;
        let mut file = NamedTempFile::new_in(self.root.join(UNFINISHED))?;
        file.write_all(&sealed)?;
        file.as_file().sync_all()?;
        make(self.root.join(key).parent().unwrap_or(&self.root))?;
        Ok(file)
    }
}

/// Makes the directory and empties the place of unfinished blobs.
pub(super) fn prepare(root: &Path) -> io::Result<()> {
    let unfinished = root.join(UNFINISHED);
    match fs::remove_dir_all(&unfinished) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => fs::create_dir_all(&unfinished)?,
    }
    #[cfg(unix)]
    fs::set_permissions(root, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    Ok(())
}

/// Puts a file's name on the disk.
fn sync(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

/// Makes a directory and those above it, each on the disk before the next.
fn make(directory: &Path) -> io::Result<()> {
    match fs::create_dir(directory) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            make(directory.parent().ok_or(error)?)?;
            make(directory)
        }
        Err(error) => Err(error),
        Ok(()) => sync(directory),
    }
}
