//! Bodies too large for their request, by way of the deployment's bucket (see [`berth_wire::upload`]).

use std::io::SeekFrom;

use crate::{Client, ClientError, Result};
use berth_wire::upload::{CreateUpload, INLINE_BYTES_MAX, UPLOAD_HEADER, Upload};
use bytes::Bytes;
use reqwest::{Body, Method, RequestBuilder, StatusCode, header::CONTENT_LENGTH};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncSeek, AsyncSeekExt};

/// How much of a file is read at a time.
pub(crate) const CHUNK_BYTES: usize = 64 * 1024;

impl Client {
    /// The request with these bytes: in its body, or uploaded before it.
    pub(crate) async fn with_bytes(&self, request: RequestBuilder, bytes: Bytes) -> Result<RequestBuilder> {
        if bytes.len() <= INLINE_BYTES_MAX {
            return Ok(request.body(bytes));
        }
        let sha256 = sha256(bytes.clone()).await?;
        let wish = CreateUpload { size: bytes.len() as u64, sha256 };
        let Some(place) = self.place(&wish).await? else { return Ok(request.body(bytes)) };
        self.put(&place, Body::from(bytes), wish.size).await?;
        Ok(request.header(UPLOAD_HEADER, wish.sha256))
    }

    /// The request with the `length` bytes of a file, which `body` makes a body of. It is never whole in memory.
    pub(crate) async fn with_file<R>(
        &self,
        request: RequestBuilder,
        mut file: R,
        length: u64,
        body: impl FnOnce(R) -> Body,
    ) -> Result<RequestBuilder>
    where
        R: AsyncRead + AsyncSeek + Unpin,
    {
        if length > INLINE_BYTES_MAX as u64 {
            let sha256 = sha256_of_file(&mut file).await.map_err(|source| ClientError::File { source })?;
            let wish = CreateUpload { size: length, sha256 };
            if let Some(place) = self.place(&wish).await? {
                self.put(&place, body(file), length).await?;
                return Ok(request.header(UPLOAD_HEADER, wish.sha256));
            }
        }
        Ok(request.header(CONTENT_LENGTH, length).body(body(file)))
    }

    /// Where to put a large body; `None` where it goes with its request.
    async fn place(&self, wish: &CreateUpload) -> Result<Option<Upload>> {
        let asked = self.send(self.request(Method::POST, &["uploads"]).json(wish)).await;
        match asked {
            Ok(answer) if answer.status() == StatusCode::NO_CONTENT => Ok(None),
            Ok(answer) => self.decode(answer).await.map(Some),
            // A server of before there were uploads.
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn put(&self, place: &Upload, body: Body, length: u64) -> Result<()> {
        let mut request = self.bare(Method::PUT, &place.url)?.header(CONTENT_LENGTH, length);
        for (name, value) in place.headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("content-length")) {
            request = request.header(name, value);
        }
        self.send_elsewhere(request.body(body), &place.url).await.map(drop)
    }
}

async fn sha256(bytes: Bytes) -> Result<String> {
    let digest = tokio::task::spawn_blocking(move || hex::encode(Sha256::digest(&bytes))).await;
    digest.map_err(|error| ClientError::File { source: std::io::Error::other(error) })
}

/// Reads a file to its end and goes back to its beginning.
async fn sha256_of_file<R: AsyncRead + AsyncSeek + Unpin>(file: &mut R) -> std::io::Result<String> {
    let mut digest = Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let read = file.read(&mut chunk).await?;
        if read == 0 {
            break;
        }
        digest.update(chunk.get(..read).unwrap_or_default());
    }
    file.seek(SeekFrom::Start(0)).await?;
    Ok(hex::encode(digest.finalize()))
}
