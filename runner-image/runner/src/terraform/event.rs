//! What Terraform prints: a JSON object per line, and other lines between them.

use berth_domain::{LogLevel, Timestamp, TimingStage};
use serde::Deserialize;

use super::Diagnostic;

/// What one line of output means to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Text for the log.
    Line(LogLevel, String),
    /// A diagnostic.
    Diagnostic(Box<Diagnostic>),
    /// Nothing for people: outputs (which may be secret), version, empty lines.
    Nothing,
}

/// A step of Terraform's work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Work on a resource begins.
    Began {
        /// Whether to see what there is, or to change it.
        stage: TimingStage,
        /// What is done to what.
        work: Work,
        /// When.
        at: Timestamp,
    },
    /// Work on a resource has ended, well or not.
    Ended {
        /// Its address.
        resource: String,
        /// What was done; `None` is whatever is known to be done.
        action: Option<String>,
        /// When.
        at: Timestamp,
    },
    /// It is known what is to change; now it is changed.
    Planned,
    /// Everything is changed, and the state is written.
    Applied,
    /// Terraform only says that it still waits.
    Waits,
}

/// Work on a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Work {
    /// The provider's name.
    pub source: String,
    /// `create`, `read`, `update`, `delete`, `provision`.
    pub action: String,
    /// The resource's address.
    pub resource: String,
}

/// What one line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// For the log.
    pub event: Event,
    /// About the work.
    pub step: Option<Step>,
}

#[derive(Deserialize)]
struct Object {
    #[serde(rename = "@level", default)]
    level: String,
    #[serde(rename = "@message", default)]
    message: String,
    #[serde(rename = "@timestamp")]
    timestamp: Option<Timestamp>,
    #[serde(rename = "type", default)]
    kind: String,
    diagnostic: Option<Diagnostic>,
    hook: Option<Hook>,
    changes: Option<Changes>,
}

#[derive(Deserialize)]
struct Hook {
    resource: Option<HookResource>,
    action: Option<String>,
}

#[derive(Deserialize)]
struct HookResource {
    addr: String,
    #[serde(default)]
    implied_provider: String,
}

#[derive(Deserialize)]
struct Changes {
    #[serde(default)]
    operation: String,
}

/// Reads one line. Output values are never taken over: they may be secret. `now` is for lines that do not say when.
#[must_use]
pub fn read(line: &str, now: Timestamp) -> Said {
    let line = line.trim_end();
    let object = if line.starts_with('{') { serde_json::from_str::<Object>(line).ok() } else { None };
    let Some(mut object) = object else {
        let event = if line.trim().is_empty() { Event::Nothing } else { Event::Line(LogLevel::Info, line.to_owned()) };
        return Said { event, step: None };
    };
    let step = step(&mut object, now);
    Said { event: event(object), step }
}

fn step(object: &mut Object, now: Timestamp) -> Option<Step> {
    let at = object.timestamp.unwrap_or(now);
    let (name, state) = object.kind.rsplit_once('_')?;
    if let Some(changes) = object.changes.as_ref().filter(|_| name == "change") {
        return match changes.operation.as_str() {
            "plan" => Some(Step::Planned),
            "apply" | "destroy" => Some(Step::Applied),
            _ => None,
        };
    }
    let Hook { resource, action } = object.hook.take()?;
    let HookResource { addr: resource, implied_provider: source } = resource?;
    let (stage, action) = match name {
        "refresh" => (TimingStage::Plan, Some("read".to_owned())),
        "provision" => (TimingStage::Apply, Some(name.to_owned())),
        "apply" => (TimingStage::Apply, action),
        _ => return None,
    };
    match state {
        "start" => Some(Step::Began { stage, work: Work { source, action: action.unwrap_or_default(), resource }, at }),
        "complete" | "errored" => Some(Step::Ended { resource, action, at }),
        "progress" if name == "apply" => Some(Step::Waits),
        _ => None,
    }
}

fn event(object: Object) -> Event {
    if let Some(diagnostic) = object.diagnostic {
        return Event::Diagnostic(Box::new(diagnostic));
    }
    match object.kind.as_str() {
        "outputs" | "version" => Event::Nothing,
        _ if object.level == "trace" => Event::Nothing,
        // Refreshing says little to people and doubles the log.
        "refresh_start" | "refresh_complete" => Event::Line(LogLevel::Debug, object.message),
        _ if object.message.is_empty() => Event::Nothing,
        _ => Event::Line(level(&object.level), object.message),
    }
}

fn level(word: &str) -> LogLevel {
    match word {
        "debug" => LogLevel::Debug,
        "warn" => LogLevel::Warn,
        "error" => LogLevel::Error,
        _ => LogLevel::Info,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Event {
        super::read(line, Timestamp::UNIX_EPOCH).event
    }

    fn step(kind: &str, rest: &str) -> Option<Step> {
        let line = format!(r#"{{"@level":"info","@message":"x","@timestamp":"1970-01-01T01:00:07+01:00","type":"{kind}",{rest}}}"#);
        super::read(&line, Timestamp::UNIX_EPOCH).step
    }

    #[test]
    fn steps_are_told_from_hooks() {
        let hook = r#""hook":{"resource":{"addr":"null_resource.a[0]","implied_provider":"null","resource_type":"null_resource"},"action":"create"}"#;
        let at = Timestamp::from_second(7).unwrap();
        let work = |action: &str| Work { source: "null".into(), action: action.into(), resource: "null_resource.a[0]".into() };
        let began = |stage, action| Some(Step::Began { stage, work: work(action), at });
        let ended = |action: &str| Some(Step::Ended { resource: "null_resource.a[0]".into(), action: Some(action.into()), at });
        assert_eq!(step("apply_start", hook), began(TimingStage::Apply, "create"));
        assert_eq!(step("apply_complete", hook), ended("create"));
        assert_eq!(step("apply_errored", hook), ended("create"));
        assert_eq!(step("apply_progress", hook), Some(Step::Waits));
        assert_eq!(step("provision_start", hook), began(TimingStage::Apply, "provision"));
        assert_eq!(step("provision_progress", hook), None, "that is output");
        assert_eq!(step("refresh_start", hook), began(TimingStage::Plan, "read"));
        assert_eq!(step("refresh_complete", hook), ended("read"));
        assert_eq!(step("planned_change", r#""change":{"action":"create"}"#), None);
        assert_eq!(step("change_summary", r#""changes":{"add":1,"operation":"plan"}"#), Some(Step::Planned));
        assert_eq!(step("change_summary", r#""changes":{"add":1,"operation":"apply"}"#), Some(Step::Applied));
        assert_eq!(step("change_summary", r#""changes":{"remove":1,"operation":"destroy"}"#), Some(Step::Applied));
        assert_eq!(step("change_summary", r#""changes":{"operation":"of tomorrow"}"#), None);
    }

    #[test]
    fn messages_are_kept_and_output_values_are_not() {
        let start =
            r#"{"@level":"info","@message":"terraform_data.a: Creating...","type":"apply_start","hook":{"action":"create"}}"#;
        assert_eq!(read(start), Event::Line(LogLevel::Info, "terraform_data.a: Creating...".to_owned()));
        let outputs = r#"{"@level":"info","@message":"Outputs: 1","outputs":{"password":{"sensitive":false,"value":"hush"}},"type":"outputs"}"#;
        assert_eq!(read(outputs), Event::Nothing);
        assert_eq!(read("  "), Event::Nothing);
        assert_eq!(read("Terraform crashed!"), Event::Line(LogLevel::Info, "Terraform crashed!".to_owned()));
        assert_eq!(read("{not json"), Event::Line(LogLevel::Info, "{not json".to_owned()));
        assert_eq!(read(r#"{"type":"log","@level":"trace","@message":"chatter"}"#), Event::Nothing);
        assert_eq!(read(r#"{"type":"of tomorrow","@level":"warn","@message":"x"}"#), Event::Line(LogLevel::Warn, "x".to_owned()));
    }

    #[test]
    fn a_diagnostic_is_recognized_by_its_field() {
        let line = r#"{"@level":"error","@message":"Error: Bad","diagnostic":{"severity":"error","summary":"Bad","detail":""},"type":"diagnostic"}"#;
        let Event::Diagnostic(diagnostic) = read(line) else { panic!("not a diagnostic") };
        assert!(diagnostic.is_error());
    }
}
