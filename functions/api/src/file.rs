//! Uploaded template archives.

use crate::{
    Shared,
    answer::{Kept, Raw, Tar},
    archive::{self, ArchiveError},
    body::{Json, Segment},
    error::{Answer, ApiError},
    session::Authenticated,
    upload::Sent,
};
use axum::{body::Body, extract::State, response::IntoResponse};
use berth_domain::{FileId, limit::ARCHIVE_BYTES_MAX};
use berth_wire::template::UploadedFile;
use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderMap, StatusCode, header};
use std::{
    io::{Seek, SeekFrom},
    time::Duration,
};
use tokio::io::AsyncWriteExt;

/// How long the next bytes of an upload may take.
const CHUNK_PATIENCE: Duration = Duration::from_secs(60);
/// The media types of a tar.
const TAR_TYPES: [&str; 3] = ["application/x-tar", "application/tar", "application/octet-stream"];

/// Takes an archive: to a temporary file as it comes, checked there, and into the store only when it is good.
pub(crate) async fn upload(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    headers: HeaderMap,
    body: Sent,
) -> Answer<Raw<Kept<UploadedFile>>> {
    caller.actor.may_manage_templates()?;
    check_type(&headers)?;
    let bytes = receive(body.open(&api, caller.user.id.0).await?).await?;
    let now = api.now();
    let wanted = FileId::new(now, rand::random());
    let id = api.store().create_file(wanted, caller.user.id, bytes, now).await?;
    let status = if id == wanted { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(UploadedFile { id: id.0 })).into_response().into())
}

fn check_type(headers: &HeaderMap) -> Answer<()> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("application/x-tar");
    let kind = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if TAR_TYPES.contains(&kind.as_str()) {
        return Ok(());
    }
    let message = format!("{kind} is not understood: send a tar as application/x-tar");
    Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message.chars().take(200).collect::<String>()))
}

/// The body, when it is a good archive.
async fn receive(body: Body) -> Answer<Bytes> {
    let broken = |error: std::io::Error| ApiError::internal("keep the upload", &error);
    let file = tempfile::tempfile().map_err(broken)?;
    let mut writer = tokio::io::BufWriter::new(tokio::fs::File::from_std(file));
    let (mut stream, mut length) = (body.into_data_stream(), 0);
    let slow = |_| ApiError::new(StatusCode::REQUEST_TIMEOUT, "the upload stood still");
    while let Some(chunk) = tokio::time::timeout(CHUNK_PATIENCE, stream.next()).await.map_err(slow)? {
        let chunk = chunk.map_err(|_| ApiError::bad("the upload was cut off"))?;
        length += chunk.len();
        if length > ARCHIVE_BYTES_MAX {
            return Err(ApiError::too_large(format!("the archive is larger than {} MiB", ARCHIVE_BYTES_MAX >> 20)));
        }
        writer.write_all(&chunk).await.map_err(no_space)?;
    }
    writer.flush().await.map_err(no_space)?;
    let mut file = writer.into_inner().into_std().await;
    let checked = tokio::task::spawn_blocking(move || {
        file.seek(SeekFrom::Start(0))?;
        archive::check(std::io::BufReader::new(&file))?;
        file.seek(SeekFrom::Start(0))?;
        let mut bytes = Vec::with_capacity(length);
        std::io::Read::read_to_end(&mut file, &mut bytes)?;
        Ok::<_, ArchiveError>(Bytes::from(bytes))
    });
    let checked = checked.await.map_err(|error| ApiError::internal("check the upload", &error))?;
    checked.map_err(|error| ApiError::bad(error.to_string()))
}

fn no_space(error: std::io::Error) -> ApiError {
    if error.kind() == std::io::ErrorKind::StorageFull {
        tracing::error!(%error, "the disk for uploads is full");
        return ApiError::new(StatusCode::INSUFFICIENT_STORAGE, "the server's disk is full: free some space and try again");
    }
    ApiError::internal("keep the upload", &error)
}

/// Gives an archive back to those who manage templates.
pub(crate) async fn download(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Segment(id): Segment<FileId>,
) -> Answer<Raw<Tar>> {
    caller.actor.may_manage_templates()?;
    let bytes = api.store().file_bytes(id).await?.ok_or_else(|| ApiError::missing("file"))?;
    Ok(tar(bytes))
}

/// An answer that is a tar.
pub(crate) fn tar(bytes: Bytes) -> Raw<Tar> {
    ([(header::CONTENT_TYPE, "application/x-tar")], bytes).into_response().into()
}
