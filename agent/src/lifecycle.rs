//! How far the agent's start or end is, told to the control plane in order.
//!
//! ```text
//! starting ──┬── ready            shutting_down ──┬── off
//!            ├── start_error                      ├── shutdown_error
//!            └── start_timeout                    └── shutdown_timeout
//! ```

use std::sync::Arc;

use berth_wire::domain::{Lifecycle, Timestamp};
use berth_wire::runner::Script;
use tokio::sync::mpsc;

use crate::control::Control;
use crate::script::{Outcome, ScriptRunner};

/// Tells states, in the order they happened. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LifecycleReporter {
    states: mpsc::UnboundedSender<(Lifecycle, Timestamp)>,
}

/// Sends the told states on.
#[derive(Debug)]
pub struct LifecycleShipper {
    states: mpsc::UnboundedReceiver<(Lifecycle, Timestamp)>,
    control: Arc<Control>,
}

/// A reporter, and its other end to be [run](LifecycleShipper::run). Unbounded, and yet small: an agent has at most five states in its life.
pub fn channel(control: Arc<Control>) -> (LifecycleReporter, LifecycleShipper) {
    let (sender, states) = mpsc::unbounded_channel();
    (LifecycleReporter { states: sender }, LifecycleShipper { states, control })
}

impl LifecycleReporter {
    /// Tells that the agent is in this state from now on.
    pub fn tell(&self, state: Lifecycle) {
        tracing::info!(lifecycle = %state, "the agent's lifecycle");
        self.states.send((state, Timestamp::now())).ok();
    }
}

impl LifecycleShipper {
    /// Sends states until every reporter is gone and all of them are heard.
    pub async fn run(mut self) {
        while let Some((state, changed_at)) = self.states.recv().await {
            self.control.report(state, changed_at).await;
        }
    }
}

/// Runs the scripts of the start. An agent without any is ready at once.
pub async fn start(reporter: &LifecycleReporter, runner: &ScriptRunner, scripts: &[Script]) {
    let scripts: Vec<&Script> = scripts.iter().filter(|script| script.run_on_start).collect();
    if !scripts.is_empty() {
        reporter.tell(Lifecycle::Starting);
    }
    reporter.tell(match runner.run_all(&scripts).await {
        Outcome::Succeeded => Lifecycle::Ready,
        Outcome::TimedOut => Lifecycle::StartTimeout,
        Outcome::Failed => Lifecycle::StartError,
    });
}

/// Runs the scripts of the end and answers with the state to tell last.
pub async fn stop(reporter: &LifecycleReporter, runner: &ScriptRunner, scripts: &[Script]) -> Lifecycle {
    reporter.tell(Lifecycle::ShuttingDown);
    let scripts: Vec<&Script> = scripts.iter().filter(|script| script.run_on_stop).collect();
    match runner.run_all(&scripts).await {
        Outcome::Succeeded => Lifecycle::Off,
        Outcome::TimedOut => Lifecycle::ShutdownTimeout,
        Outcome::Failed => Lifecycle::ShutdownError,
    }
}
