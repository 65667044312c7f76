//! What agents report of scripts and apps. Only a change of state is written; a repeat writes nothing.
//!
//! Scripts that run before a workspace stops have a second reader: whoever waits for the stop. What they print, and how they end, are lines of
//! the build's log too, for the agent's own log ends with the agent.

use crate::{
    Api, Shared, Topic,
    body::Json,
    error::{Answer, ApiError},
    session::CallingAgent,
};
use axum::extract::State;
use berth_domain::{AppHealth, LogLevel, ScriptStage, ScriptStatus, Timestamp, Transition};
use berth_store::{Agent, JobId, Store, Workspace};
use berth_wire::{
    agent::{AppHealthReport, Line, ScriptCompleted},
    runner::Script,
};
use http::StatusCode;

/// The stage of a build's log under which stop scripts speak.
const STAGE: &str = "Stop scripts";

/// Takes an agent's word of how a script ran. A run on a schedule is not kept: its outcome is in the agent's log.
pub(crate) async fn script_completed(
    State(api): State<Shared>,
    CallingAgent(caller): CallingAgent,
    Json(run): Json<ScriptCompleted>,
) -> Answer<StatusCode> {
    let (agent, workspace) = &*caller;
    let script = agent.definition.scripts.iter().find(|script| script.id == run.script_id);
    let script = script.ok_or_else(|| ApiError::field("script_id", "is no script of the agent"))?;
    if run.stage == ScriptStage::Cron {
        return Ok(StatusCode::NO_CONTENT);
    }
    api.store().agent_script(agent, run, api.now()).await?;
    api.app.changes.poke(Topic::Agent(agent.id));
    if run.stage == ScriptStage::Stop {
        let level = if run.status == ScriptStatus::Ok { LogLevel::Info } else { LogLevel::Warn };
        tell_build(&api, workspace, vec![(run.ended_at, level, outcome(agent, script, run))]).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// How a script ended, for who waits for the stop.
fn outcome(agent: &Agent, script: &Script, run: ScriptCompleted) -> String {
    let took = run.ended_at.duration_since(run.started_at).as_secs_f64();
    let how = match run.status {
        ScriptStatus::Ok => format!("ended well after {took:.1} s"),
        ScriptStatus::PipesLeftOpen => format!("ended well after {took:.1} s, but left its output open in the background"),
        ScriptStatus::TimedOut => format!("was ended after {took:.1} s: its limit is {} s", script.timeout_seconds),
        ScriptStatus::ExitFailure => format!("failed after {took:.1} s with exit code {}", run.exit_code),
    };
    format!("{}: {} {how}", agent.definition.name, script.display_name)
}

/// An agent has begun to run its stop scripts.
pub(crate) async fn stop_scripts_run(api: &Api, (agent, workspace): &(Agent, Workspace), since: Timestamp) -> Answer<()> {
    let count = agent.definition.scripts.iter().filter(|script| script.run_on_stop).count();
    if count == 0 {
        return Ok(());
    }
    let scripts = if count == 1 { "its stop script" } else { &format!("its {count} stop scripts") };
    let text = format!("{} runs {scripts}", agent.definition.name);
    tell_build(api, workspace, vec![(since, LogLevel::Info, text)]).await
}

/// Lines of an agent's log that belong into the log of the build that stops it, too: those of its stop scripts.
pub(crate) async fn stop_scripts_say(
    api: &Api,
    (agent, workspace): &(Agent, Workspace),
    (source, lines): (uuid::Uuid, &[Line]),
) -> Answer<()> {
    let is_of_stop = agent.definition.scripts.iter().any(|script| script.run_on_stop && script.id == source);
    if !is_of_stop || !is_ending(workspace) {
        return Ok(());
    }
    let lines = lines.iter().map(|line| (line.created_at, line.level, line.output.clone()));
    tell_build(api, workspace, lines.collect()).await
}

fn is_ending(workspace: &Workspace) -> bool {
    let build = &workspace.latest_build;
    build.transition != Transition::Start && build.job.status.is_active()
}

/// Adds lines to the log of the build that takes the workspace down, if there is one at work.
async fn tell_build(api: &Api, workspace: &Workspace, lines: Vec<(Timestamp, LogLevel, String)>) -> Answer<()> {
    if !is_ending(workspace) || lines.is_empty() {
        return Ok(());
    }
    let job = JobId::Build(workspace.latest_build.id);
    let lines = lines.into_iter().map(|(at, level, text)| Store::own_line(level, STAGE, &text, at)).collect();
    api.store().append_logs(job, lines).await?;
    api.poke_job(job);
    Ok(())
}

/// Takes an agent's word that apps answer, or do not any more.
pub(crate) async fn app_health(
    State(api): State<Shared>,
    CallingAgent(caller): CallingAgent,
    Json(report): Json<AppHealthReport>,
) -> Answer<StatusCode> {
    let (agent, _) = &*caller;
    for (app, health) in &report.healths {
        let is_checked = |known: &&berth_wire::runner::App| known.id == *app && !known.healthcheck.url.is_empty();
        if agent.definition.apps.iter().find(is_checked).is_none() {
            return Err(ApiError::field("healths", format!("{app} is no app of the agent that has a health check")));
        }
        if *health == AppHealth::Disabled {
            return Err(ApiError::field("healths", "cannot be disabled for an app that has a health check"));
        }
    }
    if !report.healths.is_empty() {
        api.store().agent_apps(agent, &report, api.now()).await?;
        api.app.changes.poke(Topic::Agent(agent.id));
    }
    Ok(StatusCode::NO_CONTENT)
}
