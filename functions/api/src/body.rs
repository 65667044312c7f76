//! What comes in: JSON bodies, path segments and queries, refused in the envelope with the field's name.

use crate::error::ApiError;
use axum::{
    body::Body,
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
    response::{IntoResponse, Response},
};
use berth_domain::limit::BODY_BYTES_MAX;
use bytes::Bytes;
use http::{StatusCode, request::Parts};
use serde::{Serialize, de::DeserializeOwned};
use std::{marker::PhantomData, time::Duration};

/// How long a whole body may take; a state of the greatest size needs 0.5 MB/s.
const BODY_PATIENCE: Duration = Duration::from_secs(120);

/// A JSON request body of at most [`BODY_BYTES_MAX`] bytes. The content type is not regarded, as in Coder.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        parse(&whole(request.into_body(), BODY_BYTES_MAX).await?).map(Self)
    }
}

/// A body that the handler reads when it knows who asks, and that holds a `T`.
pub(crate) struct Unread<T>(Body, PhantomData<fn() -> T>);

impl<T, S: Sync> FromRequest<S> for Unread<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        Ok(Self(request.into_body(), PhantomData))
    }
}

impl<T> Unread<T> {
    /// Its bytes, at most `limit` and not for ever.
    pub(crate) async fn whole(self, limit: usize) -> Result<Bytes, ApiError> {
        whole(self.0, limit).await
    }
}

/// The bytes of a body, at most `limit` and not for ever.
pub(crate) async fn whole(body: Body, limit: usize) -> Result<Bytes, ApiError> {
    let bytes = tokio::time::timeout(BODY_PATIENCE, axum::body::to_bytes(body, limit)).await;
    let slow = |_| ApiError::new(StatusCode::REQUEST_TIMEOUT, "the request body did not come in time");
    bytes.map_err(slow)?.map_err(|_| ApiError::too_large(format!("the request body is larger than {limit} bytes, or was cut off")))
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

/// Reads JSON and names the field that is wrong.
pub(crate) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| refused(&error))?;
    deserializer.end().map_err(|_| ApiError::bad("the request body goes on after its JSON value"))?;
    Ok(value)
}

fn refused(error: &serde_path_to_error::Error<serde_json::Error>) -> ApiError {
    let why = error.inner().to_string();
    let why = why.split(" at line ").next().unwrap_or_default();
    if error.inner().is_syntax() || error.inner().is_eof() {
        return ApiError::bad("the request body is not JSON").detail(error.inner().to_string());
    }
    let path = error.path().to_string();
    let missing = why.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
    let field = match (path.as_str(), missing) {
        (".", Some(name)) => name.to_owned(),
        (path, Some(name)) if !path.ends_with(name) => format!("{path}.{name}"),
        (path, _) => path.to_owned(),
    };
    if missing.is_some() { ApiError::field(&field, "is required") } else { ApiError::field(&field, why) }
}

/// Path segments that must parse; one that does not names nothing, so it is answered 404.
pub(crate) struct Segment<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Segment<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(value)) => Ok(Self(value)),
            Err(_) => Err(ApiError::missing("resource")),
        }
    }
}

/// The query string, refused in the envelope.
pub(crate) struct Asked<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(value)) => Ok(Self(value)),
            Err(error) => Err(ApiError::bad("the query string is not understood").detail(error.body_text())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    struct Wanted {
        #[allow(dead_code)]
        name: String,
        #[serde(default)]
        #[allow(dead_code)]
        inner: Vec<Inner>,
    }

    #[derive(Debug, serde::Deserialize)]
    struct Inner {
        #[allow(dead_code)]
        value: String,
    }

    async fn answer(body: &str) -> serde_json::Value {
        let response = parse::<Wanted>(body.as_bytes()).unwrap_err().into_response();
        let bytes = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }

    #[tokio::test]
    async fn a_refused_body_names_the_field() {
        assert_eq!(answer("{}").await["validations"][0], serde_json::json!({"field": "name", "detail": "is required"}));
        let wrong = answer(r#"{"name": 3}"#).await;
        assert_eq!(wrong["validations"][0]["field"], "name");
        assert_eq!(wrong["message"], "name: invalid type: integer `3`, expected a string");
        assert_eq!(answer(r#"{"name": "a", "inner": [{}]}"#).await["validations"][0]["field"], "inner[0].value");
        assert_eq!(answer("{").await["message"], "the request body is not JSON");
        assert_eq!(answer(r#"{"name":"a"} x"#).await["message"], "the request body goes on after its JSON value");
    }
}
