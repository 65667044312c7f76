//! What the provider is told: a plain table of names and values, given by the caller and never read from the process.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;

use sha2::{Digest, Sha256};

/// The names and values that a build hands to the provider (`CODER_*` and `BERTH_PROCESS_*`).
///
/// It holds tokens, so its `Debug` prints only how many names there are.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment(BTreeMap<String, String>);

/// The prefixes of the names that mean something to the provider.
const PREFIXES: &[&str] = &["CODER_", "BERTH_PROCESS_"];

impl Environment {
    /// What of a process's variables is for the provider; the rest is left out.
    pub fn of_variables(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let texts = variables.into_iter().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        texts.filter(|(name, _)| PREFIXES.iter().any(|prefix| name.starts_with(prefix))).collect()
    }

    /// The value of `name`, or nothing when it is absent or empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.given(name).filter(|value| !value.is_empty())
    }

    /// The value of `name` even when it is empty: a parameter may be set to the empty text.
    pub fn given(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The names that start with `prefix`, without it, and their values.
    pub(crate) fn under<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0.iter().filter_map(move |(name, value)| Some((name.strip_prefix(prefix)?, value.as_str())))
    }

    /// True when the named value says `true`, in any case.
    pub(crate) fn says_true(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// The transition of this build: `start` unless told otherwise.
    pub(crate) fn transition(&self) -> &str {
        self.get("CODER_WORKSPACE_TRANSITION").unwrap_or("start")
    }

    /// True in a workspace build, false while a template is imported or validated.
    pub(crate) fn is_build(&self) -> bool {
        self.get("CODER_WORKSPACE_BUILD_ID").is_some()
    }
}

impl From<BTreeMap<String, String>> for Environment {
    fn from(values: BTreeMap<String, String>) -> Self {
        Self(values)
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(values: I) -> Self {
        Self(values.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Environment({} names)", self.0.len())
    }
}

/// The name under which the value of the parameter `name` is given.
pub fn parameter_env_name(name: &str) -> String {
    format!("CODER_PARAMETER_{}", hash(name))
}

/// The name under which the value that the parameter `name` had in the previous build is given, for monotonic checks.
pub fn parameter_previous_env_name(name: &str) -> String {
    format!("CODER_PARAMETER_PREVIOUS_{}", hash(name))
}

/// The name under which the access token of the external auth provider `id` is given.
pub fn external_auth_env_name(id: &str) -> String {
    format!("CODER_EXTERNAL_AUTH_ACCESS_TOKEN_{id}")
}

/// The name under which the init script of agents for one operating system and architecture (Go names) is given.
pub fn agent_script_env_name(os: &str, arch: &str) -> String {
    format!("CODER_AGENT_SCRIPT_{os}_{arch}")
}

/// The name under which the token of an agent that already runs is given, when a prebuilt workspace is claimed.
pub fn running_agent_token_env_name() -> String {
    format!("CODER_RUNNING_WORKSPACE_AGENT_TOKEN_{}", hash(""))
}

fn hash(name: &str) -> String {
    hex::encode(Sha256::digest(name.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_named_by_the_hash_of_its_name() {
        assert_eq!(
            parameter_env_name("region"),
            "CODER_PARAMETER_c697d2981bf416569a16cfbcdec1542b5398f3cc77d2b905819aa99c46ecf6f6"
        );
        assert!(parameter_previous_env_name("region").starts_with("CODER_PARAMETER_PREVIOUS_c697d298"));
        assert_eq!(
            running_agent_token_env_name(),
            "CODER_RUNNING_WORKSPACE_AGENT_TOKEN_e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }

    #[test]
    fn debug_shows_no_value() {
        let environment: Environment = [("CODER_TOKEN", "hush")].into_iter().collect();
        assert_eq!(format!("{environment:?}"), "Environment(1 names)");
    }
}
