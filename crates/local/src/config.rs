//! What the operator may set: flags first, then `BERTH_*` variables, then defaults.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
};

/// The flags of `berth server`.
#[derive(Debug, Clone, clap::Parser)]
#[command(
    name = "berth server",
    version,
    about = "Start Berth on this machine: API, relay and runners, with everything kept in one directory"
)]
pub struct Options {
    /// Where everything is kept; made if missing [default: ~/.local/share/berth]
    #[arg(long, value_name = "DIR", env = "BERTH_DATA_DIR")]
    pub data: Option<PathBuf>,
    /// The port to listen on; 0 picks a free one
    #[arg(long, value_name = "N", env = "BERTH_PORT", default_value_t = 7090)]
    pub port: u16,
    /// The address to listen on. Loopback unless you put TLS in front
    #[arg(long, value_name = "ADDRESS", env = "BERTH_ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub address: IpAddr,
    /// The URL at which clients and agents reach this server [default: <http://ADDRESS:PORT/>]
    #[arg(long, value_name = "URL", env = "BERTH_ACCESS_URL")]
    pub access_url: Option<String>,
    /// The URL below which every web app of a workspace gets a host of its own; `*.` in front of its host must lead here
    /// [default: <http://apps.localhost:PORT/> when the access URL is on this machine, else none]
    #[arg(long, value_name = "URL", env = "BERTH_APPS_URL")]
    pub apps_url: Option<String>,
    /// The terraform or tofu to run [default: the one on PATH, else downloaded once]
    #[arg(long, value_name = "FILE", env = "BERTH_TERRAFORM_BIN")]
    pub terraform: Option<PathBuf>,
    /// Where terraform is downloaded from if there is none
    #[arg(long, value_name = "URL", env = "BERTH_TERRAFORM_RELEASES_URL", hide = true)]
    pub terraform_releases_url: Option<String>,
    /// A Terraform CLI configuration for builds, for example with a provider mirror
    #[arg(long, value_name = "FILE", env = "BERTH_TERRAFORM_CLI_CONFIG")]
    pub terraform_cli_config: Option<PathBuf>,
    /// At most this many builds at the same time
    #[arg(long, value_name = "N", env = "BERTH_BUILDS_MAX", default_value_t = 4)]
    pub builds_max: usize,
    /// Let clients and agents meet at the relay only, never directly
    #[arg(long, env = "BERTH_DISABLE_DIRECT_CONNECTIONS")]
    pub disable_direct_connections: bool,
    /// The relays at which clients and agents meet, separated by commas [default: this server itself]. Each is a berth-relay, or this
    /// server's own URL; an agent stays at the one that answers it fastest and goes to another when that fails
    #[arg(long, value_name = "URL", env = "BERTH_RELAY_URL", value_delimiter = ',')]
    pub relay_url: Vec<String>,
    /// Written with the URL once the server accepts connections
    #[arg(long, value_name = "FILE", hide = true)]
    pub ready_file: Option<PathBuf>,
    /// Say more, for example `debug` or `berth_api=debug`
    #[arg(long, value_name = "FILTER", env = "BERTH_LOG", default_value = "info,iroh=error,iroh_relay=error,noq=error")]
    pub log: String,
}

/// What the server needs, complete and checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// The data directory, absolute.
    pub data: PathBuf,
    /// Where to listen.
    pub listen: SocketAddr,
    /// As given; the default needs the real port.
    pub access_url: Option<String>,
    /// As given; the default needs the real port.
    pub apps_url: Option<String>,
    /// Where the relays are; none when it is this server alone.
    pub relay_urls: Vec<String>,
    /// The directory of our executables: `berth-runner` and `berth-agent` are siblings of this one.
    pub binaries: PathBuf,
    /// The flags that pass through.
    pub options: Options,
    /// The environment that runners get: ours.
    pub environment: Vec<(String, String)>,
}

/// Why the server cannot be configured.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No `--data` and no home.
    #[error("there is no home directory to keep data in\nhint: give --data DIR")]
    NoHome,
    /// The executable's place is unknown.
    #[error("cannot find our own executable")]
    Executable(#[source] std::io::Error),
    /// A sibling executable is missing.
    #[error(
        "{0} is missing beside berth-local\nhint: install all four of berth, berth-local, berth-runner and berth-agent in one directory"
    )]
    Sibling(PathBuf),
    /// The data directory cannot be used.
    #[error("cannot use the data directory {path}: {source}\nhint: give another with --data DIR")]
    Data {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The given terraform is not there.
    #[error(
        "there is no program at {0}\nhint: give --terraform the path of terraform or tofu, or leave it out to use the one on PATH"
    )]
    Terraform(PathBuf),
    /// The access URL is not one.
    #[error("{0:?} is not an http or https URL\nhint: for example --access-url https://berth.example.com/")]
    AccessUrl(String),
}

impl Config {
    /// Completes the flags with the environment; makes the data directory (0700) if it is missing.
    ///
    /// # Errors
    /// When something is missing or cannot be used; the text says what to do.
    pub fn new(options: Options, environment: Vec<(String, String)>) -> Result<Self, ConfigError> {
        let executable = std::env::current_exe().map_err(ConfigError::Executable)?;
        let binaries = executable.parent().map(PathBuf::from).unwrap_or_default();
        for sibling in ["berth-runner", "berth-agent"] {
            let path = binaries.join(sibling);
            if !path.is_file() {
                return Err(ConfigError::Sibling(path));
            }
        }
        if let Some(missing) = options.terraform.as_ref().filter(|path| !path.is_file()) {
            return Err(ConfigError::Terraform(missing.clone()));
        }
        let variable = |name: &str| {
            environment.iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| PathBuf::from(value))
        };
        let home = || {
            variable("XDG_DATA_HOME")
                .or_else(|| variable("HOME").map(|home| home.join(".local/share")))
                .map(|base| base.join("berth"))
        };
        let path = options.data.clone().or_else(home).ok_or(ConfigError::NoHome)?;
        let data = make_private(&path).map_err(|source| ConfigError::Data { path, source })?;
        let access_url = options.access_url.as_deref().map(check_url).transpose()?;
        let apps_url = options.apps_url.as_deref().map(check_url).transpose()?;
        let relay_urls = options.relay_url.iter().map(|url| check_url(url)).collect::<Result<_, _>>()?;
        let listen = SocketAddr::new(options.address, options.port);
        Ok(Self { data, listen, access_url, apps_url, relay_urls, binaries, options, environment })
    }
}

fn check_url(url: &str) -> Result<String, ConfigError> {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let host = rest.map(|rest| rest.split('/').next().unwrap_or_default()).unwrap_or_default();
    if host.is_empty() || url.contains(char::is_whitespace) || url.contains(['"', '\'', '\\', '`', '$']) {
        return Err(ConfigError::AccessUrl(url.to_owned()));
    }
    Ok(format!("{}/", url.trim_end_matches('/')))
}

fn make_private(path: &std::path::Path) -> Result<PathBuf, std::io::Error> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    // One that was there is ours to close to others when it is empty or holds our table; anybody else's keeps its mode.
    if path.join("table.db").exists() || std::fs::read_dir(path)?.next().is_none() {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))?;
    }
    path.canonicalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_url_is_checked_once_and_ends_in_a_slash() {
        assert_eq!(check_url("https://berth.example.com").unwrap(), "https://berth.example.com/");
        for wrong in ["berth.example.com", "https://", "http://a b/", "http://a/$(x)"] {
            assert!(check_url(wrong).is_err(), "{wrong}");
        }
    }
}
