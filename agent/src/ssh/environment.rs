//! What a session finds around itself: variables and working directory.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::user::User;

use super::Peer;

/// The search path where the agent itself has none, as `login` sets it.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The locale where nobody set one: programs then agree on UTF-8.
const DEFAULT_LANG: &str = "C.UTF-8";

/// Variables of whatever started the agent that mean nothing, or something wrong, in a session. Debian's bash reads `.bashrc` for an SSH command
/// only while `SHLVL` is unset.
const DROPPED: &[&str] =
    &["SHLVL", "PWD", "OLDPWD", "_", "TERM", "SSH_CLIENT", "SSH_CONNECTION", "SSH_TTY", "SSH_AUTH_SOCK", "SSH_ORIGINAL_COMMAND"];

/// What every session and script sees. Later wins: inherited, the user, the client's own requests, the template's, the agent's.
#[derive(Clone, Debug, Default)]
pub struct SessionEnvironment {
    /// The variables the agent was started with: a container image's `PATH`, `JAVA_HOME` and so on.
    pub inherited: BTreeMap<OsString, OsString>,
    /// The template's variables. `$NAME` and `${NAME}` in a value refer to what is set before it.
    pub template: BTreeMap<String, String>,
    /// The agent's own variables (`CODER`, `CODER_AGENT_URL`, ...), taken as they are.
    pub agent: BTreeMap<String, String>,
    /// The working directory as the template wrote it: may start with `~` and hold variables. Empty means home.
    pub directory: String,
    /// A directory that comes first in `PATH`, whatever the rest says.
    pub programs: Option<PathBuf>,
    /// A file shown when a shell starts.
    pub motd_file: Option<PathBuf>,
    /// The account everything runs as.
    pub user: Option<User>,
}

/// Variables and directory of one process.
#[derive(Debug)]
pub(crate) struct Surroundings {
    pub(crate) variables: BTreeMap<OsString, OsString>,
    pub(crate) directory: PathBuf,
    /// What the user should know about a directory that is not the wanted one.
    pub(crate) note: Option<String>,
}

/// What the SSH client adds.
#[derive(Debug, Default)]
pub(super) struct Requested<'a> {
    pub(super) variables: &'a [(String, String)],
    pub(super) term: Option<&'a str>,
    pub(super) terminal: Option<&'a Path>,
    pub(super) agent_socket: Option<&'a Path>,
}

impl SessionEnvironment {
    /// The account sessions run as.
    pub(crate) fn user(&self) -> User {
        self.user.clone().unwrap_or_else(|| User::current(self.inherited.get(OsStr::new("HOME")).map(PathBuf::from)))
    }

    /// Surroundings of a process that no client asked for, such as a script.
    pub(crate) fn surroundings(&self) -> Surroundings {
        self.assemble(self.own())
    }

    /// Surroundings of a process in an SSH session.
    pub(super) fn for_session(&self, peer: &Peer, requested: &Requested<'_>) -> Surroundings {
        let mut variables = self.own();
        for (name, value) in requested.variables {
            set(&mut variables, name, value);
        }
        let (ip, port) = (peer.address.ip(), peer.address.port());
        set(&mut variables, "SSH_CLIENT", format!("{ip} {port} 22"));
        set(&mut variables, "SSH_CONNECTION", format!("{ip} {port} 127.0.0.1 22"));
        if let Some(term) = requested.term {
            set(&mut variables, "TERM", term);
        }
        if let Some(path) = requested.terminal {
            set(&mut variables, "SSH_TTY", path);
        }
        if let Some(path) = requested.agent_socket {
            set(&mut variables, "SSH_AUTH_SOCK", path);
        }
        self.assemble(variables)
    }

    /// The inherited variables, cleaned, and the user's.
    fn own(&self) -> BTreeMap<OsString, OsString> {
        let mut variables = self.inherited.clone();
        variables.retain(|name, _| !DROPPED.iter().any(|dropped| name == dropped));
        let user = self.user();
        set(&mut variables, "USER", &user.name);
        set(&mut variables, "LOGNAME", &user.name);
        set(&mut variables, "HOME", &user.home);
        set(&mut variables, "SHELL", &user.shell);
        if !variables.contains_key(OsStr::new("PATH")) {
            set(&mut variables, "PATH", DEFAULT_PATH);
        }
        if !["LANG", "LC_ALL"].iter().any(|name| variables.contains_key(OsStr::new(name))) {
            set(&mut variables, "LANG", DEFAULT_LANG);
        }
        variables
    }

    /// Adds what nobody may override, then resolves the directory, which may refer to any of it.
    fn assemble(&self, mut variables: BTreeMap<OsString, OsString>) -> Surroundings {
        for (name, value) in &self.template {
            let value = expand(value, |name| variables.get(OsStr::new(name)).cloned());
            set(&mut variables, name, value);
        }
        for (name, value) in &self.agent {
            set(&mut variables, name, value);
        }
        if let Some(programs) = &self.programs {
            let rest = variables.get(OsStr::new("PATH")).cloned().unwrap_or_default();
            let path = std::env::join_paths(std::iter::once(programs.clone()).chain(std::env::split_paths(&rest)));
            variables.extend(path.ok().map(|path| ("PATH".into(), path)));
        }
        let home = variables.get(OsStr::new("HOME")).map_or_else(|| PathBuf::from("/"), PathBuf::from);
        let wanted = resolve_path(&self.directory, (&home, &home), |name| variables.get(OsStr::new(name)).cloned());
        if wanted.is_dir() {
            return Surroundings { variables, directory: wanted, note: None };
        }
        let fallback = if home.is_dir() { home } else { PathBuf::from("/") };
        let note = format!("berth: directory {} does not exist, starting in {}\n", wanted.display(), fallback.display());
        Surroundings { variables, directory: fallback, note: Some(note) }
    }
}

/// A path as people write it: `~` is `home`, `$NAME` a variable, and a relative one starts in `base`.
pub(crate) fn resolve_path(text: &str, (home, base): (&Path, &Path), lookup: impl Fn(&str) -> Option<OsString>) -> PathBuf {
    let expanded = expand(text.trim(), lookup);
    let path = Path::new(&expanded);
    let (start, rest) = path.strip_prefix("~").map_or((base, path), |rest| (home, rest));
    // Joining nothing would add a slash.
    if rest.as_os_str().is_empty() { start.to_owned() } else { start.join(rest) }
}

/// Replaces `$NAME` and `${NAME}`; an unknown name becomes empty, as in a shell.
fn expand(text: &str, lookup: impl Fn(&str) -> Option<OsString>) -> OsString {
    let mut result = OsString::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        result.push(before);
        let (name, remainder) = variable_name(after);
        match name {
            Some(name) => result.push(lookup(name).unwrap_or_default()),
            None => result.push("$"),
        }
        rest = remainder;
    }
    result.push(rest);
    result
}

/// The variable at the start of `text`, which follows a `$`, and what comes after it.
fn variable_name(text: &str) -> (Option<&str>, &str) {
    if let Some((name, rest)) = text.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
        return (Some(name), rest);
    }
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    match text.split_at(end) {
        ("", rest) => (None, rest),
        (name, rest) => (Some(name), rest),
    }
}

/// Sets a variable, unless its name or value cannot be one.
fn set(variables: &mut BTreeMap<OsString, OsString>, name: &str, value: impl Into<OsString>) {
    let value = value.into();
    let is_valid = !name.is_empty() && !name.contains(['=', '\0']) && !value.as_encoded_bytes().contains(&0);
    if is_valid {
        variables.insert(name.into(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(home: &Path) -> SessionEnvironment {
        SessionEnvironment {
            inherited: BTreeMap::from([("PATH".into(), "/image/bin".into()), ("SHLVL".into(), "3".into())]),
            user: Some(User { name: "ada".to_owned(), home: home.to_owned(), shell: PathBuf::from("/bin/sh") }),
            ..SessionEnvironment::default()
        }
    }

    fn value<'a>(surroundings: &'a Surroundings, name: &str) -> Option<&'a str> {
        surroundings.variables.get(OsStr::new(name)).and_then(|value| value.to_str())
    }

    #[test]
    fn the_template_extends_what_is_there_and_the_agent_has_the_last_word() {
        let home = tempfile::tempdir().unwrap();
        let mut sessions = environment(home.path());
        sessions.template.insert("PATH".to_owned(), "$HOME/bin:${PATH}".to_owned());
        sessions.template.insert("CODER".to_owned(), "false".to_owned());
        sessions.agent.insert("CODER".to_owned(), "true".to_owned());
        let requested = [("LANG".to_owned(), "de_DE.UTF-8".to_owned()), ("A=B".to_owned(), "x".to_owned())];
        let requested = Requested { variables: &requested, term: Some("xterm"), ..Requested::default() };
        let found = sessions.for_session(&Peer::parse("10.0.0.7:4711"), &requested);
        assert_eq!(value(&found, "PATH"), Some(format!("{}/bin:/image/bin", home.path().display()).as_str()));
        assert_eq!(value(&found, "CODER"), Some("true"));
        assert_eq!(value(&found, "LANG"), Some("de_DE.UTF-8"));
        assert_eq!(value(&found, "SSH_CONNECTION"), Some("10.0.0.7 4711 127.0.0.1 22"));
        assert_eq!(value(&found, "TERM"), Some("xterm"));
        assert_eq!(value(&found, "SHLVL"), None);
        assert!(!found.variables.keys().any(|name| name == "A=B"));
    }

    #[test]
    fn a_missing_directory_falls_back_to_home_with_a_note() {
        let home = tempfile::tempdir().unwrap();
        let mut sessions = environment(home.path());
        std::fs::create_dir(home.path().join("code")).unwrap();
        for written in ["~/code", "$HOME/code", "${HOME}/code", "code"] {
            sessions.directory = written.to_owned();
            let found = sessions.surroundings();
            assert_eq!((found.directory, found.note), (home.path().join("code"), None), "{written}");
        }
        sessions.directory = "/no/such/place".to_owned();
        let found = sessions.surroundings();
        assert_eq!(found.directory, home.path());
        assert!(found.note.unwrap().contains("/no/such/place"));
    }

    #[test]
    fn a_dollar_that_names_nothing_stays() {
        assert_eq!(expand("cost $ 5, ${X}$Y-$", |name| (name == "Y").then(|| "y".into())), OsString::from("cost $ 5, y-$"));
    }
}
