//! Followed logs: the lines there are after one, then those that come, until the job has ended or the agent was replaced.

use super::{
    Live,
    outlet::{End, Gone, Outlet, Upgrade},
    pace::{Pace, Turn},
    refusal,
};
use crate::{
    refusal::Refusal,
    upstream::{AskError, Credentials},
};
use axum::{
    extract::{OriginalUri, Query, State, rejection::QueryRejection},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use berth_wire::domain::JobStatus;
use serde::Deserialize;
use serde_json::value::RawValue;

/// How many lines are read at once; of 8 kB at the most, so that they fit the 6 MB that a function can answer with.
const LINES_AT_ONCE: usize = 400;

/// What of a log is asked for.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Asked {
    /// Lines after this one; -1 is from the start, as in Coder.
    #[serde(default)]
    after: i64,
    /// Present, and neither `false` nor `0`.
    follow: Option<String>,
}

impl Asked {
    fn follows(&self) -> bool {
        self.follow.as_deref().is_some_and(|follow| !matches!(follow, "false" | "0"))
    }
}

/// A line as the API wrote it; it is sent on untouched.
type Line = Box<RawValue>;

/// What the relay reads of a line.
#[derive(Deserialize)]
struct Position {
    id: u64,
}

/// What the relay reads of what a log is of: a build, a version or a repair has a job, a dry run is one. (A build's own `status` is its
/// workspace's.)
#[derive(Deserialize)]
#[serde(untagged)]
enum OfJob {
    Has { job: Status },
    Is(Status),
}

#[derive(Deserialize)]
struct Status {
    status: JobStatus,
}

impl OfJob {
    const fn is_active(&self) -> bool {
        match self {
            Self::Has { job } | Self::Is(job) => job.status.is_active(),
        }
    }
}

/// A log on its way to a follower.
struct Followed {
    live: Live,
    caller: Credentials,
    /// The log's path.
    path: String,
    /// The last line that was sent.
    after: u64,
}

pub(crate) async fn of_job(
    State(live): State<Live>,
    OriginalUri(uri): OriginalUri,
    query: Result<Query<Asked>, QueryRejection>,
    headers: HeaderMap,
    upgrade: Upgrade,
) -> Result<Response, Refusal> {
    serve(live, uri, (query.ok(), upgrade), &headers, Kind::Job).await
}

pub(crate) async fn of_agent(
    State(live): State<Live>,
    OriginalUri(uri): OriginalUri,
    query: Result<Query<Asked>, QueryRejection>,
    headers: HeaderMap,
    upgrade: Upgrade,
) -> Result<Response, Refusal> {
    serve(live, uri, (query.ok(), upgrade), &headers, Kind::Agent).await
}

/// Whose log it is: of a job, a line per frame; or of an agent, an array of lines per frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Job,
    Agent,
}

async fn serve(
    live: Live,
    uri: axum::http::Uri,
    (query, upgrade): (Option<Query<Asked>>, Upgrade),
    headers: &HeaderMap,
    kind: Kind,
) -> Result<Response, Refusal> {
    let Some(Query(asked)) = query.filter(|query| query.follows()) else {
        return live.pass(uri.path(), uri.query().unwrap_or_default(), headers).await;
    };
    let agreed = upgrade.wanted()?;
    let caller = Credentials::of(headers);
    let place = live.seat(&caller)?;
    let pace = Pace::new(&live);
    let after = u64::try_from(asked.after).unwrap_or(0);
    let mut log = Followed { live, caller, path: uri.path().to_owned(), after };
    // Before the answer: whoever may not read it is told so, and gets no socket.
    let first = log.lines().await.map_err(|error| refusal(&error))?;
    Ok(agreed.accept(move |mut outlet| async move {
        let _place = place;
        let ended = match log.send(&mut outlet, first, kind).await {
            Ok(()) => log.follow(&mut outlet, pace, kind).await,
            Err(Gone) => Err(Gone),
        };
        // Gone: nobody is left to tell.
        if let Ok(end) = ended {
            outlet.close(end).await;
        }
    }))
}

impl Followed {
    /// The next lines, if there are any.
    async fn lines(&self) -> Result<Vec<Line>, AskError> {
        let query = format!("after={}&limit={LINES_AT_ONCE}", self.after);
        self.live.0.api.json(&self.path, &query, &self.caller).await
    }

    async fn send(&mut self, outlet: &mut Outlet, lines: Vec<Line>, kind: Kind) -> Result<(), Gone> {
        if lines.is_empty() {
            return Ok(());
        }
        let last = lines.last().and_then(|line| serde_json::from_str::<Position>(line.get()).ok());
        // A line without a position cannot be followed; the client reconnects after the last one it has.
        self.after = last.ok_or(Gone)?.id;
        match kind {
            Kind::Agent => outlet.send(serde_json::to_string(&lines).unwrap_or_default()).await,
            Kind::Job => {
                for line in lines {
                    outlet.send(line.get().to_owned()).await?;
                }
                Ok(())
            }
        }
    }

    /// Sends what comes, until it is over.
    async fn follow(&mut self, outlet: &mut Outlet, mut pace: Pace, kind: Kind) -> Result<End, Gone> {
        loop {
            let drain = self.live.0.drain.clone();
            let Some(looked) = drain.run_until_cancelled(self.round(outlet, kind)).await else { return Ok(End::Stop) };
            match looked {
                Ok(Round { ended: true, .. }) => return Ok(End::Complete),
                Ok(Round { news, .. }) => pace.told(news),
                Err(Stopped::Gone) => return Err(Gone),
                Err(Stopped::Ask(error)) => match pace.not_told(error) {
                    Ok(()) => {}
                    Err(AskError::Refused(StatusCode::UNAUTHORIZED)) => return Ok(End::Stop),
                    // Deleted, or replaced by a newer build.
                    Err(AskError::Refused(_)) => return Ok(End::Complete),
                    Err(AskError::Away(_) | AskError::Malformed(_)) => return Ok(End::Away),
                },
            }
            if outlet.turn(&mut pace, None).await? == Turn::Stop {
                return Ok(End::Stop);
            }
        }
    }

    /// Everything there is now. The status first: a job that had ended before its log was read to the end has no further lines.
    async fn round(&mut self, outlet: &mut Outlet, kind: Kind) -> Result<Round, Stopped> {
        let ended = kind == Kind::Job && !self.is_active().await.map_err(Stopped::Ask)?;
        let mut news = false;
        loop {
            let lines = self.lines().await.map_err(Stopped::Ask)?;
            if lines.is_empty() {
                return Ok(Round { ended, news });
            }
            news = true;
            self.send(outlet, lines, kind).await.map_err(|Gone| Stopped::Gone)?;
        }
    }

    /// What the log is of is one segment up.
    async fn is_active(&self) -> Result<bool, AskError> {
        let path = self.path.strip_suffix("/logs").unwrap_or(&self.path);
        Ok(self.live.0.api.json::<OfJob>(path, "", &self.caller).await?.is_active())
    }
}

/// What one look at a log found.
struct Round {
    ended: bool,
    news: bool,
}

/// Why a look at a log did not end.
enum Stopped {
    Gone,
    Ask(AskError),
}
