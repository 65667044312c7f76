//! What agents' metadata scripts said: taken from agents, kept in memory only, and told to whoever watches. Nothing of it is written.
//!
//! Where this process holds no connection open (on AWS) nobody can watch here, and the routes are 404: clients then show no metadata.

use crate::{
    Shared, Topic,
    agent::readable,
    answer::{Events, Frames, Raw},
    body::{Json, Segment},
    error::{Answer, ApiError},
    session::{Authenticated, CallingAgent},
    socket::{Gone, Outlet, Pace, Turn, Upgrade},
};
use axum::{
    extract::State,
    response::{IntoResponse, Sse, sse},
};
use berth_domain::{
    AgentId, Timestamp,
    limit::{METADATA_BLOCKS_MAX, METADATA_VALUE_BYTES_MAX},
};
use berth_wire::{
    agent::{MetadataDescription, MetadataEvent, MetadataReport, MetadataResult, MetadataValue},
    runner,
    workspace::Event,
};
use futures_util::{Stream, stream};
use http::StatusCode;
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    convert::Infallible,
    sync::{Mutex, PoisonError},
};

/// How many agents' values are kept; beyond that all are forgotten, and told again within the scripts' intervals.
const AGENTS_MAX: usize = 10_000;

/// The latest values, by agent and key.
#[derive(Debug, Default)]
pub(crate) struct Values(Mutex<HashMap<AgentId, BTreeMap<String, MetadataValue>>>);

impl Values {
    fn keep(&self, agent: AgentId, values: Vec<MetadataValue>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= AGENTS_MAX && !kept.contains_key(&agent) {
            kept.clear();
        }
        let own = kept.entry(agent).or_default();
        own.extend(values.into_iter().map(|value| (value.key.clone(), value)));
    }

    fn of(&self, agent: AgentId) -> BTreeMap<String, MetadataValue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&agent).cloned().unwrap_or_default()
    }
}

/// Takes what an agent's metadata scripts said. Only keys that its template declares are kept.
pub(crate) async fn report(
    State(api): State<Shared>,
    CallingAgent(caller): CallingAgent,
    Json(report): Json<MetadataReport>,
) -> Answer<StatusCode> {
    let (agent, _) = &*caller;
    if report.values.len() > METADATA_BLOCKS_MAX {
        return Err(ApiError::too_large(format!("more than {METADATA_BLOCKS_MAX} values in one request")));
    }
    let declared = |key: &str| agent.definition.metadata.iter().any(|block| block.key == key);
    if let Some(stranger) = report.values.iter().find(|value| !declared(&value.key)) {
        let key: String = stranger.key.chars().take(64).collect();
        return Err(ApiError::field("values", format!("{key:?} is no key of the agent's metadata")));
    }
    let mut values = report.values;
    for value in &mut values {
        cut(&mut value.value);
        cut(&mut value.error);
    }
    api.metadata.keep(agent.id, values);
    api.app.changes.poke(Topic::Agent(agent.id));
    Ok(StatusCode::NO_CONTENT)
}

fn cut(text: &mut String) {
    text.truncate(text.floor_char_boundary(METADATA_VALUE_BYTES_MAX));
}

/// An agent whose metadata is watched, and what was last told of it.
struct Watched {
    api: Shared,
    id: AgentId,
    blocks: Vec<runner::Metadata>,
    told: Option<BTreeMap<String, MetadataValue>>,
    topics: HashSet<Topic>,
}

impl Watched {
    async fn open(api: &Shared, caller: &Authenticated, id: AgentId) -> Answer<(Pace, Self)> {
        if api.app.config.sockets_url.is_some() {
            return Err(ApiError::new(StatusCode::NOT_FOUND, "this deployment does not keep agents' metadata"));
        }
        let pace = Pace::new(api, caller);
        let (agent, _) = readable(api, &caller.0, id).await?;
        let topics = HashSet::from([Topic::Agent(id)]);
        Ok((pace, Self { api: Shared::clone(api), id, blocks: agent.definition.metadata, told: None, topics }))
    }

    /// All blocks, if one of them has another value than was told.
    fn news(&mut self) -> Option<Vec<MetadataEvent>> {
        let values = self.api.metadata.of(self.id);
        if self.told.as_ref() == Some(&values) {
            return None;
        }
        let now = self.api.now();
        let events = self.blocks.iter().map(|block| event(block, values.get(&block.key), now)).collect();
        self.told = Some(values);
        Some(events)
    }
}

/// One block as clients see it. The script's text is the agent's alone: it may hold what only the agent should read.
fn event(block: &runner::Metadata, value: Option<&MetadataValue>, now: Timestamp) -> MetadataEvent {
    let result = match value {
        Some(value) => MetadataResult {
            collected_at: value.collected_at,
            age: now.duration_since(value.collected_at).as_secs().max(0),
            value: value.value.clone(),
            error: value.error.clone(),
        },
        None => MetadataResult::default(),
    };
    let description = MetadataDescription {
        display_name: block.display_name.clone(),
        key: block.key.clone(),
        script: String::new(),
        interval: block.interval,
        timeout: block.timeout,
    };
    MetadataEvent { result, description }
}

/// Watches an agent's metadata by websocket: all blocks, at first and whenever one of them has another value.
pub(crate) async fn socket(
    State(api): State<Shared>,
    caller: Authenticated,
    Segment(id): Segment<AgentId>,
    upgrade: Upgrade,
) -> Answer<Raw<Frames<Event<Vec<MetadataEvent>>>>> {
    let (pace, mut watched) = Watched::open(&api, &caller, id).await?;
    let accepted = upgrade.accept(move |mut outlet| async move {
        if let Ok(()) = tell(&mut outlet, pace, &mut watched).await {
            outlet.close(Turn::Stop).await;
        }
    });
    accepted.map(Raw::from)
}

/// A quiet socket gets pings of the websocket, not frames: clients take each frame for data.
async fn tell(outlet: &mut Outlet, mut pace: Pace, watched: &mut Watched) -> Result<(), Gone> {
    loop {
        if let Some(events) = watched.news() {
            let event = Event { kind: "data".to_owned(), data: Some(events) };
            outlet.send(serde_json::to_string(&event).unwrap_or_default()).await?;
        }
        if outlet.turn(&mut pace, &watched.topics, None).await? == Turn::Stop {
            return Ok(());
        }
    }
}

/// Watches an agent's metadata by server-sent events: all blocks, at first and whenever one of them has another value.
pub(crate) async fn events(
    State(api): State<Shared>,
    caller: Authenticated,
    Segment(id): Segment<AgentId>,
) -> Answer<Raw<Events<Vec<MetadataEvent>>>> {
    let (pace, watched) = Watched::open(&api, &caller, id).await?;
    Ok(Sse::new(stream_of(pace, watched)).into_response().into())
}

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
                Turn::Read => match watched.news() {
                    Some(events) => sse::Event::default().event("data").json_data(&events).ok()?,
                    None => continue,
                },
            };
            return Some((Ok(event), (pace, watched, None)));
        }
    })
}
