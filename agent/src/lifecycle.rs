//! How far the agent's start or end is, and how its scripts ran, told to the control plane in the order in which it happened.
//!
//! ```text
//! starting ──┬── ready            shutting_down ──┬── off
//!            ├── start_error                      ├── shutdown_error
//!            └── start_timeout                    └── shutdown_timeout
//! ```

use std::sync::Arc;

use berth_wire::agent::{LifecycleReport, ScriptCompleted};
use berth_wire::domain::{Lifecycle, ScriptStage, ScriptStatus, Timestamp};
use berth_wire::runner::Script;
use tokio::sync::mpsc;

use crate::control::Control;
use crate::script::ScriptRunner;

/// Something that happened once and is told once.
#[derive(Clone, Copy, Debug)]
enum Event {
    State(LifecycleReport),
    Script(ScriptCompleted),
}

/// Tells what happened. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LifecycleReporter {
    events: mpsc::UnboundedSender<Event>,
}

/// Sends on what was told.
#[derive(Debug)]
pub struct LifecycleShipper {
    events: mpsc::UnboundedReceiver<Event>,
    control: Arc<Control>,
}

/// A reporter, and its other end to be [run](LifecycleShipper::run). Unbounded, and yet small: an agent has at most five states in its life, and
/// its start and stop scripts run once.
pub fn channel(control: Arc<Control>) -> (LifecycleReporter, LifecycleShipper) {
    let (sender, events) = mpsc::unbounded_channel();
    (LifecycleReporter { events: sender }, LifecycleShipper { events, control })
}

impl LifecycleReporter {
    /// Tells that the agent is in this state from now on.
    pub fn tell(&self, state: Lifecycle) {
        tracing::info!(lifecycle = %state, "the agent's lifecycle");
        self.events.send(Event::State(LifecycleReport { state, changed_at: Timestamp::now() })).ok();
    }

    /// Tells how a script ran. Of runs on a schedule the control plane keeps nothing: they are not told.
    pub fn ran(&self, run: ScriptCompleted) {
        if run.stage != ScriptStage::Cron {
            self.events.send(Event::Script(run)).ok();
        }
    }
}

impl LifecycleShipper {
    /// Sends on until every reporter is gone and all is heard.
    pub async fn run(mut self) {
        while let Some(event) = self.events.recv().await {
            match event {
                Event::State(report) => self.control.tell_lifecycle(&report).await,
                Event::Script(run) => self.control.tell_script(&run).await,
            }
        }
    }
}

/// Runs the scripts of the start. An agent without any is ready at once.
pub async fn start(runner: &ScriptRunner, scripts: &[Script]) {
    let scripts: Vec<&Script> = scripts.iter().filter(|script| script.run_on_start).collect();
    if !scripts.is_empty() {
        runner.reporter.tell(Lifecycle::Starting);
    }
    let ended = runner.run_all(&scripts, ScriptStage::Start).await;
    runner.reporter.tell(worst(&ended, [Lifecycle::Ready, Lifecycle::StartTimeout, Lifecycle::StartError]));
}

/// Runs the scripts of the end and answers with the state to tell last.
pub async fn stop(runner: &ScriptRunner, scripts: &[Script]) -> Lifecycle {
    runner.reporter.tell(Lifecycle::ShuttingDown);
    let scripts: Vec<&Script> = scripts.iter().filter(|script| script.run_on_stop).collect();
    let ended = runner.run_all(&scripts, ScriptStage::Stop).await;
    worst(&ended, [Lifecycle::Off, Lifecycle::ShutdownTimeout, Lifecycle::ShutdownError])
}

/// The state that follows from how all scripts ended: well, late, or in failure, which is the worst.
fn worst(ended: &[ScriptStatus], [well, late, failed]: [Lifecycle; 3]) -> Lifecycle {
    match ended {
        ended if ended.contains(&ScriptStatus::ExitFailure) => failed,
        ended if ended.contains(&ScriptStatus::TimedOut) => late,
        _ => well,
    }
}
