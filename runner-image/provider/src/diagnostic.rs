//! What we tell the template author or the developer when something is wrong, and where.

/// A step from an object towards one of its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Attribute(&'static str),
    Index(usize),
}

/// How much a diagnostic matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Severity {
    Error,
    Warning,
}

/// One message for Terraform to show, with the place in the template that it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Diagnostic {
    pub(crate) severity: Severity,
    pub(crate) summary: String,
    pub(crate) detail: String,
    pub(crate) path: Vec<Step>,
}

impl Diagnostic {
    /// An error: the operation does not happen.
    pub(crate) fn error(summary: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { severity: Severity::Error, summary: summary.into(), detail: detail.into(), path: Vec::new() }
    }

    /// A warning: the operation happens all the same.
    pub(crate) fn warning(summary: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(summary, detail) }
    }

    /// The same diagnostic about the attribute or block `name`.
    #[must_use]
    pub(crate) fn about(mut self, name: &'static str) -> Self {
        self.path = vec![Step::Attribute(name)];
        self
    }

    /// The same diagnostic about the value at `path`.
    #[must_use]
    pub(crate) fn at(mut self, path: Vec<Step>) -> Self {
        self.path = path;
        self
    }

    /// True when the operation must not happen.
    pub(crate) fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}
