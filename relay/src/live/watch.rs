//! Watching a workspace: the whole workspace whenever something about it changed, by websocket or by server-sent events.

use super::{
    Live,
    limit::Place,
    outlet::{End, Gone, Outlet, Upgrade},
    pace::{Pace, Turn},
    refusal,
};
use crate::{
    refusal::Refusal,
    upstream::{AskError, Credentials},
};
use axum::{
    extract::{OriginalUri, State},
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response, Sse, sse},
};
use berth_wire::workspace::{Event, Workspace};
use futures_util::{Stream, stream};
use std::convert::Infallible;

/// A watched workspace, and what was last told of it.
struct Watched {
    live: Live,
    caller: Credentials,
    path: String,
    told: Option<Workspace>,
    pace: Pace,
    _place: Place,
}

/// What a look at the workspace found.
enum Look {
    News(Box<Workspace>),
    Same,
    Over(End),
}

impl Watched {
    fn open(live: Live, uri: &Uri, headers: &HeaderMap) -> Result<Self, Refusal> {
        let caller = Credentials::of(headers);
        let place = live.seat(&caller)?;
        // What is watched is one segment up.
        let path = uri.path().rsplit_once('/').map_or_else(String::new, |(workspace, _)| workspace.to_owned());
        let pace = Pace::new(&live);
        Ok(Self { live, caller, path, told: None, pace, _place: place })
    }

    async fn read(&self) -> Result<Workspace, AskError> {
        self.live.0.api.json(&self.path, "", &self.caller).await
    }

    /// The workspace, if it is news.
    async fn look(&mut self) -> Look {
        match self.live.0.drain.run_until_cancelled(self.read()).await {
            None => Look::Over(End::Stop),
            Some(Ok(now)) => self.compare(now),
            Some(Err(error)) => match self.pace.not_told(error) {
                Ok(()) => Look::Same,
                Err(AskError::Refused(_)) => Look::Over(End::Stop),
                Err(AskError::Away(_) | AskError::Malformed(_)) => Look::Over(End::Away),
            },
        }
    }

    fn compare(&mut self, now: Workspace) -> Look {
        if self.told.as_ref() == Some(&now) {
            self.pace.told(false);
            return Look::Same;
        }
        let resources = now.latest_build.resources.iter();
        let agents = resources.flat_map(|resource| resource.agents.iter().flatten()).map(|agent| agent.id.to_string());
        self.pace.listen_to(agents);
        self.pace.told(true);
        self.told = Some(now.clone());
        Look::News(Box::new(now))
    }
}

pub(crate) async fn socket(
    State(live): State<Live>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    upgrade: Upgrade,
) -> Result<Response, Refusal> {
    let agreed = upgrade.wanted()?;
    let (mut watched, first) = begin(live, &uri, &headers).await?;
    Ok(agreed.accept(move |mut outlet| async move {
        // Gone: nobody is left to tell.
        if let Ok(end) = tell(&mut outlet, &mut watched, first).await {
            outlet.close(end).await;
        }
    }))
}

/// The first look, before the answer: whoever may not see it is told so, and gets no socket.
async fn begin(live: Live, uri: &Uri, headers: &HeaderMap) -> Result<(Watched, Look), Refusal> {
    let mut watched = Watched::open(live, uri, headers)?;
    let first = watched.read().await.map_err(|error| refusal(&error))?;
    let look = watched.compare(first);
    Ok((watched, look))
}

async fn tell(outlet: &mut Outlet, watched: &mut Watched, mut look: Look) -> Result<End, Gone> {
    loop {
        match look {
            Look::News(workspace) => {
                let event = Event { kind: "data".to_owned(), data: Some(*workspace) };
                outlet.send(serde_json::to_string(&event).unwrap_or_default()).await?;
            }
            Look::Same => {}
            Look::Over(end) => return Ok(end),
        }
        if outlet.turn(&mut watched.pace, Some(r#"{"type":"ping"}"#)).await? == Turn::Stop {
            return Ok(End::Stop);
        }
        look = watched.look().await;
    }
}

pub(crate) async fn events(
    State(live): State<Live>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    if live.0.drain.is_cancelled() {
        return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the relay stops; connect again"));
    }
    let (watched, first) = begin(live, &uri, &headers).await?;
    Ok(Sse::new(stream_of(watched, first)).into_response())
}

/// Events of the types `data` and `ping`, as the frames of the websocket have them.
fn stream_of(watched: Watched, first: Look) -> impl Stream<Item = Result<sse::Event, Infallible>> + Send {
    stream::unfold((watched, Some(first)), |(mut watched, mut first)| async move {
        loop {
            let look = match first.take() {
                Some(look) => look,
                None => match watched.pace.turn().await {
                    Turn::Stop => return None,
                    Turn::Beat => return Some((Ok(sse::Event::default().event("ping").data("")), (watched, None))),
                    Turn::Read => watched.look().await,
                },
            };
            match look {
                Look::News(workspace) => {
                    let event = sse::Event::default().event("data").json_data(&*workspace).ok()?;
                    return Some((Ok(event), (watched, None)));
                }
                Look::Same => {}
                Look::Over(_) => return None,
            }
        }
    })
}
