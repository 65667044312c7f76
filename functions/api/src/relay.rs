//! What the relay asks of the API.

use crate::{Shared, body::Json};
use axum::extract::State;
use berth_wire::presence::RelayKeys;

/// The keys that verify the deployment's tickets. Public keys are no secret.
pub(crate) async fn keys(State(api): State<Shared>) -> Json<RelayKeys> {
    Json(RelayKeys { keys: vec![api.app.signing.verifying()] })
}
