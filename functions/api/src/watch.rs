//! Watching a workspace: the whole workspace whenever something about it changed, by websocket or by server-sent events.

use crate::{
    Shared, Topic,
    answer::{Events, Frames, Raw},
    body::Segment,
    error::Answer,
    session::Authenticated,
    socket::{Gone, Outlet, Pace, Turn, Upgrade, held_here},
    workspace,
};
use axum::{
    extract::State,
    response::{IntoResponse, Sse, sse},
};
use berth_domain::{AgentId, WorkspaceId};
use berth_store::JobId;
use berth_wire::workspace::{Event, Workspace};
use futures_util::{Stream, stream};
use http::Uri;
use std::{collections::HashSet, convert::Infallible};

/// A watched workspace: what was last told of it, and what to listen to.
struct Watched {
    api: Shared,
    caller: Authenticated,
    id: WorkspaceId,
    told: Option<Workspace>,
    topics: HashSet<Topic>,
}

impl Watched {
    fn new(api: Shared, caller: Authenticated, id: WorkspaceId) -> Self {
        Self { api, caller, id, told: None, topics: HashSet::from([Topic::Workspace(id)]) }
    }

    /// The workspace, if it is news. An error means that it cannot be read any more.
    async fn news(&mut self) -> Result<Option<Workspace>, Gone> {
        let (record, agents) = workspace::readable(&self.api, &self.caller.0, self.id).await.map_err(|_| Gone)?;
        self.topics = HashSet::from([Topic::Workspace(self.id), Topic::Job(JobId::Build(record.latest_build.id))]);
        self.topics.extend(agents.keys().map(|id: &AgentId| Topic::Agent(*id)));
        let now = workspace::shown(&self.api, &record, &agents).await.map_err(|_| Gone)?;
        if self.told.as_ref() == Some(&now) {
            return Ok(None);
        }
        self.told = Some(now.clone());
        Ok(Some(now))
    }
}

/// Watches a workspace by websocket: all of it, at first and whenever something about it changed.
pub(crate) async fn socket(
    State(api): State<Shared>,
    caller: Authenticated,
    Segment(id): Segment<WorkspaceId>,
    upgrade: Upgrade,
) -> Answer<Raw<Frames<Event<Workspace>>>> {
    let (pace, mut watched) = open(&api, &caller, id).await?;
    let accepted = upgrade.accept(move |mut outlet| async move {
        if let Ok(()) = tell(&mut outlet, pace, &mut watched).await {
            outlet.close(Turn::Stop).await;
        }
    });
    accepted.map(Raw::from)
}

async fn open(api: &Shared, caller: &Authenticated, id: WorkspaceId) -> Answer<(Pace, Watched)> {
    let pace = Pace::new(api, caller);
    workspace::readable(api, &caller.0, id).await?;
    Ok((pace, Watched::new(Shared::clone(api), caller.clone(), id)))
}

async fn tell(outlet: &mut Outlet, mut pace: Pace, watched: &mut Watched) -> Result<(), Gone> {
    loop {
        let Ok(news) = watched.news().await else { return Ok(()) };
        if let Some(workspace) = news {
            let event = Event { kind: "data".to_owned(), data: Some(workspace) };
            outlet.send(serde_json::to_string(&event).unwrap_or_default()).await?;
        }
        if outlet.turn(&mut pace, &watched.topics, Some(r#"{"type":"ping"}"#)).await? == Turn::Stop {
            return Ok(());
        }
    }
}

/// Watches a workspace by server-sent events: all of it, at first and whenever something about it changed.
pub(crate) async fn events(
    State(api): State<Shared>,
    caller: Authenticated,
    Segment(id): Segment<WorkspaceId>,
    uri: Uri,
) -> Answer<Raw<Events<Workspace>>> {
    let (pace, watched) = open(&api, &caller, id).await?;
    held_here(&api, &uri)?;
    Ok(Sse::new(stream_of(pace, watched)).into_response().into())
}

/// Events of the types `data` and `ping`, as the frames of the websocket have them.
fn stream_of(pace: Pace, watched: Watched) -> impl Stream<Item = Result<sse::Event, Infallible>> + Send {
    stream::unfold((pace, watched, Some(Turn::Read)), |(mut pace, mut watched, mut first)| async move {
        loop {
            let turn = match first.take() {
                Some(turn) => turn,
                None => pace.turn(&watched.topics).await,
            };
            let event = match turn {
                Turn::Stop => return None,
                Turn::Beat => sse::Event::default().event("ping").data(""),
                Turn::Read => match watched.news().await.ok()? {
                    Some(workspace) => sse::Event::default().event("data").json_data(&workspace).ok()?,
                    None => continue,
                },
            };
            return Some((Ok(event), (pace, watched, None)));
        }
    })
}
