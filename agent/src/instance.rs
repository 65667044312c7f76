//! How an agent gets its token where the template has none in its environment: the EC2 instance says who it is, and AWS has signed that
//! (`CODER_AGENT_AUTH=aws-instance-identity`).
//!
//! Each boot of the instance is good for one token. It is kept on the disk, for agents that are started again in the same boot.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use berth_client::{AgentClient, ClientError, INSTANCE_METADATA, instance_identity};
use berth_wire::domain::TokenHash;

use crate::config::{Config, ConfigError};
use crate::control::Attempts;
use crate::identity::private_directory;

/// Where the metadata service is, where that is not where AWS has it; AWS's own tools have the same variable.
const ENDPOINT: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT";

/// Why there is no point in going on.
#[derive(Debug, thiserror::Error)]
pub enum InstanceError {
    /// The deployment's URL cannot be used, or the deployment wants none of this.
    #[error("the agent cannot be introduced by its instance")]
    Refused(#[from] ClientError),
    /// The environment makes no sense with a token either.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// The configuration with a token: as it is if there is one, else with the one that this boot gets, for which it asks until it has it. That the
/// deployment does not know the instance is no end: the build that made it may not have recorded it yet.
///
/// # Errors
/// [`InstanceError`].
pub async fn introduced(config: Config) -> Result<Config, InstanceError> {
    if !config.token.expose().is_empty() {
        return Ok(config);
    }
    let endpoint = config.inherited.get(OsStr::new(ENDPOINT)).and_then(|url| url.to_str()).unwrap_or(INSTANCE_METADATA);
    let file = config.instance_token_file();
    let mut attempts = Attempts::new();
    let token = loop {
        let identity = match instance_identity(endpoint).await {
            Ok(identity) => identity,
            Err(error) => {
                attempts.failed("instance identity", &error).await;
                continue;
            }
        };
        let boot = String::from(TokenHash::of(&identity.document));
        if let Some(token) = kept(&file, &boot) {
            break token;
        }
        match AgentClient::introduce(&config.url, &identity).await {
            Ok(session) => {
                let token = session.session_token.expose().clone();
                if let Err(error) = keep(&file, (&boot, &token)) {
                    tracing::warn!(%error, file = %file.display(), "the token cannot be kept: until the next boot no other agent is started");
                }
                break token;
            }
            Err(error) if error.is_transient() || error.is_unauthorized() => attempts.failed("introduction", &error).await,
            Err(error) => return Err(error.into()),
        }
    };
    let mut inherited = config.inherited;
    inherited.insert("CODER_AGENT_TOKEN".into(), token.into());
    Ok(Config::read(inherited)?)
}

/// The token that this boot has got before.
fn kept(file: &Path, boot: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let (of, token) = text.trim_end().split_once(' ')?;
    (of == boot).then(|| token.to_owned())
}

/// Written beside and renamed, so that a crash leaves no half of it.
fn keep(file: &Path, (boot, token): (&str, &str)) -> io::Result<()> {
    if let Some(directory) = file.parent() {
        private_directory(directory)?;
    }
    let beside = file.with_extension("new");
    let mut created = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    created.write_all(format!("{boot} {token}\n").as_bytes())?;
    created.sync_all()?;
    fs::rename(beside, file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_token_is_kept_for_its_own_boot_and_for_nobody_else() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("deep/instance-token");
        assert_eq!(kept(&file, "one"), None);
        keep(&file, ("one", "secret")).unwrap();
        assert_eq!((kept(&file, "one"), kept(&file, "two")), (Some("secret".to_owned()), None));
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
