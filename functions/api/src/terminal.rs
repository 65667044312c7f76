//! Terminals in a browser. The relay serves them, in its own process or in this one: it alone has a way to the agents.

use crate::{
    Shared,
    agent::enterable,
    answer::{Raw, Terminal},
    body::{Asked, Segment},
    error::{Answer, ApiError},
    session::Authenticated,
    socket::held_here,
};
use axum::extract::State;
use berth_domain::AgentId;
use http::{StatusCode, Uri};
use schemars::JsonSchema;
use serde::Deserialize;
use uuid::Uuid;

/// Which terminal is asked for. The names are Coder's.
#[derive(Debug, Deserialize, JsonSchema)]
#[expect(dead_code, reason = "the relay reads them; here they are described")]
pub(crate) struct Query {
    /// The terminal's id, which the client makes up: with the same one it finds the same terminal again.
    reconnect: Uuid,
    /// Columns of the client's screen.
    #[serde(default)]
    width: u16,
    /// Rows of it.
    #[serde(default)]
    height: u16,
    /// A command line in place of the login shell.
    command: Option<String>,
}

/// Opens a terminal by websocket. It outlives the socket: for five minutes after it was last looked at.
pub(crate) async fn socket(
    State(api): State<Shared>,
    Authenticated(caller): Authenticated,
    Segment(id): Segment<AgentId>,
    Asked(_): Asked<Query>,
    uri: Uri,
) -> Answer<Raw<Terminal>> {
    enterable(&api, &caller, id).await?;
    held_here(&api, &uri)?;
    Err(ApiError::new(StatusCode::UPGRADE_REQUIRED, "a terminal is a websocket: connect with one"))
}
