//! How a command fails: one clause, one hint, one exit code.

use std::fmt;

/// The command failed.
pub const GENERAL: u8 = 1;
/// The command line is wrong.
pub const USAGE: u8 = 2;
/// No SSH connection came about, as `ssh` has it.
pub const NO_CONNECTION: u8 = 255;
/// The reader of stdout went away: 128 + SIGPIPE.
pub const CLOSED_PIPE: u8 = 141;

/// Why a command ends early. The printer shows it as `error: <clause>` and `hint: <hint>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    clause: String,
    hint: Option<String>,
    code: u8,
}

impl Failure {
    /// A failure with exit code 1.
    pub fn new(clause: impl Into<String>) -> Self {
        Self { clause: clause.into(), hint: None, code: GENERAL }
    }

    /// A wrong command line: exit code 2.
    pub fn usage(clause: impl Into<String>) -> Self {
        Self { clause: clause.into(), hint: None, code: USAGE }
    }

    /// Ends with this code and says nothing more: all was said, or there is nobody to say it to.
    #[must_use]
    pub const fn silent(code: u8) -> Self {
        Self { clause: String::new(), hint: None, code }
    }

    /// Says what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Ends with this code instead.
    #[must_use]
    pub const fn code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    /// The same failure as `ssh` reports it: everything that is not a wrong command line or an end by signal is 255.
    #[must_use]
    pub const fn of_connection(self) -> Self {
        match self.code {
            GENERAL => self.code(NO_CONNECTION),
            _ => self,
        }
    }

    /// The exit code.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        self.code
    }

    /// What to do next.
    #[must_use]
    pub fn next(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Whether nothing is to be printed.
    #[must_use]
    pub const fn is_silent(&self) -> bool {
        self.clause.is_empty()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.clause)
    }
}

impl std::error::Error for Failure {}

/// An error with its causes in one line, each said once.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// What a command ends with.
pub type Outcome<T = ()> = Result<T, Failure>;
