//! How jobs end: with a result, by cancellation, or because their runner was lost. Each is one transaction that changes the job's row
//! and the row that shows it, so that nobody ever sees one without the other.

use std::collections::BTreeSet;

use berth_domain::{AgentId, DryRunId, JobStatus, Timestamp, Transition, WorkspaceId};
use berth_wire::runner;

use crate::{
    Agent, Build, CancelError, DryRun, FinishError, Home, JobId, JobRecord, JobResult, LeaseError, Lost, LostOutcome, Resource,
    RunnerSession, Store, TableError, Version, Workspace, agent, dry_run,
    lease::{self, contention, show},
    schedule,
    table::{RACES_MAX, Row, WriteError, pause},
    template, timing,
    version::{self, Imported},
    workspace,
    write::Write,
};

/// The most agents of one build: each is three rows of the one transaction, and so are those that it replaces.
pub const AGENTS_MAX: usize = 15;

impl Store {
    /// Ends a job with its runner's result: what was built is shown, agents may speak or are silenced, the workspace is free for the
    /// next build; after a successful delete its name is free too. Two reads and one transaction. The same session may say it again.
    ///
    /// # Errors
    /// When the session does not hold the job, or the result names agents that are not the workspace's.
    pub async fn finish(&self, session: &RunnerSession, result: JobResult, now: Timestamp) -> Result<(), FinishError> {
        let id = session.job;
        for attempt in 0..RACES_MAX {
            let row = self.job_row(id).await?.ok_or(FinishError::Missing(id))?;
            let next = match row.value.finished(session, &result.outcome, now) {
                Ok(Some(next)) => next,
                Ok(None) => return Ok(()),
                Err(LeaseError::Table(error)) => return Err(error.into()),
                Err(_) => return Err(FinishError::Lost(id)),
            };
            let mut plan = Plan { writes: vec![lease::replace(row.version, &next)?], owners: Vec::new() };
            if next.kept_until().is_none() {
                plan.writes.extend(timing::insert(id, &result.timings)?);
            }
            match next.home {
                Home::Version(_) => plan.writes.push(self.finished_import(&next, &result, now).await?),
                Home::Workspace { id, .. } => self.finished_build(&mut plan, (id, &next), &result, now).await?,
                Home::Repair { id, workspace } => {
                    plan.writes.extend(self.ended_repair((id, workspace), &next, result.found.clone()).await?);
                }
                Home::DryRun(id) => plan.writes.push(self.finished_dry_run((id, &next), &result, now).await?),
            }
            match self.table.transact(plan.writes).await {
                Ok(()) => return Ok(()),
                Err(WriteError::Table(error)) => return Err(error.into()),
                Err(WriteError::Refused { at }) => match plan.owners.iter().find(|(position, _)| *position == at) {
                    Some((_, agent)) => return Err(FinishError::ForeignAgent(agent.0)),
                    None => pause(attempt).await,
                },
            }
        }
        Err(contention(id).into())
    }

    async fn finished_import(&self, job: &JobRecord, result: &JobResult, now: Timestamp) -> Result<Write, TableError> {
        let Home::Version(id) = job.home else { return Err(contention(job.id)) };
        let row = self.table.get::<Version>(&version::key(id)).await?.ok_or_else(|| contention(job.id))?;
        let mut version = Version { job: job.job.clone(), updated_at: now, ..row.value };
        if let Some(found) = &result.imported {
            version.imported = Imported::remembered(id, found, version.imported.modules.take(), now);
        }
        version::replace(row.version, &version)
    }

    async fn finished_dry_run(
        &self,
        (id, job): (DryRunId, &JobRecord),
        result: &JobResult,
        now: Timestamp,
    ) -> Result<Write, TableError> {
        let row = self.table.get::<DryRun>(&dry_run::key(id)).await?.ok_or_else(|| contention(job.id))?;
        let remember = |(position, resource)| Resource::remembered(id.0, position, resource, now);
        let resources = result.resources.iter().enumerate().map(remember).collect();
        let dry_run = DryRun { job: job.job.clone(), updated_at: now, resources, ..row.value };
        dry_run::replace(row.version, &dry_run)
    }

    async fn finished_build(
        &self,
        plan: &mut Plan,
        (id, job): (WorkspaceId, &JobRecord),
        result: &JobResult,
        now: Timestamp,
    ) -> Result<(), FinishError> {
        let (row, agents) = self.workspace_rows(id).await?;
        let row = row.ok_or_else(|| contention(job.id))?;
        let was_live = row.value.live_build.is_some();
        let (stopped_at, mut workspace) = (row.value.stops_at(), row.value);
        show(job, &mut workspace, now);
        let build = &mut workspace.latest_build;
        let remember = |(position, resource)| Resource::remembered(build.id.0, position, resource, now);
        build.resources = result.resources.iter().enumerate().map(remember).collect();
        if job.job.status == JobStatus::Succeeded {
            workspace.live_build = (build.transition == Transition::Start).then_some(build.id);
            workspace.deleted = build.transition == Transition::Delete;
            if workspace.live_build.is_some() {
                workspace.set_deadlines(workspace.latest_build.policy.deadlines(now, workspace.ttl_ms));
            }
            let wanted = if workspace.live_build.is_some() { result.resources.as_slice() } else { &[] };
            plan.agents(&workspace, wanted, (agents, was_live), now)?;
        }
        plan.writes.push(workspace::replace(row.version, &workspace)?);
        plan.writes.extend(schedule::rewritten(stopped_at, &workspace)?);
        if workspace.deleted {
            plan.writes.push(Write::delete(workspace::name_key(workspace.owner, &workspace.name)));
            plan.writes.push(Write::count(template::key(workspace.template), -1));
        }
        Ok(())
    }

    /// Fails a job if what is said of its runner is true; the old holder's writes are refused from here on. Three reads and a
    /// transaction; only the first read when it is not true.
    ///
    /// # Errors
    /// When the table fails.
    pub async fn fail_lost(&self, id: JobId, lost: &Lost, now: Timestamp) -> Result<LostOutcome, TableError> {
        for attempt in 0..RACES_MAX {
            let Some(row) = self.job_row(id).await? else { return Ok(LostOutcome::Missing) };
            let next = match row.value.lost(lost, now) {
                Ok(next) => next,
                Err(outcome) => return Ok(outcome),
            };
            if self.ended_without_result(row.version, &next, now).await? {
                return Ok(LostOutcome::Failed);
            }
            pause(attempt).await;
        }
        Err(contention(id))
    }

    /// Cancels a job: at once while it waits, by the next heartbeat's answer while it runs. Says where it stands then. Two or three reads
    /// and a transaction; asking again costs one read.
    ///
    /// # Errors
    /// When there is none or it has ended.
    pub async fn cancel(&self, id: JobId, now: Timestamp) -> Result<JobStatus, CancelError> {
        for attempt in 0..RACES_MAX {
            let row = self.job_row(id).await?.ok_or(CancelError::Missing(id))?;
            if row.value.job.status == JobStatus::Canceling {
                return Ok(JobStatus::Canceling);
            }
            let next = row.value.canceled(now)?;
            let done = if next.job.status.is_active() {
                let (_, shown) = self.shown(&next, now).await?;
                self.transacted(vec![lease::replace(row.version, &next)?, shown]).await?
            } else {
                self.ended_without_result(row.version, &next, now).await?
            };
            if done {
                return Ok(next.job.status);
            }
            pause(attempt).await;
        }
        Err(contention(id).into())
    }

    /// Ends a job about whose doing nothing is known: its build shows what the build before it had made.
    async fn ended_without_result(&self, at: u64, job: &JobRecord, now: Timestamp) -> Result<bool, TableError> {
        let (id, number) = match job.home {
            Home::Workspace { id, number } => (id, number),
            Home::Version(_) | Home::DryRun(_) => {
                let (_, shown) = self.shown(job, now).await?;
                return self.transacted(vec![lease::replace(at, job)?, shown]).await;
            }
            Home::Repair { id, workspace } => {
                let mut writes = self.ended_repair((id, workspace), job, Vec::new()).await?;
                writes.push(lease::replace(at, job)?);
                return self.transacted(writes).await;
            }
        };
        let earlier = self.build_by_number(id, number.saturating_sub(1)).await?.map(|build: Build| build.resources);
        let row = self.table.get::<Workspace>(&workspace::key(id)).await?.ok_or_else(|| contention(job.id))?;
        let (stopped_at, mut workspace) = (row.value.stops_at(), row.value);
        show(job, &mut workspace, now);
        workspace.latest_build.resources = earlier.unwrap_or_default();
        let mut writes = vec![lease::replace(at, job)?, workspace::replace(row.version, &workspace)?];
        writes.extend(schedule::rewritten(stopped_at, &workspace)?);
        self.transacted(writes).await
    }
}

/// The writes of one finish, and which of them claim an agent's id or token for its workspace.
struct Plan {
    writes: Vec<Write>,
    owners: Vec<(usize, AgentId)>,
}

impl Plan {
    /// Lets the `wanted` agents speak and silences the others that there `were`. An agent that lives on, with the same id and token and
    /// without a stop between, keeps what it said; any other begins anew.
    fn agents(
        &mut self,
        workspace: &Workspace,
        wanted: &[runner::Resource],
        (were, was_live): (Vec<Row<Agent>>, bool),
        now: Timestamp,
    ) -> Result<(), FinishError> {
        let build = &workspace.latest_build;
        let mut ids = BTreeSet::new();
        for (resource, kept) in wanted.iter().zip(&build.resources) {
            for definition in &resource.agents {
                let fresh = agent::fresh((workspace, build.id), kept.id, definition, now);
                if !ids.insert(fresh.id) {
                    return Err(FinishError::ForeignAgent(fresh.id.0));
                }
                let before = were.iter().find(|row| row.value.id == fresh.id);
                self.agent(fresh, before.filter(|_| was_live), before)?;
            }
        }
        if ids.len() > AGENTS_MAX {
            return Err(FinishError::TooManyAgents { count: ids.len(), limit: AGENTS_MAX });
        }
        for row in were.iter().filter(|row| !ids.contains(&row.value.id)) {
            self.writes.extend(agent::silenced(&row.value, now)?);
        }
        Ok(())
    }

    fn agent(&mut self, fresh: Agent, living: Option<&Row<Agent>>, before: Option<&Row<Agent>>) -> Result<(), TableError> {
        let agent = match living {
            // One without a token in its template has got its own, for the boot of its machine.
            Some(living) if fresh.token.is_none() || living.value.token == fresh.token => agent::living_on(fresh, &living.value),
            _ => fresh,
        };
        self.writes.push(match before {
            Some(row) => Write::replace(row.key.clone(), row.version, &agent)?,
            None => Write::insert(agent::key(agent.workspace, agent.id), &agent)?,
        });
        for pointer in agent::pointers(&agent)? {
            self.owners.push((self.writes.len(), agent.id));
            self.writes.push(pointer);
        }
        Ok(())
    }
}
