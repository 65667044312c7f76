//! A diagnostic as Terraform itself would print it, and in one line.

use serde::Deserialize;

/// The longest one-line form, in characters.
const LINE_CHARS_MAX: usize = 400;

/// One of Terraform's messages about a template, from `-json` output.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct Diagnostic {
    /// `error` or `warning`.
    pub severity: String,
    /// A few words.
    pub summary: String,
    /// Sentences.
    pub detail: String,
    /// The resource it is about.
    pub address: Option<String>,
    /// Where in the template.
    pub range: Option<Range>,
    /// The lines there.
    pub snippet: Option<Snippet>,
}

/// A place in a template.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct Range {
    /// Relative to the template's root.
    pub filename: String,
    /// Where it begins.
    pub start: Position,
}

/// A position in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct Position {
    /// From 1.
    pub line: u64,
}

/// The lines of a template that a diagnostic is about.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct Snippet {
    /// `resource "coder_agent" "main"`.
    pub context: Option<String>,
    /// The lines.
    pub code: String,
    /// The first line's number.
    pub start_line: u64,
    /// What the expressions in it are.
    pub values: Vec<ExpressionValue>,
}

/// What an expression in a snippet is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct ExpressionValue {
    /// `var.size`.
    pub traversal: String,
    /// `is "large"`.
    pub statement: String,
}

impl Diagnostic {
    /// Whether nothing happens because of it.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == "error"
    }

    /// The lines that Terraform prints for people: title, place, snippet with values, detail.
    #[must_use]
    pub fn rendered(&self) -> String {
        let title = if self.is_error() { "Error" } else { "Warning" };
        let mut lines = vec![format!("{title}: {}", self.summary)];
        match (&self.range, &self.address) {
            (Some(range), _) => lines.extend(self.place(range)),
            (None, Some(address)) => lines.extend([String::new(), format!("  with {address}")]),
            (None, None) => {}
        }
        if !self.detail.is_empty() {
            lines.push(String::new());
            lines.extend(self.detail.lines().map(str::to_owned));
        }
        lines.join("\n")
    }

    fn place(&self, range: &Range) -> Vec<String> {
        let mut lines = vec![String::new()];
        if let Some(address) = &self.address {
            lines.push(format!("  with {address},"));
        }
        let context = self.snippet.as_ref().and_then(|snippet| snippet.context.as_ref());
        let context = context.map(|context| format!(", in {context}")).unwrap_or_default();
        lines.push(format!("  on {} line {}{context}:", range.filename, range.start.line));
        // A line of values may hold a secret one, and Terraform does not know yet which are.
        let is_of_values = range.filename.ends_with(".tfvars") || range.filename.ends_with(".tfvars.json");
        let Some(snippet) = self.snippet.as_ref().filter(|_| !is_of_values) else { return lines };
        for (number, code) in (snippet.start_line..).zip(snippet.code.lines()) {
            lines.push(format!("{number:>4}: {code}"));
        }
        if !snippet.values.is_empty() {
            lines.push(format!("    \u{251c}{}", "\u{2500}".repeat(16)));
            lines.extend(snippet.values.iter().map(|value| format!("    \u{2502} {} {}", value.traversal, value.statement)));
        }
        lines
    }

    /// `main.tf:3: Unsupported argument: An argument named "x" is not expected here.`
    #[must_use]
    pub fn one_line(&self) -> String {
        let mut line = String::new();
        if let Some(range) = &self.range {
            line = format!("{}:{}: ", range.filename, range.start.line);
        }
        line.push_str(self.summary.trim());
        let detail = self.detail.split("\n\n").next().unwrap_or_default();
        let detail = detail.split_whitespace().collect::<Vec<_>>().join(" ");
        if !detail.is_empty() {
            line = format!("{}: {detail}", line.trim_end_matches(['.', ':']));
        }
        match line.char_indices().nth(LINE_CHARS_MAX) {
            Some((end, _)) => format!("{}\u{2026}", line.get(..end).unwrap_or_default()),
            None => line,
        }
    }

    /// Whether Terraform asks for `terraform init`, which the runner had left out.
    #[must_use]
    pub fn asks_for_init(&self) -> bool {
        const MARKS: &[&str] = &[
            "terraform init",
            "tofu init",
            "Module not installed",
            "Inconsistent dependency lock file",
            "Missing required provider",
            "Required plugins are not installed",
            "Could not load plugin",
        ];
        MARKS.iter().any(|mark| self.summary.contains(mark) || self.detail.contains(mark))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: serde_json::Value) -> Diagnostic {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_diagnostic_reads_as_terraform_prints_it() {
        let diagnostic = read(serde_json::json!({
            "severity": "error", "summary": "Unsupported attribute", "detail": "Can't access attributes on a primitive-typed value (string).",
            "range": {"filename": "main.tf", "start": {"line": 7, "column": 9, "byte": 90}, "end": {"line": 7, "column": 11, "byte": 92}},
            "snippet": {"context": "resource \"terraform_data\" \"b\"", "code": "  input = var.x.y", "start_line": 7,
                "highlight_start_offset": 15, "highlight_end_offset": 17, "values": [{"traversal": "var.x", "statement": "is \"v\""}]}
        }));
        let expected = "Error: Unsupported attribute

  on main.tf line 7, in resource \"terraform_data\" \"b\":
   7:   input = var.x.y
    \u{251c}\u{2500}\u{2500}\u{2500}\u{2500}\u{2500}\u{2500}\u{2500}\u{2500}\u{2500}\u{2500}\u{2500}\u{2500}\u{2500}\u{2500}\u{2500}\u{2500}
    \u{2502} var.x is \"v\"

Can't access attributes on a primitive-typed value (string).";
        assert_eq!(diagnostic.rendered(), expected);
        let line = "main.tf:7: Unsupported attribute: Can't access attributes on a primitive-typed value (string).";
        assert_eq!(diagnostic.one_line(), line);
    }

    #[test]
    fn a_line_of_a_values_file_is_not_shown() {
        let diagnostic = read(serde_json::json!({
            "severity": "error", "summary": "Unterminated template string", "range": {"filename": "terraform.tfvars", "start": {"line": 1}},
            "snippet": {"code": "password = \"canary", "start_line": 1}
        }));
        assert_eq!(diagnostic.rendered(), "Error: Unterminated template string\n\n  on terraform.tfvars line 1:");
    }

    #[test]
    fn without_a_place_the_address_is_shown_and_long_text_is_cut() {
        let diagnostic = read(
            serde_json::json!({"severity": "warning", "summary": "Slow", "address": "coder_agent.main", "detail": "x".repeat(999)}),
        );
        assert!(diagnostic.rendered().starts_with("Warning: Slow\n\n  with coder_agent.main\n"));
        assert_eq!(diagnostic.one_line().chars().count(), LINE_CHARS_MAX + 1);
    }

    #[test]
    fn a_call_for_init_is_recognized() {
        let asks = |summary: &str, detail: &str| read(serde_json::json!({"summary": summary, "detail": detail})).asks_for_init();
        assert!(asks("Module not installed", ""));
        assert!(asks("Missing required provider", "run:\n  terraform init"));
        assert!(!asks("Invalid expression", "Expected the start of an expression"));
    }
}
