//! The only place that prints: data to stdout, talk to stderr.

use crate::failure::{CLOSED_PIPE, Failure, Outcome};
use anstyle::{AnsiColor, Style};
use berth_wire::domain::Timestamp;
use clap::{Args, ValueEnum};
use comfy_table::Table;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use serde::Serialize;
use std::{
    fmt,
    io::{self, IsTerminal, Write},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// A wait shorter than this shows nothing.
const QUIET_FOR: Duration = Duration::from_secs(1);
/// The same where nobody looks at a terminal: a line in a log is worth a longer wait.
const QUIET_ELSEWHERE: Duration = Duration::from_secs(5);
/// How often the spinner turns.
const TURN: Duration = Duration::from_millis(100);

const ERROR: Style = AnsiColor::Red.on_default().bold();
const HINT: Style = AnsiColor::Cyan.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const STAGE: Style = Style::new().bold();
const FAINT: Style = Style::new().dimmed();

/// How data is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    #[value(alias = "text")]
    Table,
    /// For programs.
    Json,
}

/// The `-o` flag.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct FormatFlag {
    /// How to write the answer
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: Format,
}

/// Prints.
#[derive(Debug, Clone, Copy)]
pub struct Printer {
    /// Whether stderr is a terminal: progress is drawn, not listed.
    lively: bool,
    /// Whether there is someone to answer questions.
    interactive: bool,
}

impl Printer {
    /// A printer for this process's streams.
    #[must_use]
    pub fn new(no_color: bool) -> Self {
        if no_color {
            anstream::ColorChoice::Never.write_global();
        }
        let lively = io::stderr().is_terminal();
        Self { lively, interactive: lively && io::stdin().is_terminal() }
    }

    /// Whether questions can be asked.
    #[must_use]
    pub const fn is_interactive(&self) -> bool {
        self.interactive
    }

    /// Writes a line of data.
    ///
    /// # Errors
    /// Silent when the reader went away.
    pub fn data(&self, line: impl fmt::Display) -> Outcome {
        write_out(format_args!("{line}\n"))
    }

    /// Writes data as it is.
    ///
    /// # Errors
    /// Silent when the reader went away.
    pub fn text(&self, text: &str) -> Outcome {
        write_out(format_args!("{text}"))
    }

    /// Writes data that is no text.
    ///
    /// # Errors
    /// Silent when the reader went away.
    pub fn bytes(&self, bytes: &[u8]) -> Outcome {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|error| unwritten(&error))
    }

    /// Writes a value as JSON, indented.
    ///
    /// # Errors
    /// Silent when the reader went away.
    pub fn json<T: Serialize>(&self, value: &T) -> Outcome {
        let text = serde_json::to_string_pretty(value)
            .map_err(|error| Failure::new(format!("cannot write the answer as JSON: {error}")))?;
        self.data(text)
    }

    /// Writes a table, or its rows' source as JSON.
    ///
    /// # Errors
    /// Silent when the reader went away.
    pub fn table_or_json<T: Serialize>(&self, format: Format, value: &T, table: impl FnOnce() -> Table) -> Outcome {
        match format {
            Format::Json => self.json(value),
            Format::Table => self.text(&render(&table())),
        }
    }

    /// Says something to the person.
    pub fn say(&self, line: impl fmt::Display) {
        talk(format_args!("{line}\n"));
    }

    /// Says something of little weight.
    pub fn faint(&self, line: impl fmt::Display) {
        talk(format_args!("{FAINT}{line}{FAINT:#}\n"));
    }

    /// Warns of something that does not end the command.
    pub fn warn(&self, line: impl fmt::Display) {
        talk(format_args!("{WARNING}warning:{WARNING:#} {line}\n"));
    }

    /// Says what to do next.
    pub fn hint(&self, line: impl fmt::Display) {
        talk(format_args!("{HINT}hint:{HINT:#} {line}\n"));
    }

    /// Says why the command ends.
    pub fn failure(&self, failure: &Failure) {
        if failure.is_silent() {
            return;
        }
        talk(format_args!("{ERROR}error:{ERROR:#} {}\n", printable(&failure.to_string())));
        if let Some(hint) = failure.next() {
            self.hint(printable(hint));
        }
    }

    /// Begins a line that is written over, also on a terminal in raw mode. Nothing where stderr is no terminal, as the two that follow.
    pub fn begin_status(&self) {
        if self.lively {
            talk(format_args!("\r\n"));
        }
    }

    /// Writes over the line.
    pub fn status(&self, line: impl fmt::Display) {
        if self.lively {
            talk(format_args!("\r\x1b[K{line}"));
        }
    }

    /// Writes the line for the last time, or takes it away.
    pub fn end_status(&self, line: Option<impl fmt::Display>) {
        self.status(line.map(|line| format!("{line}\r\n")).unwrap_or_default());
    }

    /// Does the work, and says what it waits for if that takes long.
    pub async fn patiently<T>(&self, words: impl fmt::Display, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        let quiet = if self.lively { QUIET_FOR } else { QUIET_ELSEWHERE };
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = tokio::time::sleep(quiet) => {}
        }
        let mut progress = self.progress();
        progress.stage(&words.to_string());
        work.await
    }

    /// Starts to show that we wait.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let bar = self.lively.then(|| {
            let message = Arc::new(Mutex::new(String::new()));
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            bar.set_style(spinner(Arc::clone(&message)));
            bar.enable_steady_tick(TURN);
            Spinner { bar, message }
        });
        Progress { bar, stage: String::new() }
    }
}

/// A wait in progress: a spinner with the current stage on a terminal, one line per stage elsewhere. Dropping it clears the spinner.
#[derive(Debug)]
pub struct Progress {
    bar: Option<Spinner>,
    stage: String,
}

#[derive(Debug)]
struct Spinner {
    bar: ProgressBar,
    message: Arc<Mutex<String>>,
}

impl Spinner {
    fn show(&self, message: &str) {
        let mut shown = self.message.lock().unwrap_or_else(PoisonError::into_inner);
        *shown = printable(message);
    }
}

impl Progress {
    /// What is being waited for now.
    pub fn stage(&mut self, stage: &str) {
        if self.stage == stage {
            return;
        }
        stage.clone_into(&mut self.stage);
        match &self.bar {
            Some(spinner) => spinner.show(stage),
            None => talk(format_args!("{}\n", printable(stage))),
        }
    }

    /// A stage that is also kept on the screen.
    pub fn heading(&mut self, stage: &str) {
        if self.stage == stage {
            return;
        }
        stage.clone_into(&mut self.stage);
        self.above(format_args!("{STAGE}==> {}{STAGE:#}\n", printable(stage)));
        if let Some(spinner) = &self.bar {
            spinner.show(stage);
        }
    }

    /// A line that stays on the screen.
    pub fn line(&self, line: &str) {
        self.above(format_args!("    {}\n", printable(line)));
    }

    /// A line of little weight that stays on the screen.
    pub fn faint(&self, line: &str) {
        self.above(format_args!("    {FAINT}{}{FAINT:#}\n", printable(line)));
    }

    /// A line that reports an error and stays on the screen.
    pub fn error(&self, line: &str) {
        self.above(format_args!("    {ERROR}{}{ERROR:#}\n", printable(line)));
    }

    /// Does something to the screen while nothing of the wait is on it.
    pub fn clear_of<T>(&self, write: impl FnOnce() -> T) -> T {
        match &self.bar {
            Some(spinner) => spinner.bar.suspend(write),
            None => write(),
        }
    }

    fn above(&self, text: fmt::Arguments<'_>) {
        match &self.bar {
            Some(spinner) => spinner.bar.suspend(|| talk(text)),
            None => talk(text),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(spinner) = &self.bar {
            spinner.bar.finish_and_clear();
        }
    }
}

/// The spinner's look. Nothing for the first second: most waits end before.
fn spinner(message: Arc<Mutex<String>>) -> ProgressStyle {
    let style = ProgressStyle::with_template("{wait}").unwrap_or_else(|_| ProgressStyle::default_spinner());
    style.with_key("wait", move |state: &ProgressState, out: &mut dyn fmt::Write| {
        const TURNS: [char; 4] = ['|', '/', '-', '\\'];
        let elapsed = state.elapsed();
        if elapsed >= QUIET_FOR {
            let turn = usize::try_from(elapsed.as_millis() / TURN.as_millis()).unwrap_or(0);
            let turn = TURNS.get(turn % TURNS.len()).copied().unwrap_or('-');
            let message = message.lock().unwrap_or_else(PoisonError::into_inner);
            let _formatted = write!(out, "{turn} {message} ({}s)", elapsed.as_secs());
        }
    })
}

/// A table in our one style: no borders, headings in capitals.
#[must_use]
pub fn table<const N: usize>(headings: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.force_no_tty();
    table.set_header(headings.map(str::to_uppercase));
    table
}

/// The table as text. Lines have no spaces at their ends.
#[must_use]
pub fn render(table: &Table) -> String {
    let trimmed = table.lines().map(|line| line.trim_end().to_owned() + "\n").collect::<String>();
    trimmed.lines().map(|line| line.strip_prefix(' ').unwrap_or(line).to_owned() + "\n").collect()
}

/// How long ago something was, in one unit: `now`, `5m ago`, `3h ago`, `2d ago`.
#[must_use]
pub fn ago(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(then).as_secs().max(0);
    match seconds {
        0..60 => "now".to_owned(),
        60..3600 => format!("{}m ago", seconds / 60),
        3600..86_400 => format!("{}h ago", seconds / 3600),
        _ => format!("{}d ago", seconds / 86_400),
    }
}

/// How far ahead something is, and when: `in 2h (2026-06-01 14:00 UTC)`.
#[must_use]
pub fn in_words(then: Timestamp, now: Timestamp) -> String {
    let ahead = if then > now { format!("in {}", took(now, then)) } else { "now".to_owned() };
    format!("{ahead} ({})", then.strftime("%Y-%m-%d %H:%M UTC"))
}

/// How long something took: `0.4s`, `12s`, `3m 5s`, `2h 10m`.
#[must_use]
pub fn took(started: Timestamp, ended: Timestamp) -> String {
    let time = ended.duration_since(started);
    let seconds = time.as_secs().max(0);
    match seconds {
        0..10 => format!("{:.1}s", time.as_secs_f64().max(0.0)),
        10..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        _ => format!("{}h {}m", seconds / 3600, seconds / 60 % 60),
    }
}

/// Text from elsewhere, made harmless for a terminal: no escape sequences, no control characters but tab.
#[must_use]
pub fn printable(text: &str) -> String {
    let plain = anstream::adapter::strip_str(text).to_string();
    plain.chars().filter(|character| !character.is_control() || matches!(character, '\t' | '\n')).collect()
}

fn write_out(text: fmt::Arguments<'_>) -> Outcome {
    let mut stdout = anstream::stdout().lock();
    stdout.write_fmt(text).and_then(|()| stdout.flush()).map_err(|error| unwritten(&error))
}

fn unwritten(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::silent(CLOSED_PIPE),
        _ => Failure::new(format!("cannot write to stdout: {}", crate::config::plain(error))).hint("check where the output goes"),
    }
}

/// Nobody can be told that stderr is closed; the command goes on.
fn talk(text: fmt::Arguments<'_>) {
    let mut stderr = anstream::stderr().lock();
    let _written = stderr.write_fmt(text).and_then(|()| stderr.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_no_borders_and_no_trailing_spaces() {
        let mut one = table(["name", "status"]);
        one.add_row(["dev", "running"]);
        one.add_row(["a-longer-name", ""]);
        insta::assert_snapshot!(render(&one), @r"
        NAME           STATUS
        dev            running
        a-longer-name
        ");
    }

    #[test]
    fn text_from_elsewhere_cannot_drive_the_terminal() {
        assert_eq!(printable("a\x1b[31mred\x1b[0m\x07\r\n\tb\x1b]0;title\x07c"), "ared\n\tbc");
    }
}
