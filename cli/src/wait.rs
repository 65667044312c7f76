//! Waits for jobs (builds, imports) and agents, and shows what they wait for.

use crate::{
    failure::{Failure, Outcome},
    printer::{Printer, Progress},
    session::Session,
    signal,
};
use berth_client::{Client, ClientError, Follow};
use berth_wire::{
    build::{Build, Job, JobLog},
    domain::{AgentStatus, FailureCode, JobStatus, LogLevel, Transition},
    resource::Agent,
};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

/// How long a deployment that does not answer is asked again.
const PATIENCE: Duration = Duration::from_secs(60);
/// The pause before a broken stream is opened again.
const REOPEN: Duration = Duration::from_millis(500);
/// How often an agent is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// How long an agent that was connected may be away before we give up.
const AWAY: Duration = Duration::from_secs(60);

/// How much of a job's log to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Every line.
    Lines,
    /// The current stage only.
    Stages,
}

/// A job that has a log.
#[derive(Debug, Clone, Copy)]
pub enum JobRef {
    /// A workspace's build.
    Build(Uuid),
    /// A template version's import.
    Version(Uuid),
    /// A workspace's repair.
    Repair(Uuid),
    /// A dry run of a template version.
    DryRun {
        /// The version.
        version: Uuid,
        /// The dry run.
        id: Uuid,
    },
}

impl JobRef {
    async fn follow(self, client: &Client, after: u64) -> Result<Follow<JobLog>, ClientError> {
        match self {
            Self::Build(id) => client.build_logs_follow(id, after).await,
            Self::Version(id) => client.version_logs_follow(id, after).await,
            Self::Repair(id) => client.repair_logs_follow(id, after).await,
            Self::DryRun { version, id } => client.dry_run_logs_follow(version, id, after).await,
        }
    }

    async fn lines(self, client: &Client, after: u64) -> Result<Vec<JobLog>, ClientError> {
        match self {
            Self::Build(id) => client.build_logs(id, after).await,
            Self::Version(id) => client.version_logs(id, after).await,
            Self::Repair(id) => client.repair_logs(id, after).await,
            Self::DryRun { version, id } => client.dry_run_logs(version, id, after).await,
        }
    }

    async fn job(self, client: &Client) -> Result<Job, ClientError> {
        match self {
            Self::Build(id) => client.build(id).await.map(|build| build.job),
            Self::Version(id) => client.version(id).await.map(|version| version.job),
            Self::Repair(id) => client.repair(id).await.map(|repair| repair.job),
            Self::DryRun { version, id } => client.dry_run(version, id).await,
        }
    }
}

/// Follows a job to its end. A stream that breaks is opened again where it stopped; while there is none, the lines are asked for.
///
/// # Errors
/// When the deployment refuses, or does not answer for a minute. A job that failed is not an error here.
pub async fn job(client: &Client, job: JobRef, mut show: impl FnMut(&JobLog)) -> Outcome<Job> {
    let (mut after, mut silent_since) = (0, None);
    loop {
        let state = match follow(client, job, &mut after, &mut show).await {
            Ok(()) => job.job(client).await,
            Err(error) if error.is_without_socket() => ask(client, job, &mut after, &mut show).await,
            Err(error) => return Err(error.into()),
        };
        match state {
            Ok(state) if !state.status.is_active() => return Ok(state),
            Ok(_) => silent_since = None,
            Err(error) => endure(error, &mut silent_since)?,
        }
        sleep(REOPEN).await;
    }
}

/// Shows the lines after `after` as they come, until the stream ends.
async fn follow(client: &Client, job: JobRef, after: &mut u64, show: &mut impl FnMut(&JobLog)) -> Result<(), ClientError> {
    let mut follow = job.follow(client, *after).await?;
    while let Some(line) = follow.next().await {
        let line = line?;
        *after = line.id;
        show(&line);
    }
    Ok(())
}

/// Shows the lines after `after` that there are. The state is read first: of a job that had ended then, no line is missed.
async fn ask(client: &Client, job: JobRef, after: &mut u64, show: &mut impl FnMut(&JobLog)) -> Result<Job, ClientError> {
    let state = job.job(client).await?;
    for line in job.lines(client, *after).await? {
        *after = line.id;
        show(&line);
    }
    Ok(state)
}

/// Lets a transient error pass for a while.
fn endure(error: ClientError, silent_since: &mut Option<Instant>) -> Outcome {
    let since = *silent_since.get_or_insert_with(Instant::now);
    if error.is_transient() && since.elapsed() < PATIENCE { Ok(()) } else { Err(error.into()) }
}

/// Shows a job's lines as they come.
#[derive(Debug)]
pub struct LogView {
    progress: Progress,
    detail: Detail,
    verbose: bool,
}

impl LogView {
    /// A view that shows nothing yet but `waiting`.
    #[must_use]
    pub fn new(session: &Session, detail: Detail, waiting: &str) -> Self {
        let mut progress = session.printer.progress();
        progress.stage(waiting);
        Self { progress, detail, verbose: session.config.verbose }
    }

    /// Shows a line.
    pub fn show(&mut self, line: &JobLog) {
        if self.detail == Detail::Stages && !self.verbose {
            return self.progress.stage(&line.stage);
        }
        self.progress.heading(&line.stage);
        for text in line.output.lines().filter(|text| !text.trim().is_empty()) {
            match line.log_level {
                LogLevel::Error => self.progress.error(text),
                LogLevel::Trace | LogLevel::Debug if !self.verbose => {}
                LogLevel::Trace | LogLevel::Debug => self.progress.faint(text),
                LogLevel::Info | LogLevel::Warn => self.progress.line(text),
            }
        }
    }
}

/// Follows a build of the workspace `typed` to its good end.
///
/// # Errors
/// When the build fails or is canceled. Ctrl-C or a closed terminal ends the command, not the build, and says so.
pub async fn build(session: &Session, client: &Client, build: &Build, typed: &str, detail: Detail) -> Outcome {
    let mut view = LogView::new(session, detail, &format!("Waiting for build {} of {typed}", build.build_number));
    let printer = session.printer;
    let farewell = || goes_on(printer, typed, build.build_number);
    let job = signal::unless_ended(job(client, JobRef::Build(build.id), |line| view.show(line)), farewell).await;
    drop(view);
    outcome(&job?, build, typed)
}

fn goes_on(printer: Printer, typed: &str, number: u64) {
    printer.say(format_args!("\nbuild {number} of {typed} goes on without you"));
    printer.hint(format_args!("`berth logs {typed} -f` follows it, `berth cancel {typed}` ends it"));
}

fn outcome(job: &Job, build: &Build, typed: &str) -> Outcome {
    let what = format!("the {} of {typed}", build.transition);
    let reason = if job.error.is_empty() { String::new() } else { format!(": {}", job.error.trim_end()) };
    match job.status {
        JobStatus::Succeeded => Ok(()),
        JobStatus::Canceled => {
            Err(Failure::new(format!("{what} was canceled{reason}"))
                .hint(format!("`berth {} {typed}` tries again", build.transition)))
        }
        _ => Err(Failure::new(format!("{what} failed{reason}")).hint(after_failure(job, build, typed))),
    }
}

fn after_failure(job: &Job, build: &Build, typed: &str) -> String {
    let verb = build.transition;
    match (job.error_code, verb) {
        (Some(FailureCode::RunnerLost), _) => format!(
            "what it was making may exist and be in no state: `berth repair {typed}` finds it; then `berth {verb} {typed}` tries again"
        ),
        (Some(FailureCode::ReplacementNeedsConsent), _) => format!("`berth logs {typed}` lists them; save what is in them first"),
        (Some(FailureCode::InsufficientQuota), _) => "choose less with --parameter, or ask a template admin".to_owned(),
        (None, Transition::Delete) => format!(
            "`berth logs {typed}` says why, `berth delete {typed}` tries again; when the template or a provider is beyond mending, an \
             owner's `berth delete {typed} --orphan` lists what is left behind and forgets it"
        ),
        (None, _) => format!("`berth logs {typed}` shows all of it, `berth {verb} {typed}` tries again"),
    }
}

/// When an agent counts as ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
pub enum Scripts {
    /// When its start scripts have ended.
    Yes,
    /// When it is connected.
    No,
    /// As the template says.
    #[default]
    Auto,
}

impl Scripts {
    /// Whether they are waited for, with a template that wants so or not.
    #[must_use]
    pub const fn are_wanted(self, is_blocking: bool) -> bool {
        match self {
            Self::Yes => true,
            Self::No => false,
            Self::Auto => is_blocking,
        }
    }
}

/// Whether an agent's template wants its start scripts to have ended before anyone comes: the one of the agent, or any of its `coder_script`s.
#[must_use]
pub fn is_blocking(agent: &Agent) -> bool {
    agent.startup_script_behavior == "blocking" || agent.scripts.iter().any(|script| script.start_blocks_login)
}

/// Waits until an agent can be reached, and for its start scripts if that is wanted. `typed` names the workspace in what is said.
///
/// # Errors
/// When the agent does not connect within its template's time, has been away for a minute, or is gone.
pub async fn agent(session: &Session, client: &Client, mut agent: Agent, (typed, scripts): (&str, Scripts)) -> Outcome<Agent> {
    let mut wait = AgentWait { progress: None, away_since: None, silent_since: None, log: 0 };
    loop {
        match agent.status {
            AgentStatus::Connected if agent.lifecycle_state.has_started() || !scripts.are_wanted(is_blocking(&agent)) => break,
            AgentStatus::Connected => {
                wait.say(session, &format!("Waiting for the start scripts of {}", agent.name));
                wait.show_log(client, agent.id).await;
            }
            AgentStatus::Connecting => wait.say(session, &format!("Waiting for agent {} to connect", agent.name)),
            AgentStatus::Disconnected => {
                wait.say(session, &format!("Waiting for agent {} to come back: {}", agent.name, agent.health.reason));
                wait.give_up_on_absence(&agent, typed)?;
            }
            AgentStatus::Timeout => return Err(never_connected(&agent, typed)),
        }
        sleep(LOOK).await;
        match client.agent(agent.id).await {
            Ok(now) => (agent, wait.silent_since) = (now, None),
            Err(error) if error.is_not_found() => {
                let clause = format!("agent {} was replaced by a newer build of {typed}", agent.name);
                return Err(Failure::new(clause).hint("try again"));
            }
            Err(error) => endure(error, &mut wait.silent_since)?,
        }
    }
    drop(wait);
    if agent.lifecycle_state.as_str() == "start_error" {
        session.printer.warn(format_args!("a start script of {} failed; `berth logs {typed}` shows it", agent.name));
    }
    Ok(agent)
}

struct AgentWait {
    progress: Option<Progress>,
    away_since: Option<Instant>,
    silent_since: Option<Instant>,
    log: u64,
}

impl AgentWait {
    fn say(&mut self, session: &Session, stage: &str) {
        self.progress.get_or_insert_with(|| session.printer.progress()).stage(stage);
    }

    /// Shows the agent's own lines. Nobody waits for them: an error shows nothing.
    async fn show_log(&mut self, client: &Client, agent: Uuid) {
        for line in client.agent_logs(agent, self.log).await.unwrap_or_default() {
            self.log = line.id;
            if let Some(progress) = &self.progress {
                progress.line(&line.output);
            }
        }
    }

    fn give_up_on_absence(&mut self, agent: &Agent, typed: &str) -> Outcome {
        let since = *self.away_since.get_or_insert_with(Instant::now);
        if since.elapsed() < AWAY {
            return Ok(());
        }
        Err(Failure::new(format!("agent {} of {typed} lost its connection and did not come back", agent.name))
            .hint(format!("`berth doctor` tells whether the relay is away; if it is not, is the machine up? `berth restart {typed}` starts it anew")))
    }
}

fn never_connected(agent: &Agent, typed: &str) -> Failure {
    let clause = format!("agent {} of {typed} did not connect within {} seconds", agent.name, agent.connection_timeout_seconds);
    let hint = match agent.troubleshooting_url.as_str() {
        "" => format!("look for the reason with `berth logs {typed}` and on its machine: it must reach the deployment's URL"),
        url => format!("read {url}, and `berth logs {typed}`"),
    };
    Failure::new(clause).hint(hint)
}
