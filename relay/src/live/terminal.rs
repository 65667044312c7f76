//! Terminals in a browser: a websocket as Coder's page has it, joined to a terminal at the agent.
//!
//! The relay asks the API with the caller's own credentials for a ticket that is good for this one terminal, and keeps nothing of it: the
//! terminal lives at the agent, and whoever comes again, to this relay or to the next, finds it by its id.

mod bridge;

use super::{Live, outlet::Upgrade};
use crate::{
    refusal::Refusal,
    tunnel::{Admitted, TunnelError, Tunnels},
    upstream::{AskError, Credentials},
};
use axum::{
    Router,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::{HeaderMap, StatusCode},
    middleware::from_fn_with_state,
    response::Response,
    routing::get,
};
use berth_wire::{
    agent::{Ticket, TicketRequest},
    tunnel::{Target, Terminal},
};
use bridge::End;
use serde::Deserialize;
use std::time::Duration;
use uuid::Uuid;

/// The largest frame of a client, in bytes; a paste is one frame.
const FRAME_BYTES_MAX: usize = 1024 * 1024;
/// How often an open socket's session is looked at: signing out ends it within this time. Whom the workspace itself shuts out, its agent does.
const CHECK_SESSION: Duration = Duration::from_secs(60);
/// The longest command line, in bytes: with the ticket it must fit the first frame of a stream.
const COMMAND_BYTES_MAX: usize = 2 * 1024;

/// What of a terminal is asked for. The names are Coder's.
#[derive(Debug, Deserialize)]
struct Asked {
    reconnect: Uuid,
    #[serde(default)]
    width: u16,
    #[serde(default)]
    height: u16,
    command: Option<String>,
}

impl From<Asked> for Terminal {
    fn from(Asked { reconnect, width, height, command }: Asked) -> Self {
        let command = command.filter(|command| !command.is_empty());
        Self { id: reconnect, columns: width, rows: height, command }
    }
}

impl Live {
    /// The route of terminals, by these tunnels.
    pub fn terminals(self, tunnels: Tunnels) -> Router {
        let guard = from_fn_with_state(self.clone(), super::guard);
        Router::new().route("/api/v2/workspaceagents/{agent}/pty", get(socket)).layer(guard).with_state((self, tunnels))
    }

    /// Waits until a terminal's socket is to end for a reason of ours.
    async fn until_over(&self, caller: &Credentials) -> End {
        loop {
            tokio::select! {
                () = self.0.drain.cancelled() => return End::Away,
                () = tokio::time::sleep(CHECK_SESSION) => {}
            }
            // An API that is away ends nothing: an open terminal needs neither it nor the table.
            if let Err(AskError::Refused(_)) = self.0.api.json::<serde::de::IgnoredAny>("/api/v2/users/me", "", caller).await {
                return End::Refused("you are signed out".to_owned());
            }
        }
    }
}

async fn socket(
    State((live, tunnels)): State<(Live, Tunnels)>,
    Path(agent): Path<Uuid>,
    asked: Result<Query<Asked>, QueryRejection>,
    headers: HeaderMap,
    upgrade: Upgrade,
) -> Result<Response, Refusal> {
    let Query(asked) = asked.map_err(|rejection| Refusal::new(StatusCode::BAD_REQUEST, rejection.body_text()))?;
    let terminal = Terminal::from(asked);
    if terminal.command.as_ref().is_some_and(|command| command.len() > COMMAND_BYTES_MAX) {
        let text = format!("the command is longer than {COMMAND_BYTES_MAX} bytes: put it into a script");
        return Err(Refusal::new(StatusCode::BAD_REQUEST, text));
    }
    let wanted = |_| Refusal::new(StatusCode::UPGRADE_REQUIRED, "a terminal is a websocket: connect with one");
    let agreed = upgrade.wanted().map_err(wanted)?;
    let caller = Credentials::of(&headers);
    let place = live.seat(&caller)?;
    // Before the answer: whoever may not enter is told so, and gets no socket.
    let ticket = introduction(&live, &caller, agent, (&tunnels, &terminal)).await?;
    let stream = tunnels.open(&Admitted::from(ticket), Target::Terminal(terminal)).await.map_err(|error| not_reached(&error))?;
    Ok(agreed.accept_both_ways(FRAME_BYTES_MAX, move |socket| async move {
        let _place = place;
        bridge::join(socket, stream, live.until_over(&caller)).await;
    }))
}

/// The ticket that opens this terminal, and nothing else, if the caller may enter the workspace.
async fn introduction(
    live: &Live,
    caller: &Credentials,
    agent: Uuid,
    (tunnels, terminal): (&Tunnels, &Terminal),
) -> Result<Ticket, Refusal> {
    let request = TicketRequest { endpoint_id: tunnels.endpoint_id(), terminal: Some(terminal.clone()) };
    let path = format!("/api/v2/workspaceagents/{agent}/ticket");
    live.0.api.post_for(&path, &request, caller).await.map_err(|error| match error {
        AskError::Refused(status) if status == StatusCode::CONFLICT => {
            Refusal::new(status, "the agent is not connected: start the workspace, or wait until it has started")
        }
        AskError::Refused(status) if status == StatusCode::FORBIDDEN => {
            Refusal::new(status, "only the workspace's owner may enter it")
        }
        error => super::refusal(&error),
    })
}

fn not_reached(error: &TunnelError) -> Refusal {
    tracing::info!(error = error as &dyn std::error::Error, "an agent cannot be reached for a terminal");
    Refusal::new(StatusCode::BAD_GATEWAY, "the workspace does not answer the relay; try again")
}
