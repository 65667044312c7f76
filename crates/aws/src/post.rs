//! Asking what is not AWS over the same connections: the relay speaks the same TLS with the same roots.

use aws_smithy_runtime_api::client::{orchestrator::HttpRequest, result::ConnectorError};
use aws_smithy_types::body::SdkBody;
use http_body_util::{BodyExt, Limited};

use crate::{Aws, CONNECT_TIMEOUT};

/// The longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// The address or the token cannot be sent.
    #[error("the request cannot be made")]
    Request(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Nobody answered.
    #[error("nobody answered")]
    Connection(#[from] ConnectorError),
    /// The answer was cut off, or is longer than a megabyte.
    #[error("the answer was cut off or is too long")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Aws {
    /// Sends a JSON document with a bearer token and reads the whole answer, whatever its status. One request, not repeated; how long the
    /// body may take is the caller's to limit.
    ///
    /// # Errors
    /// When nobody answers within [`CONNECT_TIMEOUT`], or the answer cannot be read.
    pub async fn post_json(&self, url: &str, bearer: &str, document: String) -> Result<(u16, Vec<u8>), PostError> {
        let request = http::Request::post(url)
            .header(http::header::AUTHORIZATION, format!("Bearer {bearer}"))
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(SdkBody::from(document))
            .map_err(|error| PostError::Request(error.into()))?;
        let request = HttpRequest::try_from(request).map_err(|error| PostError::Request(error.into()))?;
        let answer = self.connector.send(request, Some(CONNECT_TIMEOUT)).await?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await.map_err(PostError::Body)?;
        Ok((status, body.to_bytes().to_vec()))
    }
}
