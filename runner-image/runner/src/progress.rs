//! What Terraform is at: which resources are in flight and since when, what took how long, and when it last gave a sign of life.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use berth_domain::{Timestamp, Timing, TimingStage, limit::TIMINGS_MAX, timing::bounded};
use tokio::{sync::Notify, time::Instant};

use crate::terraform::event::{Step, Work};

/// The source and the resource of a whole stage's span.
const TERRAFORM: &str = "terraform";

/// A job's progress. Clones are the same.
#[derive(Debug, Clone)]
pub struct Progress {
    state: Arc<Mutex<State>>,
    applied: Arc<Notify>,
}

#[derive(Debug)]
struct State {
    timings: Vec<Timing>,
    flying: Vec<Flight>,
    command: Option<Command>,
    sign: Instant,
}

/// A resource that is being worked on.
#[derive(Debug)]
struct Flight {
    work: Work,
    stage: TimingStage,
    at: Timestamp,
    since: Instant,
}

/// The command that runs.
#[derive(Debug, Clone, Copy)]
struct Command {
    process: Option<i32>,
    stage: TimingStage,
    since: Timestamp,
}

/// What is longest in flight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Oldest {
    /// `create`, `update`, ...
    pub action: String,
    /// Its address.
    pub resource: String,
    /// For how long.
    pub age: Duration,
}

impl Default for Progress {
    fn default() -> Self {
        let sign = Instant::now();
        let state = State { timings: Vec::new(), flying: Vec::new(), command: None, sign };
        Self { state: Arc::new(Mutex::new(state)), applied: Arc::default() }
    }
}

impl Progress {
    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A command begins, as this process; `stage` is what it does first.
    pub(crate) fn begin(&self, stage: TimingStage, process: Option<i32>) {
        self.with(|state| {
            state.sign = Instant::now();
            state.command = Some(Command { process, stage, since: Timestamp::now() });
        });
    }

    /// It ended; what was in flight is so no more.
    pub(crate) fn end(&self) {
        self.with(|state| {
            let now = Timestamp::now();
            while let Some(flight) = state.flying.pop() {
                state.land(flight, now);
            }
            if let Some(command) = state.command.take() {
                state.span(command, now);
            }
        });
    }

    /// Returns once, and at once, when Terraform has written its last state. It has then only to end.
    pub(crate) async fn applied(&self) {
        self.applied.notified().await;
    }

    /// Something was said. What only says that it still waits is no sign of life.
    pub(crate) fn note(&self, step: Option<Step>) {
        if step == Some(Step::Applied) {
            self.applied.notify_one();
        }
        self.with(|state| match step {
            Some(Step::Waits) => {}
            Some(step) => {
                state.sign = Instant::now();
                state.step(step);
            }
            None => state.sign = Instant::now(),
        });
    }

    /// A sign of life besides output.
    pub(crate) fn sign(&self) {
        self.note(None);
    }

    /// Since when there is no sign of life, and from which process it is awaited; `None` while no command runs.
    pub(crate) fn quiet(&self) -> Option<(Instant, Option<i32>)> {
        self.with(|state| state.command.map(|command| (state.sign, command.process)))
    }

    /// What is longest in flight.
    #[must_use]
    pub fn oldest(&self) -> Option<Oldest> {
        self.with(|state| {
            let flight = state.flying.iter().min_by_key(|flight| flight.since)?;
            let Work { action, resource, .. } = flight.work.clone();
            Some(Oldest { action, resource, age: flight.since.elapsed() })
        })
    }

    /// What took how long so far, bounded.
    #[must_use]
    pub fn timings(&self) -> Vec<Timing> {
        self.with(|state| bounded(state.timings.clone()))
    }
}

impl State {
    fn step(&mut self, step: Step) {
        match step {
            Step::Began { stage, work, at } => self.flying.push(Flight { work, stage, at, since: Instant::now() }),
            Step::Ended { resource, action, at } => {
                let same = |flight: &Flight| {
                    flight.work.resource == resource && action.as_deref().is_none_or(|action| flight.work.action == action)
                };
                if let Some(position) = self.flying.iter().rposition(same) {
                    let flight = self.flying.swap_remove(position);
                    self.land(flight, at);
                }
            }
            Step::Planned => {
                let now = Timestamp::now();
                if let Some(command) = self.command {
                    self.span(command, now);
                    self.command = Some(Command { stage: TimingStage::Apply, since: now, ..command });
                }
            }
            Step::Applied | Step::Waits => {}
        }
    }

    fn land(&mut self, Flight { work: Work { source, action, resource }, stage, at, .. }: Flight, ended_at: Timestamp) {
        self.keep(Timing { started_at: at, ended_at: ended_at.max(at), stage, source, action, resource });
    }

    fn span(&mut self, command: Command, ended_at: Timestamp) {
        let stage = command.stage;
        let (source, resource) = (TERRAFORM.to_owned(), TERRAFORM.to_owned());
        self.keep(Timing { started_at: command.since, ended_at, stage, source, action: stage.to_string(), resource });
    }

    fn keep(&mut self, timing: Timing) {
        self.timings.push(timing);
        if self.timings.len() > 4 * TIMINGS_MAX {
            self.timings = bounded(std::mem::take(&mut self.timings));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(action: &str, resource: &str) -> Work {
        Work { source: "aws".to_owned(), action: action.to_owned(), resource: resource.to_owned() }
    }

    fn began(action: &str, resource: &str) -> Step {
        Step::Began { stage: TimingStage::Apply, work: work(action, resource), at: Timestamp::now() }
    }

    fn ended(action: Option<&str>, resource: &str) -> Step {
        Step::Ended { resource: resource.to_owned(), action: action.map(str::to_owned), at: Timestamp::now() }
    }

    #[test]
    fn what_is_in_flight_is_known_until_it_ends() {
        let progress = Progress::default();
        assert_eq!(progress.quiet(), None);
        progress.begin(TimingStage::Plan, Some(7));
        assert_eq!(progress.quiet().unwrap().1, Some(7));
        progress.note(Some(Step::Planned));
        progress.note(Some(began("create", "aws_instance.a")));
        progress.note(Some(began("create", "aws_instance.b")));
        progress.note(Some(began("provision", "aws_instance.a")));
        progress.note(Some(ended(Some("provision"), "aws_instance.a")));
        assert_eq!(progress.oldest().unwrap().resource, "aws_instance.a");
        progress.note(Some(ended(Some("create"), "aws_instance.a")));
        assert_eq!(progress.oldest().unwrap().resource, "aws_instance.b");
        progress.end();
        assert_eq!((progress.oldest(), progress.quiet()), (None, None));
        let all: Vec<_> = progress
            .timings()
            .into_iter()
            .map(|timing| format!("{} {} {}", timing.stage, timing.action, timing.resource))
            .collect();
        let expected = [
            "plan plan terraform",
            "apply apply terraform",
            "apply create aws_instance.a",
            "apply create aws_instance.b",
            "apply provision aws_instance.a",
        ];
        assert_eq!(all.len(), expected.len());
        assert!(expected.iter().all(|one| all.contains(&(*one).to_owned())), "{all:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn still_waiting_is_no_sign_of_life() {
        let progress = Progress::default();
        progress.begin(TimingStage::Apply, None);
        let (since, _) = progress.quiet().unwrap();
        tokio::time::advance(Duration::from_secs(10)).await;
        progress.note(Some(Step::Waits));
        assert_eq!(progress.quiet().unwrap().0, since);
        progress.note(None);
        assert_eq!(progress.quiet().unwrap().0, since + Duration::from_secs(10));
    }
}
