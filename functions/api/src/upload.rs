//! Large bodies by way of the bucket (see [`berth_wire::upload`]): where the API is a Lambda, and only there.

use crate::{
    Api, Shared,
    answer::{Made, Raw},
    body::Json,
    error::{Answer, ApiError},
    session::Uploader,
};
use axum::{
    body::{Body, HttpBody, to_bytes},
    extract::{FromRequest, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use berth_domain::limit::ARCHIVE_BYTES_MAX;
use berth_store::TableError;
use berth_wire::upload::{CreateUpload, ELSEWHERE_HEADER, INLINE_BYTES_MAX, UPLOAD_HEADER, Upload};
use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Where uploads and large answers are in the bucket: what is there goes after a day.
const PREFIX: &str = "uploads";

/// Says where to put a body, or 204 where it goes with its request.
pub(crate) async fn create(
    State(api): State<Shared>,
    uploader: Uploader,
    Json(body): Json<CreateUpload>,
) -> Answer<Raw<Made<Upload>>> {
    let holder = match uploader {
        Uploader::Runner(job) => job,
        Uploader::Person(actor) => {
            actor.may_manage_templates()?;
            actor.user.0
        }
    };
    if body.size == 0 || body.size > ARCHIVE_BYTES_MAX as u64 {
        return Err(ApiError::too_large(format!("size: must be between 1 and {ARCHIVE_BYTES_MAX} bytes")));
    }
    let sha256 = digest(&body.sha256).ok_or_else(|| ApiError::field("sha256", "must be 64 lower-case hexadecimal digits"))?;
    let place = api.store().blobs().place(&key(holder, &body.sha256), body.size, sha256).await.map_err(TableError::from)?;
    let Some(place) = place else { return Ok(StatusCode::NO_CONTENT.into_response().into()) };
    Ok((StatusCode::CREATED, Json(Upload { url: place.url, headers: place.headers })).into_response().into())
}

/// An upload is its holder's alone: nobody can name another's, whatever its content.
fn key(holder: Uuid, sha256: &str) -> String {
    format!("{PREFIX}/{holder}/{sha256}")
}

fn digest(text: &str) -> Option<[u8; 32]> {
    let lower = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    hex::decode(text).ok().filter(|_| lower)?.try_into().ok()
}

/// A body that came with its request, or was uploaded before it.
pub(crate) struct Sent {
    body: Body,
    /// The header.
    uploaded: Option<HeaderValue>,
}

impl<S: Sync> FromRequest<S> for Sent {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let uploaded = request.headers().get(UPLOAD_HEADER).cloned();
        Ok(Self { body: request.into_body(), uploaded })
    }
}

impl Sent {
    /// The body; for one that was uploaded by `holder`, a blob is read. Ask only once the caller is known to be permitted.
    pub(crate) async fn open(self, api: &Api, holder: Uuid) -> Answer<Body> {
        let Some(uploaded) = self.uploaded else { return Ok(self.body) };
        let wrong = || ApiError::field(UPLOAD_HEADER, "must be 64 lower-case hexadecimal digits");
        let sha256 = uploaded.to_str().ok().filter(|text| digest(text).is_some()).ok_or_else(wrong)?;
        let bytes = api.store().blobs().get(&key(holder, sha256)).await.map_err(TableError::from)?;
        let missing = || ApiError::field(UPLOAD_HEADER, "names no upload of yours: one is kept for a day; upload the body again");
        let bytes = bytes.ok_or_else(missing)?;
        if sha256_of(bytes.clone()).await? != sha256 {
            return Err(ApiError::field(UPLOAD_HEADER, "names an upload that is damaged: upload the body again"));
        }
        Ok(Body::from(bytes))
    }
}

async fn sha256_of(bytes: Bytes) -> Answer<String> {
    let digest = tokio::task::spawn_blocking(move || hex::encode(Sha256::digest(&bytes))).await;
    digest.map_err(|error| ApiError::internal("read the upload", &error))
}

/// Answers a `GET` whose body is too large for a Lambda with the address of a copy.
pub(crate) async fn elsewhere(State(api): State<Shared>, request: Request, next: Next) -> Response {
    let reads = request.method() == Method::GET && api.store().blobs().have_addresses();
    let response = next.run(request).await;
    let large = response.body().size_hint().exact().is_some_and(|size| size > INLINE_BYTES_MAX as u64);
    if !reads || !large || response.status() != StatusCode::OK {
        return response;
    }
    moved(&api, response).await.unwrap_or_else(IntoResponse::into_response)
}

async fn moved(api: &Api, response: Response) -> Answer<Response> {
    let (parts, body) = response.into_parts();
    let media_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = media_type.unwrap_or("application/octet-stream").to_owned();
    let bytes = to_bytes(body, usize::MAX).await.map_err(|error| ApiError::internal("make its answer", &error))?;
    let key = format!("{PREFIX}/answers/{}", Uuid::new_v4());
    let blobs = api.store().blobs();
    blobs.put(&key, bytes).await.map_err(TableError::from)?;
    let address = blobs.address(&key, &media_type).await.map_err(TableError::from)?.unwrap_or_default();
    let location = HeaderValue::try_from(address).map_err(|error| ApiError::internal("make its answer", &error))?;
    let mut response = StatusCode::TEMPORARY_REDIRECT.into_response();
    response.headers_mut().insert(header::LOCATION, location);
    response.headers_mut().insert(ELSEWHERE_HEADER, HeaderValue::from_static("bucket"));
    Ok(response)
}
