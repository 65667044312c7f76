//! Building a workspace: one `terraform apply`, its state pushed as it grows, and a report of what there is now.

use std::collections::BTreeSet;

use berth_domain::Transition;
use berth_wire::runner::{Build, Finish, Outcome};
use bytes::Bytes;

use crate::{
    environment, frozen, gate,
    lease::{Stop, Stops},
    resources::{self, State},
    state::{PushError, Pusher, Version},
    terraform::Ended,
    work::{Done, Ready, Work, report},
};

/// The saved plan's file name.
const PLAN_FILE: &str = "zz_berth.plan";

/// Builds the workspace. Every version of the state is at the API before this answers, unless it says otherwise.
pub(crate) async fn run(mut work: Work, build: &Build) -> Done {
    match steps(&mut work, build).await {
        Ok(done) | Err(done) => done,
    }
}

async fn steps(work: &mut Work, build: &Build) -> Result<Done, Done> {
    let fetched = work.unless_stopped(async { tokio::join!(work.archive(), work.state()) }).await?;
    if build.transition == Transition::Delete && build.orphan {
        // Whatever is wrong with the template or the state: a person can always be rid of the workspace.
        let state = fetched.1.ok().flatten().and_then(|bytes| State::parse(&bytes).ok());
        return Ok(forget(work, build, state.as_ref()).await);
    }
    let state = fetched.1?;
    let known = match &state {
        Some(bytes) => Some(State::parse(bytes).map_err(|error| work.failed(error.to_string()))?),
        None => None,
    };
    let is_empty = known.as_ref().is_none_or(State::is_empty);
    if build.transition == Transition::Delete && is_empty {
        return Ok(forget(work, build, known.as_ref()).await);
    }
    let laid = async { work.room(fetched.0?, state.clone()).await };
    let ((), room) = tokio::join!(end_unwanted(work, build, known.as_ref()), laid);
    let mut room = room?;
    room.write_variables(&build.variables)
        .and_then(|()| room.write_imports(&build.imports))
        .map_err(|error| work.failed(format!("cannot prepare the working directory: {error}")))?;
    frozen::lay(work, &build.frozen, &mut room).await?;
    let mut ready = work.ready(room, environment::of_build(&work.config, build)).await?;
    ready.run.environment.extend(environment::tags(build));
    apply(work, build, &mut ready, state).await
}

/// A delete without Terraform: there is nothing to destroy, or the person asked to leave it. Never fails, so that a workspace whose
/// template no longer works can still go.
async fn forget(work: &Work, build: &Build, state: Option<&State>) -> Done {
    work.log.stage("Destroying");
    let left: Vec<_> = state.map(State::nodes).unwrap_or_default().into_iter().filter(resources::Node::is_holder).collect();
    if left.is_empty() {
        work.log.say("Nothing to destroy");
        end_strays(work, build, &BTreeSet::new()).await;
    } else {
        work.log.warn("These resources are forgotten and go on running, and costing, until someone removes them:");
        left.iter().for_each(|node| work.log.warn(&format!("  {} {}", node.address, node.text("id"))));
    }
    Done::finish(Outcome::Succeeded)
}

async fn apply(work: &Work, build: &Build, ready: &mut Ready, state: Option<Bytes>) -> Result<Done, Done> {
    if let Some(level) = build.log_level.as_deref().filter(|level| matches!(*level, "trace" | "debug" | "info" | "warn" | "error"))
    {
        ready.run.environment.insert("TF_LOG".into(), level.to_ascii_uppercase().into());
    }
    let is_planned = look(work, build, ready).await?;
    let mut arguments = vec!["apply", "-json", "-auto-approve", "-input=false", "-backup=-"];
    let mut stage = "Applying";
    if build.transition == Transition::Delete {
        arguments.push("-destroy");
        stage = "Destroying";
    }
    if is_planned {
        arguments.push(PLAN_FILE);
    }
    let stored = state.as_deref().and_then(Version::of);
    let pusher = Pusher::new(&ready.room.directory(), work.client.clone(), work.stops.clone(), stored).watch(work.progress.clone());
    let ended = work.command(ready, stage, &arguments).await;
    // The log leaves beside the last state.
    work.log.flush();
    let pushed = pusher.finish().await;
    let ended = ended?;
    if pushed == Err(PushError::Lost) {
        return Err(Done::Stopped(Stop::Lost));
    }
    if ended.is_success() && build.transition == Transition::Delete {
        end_strays(work, build, &BTreeSet::new()).await;
    }
    let mut finish = finish(work, build.transition, ready, &ended);
    if pushed.is_err() && finish.outcome == Outcome::Succeeded {
        let error = PushError::Failed.to_string();
        work.log.fail(&error);
        finish.outcome = Outcome::Failed { error };
    }
    Ok(Done::Finish(Box::new(finish)))
}

/// Looks at the plan first where a rule asks for it; true when there is a saved one to apply, exactly as it was looked at.
async fn look(work: &Work, build: &Build, ready: &mut Ready) -> Result<bool, Done> {
    let Some(gate) = build.gate.filter(|_| build.transition != Transition::Delete) else { return Ok(false) };
    let out = format!("-out={PLAN_FILE}");
    let ended = work.command(ready, "Planning", &["plan", "-json", "-input=false", &out]).await?;
    if !ended.is_success() {
        return Err(Done::Finish(Box::new(finish(work, build.transition, ready, &ended))));
    }
    let shown = work.unless_stopped(ready.run.output(&["show", "-json", PLAN_FILE])).await?;
    let (status, json) = shown.map_err(|error| work.failed(error.to_string()))?;
    if !status.success() {
        return Err(work.failed("terraform show could not read the plan".to_owned()));
    }
    let findings = gate::read(&json, build.transition).map_err(|error| work.failed(error.to_string()))?;
    let Some(outcome) = gate::refusal(gate, &findings, build) else { return Ok(true) };
    findings.losses.iter().filter(|_| gate.keep).for_each(|loss| work.log.warn(&loss.words()));
    let known = ready.room.state().and_then(|state| resources::read(&state).ok()).unwrap_or_default();
    if let Outcome::Refused { error, .. } = &outcome {
        work.log.fail(error);
    }
    Err(Done::Finish(Box::new(Finish { resources: known.resources, ..report(outcome) })))
}

/// The outcome, and what the state holds now, whatever the outcome.
fn finish(work: &Work, transition: Transition, ready: &Ready, ended: &Ended) -> Finish {
    let read = ready.room.state().map(|state| resources::read(&state)).unwrap_or_else(|| Ok(resources::Reading::default()));
    let mut outcome = outcome(work, ended);
    match &outcome {
        Outcome::Failed { .. } if ended.is_explained() && !ended.was_asked => {}
        Outcome::Failed { error } | Outcome::Refused { error, .. } => work.log.fail(error),
        Outcome::Canceled => work.log.warn("the build was canceled"),
        Outcome::Succeeded => {}
    }
    let reading = read.unwrap_or_else(|error| {
        if outcome == Outcome::Succeeded {
            work.log.fail(&error.to_string());
            outcome = Outcome::Failed { error: error.to_string() };
        }
        resources::Reading::default()
    });
    // Only a whole start has all that its agents and metadata belong to.
    if transition == Transition::Start && outcome == Outcome::Succeeded {
        reading.warnings.iter().for_each(|warning| work.log.warn(warning));
    }
    Finish { resources: reading.resources, ..report(outcome) }
}

fn outcome(work: &Work, ended: &Ended) -> Outcome {
    if ended.is_success() {
        return Outcome::Succeeded;
    }
    match work.stops.now().filter(|_| ended.was_asked) {
        Some(stop) => stopped(stop, &work.stops),
        None => Outcome::Failed { error: ended.error() },
    }
}

/// The outcome of a job that ended before its time.
#[must_use]
pub(crate) fn stopped(stop: Stop, stops: &Stops) -> Outcome {
    let failed = |error: &str| Outcome::Failed { error: error.to_owned() };
    match stop {
        Stop::Silent | Stop::Overdue => failed(stops.reason().unwrap_or("the build was ended: it took too long")),
        Stop::Canceled => Outcome::Canceled,
        Stop::Told => failed("the runner was told to stop"),
        Stop::Unreachable => failed("the runner could not reach the API until its lease ended"),
        Stop::Lost => failed("the runner lost its lease"),
    }
}

/// The ids of the `berth_process` resources that a state knows.
fn processes(state: Option<&State>) -> BTreeSet<String> {
    let nodes = state.map(State::nodes).unwrap_or_default();
    nodes.iter().filter(|node| node.kind == "berth_process").map(|node| node.text("id").to_owned()).collect()
}

/// Ends what an earlier build left and this one neither knows nor takes over. Before a workspace's first build there was none.
async fn end_unwanted(work: &Work, build: &Build, known: Option<&State>) {
    if work.is_first_claim && build.build_number == 1 {
        return;
    }
    let mut wanted = processes(known);
    wanted.extend(build.imports.iter().map(|one| one.id.clone()));
    end_strays(work, build, &wanted).await;
}

/// Laptop mode: a build that was killed may have left a process that no state knows.
async fn end_strays(work: &Work, build: &Build, known: &BTreeSet<String>) {
    if work.config.process_root.is_none() {
        return;
    }
    match berth_provider::end_strays(&build.workspace_id.to_string(), known).await {
        Ok(0) => {}
        Ok(count) => work.log.warn(&format!("ended {count} processes that an interrupted build had left")),
        Err(error) => work.log.warn(&format!("processes that an interrupted build left may still run: {error}")),
    }
}
