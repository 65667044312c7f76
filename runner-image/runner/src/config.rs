//! What the runner is told, read once from the environment before anything starts.

use std::{collections::BTreeMap, ffi::OsString, path::PathBuf, time::Duration};

use berth_domain::{Secret, TaskId, limit::HEARTBEAT_SECONDS};
use uuid::Uuid;

use crate::{
    environment,
    terraform::user::{User, UserError},
};

/// Where Terraform is downloaded from unless the operator says otherwise.
const RELEASES_URL: &str = "https://releases.hashicorp.com";
/// How long Terraform may take to end after it was asked to, in seconds.
const CANCEL_GRACE_SECONDS: u64 = 180;

/// Everything one run of the runner needs. Its `Debug` shows no secret.
#[derive(Debug, Clone)]
pub struct Config {
    /// The API's URL (`BERTH_API_URL`).
    pub api_url: String,
    /// The job to claim: a build's or a template version's id (`BERTH_JOB_ID`).
    pub job: Uuid,
    /// The one-time token that claims it (`BERTH_JOB_TOKEN`).
    pub token: Secret,
    /// Which task this is (`BERTH_TASK_ID`).
    pub task: TaskId,
    /// The Terraform or OpenTofu executable to use (`BERTH_TERRAFORM_BIN`).
    pub terraform_bin: Option<PathBuf>,
    /// Where a downloaded Terraform and provider packages are kept (`BERTH_DATA_DIR`, else `BERTH_CACHE_DIR`).
    pub data_dir: Option<PathBuf>,
    /// As whom Terraform runs, when not as the runner (`BERTH_TERRAFORM_USER`, a user name or `uid:gid`).
    pub terraform_user: Option<User>,
    /// Provider packages that came with the runner, never written to; looked into before `data_dir` and the registries
    /// (`BERTH_PROVIDER_MIRROR`, see [`crate::package`] for its layout).
    pub provider_mirror: Option<PathBuf>,
    /// The site that Terraform is downloaded from (`BERTH_TERRAFORM_RELEASES_URL`).
    pub releases_url: String,
    /// A Terraform CLI configuration, for provider mirrors (`BERTH_TERRAFORM_CLI_CONFIG`).
    pub terraform_cli_config: Option<PathBuf>,
    /// The executable of our provider, which Terraform then installs and starts itself, instead of finding it served by the runner
    /// (`BERTH_PROVIDER_PLUGIN`). Beside a CLI configuration of the operator's, that one says where the plugin is installed from:
    /// `terraform-provider-berth --mirror` lays it out.
    pub provider_plugin: Option<PathBuf>,
    /// Laptop mode: the root of the directories of `berth_process` and `berth_directory` (`BERTH_PROCESS_ROOT`).
    pub process_root: Option<PathBuf>,
    /// Laptop mode: the agent executable on this machine (`BERTH_AGENT_BINARY`).
    pub agent_binary: Option<PathBuf>,
    /// How long Terraform may take to end after a cancel before it is killed (`BERTH_CANCEL_GRACE_SECONDS`).
    pub cancel_grace: Duration,
    /// How often the lease is renewed, and so how soon a cancel is noticed (`BERTH_HEARTBEAT_SECONDS`, at most the limit's).
    pub heartbeat: Duration,
    /// The runner's own executable, see [`crate::terraform::guard`].
    pub executable: PathBuf,
    /// The part of the runner's own environment that Terraform may see.
    pub inherited: BTreeMap<OsString, OsString>,
}

/// Why the environment makes no configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A variable that must be there is not.
    #[error("the environment variable {0} is missing")]
    Missing(&'static str),
    /// The system does not say which file this program is.
    #[error("cannot find the runner's own executable")]
    Executable,
    /// A variable holds what it cannot hold.
    #[error("the environment variable {name} is not {wanted}")]
    Malformed {
        /// The variable.
        name: &'static str,
        /// What it should be.
        wanted: &'static str,
    },
}

impl Config {
    /// Reads the process's environment. The token stays in the process's initial memory (removing a variable is not possible
    /// without unsafe code): it is worthless once claimed, children get a cleared environment, and [`crate::run`] makes the
    /// process unreadable to others of the same user.
    ///
    /// # Errors
    /// The first variable that is missing or malformed.
    pub fn from_env() -> Result<Self, ConfigError> {
        let executable = std::env::current_exe().map_err(|_| ConfigError::Executable)?;
        Self::from_variables(std::env::vars_os(), executable)
    }

    /// The same, from given variables.
    ///
    /// # Errors
    /// The first variable that is missing or malformed.
    pub fn from_variables(
        variables: impl IntoIterator<Item = (OsString, OsString)>,
        executable: PathBuf,
    ) -> Result<Self, ConfigError> {
        let all: BTreeMap<OsString, OsString> = variables.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        let reader = Reader(&all);
        Ok(Self {
            api_url: reader.needed("BERTH_API_URL")?,
            job: reader.needed("BERTH_JOB_ID")?.parse().map_err(|_| malformed("BERTH_JOB_ID", "a UUID"))?,
            token: Secret::new(reader.needed("BERTH_JOB_TOKEN")?),
            task: reader.needed("BERTH_TASK_ID")?.parse().map_err(|_| malformed("BERTH_TASK_ID", "a UUID"))?,
            terraform_bin: reader.path("BERTH_TERRAFORM_BIN"),
            data_dir: reader.path("BERTH_DATA_DIR").or_else(|| reader.path("BERTH_CACHE_DIR")),
            terraform_user: reader.terraform_user()?,
            provider_mirror: reader.path("BERTH_PROVIDER_MIRROR"),
            releases_url: reader.text("BERTH_TERRAFORM_RELEASES_URL")?.unwrap_or_else(|| RELEASES_URL.to_owned()),
            terraform_cli_config: reader.path("BERTH_TERRAFORM_CLI_CONFIG"),
            provider_plugin: reader.path("BERTH_PROVIDER_PLUGIN"),
            process_root: reader.path("BERTH_PROCESS_ROOT"),
            agent_binary: reader.path("BERTH_AGENT_BINARY"),
            cancel_grace: reader.seconds("BERTH_CANCEL_GRACE_SECONDS")?.unwrap_or(Duration::from_secs(CANCEL_GRACE_SECONDS)),
            heartbeat: reader
                .seconds("BERTH_HEARTBEAT_SECONDS")?
                .unwrap_or(Duration::from_secs(HEARTBEAT_SECONDS))
                .clamp(Duration::from_secs(1), Duration::from_secs(HEARTBEAT_SECONDS)),
            executable,
            inherited: environment::inherited(&all),
        })
    }
}

/// Typed access to a table of variables.
struct Reader<'a>(&'a BTreeMap<OsString, OsString>);

impl Reader<'_> {
    fn text(&self, name: &'static str) -> Result<Option<String>, ConfigError> {
        let Some(value) = self.0.get(std::ffi::OsStr::new(name)) else { return Ok(None) };
        value.to_str().map(|text| Some(text.to_owned())).ok_or(malformed(name, "UTF-8 text"))
    }

    fn needed(&self, name: &'static str) -> Result<String, ConfigError> {
        self.text(name)?.ok_or(ConfigError::Missing(name))
    }

    /// Workspaces that are processes of this machine belong to the runner's user, and so does the provider that starts them.
    fn terraform_user(&self) -> Result<Option<User>, ConfigError> {
        let name = "BERTH_TERRAFORM_USER";
        let Some(text) = self.text(name)? else { return Ok(None) };
        if self.path("BERTH_PROCESS_ROOT").is_some() {
            return Err(malformed(name, "possible beside BERTH_PROCESS_ROOT"));
        }
        text.parse().map(Some).map_err(|error: UserError| malformed(name, error.0))
    }

    fn path(&self, name: &'static str) -> Option<PathBuf> {
        self.0.get(std::ffi::OsStr::new(name)).map(PathBuf::from)
    }

    fn seconds(&self, name: &'static str) -> Result<Option<Duration>, ConfigError> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        text.parse().map(|seconds| Some(Duration::from_secs(seconds))).map_err(|_| malformed(name, "a number of seconds"))
    }
}

fn malformed(name: &'static str, wanted: &'static str) -> ConfigError {
    ConfigError::Malformed { name, wanted }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0190a6a0-0000-7000-8000-000000000001";

    fn read(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::from_variables(variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))), PathBuf::new())
    }

    #[test]
    fn the_missing_variable_is_named() {
        assert_eq!(read(&[]).unwrap_err().to_string(), "the environment variable BERTH_API_URL is missing");
        let almost = [("BERTH_API_URL", "http://h"), ("BERTH_JOB_ID", ID), ("BERTH_JOB_TOKEN", "")];
        assert_eq!(read(&almost).unwrap_err(), ConfigError::Missing("BERTH_JOB_TOKEN"));
        let wrong = [("BERTH_API_URL", "http://h"), ("BERTH_JOB_ID", "seven")];
        assert_eq!(read(&wrong).unwrap_err().to_string(), "the environment variable BERTH_JOB_ID is not a UUID");
    }

    #[test]
    fn the_token_is_not_shown_and_terraform_never_inherits_ours() {
        let config = read(&[
            ("BERTH_API_URL", "http://h"),
            ("BERTH_JOB_ID", ID),
            ("BERTH_JOB_TOKEN", "hush"),
            ("BERTH_TASK_ID", ID),
            ("BERTH_HEARTBEAT_SECONDS", "3600"),
            ("CODER_AGENT_TOKEN", "hush"),
            ("AWS_REGION", "eu-central-1"),
            ("PATH", "/bin"),
        ])
        .unwrap();
        assert!(!format!("{config:?}").contains("hush"));
        let names: Vec<_> = config.inherited.keys().map(|name| name.to_str().unwrap()).collect();
        assert_eq!(names, ["AWS_REGION", "PATH"]);
        assert_eq!(config.heartbeat, Duration::from_secs(HEARTBEAT_SECONDS), "a lease would end between two heartbeats");
    }
}
