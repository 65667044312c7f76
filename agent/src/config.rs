//! What the agent is told by its environment. Read once; nothing else reads the environment.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use berth_wire::domain::{Secret, TokenHash};

/// How often the control plane is asked who may stay: with the answer's way, everything of somebody who may not is over within the minute.
const RECHECK: Duration = Duration::from_secs(30);

/// The longest path that every system takes for a socket, in bytes (macOS: 104, with the zero at its end).
const SOCKET_PATH_BYTES_MAX: usize = 100;

/// The longest time between two such questions.
const RECHECK_SECONDS_MAX: u64 = 3600;

/// Everything the agent needs before it has spoken to anybody.
#[derive(Clone, Debug)]
pub struct Config {
    /// The deployment's URL.
    pub url: String,
    /// The agent's token. Empty where the instance that it runs on says who it is; see `instance.rs`.
    pub token: Secret,
    /// Where the agent keeps its key and its scripts' data. Its own for each token.
    pub state_directory: PathBuf,
    /// Where logs of scripts go when their path is relative.
    pub log_directory: PathBuf,
    /// What to write to the log: a `tracing` filter.
    pub log_filter: String,
    /// The only one of the deployment's relays to be at, instead of the one that answers fastest (`BERTH_AGENT_RELAY`).
    pub relay: Option<String>,
    /// How often the control plane is asked who may stay, while anybody is here (`BERTH_AGENT_RECHECK_SECONDS`, 1 to 3600).
    pub recheck: Duration,
    /// The whole environment, for sessions and scripts.
    pub inherited: BTreeMap<OsString, OsString>,
}

/// Why the agent cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A variable that must be set is not.
    #[error("{0} is not set\nhint: the template starts the agent with the environment of its coder_agent resource")]
    Missing(&'static str),
    /// A variable holds something that is not text.
    #[error("{0} is not text")]
    NotText(&'static str),
    /// A variable holds something that is not such a number.
    #[error("{0} is not a number of seconds from 1 to {RECHECK_SECONDS_MAX}")]
    NotSeconds(&'static str),
}

impl Config {
    /// Reads the environment of this process.
    ///
    /// # Errors
    /// [`ConfigError`] names the variable that is missing.
    pub fn from_env() -> Result<Config, ConfigError> {
        Config::read(std::env::vars_os().collect())
    }

    /// Reads a given environment. `CODER_AGENT_URL` and `CODER_AGENT_TOKEN` are what templates set; the names with `BERTH_` win.
    ///
    /// # Errors
    /// [`ConfigError`] names the variable that is missing.
    pub fn read(inherited: BTreeMap<OsString, OsString>) -> Result<Config, ConfigError> {
        let url = required(&inherited, ["BERTH_AGENT_URL", "CODER_AGENT_URL"])?;
        let token = match required(&inherited, ["BERTH_AGENT_TOKEN", "CODER_AGENT_TOKEN"]) {
            Err(ConfigError::Missing(_)) if is_identified(&inherited)? => String::new(),
            token => token?,
        };
        let log_filter = optional(&inherited, "BERTH_AGENT_LOG")?.unwrap_or_else(|| "warn,berth_agent=info".to_owned());
        let relay = optional(&inherited, "BERTH_AGENT_RELAY")?;
        let recheck = seconds(&inherited, "BERTH_AGENT_RECHECK_SECONDS")?.unwrap_or(RECHECK);
        let path = |name: &str| inherited.get(OsStr::new(name)).map(PathBuf::from).filter(|path| path.is_absolute());
        let temporary = path("TMPDIR").unwrap_or_else(|| PathBuf::from("/tmp"));
        let states = path("XDG_STATE_HOME")
            .or_else(|| path("HOME").map(|home| home.join(".local/state")))
            .unwrap_or_else(|| temporary.clone());
        let state_directory = states.join("berth").join(directory_name(&token));
        Ok(Config {
            url,
            token: Secret::new(token),
            state_directory,
            log_directory: temporary,
            log_filter,
            relay,
            recheck,
            inherited,
        })
    }

    /// The directory that scripts put programs into; it comes first in everybody's `PATH`.
    pub fn script_programs(&self) -> PathBuf {
        self.state_directory.join("bin")
    }

    /// The private directory of one script.
    pub fn script_data(&self, script: &str) -> PathBuf {
        self.state_directory.join("scripts").join(script)
    }

    /// The file of the agent's tailnet key.
    pub fn key_file(&self) -> PathBuf {
        self.state_directory.join("tailnet.key")
    }

    /// The file of the token that an instance got for its boot.
    pub fn instance_token_file(&self) -> PathBuf {
        self.state_directory.with_file_name("instance-token")
    }

    /// The socket at which scripts wait for each other. A path of a socket is short, so where the state's is not, it is elsewhere.
    pub fn socket_file(&self) -> PathBuf {
        let file = self.state_directory.join("agent.sock");
        if file.as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
            return file;
        }
        let name = self.state_directory.file_name().unwrap_or_default().to_string_lossy();
        PathBuf::from(format!("/tmp/berth-{name}")).join("agent.sock")
    }

    /// A log file's path: relative ones are in the log directory.
    pub fn log_file(&self, path: &Path) -> PathBuf {
        self.log_directory.join(path)
    }
}

/// The environment of this process, for verbs: most of them need little of it, and do without a deployment.
pub fn environment() -> BTreeMap<OsString, OsString> {
    std::env::vars_os().collect()
}

/// The token stands for the agent before the agent knows its id; its hash does not give it away.
fn directory_name(token: &str) -> String {
    let hash = String::from(TokenHash::of(token));
    format!("agent-{}", hash.get(..16).unwrap_or(&hash))
}

/// Whether the instance says who the agent is.
fn is_identified(variables: &BTreeMap<OsString, OsString>) -> Result<bool, ConfigError> {
    Ok(optional(variables, "CODER_AGENT_AUTH")?.is_some_and(|auth| auth == "aws-instance-identity"))
}

fn seconds(variables: &BTreeMap<OsString, OsString>, name: &'static str) -> Result<Option<Duration>, ConfigError> {
    let Some(text) = optional(variables, name)? else { return Ok(None) };
    let seconds = text.parse().ok().filter(|seconds| (1..=RECHECK_SECONDS_MAX).contains(seconds));
    seconds.map(|seconds| Some(Duration::from_secs(seconds))).ok_or(ConfigError::NotSeconds(name))
}

fn required(variables: &BTreeMap<OsString, OsString>, names: [&'static str; 2]) -> Result<String, ConfigError> {
    for name in names {
        if let Some(value) = optional(variables, name)? {
            return Ok(value);
        }
    }
    let [_, name] = names;
    Err(ConfigError::Missing(name))
}

fn optional(variables: &BTreeMap<OsString, OsString>, name: &'static str) -> Result<Option<String>, ConfigError> {
    match variables.get(OsStr::new(name)) {
        None => Ok(None),
        Some(value) if value.is_empty() => Ok(None),
        Some(value) => value.to_str().map(|value| Some(value.to_owned())).ok_or(ConfigError::NotText(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> BTreeMap<OsString, OsString> {
        pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
    }

    #[test]
    fn the_missing_variable_is_named() {
        let error = Config::read(environment(&[("CODER_AGENT_URL", "http://x")])).unwrap_err();
        assert!(error.to_string().starts_with("CODER_AGENT_TOKEN is not set"));
        let error = Config::read(environment(&[("CODER_AGENT_URL", ""), ("CODER_AGENT_TOKEN", "t")])).unwrap_err();
        assert!(error.to_string().starts_with("CODER_AGENT_URL is not set"));
    }

    #[test]
    fn an_instance_that_says_who_it_is_needs_no_token() {
        let read =
            |auth| Config::read(environment(&[("CODER_AGENT_URL", "http://x"), ("CODER_AGENT_AUTH", auth), ("HOME", "/home/ada")]));
        let config = read("aws-instance-identity").unwrap();
        assert_eq!(config.token.expose(), "");
        assert_eq!(config.instance_token_file(), Path::new("/home/ada/.local/state/berth/instance-token"));
        assert!(read("token").is_err());
    }

    #[test]
    fn how_often_to_ask_who_may_stay_is_a_number_of_seconds() {
        let read = |seconds| {
            let pairs = [("CODER_AGENT_URL", "http://x"), ("CODER_AGENT_TOKEN", "t"), ("BERTH_AGENT_RECHECK_SECONDS", seconds)];
            Config::read(environment(&pairs)).map(|config| config.recheck.as_secs())
        };
        assert_eq!((read("").unwrap(), read("2").unwrap(), read("3600").unwrap()), (30, 2, 3600));
        for wrong in ["0", "3601", "-1", "often"] {
            let error = read(wrong).unwrap_err().to_string();
            assert_eq!(error, "BERTH_AGENT_RECHECK_SECONDS is not a number of seconds from 1 to 3600", "{wrong}");
        }
    }

    #[test]
    fn the_socket_has_a_path_that_is_short_enough() {
        let read = |home: &str| {
            let pairs = [("CODER_AGENT_URL", "http://x"), ("CODER_AGENT_TOKEN", "t"), ("HOME", home)];
            Config::read(environment(&pairs)).unwrap()
        };
        let (short, long) = (read("/home/ada"), read(&format!("/home/{}", "a".repeat(100))));
        assert!(short.socket_file().starts_with(&short.state_directory));
        assert!(long.socket_file().starts_with("/tmp") && long.socket_file().as_os_str().len() <= SOCKET_PATH_BYTES_MAX);
    }

    #[test]
    fn state_is_kept_for_each_token_and_does_not_name_it() {
        let read = |token| {
            Config::read(environment(&[("BERTH_AGENT_URL", "http://x"), ("BERTH_AGENT_TOKEN", token), ("HOME", "/home/ada")]))
        };
        let (one, two) = (read("secret-one").unwrap(), read("secret-two").unwrap());
        assert!(one.state_directory.starts_with("/home/ada/.local/state/berth"));
        assert_ne!(one.state_directory, two.state_directory);
        assert!(!format!("{:?}", one.state_directory).contains("secret"));
        assert!(!format!("{:?}", one.token).contains("secret"));
    }
}
