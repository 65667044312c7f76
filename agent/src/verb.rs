//! What `coder` and `berth` answer inside a workspace. Scripts and git call the agent by these names: links to it in the directory that comes first
//! in everybody's `PATH`. What it does not answer itself it hands on to the program of that name that is installed, if there is one.

mod dotfiles;
mod external_auth;
mod git_ssh;
mod public_key;
mod stat;
mod sync;
mod words;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use berth_client::{AgentClient, ClientError};
use berth_wire::COMPATIBLE_VERSION;

use crate::config::{self, Config};
use crate::identity::private_directory;

/// The names that the agent answers to, as links to itself.
const NAMES: [&str; 2] = ["coder", "berth"];

/// What a verb exits with when it cannot be meant.
const USAGE: u8 = 2;

/// How long the deployment may take to answer a verb.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// What is said of what the agent does not know.
const VERBS: &str = "stat, dotfiles, publickey, external-auth access-token, exp sync, gitssh";

/// Makes the names, in the directory that comes first in everybody's `PATH`.
///
/// # Errors
/// When that directory cannot be written.
pub fn link(config: &Config) -> io::Result<()> {
    let (directory, agent) = (config.script_programs(), std::env::current_exe()?);
    private_directory(&directory)?;
    for name in NAMES {
        let (link, beside) = (directory.join(name), directory.join(format!(".{name}.new")));
        match std::fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => std::os::unix::fs::symlink(&agent, &beside)?,
        }
        // Renamed over the one before: there is never a moment without one.
        std::fs::rename(beside, link)?;
    }
    Ok(())
}

/// The agent as git is told to call it.
pub(crate) fn program(config: &Config) -> PathBuf {
    config.script_programs().join("coder")
}

/// How git is told to call ssh. A shell reads it.
pub(crate) fn git_ssh_command(config: &Config) -> String {
    let program = program(config).display().to_string();
    let is_plain = program.chars().all(|character| character.is_ascii_alphanumeric() || "/._-+".contains(character));
    if is_plain { format!("{program} gitssh --") } else { format!("'{}' gitssh --", program.replace('\'', r"'\''")) }
}

/// Answers as the verb that a command line names. `None`: it names none, and this process is to be the agent.
#[must_use]
pub fn run(arguments: &[OsString]) -> Option<ExitCode> {
    let (program, rest) = arguments.split_first()?;
    let name = Path::new(program).file_name().and_then(OsStr::to_str).filter(|name| NAMES.contains(name));
    let (first, rest) = match rest.split_first() {
        Some((first, rest)) => (first.to_str().unwrap_or_default(), rest),
        None => ("", rest),
    };
    let call = Call { rest, variables: config::environment() };
    let outcome = match (first, name) {
        ("agent", _) | ("", None) => return None,
        ("stat", _) => stat::run(&call),
        ("dotfiles", _) => dotfiles::run(&call),
        ("gitssh", _) => git_ssh::run(&call),
        ("publickey", _) => public_key::run(&call),
        ("external-auth", _) => external_auth::run(&call),
        ("exp", _) if rest.first().is_some_and(|verb| verb == "sync") => sync::run(&call),
        (prompt, _) if external_auth::is_prompt(prompt) => external_auth::ask_pass(&call, prompt),
        (_, Some(name)) => elsewhere(&call, name, arguments),
        ("--version", None) => say(format_args!("berth-agent {}", env!("CARGO_PKG_VERSION"))),
        (unknown, None) => Err(Failure::usage(format!("{unknown:?} is no verb of the agent")).hint(format!("it knows {VERBS}"))),
    };
    Some(match outcome {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            complain(&failure);
            ExitCode::from(failure.code)
        }
    })
}

/// Becomes the installed program of that name, if there is one besides us.
fn elsewhere(call: &Call<'_>, name: &str, arguments: &[OsString]) -> Outcome {
    let own = std::env::current_exe().and_then(std::fs::canonicalize).ok();
    let path = call.variables.get(OsStr::new("PATH")).cloned().unwrap_or_default();
    let other = std::env::split_paths(&path)
        .map(|directory| directory.join(name))
        .find(|program| program.is_file() && std::fs::canonicalize(program).ok() != own);
    let rest = arguments.get(1..).unwrap_or_default();
    if let Some(other) = other {
        let error = Command::new(&other).args(rest).exec();
        return Err(Failure::new(format!("cannot start {}: {error}", other.display())));
    }
    let version = if name == "coder" { COMPATIBLE_VERSION } else { env!("CARGO_PKG_VERSION") };
    match rest.first().and_then(|verb| verb.to_str()) {
        Some("--version" | "version") => say(format_args!("{name} {version}")),
        verb => Err(Failure::usage(format!("`{name} {}` is not answered in a workspace", verb.unwrap_or_default())).hint(format!(
            "here there are {VERBS}; for the rest install the command line in the workspace, or use it on your own machine"
        ))),
    }
}

/// A verb as it was called.
#[derive(Debug)]
struct Call<'a> {
    /// What follows the verb.
    rest: &'a [OsString],
    /// The environment.
    variables: BTreeMap<OsString, OsString>,
}

impl Call<'_> {
    /// A variable that is text and not empty.
    fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(OsStr::new(name)).and_then(|value| value.to_str()).filter(|value| !value.is_empty())
    }

    fn home(&self) -> Result<PathBuf, Failure> {
        let home = self.variable("HOME").map(PathBuf::from);
        home.ok_or_else(|| Failure::new("HOME is not set".to_owned()).hint("log in to the workspace as its user".to_owned()))
    }

    /// What the deployment answers to the workspace's agent.
    fn ask<T>(&self, question: impl AsyncFnOnce(AgentClient) -> Result<T, ClientError>) -> Result<T, Unanswered> {
        let config = Config::read(self.variables.clone()).map_err(|error| Unanswered::NoAgent(error.to_string()))?;
        let client = AgentClient::new(&config.url, config.token)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Unanswered::Runtime)?;
        let answer = runtime.block_on(async { tokio::time::timeout(ANSWER_WITHIN, question(client)).await });
        Ok(answer.map_err(|_| Unanswered::Late { url: config.url })??)
    }
}

/// Why the deployment did not answer.
#[derive(Debug, thiserror::Error)]
enum Unanswered {
    /// This is no session of a workspace.
    #[error("{0}")]
    NoAgent(String),
    /// It took too long.
    #[error("{url} did not answer within {} s", ANSWER_WITHIN.as_secs())]
    Late {
        /// The deployment's URL.
        url: String,
    },
    /// It refused, or cannot be reached.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// There is no thread to ask on.
    #[error("cannot start: {0}")]
    Runtime(io::Error),
}

impl From<Unanswered> for Failure {
    fn from(why: Unanswered) -> Self {
        let hint = match &why {
            Unanswered::NoAgent(_) => "run it in a session or a script of a workspace",
            Unanswered::Client(error) if !error.is_transient() => return Self::new(why.to_string()),
            _ => "is the deployment up, and reachable from here? then try again",
        };
        Self::new(why.to_string()).hint(hint.to_owned())
    }
}

/// An exit code, or why there is none.
type Outcome = Result<u8, Failure>;

/// Why a verb did not do what was asked.
#[derive(Debug)]
struct Failure {
    clause: String,
    hint: Option<String>,
    code: u8,
}

impl Failure {
    const fn new(clause: String) -> Self {
        Self { clause, hint: None, code: 1 }
    }

    const fn usage(clause: String) -> Self {
        Self { clause, hint: None, code: USAGE }
    }

    /// What to do next.
    fn hint(self, hint: String) -> Self {
        Self { hint: Some(hint), ..self }
    }
}

/// Prints a line of data.
fn say(line: impl fmt::Display) -> Outcome {
    match writeln!(io::stdout(), "{line}") {
        Ok(()) => Ok(0),
        // Whoever read has read enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(0),
        Err(error) => Err(Failure::new(format!("cannot write to standard output: {error}"))),
    }
}

/// Prints a line of talk. A closed standard error leaves nobody to tell.
fn tell(line: impl fmt::Display) {
    let _told = writeln!(io::stderr(), "{line}");
}

fn complain(failure: &Failure) {
    tell(format_args!("error: {}", failure.clause));
    if let Some(hint) = &failure.hint {
        tell(format_args!("hint: {hint}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::tests::config;

    #[test]
    fn both_names_are_links_to_the_agent_also_after_it_moved() {
        let home = tempfile::tempdir().unwrap();
        let config = config(home.path());
        private_directory(&config.script_programs()).unwrap();
        std::os::unix::fs::symlink("/no/such/agent", config.script_programs().join("coder")).unwrap();
        for _ in 0..2 {
            link(&config).unwrap();
        }
        for name in NAMES {
            let found = std::fs::canonicalize(config.script_programs().join(name)).unwrap();
            assert_eq!(found, std::fs::canonicalize(std::env::current_exe().unwrap()).unwrap());
        }
        assert_eq!(std::fs::read_dir(config.script_programs()).unwrap().count(), NAMES.len());
    }

    #[test]
    fn a_shell_reads_the_way_to_ssh_whatever_the_home_is_called() {
        let home = tempfile::tempdir().unwrap();
        assert!(!git_ssh_command(&config(home.path())).contains('\''));
        let odd = git_ssh_command(&config(Path::new("/home/ada's own")));
        assert!(odd.starts_with(r"'/home/ada'\''s own/") && odd.ends_with("/coder' gitssh --"), "{odd}");
    }

    #[test]
    fn what_names_no_verb_is_the_agent() {
        let line = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        for words in [&["/usr/bin/berth-agent"][..], &["berth-agent", "agent"], &["coder", "agent"], &["./agent"]] {
            assert!(run(&line(words)).is_none(), "{words:?}");
        }
        assert!(run(&line(&["berth-agent", "nonsense"])).is_some());
    }
}
