//! Running a template's scripts: each in the user's shell or the interpreter it names, all of a kind side by side.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use berth_wire::agent::ScriptCompleted;
use berth_wire::domain::limit::METADATA_VALUE_BYTES_MAX;
use berth_wire::domain::{LogLevel, ScriptStage, ScriptStatus, Timestamp};
use berth_wire::runner::Script;
use futures_util::future::join_all;
use nix::sys::signal::Signal;
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::time::timeout;

use crate::config::Config;
use crate::identity::private_directory;
use crate::lifecycle::LifecycleReporter;
use crate::log::LogSender;
use crate::process::{Processes, Running, signal_group};
use crate::ssh::{SessionEnvironment, resolve_path};

/// How long a script may take to end after it was interrupted.
const INTERRUPT_GRACE: Duration = Duration::from_secs(10);

/// How long a background child may hold a script's output open after the script has ended.
const PIPES_GRACE: Duration = Duration::from_secs(10);

/// What stands for the exit code of a script that has none.
const NO_EXIT_CODE: i32 = 255;

/// How a script ended, and what its log should say of that.
struct Ended {
    status: ScriptStatus,
    exit_code: i32,
    text: Option<String>,
}

/// Runs scripts.
#[derive(Clone, Debug)]
pub struct ScriptRunner {
    /// Where things are.
    pub config: Config,
    /// What scripts see.
    pub sessions: SessionEnvironment,
    /// Where their processes are registered.
    pub processes: Processes,
    /// Where their output goes.
    pub log: LogSender,
    /// Where it is told how they ran.
    pub reporter: LifecycleReporter,
}

impl ScriptRunner {
    /// Runs all of `scripts` side by side and answers how each ended.
    pub async fn run_all(&self, scripts: &[&Script], stage: ScriptStage) -> Vec<ScriptStatus> {
        join_all(scripts.iter().map(|script| self.run(script, stage))).await
    }

    /// Runs one script to its end and reports it; an end that is not good is also a line in its log.
    pub async fn run(&self, script: &Script, stage: ScriptStage) -> ScriptStatus {
        let started_at = Timestamp::now();
        let limit = (script.timeout_seconds > 0).then(|| Duration::from_secs(script.timeout_seconds));
        let Ended { status, exit_code, text } = match self.start(script) {
            Ok((running, log_file)) => self.finish(script, running, (log_file, limit)).await,
            Err(error) => Ended::badly(format!("the script did not start: {error}")),
        };
        if let Some(text) = text {
            let level = if status == ScriptStatus::PipesLeftOpen { LogLevel::Warn } else { LogLevel::Error };
            self.log.line(script.id, level, text);
        }
        tracing::info!(script.id = %script.id, script.name = script.display_name, %stage, %status, exit_code, "a script ended");
        let ended_at = Timestamp::now();
        self.reporter.ran(ScriptCompleted { script_id: script.id, started_at, ended_at, exit_code, stage, status });
        status
    }

    /// Runs a line in the user's shell: what it printed, or why it said nothing.
    pub(crate) async fn ask(&self, line: &str, limit: Duration) -> Result<String, String> {
        let surroundings = self.sessions.surroundings();
        let mut command = Command::new(&self.sessions.user().shell);
        command.arg("-c").arg(line).env_clear().envs(&surroundings.variables).current_dir(&surroundings.directory);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut running = self.processes.spawn(command).map_err(|error| format!("it did not start: {error}"))?;
        let mut said = Vec::new();
        let stdout = running.take_stdout();
        let reading = async {
            if let Some(mut stdout) = stdout {
                (&mut stdout).take(METADATA_VALUE_BYTES_MAX as u64).read_to_end(&mut said).await.ok();
                tokio::io::copy(&mut stdout, &mut tokio::io::sink()).await.ok();
            }
            running.wait().await
        };
        let ended = timeout(limit, reading).await;
        let said = String::from_utf8_lossy(&said).trim_end().to_owned();
        match ended {
            Ok(Ok(status)) if status.success() => Ok(said),
            Ok(Ok(status)) => Err(format!("it failed: {status}")),
            Ok(Err(error)) => Err(format!("its end was not seen: {error}")),
            Err(_late) => {
                signal_group(running.pid(), Signal::SIGKILL);
                running.wait().await.ok();
                Err(format!("it took longer than {} s", limit.as_secs()))
            }
        }
    }

    fn start(&self, script: &Script) -> io::Result<(Running, File)> {
        let data = self.config.script_data(&script.id.to_string());
        private_directory(&data)?;
        private_directory(&self.config.script_programs())?;
        let file = data.join("script");
        write_private(&file, script.script.as_bytes())?;
        let surroundings = self.sessions.surroundings();
        let mut command = interpreter(&script.script, &self.sessions.user().shell);
        command
            .arg(&file)
            .env_clear()
            .envs(&surroundings.variables)
            .env("CODER_SCRIPT_DATA_DIR", &data)
            .current_dir(&surroundings.directory);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let log_file = self.open_log(script)?;
        Ok((self.processes.spawn(command)?, log_file))
    }

    fn open_log(&self, script: &Script) -> io::Result<File> {
        let surroundings = self.sessions.surroundings();
        let path = match script.log_path.as_str() {
            "" => PathBuf::from(format!("coder-script-{}.log", script.id)),
            written => resolve_path(written, (&self.sessions.user().home, &self.config.log_directory), |name| {
                surroundings.variables.get(std::ffi::OsStr::new(name)).cloned()
            }),
        };
        let path = self.config.log_file(&path);
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
    }

    /// Waits for the end, the limit, and the output, in that order.
    async fn finish(&self, script: &Script, mut running: Running, (log_file, limit): (File, Option<Duration>)) -> Ended {
        let log_file = Mutex::new(log_file);
        let tee = |bytes: &[u8]| {
            // The copy on disk is a convenience; a full disk must not stop the script.
            log_file.lock().unwrap_or_else(PoisonError::into_inner).write_all(bytes).ok();
        };
        let (stdout, stderr) = (running.take_stdout(), running.take_stderr());
        let output = async {
            let stdout = async {
                if let Some(stdout) = stdout {
                    self.log.lines_of(stdout, (script.id, LogLevel::Info), tee).await;
                }
            };
            let stderr = async {
                if let Some(stderr) = stderr {
                    self.log.lines_of(stderr, (script.id, LogLevel::Error), tee).await;
                }
            };
            tokio::join!(stdout, stderr);
        };
        tokio::pin!(output);
        let ended = async { end(&mut running, limit).await };
        tokio::pin!(ended);
        let mut is_drained = false;
        let ended = loop {
            tokio::select! {
                ended = &mut ended => break ended,
                () = &mut output, if !is_drained => is_drained = true,
            }
        };
        let is_held = !is_drained && timeout(PIPES_GRACE, output).await.is_err();
        Ended::of(ended, is_held)
    }
}

/// The exit status, or nothing if the limit passed first.
async fn end(running: &mut Running, limit: Option<Duration>) -> Option<io::Result<ExitStatus>> {
    let Some(limit) = limit else {
        return Some(running.wait().await);
    };
    if let Ok(status) = timeout(limit, running.wait()).await {
        return Some(status);
    }
    signal_group(running.pid(), Signal::SIGINT);
    if timeout(INTERRUPT_GRACE, running.wait()).await.is_err() {
        signal_group(running.pid(), Signal::SIGKILL);
        running.wait().await.ok();
    }
    None
}

impl Ended {
    fn badly(text: String) -> Ended {
        Ended { status: ScriptStatus::ExitFailure, exit_code: NO_EXIT_CODE, text: Some(text) }
    }

    fn of(exit: Option<io::Result<ExitStatus>>, is_held: bool) -> Ended {
        let late = "the script took longer than its time limit and was ended";
        let held = "the script ended, but left its output open in the background";
        match exit {
            None => Ended { status: ScriptStatus::TimedOut, ..Ended::badly(late.to_owned()) },
            Some(Ok(exit)) if exit.success() => {
                let (status, text) =
                    if is_held { (ScriptStatus::PipesLeftOpen, Some(held.to_owned())) } else { (ScriptStatus::Ok, None) };
                Ended { status, exit_code: 0, text }
            }
            Some(Ok(exit)) => {
                let exit_code = exit.code().unwrap_or(NO_EXIT_CODE);
                Ended { exit_code, ..Ended::badly(format!("the script failed: {exit}")) }
            }
            Some(Err(error)) => Ended::badly(format!("the script's end was not seen: {error}")),
        }
    }
}

/// The program that reads the script: the one its first line names, else the user's shell.
fn interpreter(script: &str, shell: &Path) -> Command {
    let first = script.lines().next().and_then(|line| line.strip_prefix("#!"));
    let mut words = first.unwrap_or_default().split_whitespace();
    match words.next() {
        Some(program) => {
            let mut command = Command::new(program);
            command.args(words);
            command
        }
        None => Command::new(shell),
    }
}

/// Written beside and renamed: a shell that still reads the one before, which began at another time, reads it to its end.
fn write_private(file: &Path, text: &[u8]) -> io::Result<()> {
    let beside = file.with_extension("new");
    let mut created = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o700).open(&beside)?;
    created.write_all(text)?;
    fs::rename(beside, file)
}
