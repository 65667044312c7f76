//! What Terraform prints: a JSON object per line, and other lines between them.

use berth_domain::LogLevel;
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

#[derive(Deserialize)]
struct Object {
    #[serde(rename = "@level", default)]
    level: String,
    #[serde(rename = "@message", default)]
    message: String,
    #[serde(rename = "type", default)]
    kind: String,
    diagnostic: Option<Diagnostic>,
}

/// Reads one line. Output values are never taken over: they may be secret.
#[must_use]
pub fn read(line: &str) -> Event {
    let line = line.trim_end();
    if line.trim().is_empty() {
        return Event::Nothing;
    }
    let Some(object) = line.starts_with('{').then(|| serde_json::from_str::<Object>(line).ok()).flatten() else {
        return Event::Line(LogLevel::Info, line.to_owned());
    };
    if let Some(diagnostic) = object.diagnostic {
        return Event::Diagnostic(Box::new(diagnostic));
    }
    match object.kind.as_str() {
        "outputs" | "version" => Event::Nothing,
        // Refreshing says little to people and doubles the log.
        "refresh_start" | "refresh_complete" => Event::Line(LogLevel::Debug, object.message),
        _ if object.message.is_empty() => Event::Nothing,
        _ => Event::Line(level(&object.level), object.message),
    }
}

fn level(word: &str) -> LogLevel {
    match word {
        "trace" => LogLevel::Trace,
        "debug" => LogLevel::Debug,
        "warn" => LogLevel::Warn,
        "error" => LogLevel::Error,
        _ => LogLevel::Info,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(read(r#"{"type":"of tomorrow","@level":"warn","@message":"x"}"#), Event::Line(LogLevel::Warn, "x".to_owned()));
    }

    #[test]
    fn a_diagnostic_is_recognized_by_its_field() {
        let line = r#"{"@level":"error","@message":"Error: Bad","diagnostic":{"severity":"error","summary":"Bad","detail":""},"type":"diagnostic"}"#;
        let Event::Diagnostic(diagnostic) = read(line) else { panic!("not a diagnostic") };
        assert!(diagnostic.is_error());
    }
}
