//! Processes that outlive the build which started them.
//!
//! ```text
//! create: spawn in a new session, marked by BERTH_PROCESS_ID in its environment
//! read:   alive (pid, start time and boot agree) -> unchanged
//!         dead, none marked is left              -> gone: the next build creates it again
//!         dead, marked processes are left        -> pid becomes null: the next build replaces it, which ends them
//! delete: SIGTERM to the leader, to all marked when it is gone, wait, SIGKILL; then none is left
//! import: the marks tell which processes there are and what was started -> the next build keeps or replaces it
//! ```

mod ending;
mod finding;
mod platform;

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use process_wrap::tokio::{ChildWrapper, CommandWrap, ProcessSession};
use sha2::{Digest, Sha256};
use tokio::process::Command;
use tokio::sync::watch;
use uuid::Uuid;

use crate::behaviour::{Context, Done};
use crate::diagnostic::Diagnostic;
use crate::directory::{make_private, of_workspace};
use crate::environment::Environment;
use crate::value::{Object, Value, at, text_at};

pub use ending::EndError;
use ending::{Ending, Leader};
pub(crate) use finding::{existing, import};

/// The environment variable that marks a process and all its descendants, whatever session they move to.
const MARK: &str = "BERTH_PROCESS_ID";

/// The environment variable that names the workspace of a marked process.
const WORKSPACE_MARK: &str = "BERTH_PROCESS_WORKSPACE";

/// The environment variable that says what a marked process was started as.
const FINGERPRINT_MARK: &str = "BERTH_PROCESS_FINGERPRINT";

/// A command that fails within this time failed to start.
const EARLY_EXIT: Duration = Duration::from_millis(100);

/// How much of the log a failed start shows.
const LOG_TAIL_BYTES: u64 = 4096;
const LOG_TAIL_LINES: usize = 20;

/// How long strays may take to end by themselves.
const STRAY_GRACE: Duration = Duration::from_secs(5);

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Ends the processes of a workspace that no state knows, and says how many there were.
///
/// A build that was killed between starting a process and saving its state leaves such a stray. The caller knows the
/// state: `known` holds the ids of its `berth_process` resources (none after a delete). Call it before a build and after
/// a delete; it reads the process table once when there is nothing to do.
///
/// # Errors
/// When the process table cannot be read, or a process survives SIGKILL.
pub async fn end_strays(workspace_id: &str, known: &BTreeSet<String>) -> Result<usize, EndError> {
    let workspace = format!("{WORKSPACE_MARK}={workspace_id}");
    let known: Vec<_> = known.iter().map(|id| format!("{MARK}={id}")).collect();
    let marked = move |environment: &platform::Marks| {
        environment.contains(&workspace) && !known.iter().any(|mark| environment.contains(mark))
    };
    let (_keep, stopping) = watch::channel(false);
    let gone = Ending { leader: None, marked: Box::new(marked), grace: STRAY_GRACE, stopping }.run().await?;
    Ok(gone.count)
}

/// Starts the process.
pub(crate) async fn create(context: Context, planned: Object) -> Done {
    match start(&context, planned).await {
        Ok(done) => done,
        Err(diagnostic) => Done::failed(diagnostic),
    }
}

/// Finds out whether it still runs.
pub(crate) async fn read(mut state: Object) -> Done {
    let leader = Leader::stored(&state);
    let mark = mark(&state);
    let left = tokio::task::spawn_blocking(move || {
        if leader.is_some_and(|leader| leader.is_alive()) {
            return Ok((true, true));
        }
        platform::all().map(|all| (false, all.iter().any(|one| platform::marks(one.pid).contains(&mark))))
    });
    match left.await.map_err(io::Error::other).flatten() {
        Ok((true, _)) => Done::exists(state),
        Ok((false, true)) => {
            state.insert("pid".into(), Value::Null);
            Done::exists(state)
        }
        Ok((false, false)) => Done::gone(),
        Err(why) => Done::exists(state).telling(Diagnostic::error("cannot read the process table", why.to_string())),
    }
}

/// A process that died but left others behind must be replaced: that ends them.
pub(crate) fn broken(state: &Object) -> Option<&'static str> {
    (*at(state, "pid") == Value::Null).then_some("pid")
}

/// An imported process is known by its marks alone: what they do not tell is as planned if it was started as planned.
pub(crate) fn adopt(stored: &Object, planned: &Object) -> Option<Object> {
    let is_imported = *at(stored, "command") == Value::Null;
    if !is_imported || fingerprint(planned)? != text_at(stored, "fingerprint") {
        return None;
    }
    let mut adopted = planned.clone();
    adopted.extend(stored.iter().filter(|(_, value)| value.is_known()).map(|(name, value)| (name.clone(), value.clone())));
    Some(adopted)
}

/// The SHA-256 of what decides what a process does; nothing while some of it is unknown.
fn fingerprint(planned: &Object) -> Option<String> {
    let parts = ["command", "env", "dir"].map(|name| at(planned, name));
    if parts.iter().any(|part| part.has_unknown()) {
        return None;
    }
    // Nothing and an empty value start the same process.
    let parts = parts.map(|part| if part.is_zero() { Value::Null } else { part.clone() });
    Some(hex::encode(Sha256::digest(Value::List(parts.into()).to_msgpack())))
}

/// Ends the process and all that came from it.
pub(crate) async fn delete(context: Context, state: Object) -> Done {
    let grace = at(&state, "stop_grace_seconds").as_whole().and_then(|seconds| u64::try_from(seconds).ok());
    let mark = mark(&state);
    let ending = Ending {
        leader: Leader::stored(&state),
        marked: Box::new(move |environment| environment.contains(&mark)),
        grace: Duration::from_secs(grace.unwrap_or_default()),
        stopping: context.stopping.clone(),
    };
    let gone = match ending.run().await {
        Ok(gone) => gone,
        Err(why) => return Done::exists(state).telling(Diagnostic::error("process still runs", why.to_string())),
    };
    if context.environment.transition() == "delete" {
        let log = default_log(&context.environment, text_at(&state, "id")).ok();
        if let Some(log) = log.filter(|log| *log == Path::new(text_at(&state, "log_file"))) {
            // A log that is already gone is as good.
            let _ = tokio::fs::remove_file(&log).await;
            let _ = tokio::fs::remove_dir(log.parent().unwrap_or(&log)).await;
        }
    }
    if !gone.was_killed {
        return Done::gone();
    }
    let seconds = grace.unwrap_or_default();
    let detail = format!("it did not end within stop_grace_seconds = {seconds}, so stop scripts may have been cut short");
    Done::gone().telling(Diagnostic::warning("process was killed", detail).about("stop_grace_seconds"))
}

fn mark(state: &Object) -> String {
    format!("{MARK}={}", text_at(state, "id"))
}

fn default_log(environment: &Environment, id: &str) -> Result<PathBuf, Diagnostic> {
    Ok(of_workspace(environment)?.join(format!("{id}.log")))
}

async fn start(context: &Context, mut planned: Object) -> Result<Done, Diagnostic> {
    let id = Uuid::new_v4().to_string();
    let default_log = default_log(&context.environment, &id)?;
    let path = at(&planned, "log_file").as_text().map_or(default_log, PathBuf::from);
    let log = open_log(&path)
        .map_err(|why| Diagnostic::error("cannot open log file", format!("{}: {why}", path.display())).about("log_file"))?;
    let begin = log.metadata().map_or(0, |metadata| metadata.len());
    let (mut child, leader) = spawn(&context.environment, &planned, &id, log).inspect_err(|_| {
        if begin == 0 {
            // Nobody will look for the empty log of a process that never was.
            let _ = std::fs::remove_file(&path);
        }
    })?;
    planned.insert("id".into(), Value::text(id.as_str()));
    planned.insert("log_file".into(), Value::text(path.to_string_lossy()));
    planned.insert("pid".into(), Value::whole(i64::from(leader.pid)));
    planned.insert("start_time".into(), Value::text(leader.start.as_str()));
    planned.insert("boot_id".into(), Value::text(leader.boot.as_str()));
    planned.insert("fingerprint".into(), fingerprint(&planned).map_or(Value::Null, Value::Text));
    // Dropping the child afterwards does not end it; tokio reaps it if this process lives on.
    let status = tokio::time::timeout(EARLY_EXIT, child.wait()).await;
    let program = program(&planned).display().to_string();
    match status {
        Err(_) => Ok(Done::exists(planned)),
        Ok(Ok(status)) if status.success() => {
            let detail = format!("\"{program}\" ended with status 0; a berth_process runs in the foreground until it is stopped");
            Ok(Done::exists(planned).telling(Diagnostic::warning("process ended at once", detail).about("command")))
        }
        Ok(ended) => {
            let failure = failure(&program, &path, begin, ended);
            // What the failed command started must not stay.
            let mark = mark(&planned);
            let marked = Box::new(move |environment: &platform::Marks| environment.contains(&mark));
            let ending = Ending { leader: None, marked, grace: Duration::ZERO, stopping: context.stopping.clone() };
            let left = ending.run().await.err().map(|why| Diagnostic::error("process still runs", why.to_string()));
            Ok(left.into_iter().fold(Done::failed(failure), Done::telling))
        }
    }
}

fn program(planned: &Object) -> PathBuf {
    at(planned, "command").elements().first().and_then(Value::as_text).map(PathBuf::from).unwrap_or_default()
}

fn spawn(environment: &Environment, planned: &Object, id: &str, log: File) -> Result<(Box<dyn ChildWrapper>, Leader), Diagnostic> {
    let program = program(planned);
    let refused = |why: io::Error| {
        let mut why = why.to_string();
        let dir = text_at(planned, "dir");
        if !dir.is_empty() && !Path::new(dir).is_dir() {
            why = format!("\"{dir}\" is not a directory");
        }
        Diagnostic::error("cannot start process", format!("\"{}\": {why}", program.display())).about("command")
    };
    let error_log = log.try_clone().map_err(refused)?;
    let mut command = Command::new(&program);
    command.args(at(planned, "command").elements().iter().skip(1).filter_map(Value::as_text));
    command.env_clear().envs(variables(environment, planned, id));
    command.stdin(Stdio::null()).stdout(log).stderr(error_log);
    if let Some(dir) = at(planned, "dir").as_text() {
        command.current_dir(dir);
    }
    let child = CommandWrap::from(command).wrap(ProcessSession).spawn().map_err(refused)?;
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).unwrap_or_default();
    // It is not reaped yet, so even one that has ended is in the process table.
    let leader = Leader::observe(pid).map_err(refused)?;
    Ok((child, leader))
}

fn variables(environment: &Environment, planned: &Object, id: &str) -> Vec<(String, String)> {
    let owned = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let mut variables = vec![owned("PATH", PATH)];
    variables.extend(environment.under("BERTH_PROCESS_ENV_").map(|(name, value)| owned(name, value)));
    let home = at(planned, "dir").as_text().or_else(|| environment.get("BERTH_PROCESS_HOME"));
    variables.extend(home.map(|home| owned("HOME", home)));
    if let Value::Map(own) = at(planned, "env") {
        variables.extend(own.iter().filter_map(|(name, value)| Some(owned(name, value.as_text()?))));
    }
    variables.push(owned(MARK, id));
    variables.extend(fingerprint(planned).map(|fingerprint| owned(FINGERPRINT_MARK, &fingerprint)));
    variables.extend(environment.get("CODER_WORKSPACE_ID").map(|workspace| owned(WORKSPACE_MARK, workspace)));
    variables
}

fn open_log(path: &Path) -> io::Result<File> {
    if let Some(parent) = path.parent()
        && !parent.exists()
    {
        make_private(parent)?;
    }
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

fn failure(program: &str, log: &Path, begin: u64, ended: io::Result<ExitStatus>) -> Diagnostic {
    let how = match ended {
        Ok(status) => status.to_string(),
        Err(why) => format!("unknown status: {why}"),
    };
    let tail = tail(log, begin).unwrap_or_default();
    let output = if tail.is_empty() { "it printed nothing".to_owned() } else { format!("its last output:\n{tail}") };
    Diagnostic::error("process ended at once", format!("\"{program}\" ended with {how}; {output}")).about("command")
}

/// The last lines that were written after `begin`.
fn tail(log: &Path, begin: u64) -> io::Result<String> {
    let mut file = File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(begin.max(length.saturating_sub(LOG_TAIL_BYTES))))?;
    let mut bytes = Vec::new();
    file.take(LOG_TAIL_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<_> = text.lines().collect();
    Ok(lines.get(lines.len().saturating_sub(LOG_TAIL_LINES)..).unwrap_or_default().join("\n"))
}
