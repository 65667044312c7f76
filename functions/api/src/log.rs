//! Logs of builds, imports and agents: what there is after a line, or that and what comes.

use crate::{
    Shared, Topic, agent,
    answer::{Followed, Raw},
    body::{Asked, Json, Segment},
    build, dry_run,
    error::Answer,
    repair,
    session::Authenticated,
    socket::{Gone, Outlet, Pace, Turn, Upgrade},
    version,
};
use axum::{extract::State, response::IntoResponse};
use berth_domain::{AgentId, BuildId, DryRunId, RepairId, VersionId};
use berth_store::JobId;
use berth_wire::{agent::AgentLog, build::JobLog};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::HashSet;

/// How many lines a follower reads at once.
const LINES_AT_ONCE: usize = 1_000;
/// How many lines one answer holds at most; who wants more asks again with `after`.
const LINES_MAX: usize = 50_000;

/// A job's lines, or one of them in a frame.
type JobLines = Raw<Followed<Vec<JobLog>, JobLog>>;

/// What of a log is asked for.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct Query {
    /// Lines after this one; -1 is from the start, as in Coder.
    #[serde(default)]
    after: i64,
    limit: Option<usize>,
    /// Present, and neither `false` nor `0`.
    follow: Option<String>,
}

impl Query {
    fn follows(&self) -> bool {
        self.follow.as_deref().is_some_and(|follow| !matches!(follow, "false" | "0"))
    }

    fn after(&self) -> u64 {
        u64::try_from(self.after).unwrap_or(0)
    }

    fn limit(&self) -> usize {
        self.limit.filter(|limit| *limit > 0).unwrap_or(LINES_MAX).min(LINES_MAX)
    }
}

/// Reads a build's log: what there is, or with `follow` also what comes.
pub(crate) async fn of_build(
    State(api): State<Shared>,
    caller: Authenticated,
    Segment(id): Segment<BuildId>,
    Asked(query): Asked<Query>,
    upgrade: Upgrade,
) -> Answer<JobLines> {
    build::readable(&api, &caller.0, id).await?;
    of_job(&api, caller, JobId::Build(id), (query, upgrade)).await
}

/// Reads a repair's log: what there is, or with `follow` also what comes.
pub(crate) async fn of_repair(
    State(api): State<Shared>,
    caller: Authenticated,
    Segment(id): Segment<RepairId>,
    Asked(query): Asked<Query>,
    upgrade: Upgrade,
) -> Answer<JobLines> {
    repair::readable(&api, &caller.0, id).await?;
    of_job(&api, caller, JobId::Repair(id), (query, upgrade)).await
}

/// Reads the log of a version's import: what there is, or with `follow` also what comes.
pub(crate) async fn of_version(
    State(api): State<Shared>,
    caller: Authenticated,
    Segment(id): Segment<VersionId>,
    Asked(query): Asked<Query>,
    upgrade: Upgrade,
) -> Answer<JobLines> {
    version::readable(&api, &caller.0, id).await?;
    of_job(&api, caller, JobId::Import(id), (query, upgrade)).await
}

/// Reads a dry run's log: what there is, or with `follow` also what comes.
pub(crate) async fn of_dry_run(
    State(api): State<Shared>,
    caller: Authenticated,
    Segment(ids): Segment<(VersionId, DryRunId)>,
    Asked(query): Asked<Query>,
    upgrade: Upgrade,
) -> Answer<JobLines> {
    let id = dry_run::readable(&api, &caller.0, ids).await?.id;
    of_job(&api, caller, JobId::DryRun(id), (query, upgrade)).await
}

async fn of_job(api: &Shared, caller: Authenticated, job: JobId, (query, upgrade): (Query, Upgrade)) -> Answer<JobLines> {
    if !query.follows() {
        return Ok(Json(api.store().logs(job, query.after(), query.limit()).await?).into_response().into());
    }
    let pace = Pace::new(api, &caller);
    let api = Shared::clone(api);
    let followed = upgrade.accept(move |outlet| async move {
        let _ = follow_job(&api, outlet, pace, (job, query.after())).await; // Gone: nobody is left to tell.
    });
    followed.map(Raw::from)
}

/// Sends each line as a frame, until the job has ended and its last line is sent.
async fn follow_job(api: &Shared, mut outlet: Outlet, mut pace: Pace, (job, mut after): (JobId, u64)) -> Result<(), Gone> {
    let topics = HashSet::from([Topic::Job(job)]);
    loop {
        // The status first: a job that had ended before its log was read to the end has no further lines.
        let Ok(record) = api.store().job(job).await else { return Err(Gone) };
        loop {
            let Ok(lines) = api.store().logs(job, after, LINES_AT_ONCE).await else { return Err(Gone) };
            for line in &lines {
                outlet.send(serde_json::to_string(line).unwrap_or_default()).await?;
                after = line.id;
            }
            if lines.is_empty() {
                break;
            }
        }
        let ended = record.is_none_or(|record| !record.job.status.is_active());
        let turn = if ended { Turn::Read } else { outlet.turn(&mut pace, &topics, None).await? };
        if ended || turn == Turn::Stop {
            outlet.close(turn).await;
            return Ok(());
        }
    }
}

/// Reads an agent's log: what there is, or with `follow` also what comes.
pub(crate) async fn of_agent(
    State(api): State<Shared>,
    caller: Authenticated,
    Segment(id): Segment<AgentId>,
    Asked(query): Asked<Query>,
    upgrade: Upgrade,
) -> Answer<Raw<Followed<Vec<AgentLog>, Vec<AgentLog>>>> {
    agent::readable(&api, &caller.0, id).await?;
    if !query.follows() {
        return Ok(Json(api.store().agent_logs(id, query.after(), query.limit()).await?).into_response().into());
    }
    let pace = Pace::new(&api, &caller);
    let followed = upgrade.accept(move |outlet| async move {
        let _ = follow_agent(&api, outlet, pace, (id, query.after())).await; // Gone: nobody is left to tell.
    });
    followed.map(Raw::from)
}

/// Sends lines in arrays, until a newer build has replaced the agent.
async fn follow_agent(api: &Shared, mut outlet: Outlet, mut pace: Pace, (id, mut after): (AgentId, u64)) -> Result<(), Gone> {
    let topics = HashSet::from([Topic::Agent(id)]);
    loop {
        let Ok(agent) = api.store().agent(id).await else { return Err(Gone) };
        loop {
            let Ok(lines) = api.store().agent_logs(id, after, LINES_AT_ONCE).await else { return Err(Gone) };
            let Some(last) = lines.last() else { break };
            after = last.id;
            outlet.send(serde_json::to_string(&lines).unwrap_or_default()).await?;
        }
        let turn = if agent.is_none() { Turn::Read } else { outlet.turn(&mut pace, &topics, None).await? };
        if agent.is_none() || turn == Turn::Stop {
            outlet.close(turn).await;
            return Ok(());
        }
    }
}
