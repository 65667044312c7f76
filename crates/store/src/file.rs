//! Uploaded template archives: the bytes are a blob, the row says whose they are. The same bytes of the same user are one file.

use berth_domain::{FileId, Timestamp, UserId};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    BlobError, Store, TableError,
    table::{Key, WriteError},
    write::Write,
};

/// An uploaded archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Identifier.
    pub id: FileId,
    /// Who uploaded it.
    pub owner: UserId,
    /// SHA-256 of the bytes, hexadecimal.
    pub sha256: String,
    /// Length in bytes.
    pub size: u64,
    /// When it was uploaded.
    pub created_at: Timestamp,
}

fn key(id: FileId) -> Key {
    Key::new(format!("FILE#{id}"), "FILE")
}

fn content_key(owner: UserId, sha256: &str) -> Key {
    Key::new(format!("USER#{owner}"), format!("FILE#{sha256}"))
}

fn blob_key(owner: UserId, sha256: &str) -> String {
    format!("file/{owner}/{sha256}")
}

/// SHA-256 in hexadecimal; large texts do not hold up other tasks.
pub(crate) async fn digest(bytes: Bytes) -> Result<String, TableError> {
    let digest = tokio::task::spawn_blocking(move || hex::encode(Sha256::digest(&bytes))).await;
    digest.map_err(|error| BlobError::Disk { key: "digest".to_owned(), source: std::io::Error::other(error) }.into())
}

impl Store {
    /// Keeps an archive and says under which id: `id`, or the one that the same bytes of the same owner have. A blob and a transaction.
    ///
    /// # Errors
    /// When the disk is full or fails, or the table fails.
    pub async fn create_file(&self, id: FileId, owner: UserId, bytes: Bytes, now: Timestamp) -> Result<FileId, TableError> {
        let sha256 = digest(bytes.clone()).await?;
        let content = content_key(owner, &sha256);
        if let Some(earlier) = self.table.get::<FileId>(&content).await? {
            return Ok(earlier.value);
        }
        let file = File { id, owner, size: bytes.len() as u64, created_at: now, sha256 };
        self.blobs.put(&blob_key(owner, &file.sha256), bytes).await?;
        match self.table.transact(vec![Write::insert(content.clone(), &id)?, Write::insert(key(id), &file)?]).await {
            Ok(()) => Ok(id),
            Err(WriteError::Refused { .. }) => {
                let earlier = self.table.get::<FileId>(&content).await?;
                earlier.map(|row| row.value).ok_or_else(|| TableError::Contention(content.to_string()))
            }
            Err(WriteError::Table(error)) => Err(error),
        }
    }

    /// The file with this id. One read.
    ///
    /// # Errors
    /// When the table fails.
    pub async fn file(&self, id: FileId) -> Result<Option<File>, TableError> {
        Ok(self.table.get(&key(id)).await?.map(|row| row.value))
    }

    /// The bytes of the file with this id. A read and a blob.
    ///
    /// # Errors
    /// When the table or the disk fails.
    pub async fn file_bytes(&self, id: FileId) -> Result<Option<Bytes>, TableError> {
        self.small_file_bytes(id, u64::MAX).await
    }

    /// The same, but `None` for a file of more than `bytes_max` bytes, which costs the read only.
    ///
    /// # Errors
    /// When the table or the disk fails.
    pub async fn small_file_bytes(&self, id: FileId, bytes_max: u64) -> Result<Option<Bytes>, TableError> {
        let Some(file) = self.file(id).await?.filter(|file| file.size <= bytes_max) else { return Ok(None) };
        let blob = blob_key(file.owner, &file.sha256);
        Ok(Some(self.blobs.get(&blob).await?.ok_or(BlobError::Missing(blob))?))
    }
}
