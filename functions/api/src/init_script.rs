//! `GET /api/v2/init-script/{os}/{arch}`: what a fresh machine pipes into `sh` to run its agent. Holds no secret.

use crate::{
    Shared,
    answer::{Raw, Script},
    body::Segment,
    error::ApiError,
};
use axum::{extract::State, response::IntoResponse};
use berth_wire::init_script;
use http::{StatusCode, header};

/// Gives the script that a fresh machine pipes into `sh` to run its agent. It holds no secret.
pub(crate) async fn serve(
    State(api): State<Shared>,
    Segment((os, arch)): Segment<(String, String)>,
) -> Result<Raw<Script>, ApiError> {
    let script = init_script::render(&os, &arch, &api.app.config.access_url());
    let script = script.ok_or_else(|| ApiError::new(StatusCode::NOT_FOUND, "there is no agent for this platform"))?;
    Ok(([(header::CONTENT_TYPE, "text/x-shellscript; charset=utf-8")], script).into_response().into())
}
