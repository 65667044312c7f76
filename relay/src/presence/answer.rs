//! `POST /presence`: the API asks which agents are here. Whoever may ask holds a presence ticket, which only the API can sign.

use super::Presence;
use crate::{keys::Keys, refusal::Refusal};
use axum::{
    Json, Router,
    body::{Body, to_bytes},
    extract::State,
    http::{HeaderMap, StatusCode, header::AUTHORIZATION},
    routing::post,
};
use berth_wire::presence::{ConnectedAgent, PRESENCE_AGENTS_MAX, PRESENCE_PATH, PresenceAnswer, PresenceRequest};

/// The largest question: [`PRESENCE_AGENTS_MAX`] agents of some 130 bytes each, with room.
const QUESTION_BYTES_MAX: usize = 256 * 1024;

/// What the answer needs.
#[derive(Debug, Clone)]
struct Desk {
    presence: Presence,
    keys: Keys,
    /// The tailnet key of the relay's own end.
    own: Option<String>,
}

/// The route.
pub(crate) fn router(presence: Presence, keys: Keys, own: Option<String>) -> Router {
    Router::new().route(PRESENCE_PATH, post(answer)).with_state(Desk { presence, keys, own })
}

/// The ticket is looked at before anything of the body is read.
async fn answer(State(desk): State<Desk>, headers: HeaderMap, body: Body) -> Result<Json<PresenceAnswer>, Refusal> {
    let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| value.strip_prefix("Bearer "));
    let refused = || Refusal::new(StatusCode::UNAUTHORIZED, "there is no valid presence ticket");
    let ticket = bearer.ok_or_else(refused)?;
    let key = desk.keys.of_ticket(ticket).await.ok_or_else(refused)?;
    key.presence(ticket).map_err(|_| refused())?;

    let too_large =
        || Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, format!("at most {PRESENCE_AGENTS_MAX} agents may be asked about"));
    let bytes = to_bytes(body, QUESTION_BYTES_MAX).await.map_err(|_| too_large())?;
    let malformed = |error: serde_json::Error| Refusal::new(StatusCode::BAD_REQUEST, format!("not a presence request: {error}"));
    let asked: PresenceRequest = serde_json::from_slice(&bytes).map_err(malformed)?;
    if asked.agents.len() > PRESENCE_AGENTS_MAX {
        return Err(too_large());
    }
    let since = |agent: &berth_wire::presence::AskedAgent| {
        let since = desk.presence.since(&agent.endpoint_id, &agent.id.to_string())?;
        Some(ConnectedAgent { id: agent.id, since })
    };
    Ok(Json(PresenceAnswer { connected: asked.agents.iter().filter_map(since).collect(), endpoint_id: desk.own.clone() }))
}
