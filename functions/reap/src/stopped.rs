//! The event "ECS Task State Change": which job's task ended, and why, in words for the developer who waits.
//!
//! <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_task_events.html>,
//! <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stopped-task-error-codes.html>

use berth_domain::TaskId;
use berth_store::JobId;
use serde::Deserialize;

/// The longest part of AWS's own words that a developer is shown, in bytes.
const WORDS_BYTES_MAX: usize = 300;
/// The status of a process that was killed by a signal is this and the signal's number.
const SIGNALED: i64 = 128;

/// The event, as far as we read it. Everything may be missing: it may be about a task that is none of ours.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct TaskEvent {
    detail: Detail,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Detail {
    last_status: String,
    started_by: String,
    stop_code: String,
    stopped_reason: String,
    containers: Vec<Container>,
    overrides: Overrides,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Container {
    name: String,
    exit_code: Option<i64>,
    reason: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Overrides {
    container_overrides: Vec<ContainerOverride>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct ContainerOverride {
    name: String,
    environment: Vec<Variable>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Variable {
    name: String,
    value: String,
}

/// A runner's task that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    /// Its job.
    pub job: JobId,
    /// The task.
    pub task: TaskId,
    /// Why, for the person who asked for the job.
    pub reason: String,
}

impl TaskEvent {
    /// The runner's task that has ended, if that is what the event says: not one that still runs, nor the relay's, nor a stranger's.
    #[must_use]
    pub fn stopped(&self) -> Option<Stopped> {
        let detail = &self.detail;
        if detail.last_status != "STOPPED" {
            return None;
        }
        let job = detail.started_by.parse().ok()?;
        let (container, task) = detail.overrides.container_overrides.iter().find_map(ContainerOverride::task)?;
        let container = detail.containers.iter().find(|one| one.name == container);
        Some(Stopped { job, task, reason: detail.reason(container) })
    }
}

impl ContainerOverride {
    /// The name of the runner's container, and the task that it was told to be.
    fn task(&self) -> Option<(&str, TaskId)> {
        let variable = self.environment.iter().find(|variable| variable.name == "BERTH_TASK_ID")?;
        Some((&self.name, variable.value.parse().ok()?))
    }
}

impl Detail {
    fn reason(&self, runner: Option<&Container>) -> String {
        match self.stop_code.as_str() {
            "SpotInterruption" => "AWS took back the Spot capacity that the runner had; try again".to_owned(),
            "TaskFailedToStart" => self.failed_to_start(runner),
            "UserInitiated" => format!("somebody stopped the runner's task: {}", words(&self.stopped_reason)),
            "TerminationNotice" | "ServiceSchedulerInitiated" => {
                format!("AWS stopped the runner's task: {}", words(&self.stopped_reason))
            }
            _ => runner.map_or_else(|| self.without_container(), Container::ended),
        }
    }

    fn failed_to_start(&self, runner: Option<&Container>) -> String {
        let said = runner.map(|runner| runner.reason.as_str()).filter(|reason| !reason.is_empty()).unwrap_or(&self.stopped_reason);
        let rest = |kind: &str| said.split_once(kind).map(|(_, rest)| words(rest.trim_start_matches([':', ' '])));
        if let Some(why) = rest("CannotPullContainerError") {
            return format!("the runner's image cannot be pulled: {why}");
        }
        if let Some(why) = rest("ResourceInitializationError") {
            return format!("the runner's task could not be set up: {why}");
        }
        if let Some(why) = rest("CannotStartContainerError") {
            return format!("the runner's container could not start: {why}");
        }
        format!("the runner could not start: {}", words(said))
    }

    fn without_container(&self) -> String {
        match words(&self.stopped_reason).as_str() {
            "" => "the runner's task ended".to_owned(),
            why => format!("the runner's task ended: {why}"),
        }
    }
}

impl Container {
    fn ended(&self) -> String {
        if self.reason.contains("OutOfMemory") {
            return "the runner was killed: out of memory; ask the operator to give runners more (parameter RunnerMemory)"
                .to_owned();
        }
        match (self.exit_code, words(&self.reason).as_str()) {
            (Some(137), "") => "the runner was killed".to_owned(),
            (Some(0), "") => "the runner ended before its job did".to_owned(),
            (Some(code), "") if code > SIGNALED => format!("the runner was ended by signal {}", code - SIGNALED),
            (Some(code), "") => format!("the runner ended with status {code}"),
            (Some(code), why) => format!("the runner ended with status {code}: {why}"),
            (None, "") => "the runner's container never ran".to_owned(),
            (None, why) => format!("the runner's container never ran: {why}"),
        }
    }
}

/// AWS's own words, on one line and not too many.
fn words(text: &str) -> String {
    let mut line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.truncate(line.floor_char_boundary(WORDS_BYTES_MAX));
    line.trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const JOB: &str = "build-0190a6a0000070008000000000000001";
    const TASK: &str = "0190a6a0-0000-7000-8000-0000000000aa";

    /// A faithful event about a runner's task, changed by `change`.
    fn event(change: Value) -> TaskEvent {
        let mut detail = json!({
            "clusterArn": "arn:aws:ecs:eu-central-1:111122223333:cluster/berth",
            "taskArn": "arn:aws:ecs:eu-central-1:111122223333:task/berth/0123456789abcdef0123456789abcdef",
            "lastStatus": "STOPPED", "desiredStatus": "STOPPED", "startedBy": JOB, "version": 5,
            "stopCode": "EssentialContainerExited", "stoppedReason": "Essential container in task exited",
            "containers": [{ "name": "sidecar", "exitCode": 3 }, { "name": "runner", "lastStatus": "STOPPED", "exitCode": 0 }],
            "overrides": { "containerOverrides": [{ "name": "runner", "environment": [
                { "name": "BERTH_JOB_ID", "value": "0190a6a0-0000-7000-8000-000000000001" },
                { "name": "BERTH_TASK_ID", "value": TASK },
            ] }] },
        });
        for (name, value) in change.as_object().unwrap() {
            detail[name] = value.clone();
        }
        let event = json!({ "source": "aws.ecs", "detail-type": "ECS Task State Change", "detail": detail });
        serde_json::from_value(event).unwrap()
    }

    fn reason(change: Value) -> String {
        let stopped = event(change).stopped().unwrap();
        assert_eq!((stopped.job.to_string().as_str(), stopped.task.to_string().as_str()), (JOB, TASK));
        stopped.reason
    }

    fn container(change: Value) -> String {
        let mut runner = json!({ "name": "runner" });
        for (name, value) in change.as_object().unwrap() {
            runner[name] = value.clone();
        }
        reason(json!({ "containers": [{ "name": "sidecar", "exitCode": 3 }, runner] }))
    }

    #[test]
    fn the_runners_own_container_says_how_it_ended() {
        assert_eq!(container(json!({ "exitCode": 0 })), "the runner ended before its job did");
        assert_eq!(container(json!({ "exitCode": 2 })), "the runner ended with status 2");
        assert_eq!(container(json!({ "exitCode": 137 })), "the runner was killed");
        assert_eq!(container(json!({ "exitCode": 139 })), "the runner was ended by signal 11");
        let memory = json!({ "exitCode": 137, "reason": "OutOfMemoryError: Container killed due to memory usage" });
        assert!(container(memory).starts_with("the runner was killed: out of memory"));
        assert_eq!(reason(json!({ "containers": [] })), "the runner's task ended: Essential container in task exited");
    }

    #[test]
    fn a_task_that_never_ran_says_what_was_missing() {
        let failed = |why: &str| {
            reason(json!({ "stopCode": "TaskFailedToStart", "stoppedReason": why, "containers": [{ "name": "runner" }] }))
        };
        assert_eq!(
            failed("CannotPullContainerError: pull image manifest has been retried 5 time(s): not found"),
            "the runner's image cannot be pulled: pull image manifest has been retried 5 time(s): not found"
        );
        assert_eq!(
            failed("ResourceInitializationError: failed to validate logger args"),
            "the runner's task could not be set up: failed to validate logger args"
        );
        assert_eq!(failed("Unexpected EC2 error"), "the runner could not start: Unexpected EC2 error");
    }

    #[test]
    fn what_others_did_to_the_task_is_told_as_such() {
        assert!(reason(json!({ "stopCode": "SpotInterruption" })).starts_with("AWS took back the Spot capacity"));
        let user = json!({ "stopCode": "UserInitiated", "stoppedReason": "Task stopped by user" });
        assert_eq!(reason(user), "somebody stopped the runner's task: Task stopped by user");
    }

    #[test]
    fn an_event_that_is_not_the_end_of_a_runners_task_says_nothing() {
        assert_eq!(event(json!({ "lastStatus": "RUNNING" })).stopped(), None);
        assert_eq!(event(json!({ "startedBy": "ecs-svc/1234567890" })).stopped(), None, "the relay's");
        assert_eq!(event(json!({ "overrides": {} })).stopped(), None);
        assert_eq!(serde_json::from_value::<TaskEvent>(json!({ "detail": { "eventName": "PutObject" } })).unwrap().stopped(), None);
        assert_eq!(serde_json::from_value::<TaskEvent>(json!({})).unwrap().stopped(), None);
    }
}
