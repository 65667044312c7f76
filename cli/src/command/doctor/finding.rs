//! What a check found.

use crate::printer::printable;
use serde::Serialize;
use std::fmt;

/// How it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::command) enum Verdict {
    /// As it should be.
    Ok,
    /// It works, and something about it is worth knowing.
    Warn,
    /// It does not work.
    Fail,
    /// It does not apply to this deployment.
    Skip,
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(in crate::command) struct Finding {
    /// What was looked at: `dns`, `tls`, `api`, `clock`, `relay`, `udp`, `websocket`, `apps`.
    pub(in crate::command) check: &'static str,
    /// The host or URL.
    pub(in crate::command) target: String,
    pub(in crate::command) verdict: Verdict,
    /// What it means.
    pub(in crate::command) says: String,
    /// What to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::command) hint: Option<String>,
}

impl Finding {
    pub(in crate::command) fn new(
        check: &'static str,
        target: impl Into<String>,
        verdict: Verdict,
        says: impl Into<String>,
    ) -> Self {
        Self { check, target: target.into(), verdict, says: says.into(), hint: None }
    }

    pub(in crate::command) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// `ok    dns        berth.example.com  203.0.113.7`, and below it what to do.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::Fail => "FAIL",
            Verdict::Skip => "skip",
        };
        write!(f, "{verdict:<4}  {:<9}  ", self.check)?;
        if !self.target.is_empty() {
            write!(f, "{}  ", printable(&self.target))?;
        }
        f.write_str(&printable(&self.says))?;
        self.hint.iter().try_for_each(|hint| write!(f, "\n      -> {}", printable(hint)))
    }
}
