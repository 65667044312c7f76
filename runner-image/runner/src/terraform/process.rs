//! One Terraform process: its own session, a cleared environment, its output pumped into the log.
//!
//! It does not outlive the runner, see [`super::guard`].

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    io,
    path::PathBuf,
    process::{ExitStatus, Output, Stdio},
    time::Duration,
};

use berth_domain::{LogLevel, Timestamp, TimingStage};
use process_wrap::tokio::{ChildWrapper, CommandWrap, ProcessSession};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader},
    process::ChildStdin,
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

use super::{
    Diagnostic, Terraform, User,
    event::{self, Event, Step},
    guard,
    ladder::{Ladder, Send},
};
use crate::{
    lease::{Stop, Stops},
    log::Log,
    progress::Progress,
};

/// Collect no garbage as long as little memory is used (<https://pkg.go.dev/runtime#hdr-Environment_Variables>). Of a short run a tenth is
/// garbage collection. Not for a Terraform that starts providers: each would take as much.
const ALONE: [(&str, &str); 2] = [("GOGC", "off"), ("GOMEMLIMIT", "256MiB")];
/// Where `terraform init` installs providers, in the working directory.
const PROVIDERS: &str = ".terraform/providers";
/// The longest line of output that is read as one, in bytes.
const LINE_BYTES_MAX: usize = 1024 * 1024;
/// By what Terraform finds the provider that the runner serves.
pub(crate) const REATTACH: &str = "TF_REATTACH_PROVIDERS";
/// How long output may still arrive after Terraform has ended, should a process it left behind hold the pipe.
const LAST_OUTPUT: Duration = Duration::from_millis(500);
/// The most errors, and the most warnings, that are remembered; the log has them all.
const DIAGNOSTICS_MAX: usize = 16;

/// How to run Terraform commands of one job.
#[derive(Debug, Clone)]
pub struct Run {
    /// The executable.
    pub terraform: Terraform,
    /// The runner's own executable, which guards it.
    pub runner: PathBuf,
    /// As whom it runs, when not as the runner.
    pub user: Option<User>,
    /// The working directory.
    pub directory: PathBuf,
    /// The whole environment.
    pub environment: BTreeMap<OsString, OsString>,
    /// How long it may take to end once asked.
    pub grace: Duration,
    /// Reasons to stop.
    pub stops: Stops,
    /// Where output goes.
    pub log: Log,
    /// What it is at.
    pub progress: Progress,
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    /// How the process ended.
    pub status: ExitStatus,
    /// Whether it was asked to.
    pub was_asked: bool,
    /// The errors it reported, in order.
    pub errors: Vec<Diagnostic>,
    /// The warnings it reported, each in one line.
    pub warnings: Vec<String>,
    /// Its first line of plain text that is an error, else its last line.
    pub last_words: String,
}

/// Why a command could not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The executable does not start.
    #[error("cannot start {path}: {source}")]
    Start {
        /// The executable.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The process cannot be waited for.
    #[error("cannot wait for terraform: {0}")]
    Wait(#[source] io::Error),
}

impl Ended {
    /// Whether it did what it should.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.status.success()
    }

    /// Whether it refused to work without `terraform init`.
    #[must_use]
    pub fn asks_for_init(&self) -> bool {
        !self.is_success() && self.errors.iter().any(Diagnostic::asks_for_init)
    }

    /// Whether the log already says why it failed: each diagnostic is written there, in full, when it is heard.
    #[must_use]
    pub fn is_explained(&self) -> bool {
        !self.errors.is_empty()
    }

    /// Why it failed, in one line.
    #[must_use]
    pub fn error(&self) -> String {
        if let Some(first) = self.errors.first() {
            return first.one_line();
        }
        match (guard::signal_of(self.status), self.last_words.trim()) {
            (Some(signal), _) => format!("terraform was killed by signal {signal}"),
            (None, "") => format!("terraform ended with exit code {} and said nothing", self.status.code().unwrap_or(-1)),
            (None, words) => format!("terraform failed: {words}"),
        }
    }
}

impl Run {
    /// Runs one command to its end, down the ladder when there is a reason to stop. Its output goes to the log.
    ///
    /// # Errors
    /// When the process does not start or cannot be waited for.
    pub async fn command(&self, arguments: &[&str]) -> Result<Ended, RunError> {
        let begun = Instant::now();
        let mut child = self.spawn(arguments)?;
        let mut pumps = JoinSet::new();
        if let Some(stdout) = child.stdout().take() {
            pumps.spawn(pump(stdout, self.ears(), LogLevel::Info));
        }
        if let Some(stderr) = child.stderr().take() {
            pumps.spawn(pump(stderr, self.ears(), LogLevel::Warn));
        }
        self.progress.begin(stage(arguments), child.id().and_then(|id| i32::try_from(id).ok()));
        let ended = self.wait(child.as_mut()).await;
        let heard = collect(pumps).await;
        self.progress.end();
        let (status, was_asked) = ended?;
        let took_ms = begun.elapsed().as_millis();
        tracing::info!(command = arguments.first(), %status, took_ms, "terraform ended");
        let last_words = heard.error_line.unwrap_or(heard.last_line);
        Ok(Ended { status, was_asked, errors: heard.errors, warnings: heard.warnings, last_words })
    }

    /// Runs a command whose output is data, and answers it; what it says goes to the log. Short commands only (`show`): it is ended,
    /// not interrupted, when the future is dropped.
    ///
    /// # Errors
    /// When the process does not start or cannot be waited for.
    pub async fn output(&self, arguments: &[&str]) -> Result<(ExitStatus, Vec<u8>), RunError> {
        let output = self.quietly(arguments).await?;
        for line in String::from_utf8_lossy(&output.stderr).lines() {
            self.log.terraform(LogLevel::Warn, line);
        }
        Ok((output.status, output.stdout))
    }

    /// The same, for a command whose failure is nobody's concern: nothing goes to the log.
    ///
    /// # Errors
    /// As for [`Run::output`].
    pub async fn quietly(&self, arguments: &[&str]) -> Result<Output, RunError> {
        let mut child = self.spawn(arguments)?;
        // Closed when this future is dropped, by which the guard ends the command.
        let _pipe = child.stdin().take();
        let (stdout, stderr) = (child.stdout().take(), child.stderr().take());
        let (stdout, stderr) = tokio::join!(whole(stdout), whole(stderr));
        let (stdout, stderr) = (stdout.map_err(RunError::Wait)?, stderr.map_err(RunError::Wait)?);
        let status = child.inner_mut().wait().await.map_err(RunError::Wait)?;
        Ok(Output { status, stdout, stderr })
    }

    fn ears(&self) -> (Log, Progress) {
        (self.log.clone(), self.progress.clone())
    }

    fn spawn(&self, arguments: &[&str]) -> Result<Box<dyn ChildWrapper>, RunError> {
        let mut command = CommandWrap::with_new(&self.runner, |command| {
            command
                .arg(guard::VERB)
                .arg(self.user.map_or_else(|| guard::SAME_USER.to_owned(), |user| user.to_string()))
                .args(self.program())
                .args(arguments)
                .current_dir(&self.directory)
                .env_clear()
                .envs(&self.environment);
            if !self.directory.join(PROVIDERS).exists() {
                command.envs(ALONE);
            }
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        });
        command.wrap(ProcessSession).spawn().map_err(|source| RunError::Start { path: self.runner.display().to_string(), source })
    }

    /// What the guard starts: Terraform, or a shell that becomes it.
    ///
    /// Terraform takes a served provider for dead when it may not signal the provider's process (go-plugin, `pidAlive`), and another user
    /// may not signal the runner. So it is told its own process id, which the shell alone knows before Terraform runs.
    fn program(&self) -> Vec<OsString> {
        let terraform = self.terraform.path.clone().into_os_string();
        let served = self.environment.get(OsStr::new(REATTACH)).and_then(|value| value.to_str());
        match served.filter(|_| self.user.is_some()) {
            Some(json) => vec!["/bin/sh".into(), "-c".into(), with_own_id(json).into(), terraform],
            None => vec![terraform],
        }
    }

    async fn wait(&self, child: &mut dyn ChildWrapper) -> Result<(ExitStatus, bool), RunError> {
        let leader = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        // Held to the end: the guard takes its closing for the runner's death.
        let mut pipe = child.stdin().take();
        let mut ladder = Ladder::new(self.grace);
        let mut stop = self.stops.watch();
        let status = loop {
            let now = *stop.borrow_and_update();
            if let Some(signal) = ladder.step(Instant::now(), now) {
                send(leader, pipe.as_mut(), signal).await;
            }
            // The inner child: its wrapper would also wait for processes that Terraform left behind.
            tokio::select! {
                status = child.inner_mut().wait() => break status.map_err(RunError::Wait)?,
                () = changed(&mut stop) => {}
                () = at(ladder.deadline(now)) => {}
            }
        };
        if !status.success() {
            // Providers and provisioners outlive a Terraform that was killed; nothing of a failed run may linger.
            send(leader, None, Send::Kill).await;
        }
        Ok((status, ladder.was_asked()))
    }
}

/// A shell's script that executes its arguments with the reattach variable changed to hold its own process id.
fn with_own_id(json: &str) -> String {
    let quoted = json.replace('\'', r"'\''").replace(&format!("\"Pid\":{}", std::process::id()), "\"Pid\":'$$'");
    format!("export {REATTACH}='{quoted}'; exec \"$0\" \"$@\"")
}

/// What a command does first. An `apply` of a saved plan plans no more.
fn stage(arguments: &[&str]) -> TimingStage {
    match arguments {
        ["init", ..] => TimingStage::Init,
        ["apply", .., last] if !last.starts_with('-') => TimingStage::Apply,
        _ => TimingStage::Plan,
    }
}

/// All that a process prints. Unbounded, as Terraform's JSON is.
async fn whole(output: Option<impl AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match output {
        Some(mut output) => output.read_to_end(&mut bytes).await.map(|_| bytes),
        None => Ok(bytes),
    }
}

async fn send(leader: Option<Pid>, pipe: Option<&mut ChildStdin>, signal: Send) {
    let result = match (signal, leader, pipe) {
        (Send::Interrupt, _, Some(pipe)) => pipe.write_all(&[guard::INTERRUPT]).await,
        (Send::Kill, Some(leader), _) => kill_process_group(leader, Signal::KILL).map_err(io::Error::from),
        _ => Ok(()),
    };
    if let Err(error) = result {
        tracing::debug!(%error, ?signal, "nobody to signal");
    }
}

async fn changed(stop: &mut watch::Receiver<Option<Stop>>) {
    if stop.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// What was heard besides what went to the log.
#[derive(Debug, Default)]
struct Heard {
    errors: Vec<Diagnostic>,
    warnings: Vec<String>,
    error_line: Option<String>,
    last_line: String,
}

impl Heard {
    fn remember(&mut self, text: &str) {
        if let Some(error) = text.strip_prefix("Error: ") {
            self.error_line.get_or_insert_with(|| error.to_owned());
        }
        text.clone_into(&mut self.last_line);
    }
}

async fn collect(mut pumps: JoinSet<Heard>) -> Heard {
    let mut all = Heard::default();
    while let Ok(Some(heard)) = timeout(LAST_OUTPUT, pumps.join_next()).await {
        let Ok(heard) = heard else { continue };
        all.errors.extend(heard.errors);
        all.warnings.extend(heard.warnings);
        all.error_line = all.error_line.or(heard.error_line);
        if !heard.last_line.is_empty() {
            all.last_line = heard.last_line;
        }
    }
    all
}

async fn pump(output: impl AsyncRead + Unpin, (log, progress): (Log, Progress), plain: LogLevel) -> Heard {
    let mut reader = BufReader::with_capacity(64 * 1024, output);
    let mut heard = Heard::default();
    let mut line = Vec::new();
    while read_line(&mut reader, &mut line).await {
        let said = event::read(&String::from_utf8_lossy(&line), Timestamp::now());
        let is_applied = said.step == Some(Step::Applied);
        progress.note(said.step);
        match said.event {
            Event::Line(level, text) => {
                heard.remember(&text);
                log.terraform(if level == LogLevel::Info { plain } else { level }, &text);
            }
            Event::Diagnostic(diagnostic) => {
                let level = if diagnostic.is_error() { LogLevel::Error } else { LogLevel::Warn };
                log.terraform(level, &diagnostic.rendered());
                if diagnostic.is_error() && heard.errors.len() < DIAGNOSTICS_MAX {
                    heard.errors.push(*diagnostic);
                } else if !diagnostic.is_error() && heard.warnings.len() < DIAGNOSTICS_MAX {
                    heard.warnings.push(diagnostic.one_line());
                }
            }
            Event::Nothing => {}
        }
        if is_applied {
            // While Terraform ends, so that nobody waits for it afterwards.
            log.flush();
        }
    }
    heard
}

/// Reads one line of at most the limit's bytes; what is longer is left out. False at the end.
async fn read_line(reader: &mut (impl AsyncBufReadExt + Unpin), line: &mut Vec<u8>) -> bool {
    line.clear();
    let mut any = false;
    loop {
        let Ok(bytes) = reader.fill_buf().await else { return any };
        if bytes.is_empty() {
            return any;
        }
        any = true;
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let part = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
        let room = LINE_BYTES_MAX.saturating_sub(line.len());
        line.extend_from_slice(part.get(..room.min(part.len())).unwrap_or_default());
        let used = end.map_or(bytes.len(), |end| end + 1);
        reader.consume(used);
        if end.is_some() {
            return true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_puts_its_own_process_id_in_and_nothing_else() {
        let json = serde_json::json!({"a": {"Pid": std::process::id(), "String": "it's $HOME"}}).to_string();
        let script = with_own_id(&json);
        let child = std::process::Command::new("/bin/sh")
            .args(["-c", &script, "/bin/sh", "-c", "printf %s \"$TF_REATTACH_PROVIDERS\""])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let id = child.id();
        let told: serde_json::Value = serde_json::from_slice(&child.wait_with_output().unwrap().stdout).unwrap();
        assert_eq!(told, serde_json::json!({"a": {"Pid": id, "String": "it's $HOME"}}));
    }

    #[tokio::test]
    async fn lines_of_any_length_are_read_and_cut() {
        let long = "x".repeat(LINE_BYTES_MAX + 10);
        let text = format!("one\n\n{long}\nlast");
        let mut reader = BufReader::with_capacity(16, text.as_bytes());
        let (mut line, mut lengths) = (Vec::new(), Vec::new());
        while read_line(&mut reader, &mut line).await {
            lengths.push(line.len());
        }
        assert_eq!(lengths, [3, 0, LINE_BYTES_MAX, 4]);
    }
}
