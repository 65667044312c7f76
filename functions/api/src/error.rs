//! The one error of the API: a status and the envelope. Every store error becomes one here and nowhere else.

mod store;

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use berth_domain::{Denied, NameError, ParameterError, SettingsError};
use berth_wire::{ErrorBody, Validation};
use http::StatusCode;
use std::error::Error;

/// An answer of 400 or above.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    body: ErrorBody,
    retry_after: Option<u64>,
}

/// What a handler answers.
pub(crate) type Answer<T> = Result<T, ApiError>;

impl ApiError {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, body: ErrorBody { message: message.into(), ..ErrorBody::default() }, retry_after: None }
    }

    /// 400 with one sentence.
    pub(crate) fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// 400 that names one field.
    pub(crate) fn field(field: &str, why: impl Into<String>) -> Self {
        let why = why.into();
        Self::bad(format!("{field}: {why}")).validation(field, why)
    }

    /// 401: nobody, or somebody whose token has ended.
    pub(crate) fn unauthenticated() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "sign in first: the session token is missing, wrong or has ended")
    }

    /// 403, for things whose existence is no secret.
    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, message)
    }

    /// 404, the same for what does not exist and for what is not the asker's to know.
    pub(crate) fn missing(noun: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("the {noun} does not exist, or is not yours to see"))
    }

    /// 409 with one sentence.
    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, message)
    }

    /// 413 with one sentence.
    pub(crate) fn too_large(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    }

    /// 429, and when to try again.
    pub(crate) fn slow_down(seconds: u64) -> Self {
        let mut error = Self::new(StatusCode::TOO_MANY_REQUESTS, format!("too many attempts: try again in {seconds} s"));
        error.retry_after = Some(seconds);
        error
    }

    /// 500: the cause goes to the log, not to the client. `doing` completes "cannot ...".
    pub(crate) fn internal(doing: &str, cause: &(dyn Error + 'static)) -> Self {
        let mut causes = cause.to_string();
        let mut next = cause.source();
        while let Some(cause) = next {
            causes = format!("{causes}: {cause}");
            next = cause.source();
        }
        tracing::error!(error = %causes, "cannot {doing}");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, format!("the server cannot {doing}; its log says why"))
    }

    pub(crate) const fn status(&self) -> StatusCode {
        self.status
    }

    pub(crate) fn detail(mut self, detail: impl Into<String>) -> Self {
        self.body.detail = Some(detail.into());
        self
    }

    pub(crate) fn validation(mut self, field: impl Into<String>, detail: impl Into<String>) -> Self {
        self.body.validations.push(Validation { field: field.into(), detail: detail.into() });
        self
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body)).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(http::header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

impl From<Denied> for ApiError {
    /// For things that everyone may know of. What hides its existence maps `Denied` to [`ApiError::missing`] instead.
    fn from(_: Denied) -> Self {
        Self::forbidden("your roles do not permit this")
    }
}

impl From<SettingsError> for ApiError {
    fn from(error: SettingsError) -> Self {
        Self::field(error.field, error.why)
    }
}

/// 400 that names the field a name came in.
pub(crate) fn bad_name(field: &'static str) -> impl Fn(NameError) -> ApiError {
    move |error| ApiError::field(field, error.to_string())
}

/// 400 with one validation per refused parameter.
pub(crate) fn bad_parameters(errors: Vec<ParameterError>) -> ApiError {
    let message = match errors.as_slice() {
        [only] => only.to_string(),
        all => format!("{} parameters will not do", all.len()),
    };
    errors.iter().fold(ApiError::bad(message), |answer, error| answer.validation(error.field(), error.to_string()))
}
