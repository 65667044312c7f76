//! Where the CLI learns what to talk to: flags, then the environment, then the files of the configuration directory.
//!
//! Nothing else in this crate reads the environment.

use crate::failure::{Failure, Outcome};
use berth_wire::domain::Secret;
use clap::Args;
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs, io,
    io::Write,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

const URL_FILE: &str = "url";
pub(crate) const SESSION_FILE: &str = "session";

/// Flags that every command takes.
#[derive(Debug, Clone, Default, Args)]
pub struct GlobalFlags {
    /// URL of the deployment [variables: BERTH_URL, CODER_URL]
    #[arg(long, global = true, value_name = "URL", help_heading = "Global options")]
    pub url: Option<String>,
    /// Session or API token [variables: BERTH_SESSION_TOKEN, CODER_SESSION_TOKEN]
    #[arg(long, global = true, value_name = "TOKEN", help_heading = "Global options", hide_default_value = true)]
    pub token: Option<String>,
    /// Directory of configuration and session [variables: BERTH_CONFIG_DIR, CODER_CONFIG_DIR]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Global options")]
    pub global_config: Option<PathBuf>,
    /// Say more: debug lines of builds, what the network does
    #[arg(short, long, global = true, help_heading = "Global options")]
    pub verbose: bool,
    /// Connect through the relay only [variables: BERTH_DISABLE_DIRECT_CONNECTIONS, CODER_DISABLE_DIRECT_CONNECTIONS]
    #[arg(long, global = true, help_heading = "Global options")]
    pub disable_direct_connections: bool,
    /// Of the deployment's relays, use only this one [variable: BERTH_RELAY]
    #[arg(long, global = true, value_name = "URL", help_heading = "Global options")]
    pub relay: Option<String>,
    /// No colour, even on a terminal
    #[arg(long, global = true, help_heading = "Global options")]
    pub no_color: bool,
}

/// The process's environment, read once.
#[derive(Debug, Clone, Default)]
pub struct Environment(BTreeMap<OsString, OsString>);

impl Environment {
    /// Reads it.
    #[must_use]
    pub fn read() -> Self {
        Self(std::env::vars_os().collect())
    }

    /// An environment made up of these.
    #[must_use]
    pub fn of(pairs: &[(&str, &str)]) -> Self {
        Self(pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect())
    }

    /// The value of a variable; empty is unset.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(&OsString::from(name)).and_then(|value| value.to_str()).filter(|value| !value.is_empty())
    }

    /// The value as a path; empty is unset.
    fn path(&self, name: &str) -> Option<PathBuf> {
        self.0.get(&OsString::from(name)).filter(|value| !value.is_empty()).map(PathBuf::from)
    }

    /// The first file of this name on `PATH`.
    #[must_use]
    pub fn find_program(&self, name: &str) -> Option<PathBuf> {
        let path = self.0.get(&OsString::from("PATH"))?;
        std::env::split_paths(path).map(|directory| directory.join(name)).find(|program| program.is_file())
    }

    /// `BERTH_<name>`, else `CODER_<name>`.
    #[must_use]
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.get(&format!("BERTH_{name}")).or_else(|| self.get(&format!("CODER_{name}")))
    }

    /// The variables that say which language and character set a program is to use.
    #[must_use]
    pub fn locale(&self) -> Vec<(String, String)> {
        let wanted = |name: &str| name == "LANG" || name == "LANGUAGE" || name.starts_with("LC_");
        let pairs = self.0.iter().filter_map(|(name, value)| Some((name.to_str()?.to_owned(), value.to_str()?.to_owned())));
        pairs.filter(|(name, value)| wanted(name) && !value.is_empty()).collect()
    }
}

/// A deployment and how to be known there.
#[derive(Debug, Clone)]
pub struct Deployment {
    /// Its URL, without a slash at the end.
    pub url: String,
    /// The token to send.
    pub token: Option<Secret>,
}

/// Everything the CLI was told from outside.
#[derive(Debug, Clone)]
pub struct Config {
    directory: PathBuf,
    url: Option<String>,
    token: Option<Secret>,
    /// The environment, for the few commands that pass parts of it on.
    pub environment: Environment,
    /// Whether to say more.
    pub verbose: bool,
    /// Whether direct connections are allowed.
    pub direct: bool,
    /// The only relay to use.
    pub relay: Option<String>,
}

impl Config {
    /// Joins flags and environment. Reads no file yet.
    ///
    /// # Errors
    /// When no configuration directory can be found, or the given URL is none.
    pub fn load(flags: &GlobalFlags, environment: Environment) -> Outcome<Self> {
        let directory = flags
            .global_config
            .clone()
            .or_else(|| environment.path("BERTH_CONFIG_DIR"))
            .or_else(|| environment.path("CODER_CONFIG_DIR"))
            .or_else(|| environment.path("XDG_CONFIG_HOME").map(|base| base.join("berth")))
            .or_else(|| environment.path("HOME").map(|home| home.join(".config/berth")))
            .ok_or_else(|| Failure::new("HOME is not set").hint("name a directory with --global-config"))?;
        let url = flags.url.as_deref().or_else(|| environment.setting("URL")).map(normalize_url).transpose()?;
        let token = flags
            .token
            .as_deref()
            .or_else(|| environment.setting("SESSION_TOKEN"))
            .map(|token| Secret::new(token.trim().to_owned()));
        let directory = std::path::absolute(&directory)
            .map_err(|error| Failure::new(format!("cannot resolve {}: {error}", directory.display())))?;
        let relayed = environment.setting("DISABLE_DIRECT_CONNECTIONS").is_some_and(|value| !matches!(value, "0" | "false"));
        let direct = !flags.disable_direct_connections && !relayed;
        let relay = flags.relay.clone().or_else(|| environment.get("BERTH_RELAY").map(str::to_owned));
        Ok(Self { directory, url, token, verbose: flags.verbose, direct, relay, environment })
    }

    /// The configuration directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where sockets go: files that mean nothing after the next start of the machine. It is for the user alone, or to be made so.
    #[must_use]
    pub fn runtime_directory(&self) -> PathBuf {
        let shared = || self.environment.path("TMPDIR").unwrap_or_else(|| PathBuf::from("/tmp"));
        self.environment
            .path("XDG_RUNTIME_DIR")
            .map_or_else(|| shared().join(format!("berth-{}", rustix::process::getuid().as_raw())), |runtime| runtime.join("berth"))
    }

    /// Where logs go.
    #[must_use]
    pub fn state_directory(&self) -> PathBuf {
        let home = || self.environment.path("HOME").map(|home| home.join(".local/state"));
        self.environment.path("XDG_STATE_HOME").or_else(home).map_or_else(|| self.directory.clone(), |state| state.join("berth"))
    }

    /// The person's home directory.
    ///
    /// # Errors
    /// When `HOME` is not set.
    pub fn home(&self) -> Outcome<PathBuf> {
        self.environment.path("HOME").ok_or_else(|| Failure::new("HOME is not set").hint("set HOME to your home directory"))
    }

    /// The token from flag or environment, whatever the deployment.
    #[must_use]
    pub const fn given_token(&self) -> Option<&Secret> {
        self.token.as_ref()
    }

    /// The URL from flag or environment, else the one signed in to.
    ///
    /// # Errors
    /// When the file cannot be read or holds no URL.
    pub fn url(&self) -> Outcome<Option<String>> {
        match &self.url {
            Some(url) => Ok(Some(url.clone())),
            None => self.stored_url(),
        }
    }

    fn stored_url(&self) -> Outcome<Option<String>> {
        read_optional(&self.directory.join(URL_FILE))?.map(|text| normalize_url(text.trim())).transpose()
    }

    /// The deployment to talk to. A stored session is used only for the deployment it was made for.
    ///
    /// # Errors
    /// When nobody said which deployment, or a file cannot be read.
    pub fn deployment(&self) -> Outcome<Deployment> {
        let Some(url) = self.url()? else {
            return Err(Failure::new("you are not signed in to a deployment")
                .hint("`berth login URL`; to run one on this machine: `berth server`"));
        };
        let token = match &self.token {
            Some(token) => Some(token.clone()),
            None if self.stored_url()?.as_ref() == Some(&url) => self.stored_session()?,
            None => None,
        };
        Ok(Deployment { url, token })
    }

    fn stored_session(&self) -> Outcome<Option<Secret>> {
        let session = read_optional(&self.directory.join(SESSION_FILE))?;
        Ok(session.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()).map(Secret::new))
    }

    /// Remembers a session. The old one is gone before the URL changes, so that no token is ever filed under another deployment.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn remember(&self, url: &str, session: &Secret) -> Outcome {
        if self.stored_url().ok().flatten().is_some_and(|stored| stored != url) {
            self.forget()?;
        }
        self.write(URL_FILE, format!("{url}\n").as_bytes())?;
        self.write(SESSION_FILE, session.expose().as_bytes()).map(drop)
    }

    /// Forgets the session. Says whether there was one.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn forget(&self) -> Outcome<bool> {
        let path = self.directory.join(SESSION_FILE);
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(unwritable(&path, &error)),
        }
    }

    /// Writes one file of the configuration directory, whole or not at all, readable by its owner only. Returns its path.
    ///
    /// # Errors
    /// When directory or file cannot be written.
    pub fn write(&self, name: &str, content: &[u8]) -> Outcome<PathBuf> {
        private_directory(&self.directory).map_err(|error| unwritable(&self.directory, &error))?;
        let path = self.directory.join(name);
        write_whole(&path, content, 0o600).map_err(|error| unwritable(&path, &error))?;
        Ok(path)
    }
}

/// Makes a directory, and those above it, for its owner only. One that exists stays as it is.
///
/// # Errors
/// When it cannot be made.
pub fn private_directory(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Replaces a file in one step: readers see the old content or the new, never a part.
///
/// # Errors
/// When the directory cannot be written to or the disk is full; the old file is then untouched.
pub fn write_whole(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().permissions(fs::Permissions::from_mode(mode)).tempfile_in(directory)?;
    file.write_all(content)?;
    file.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// Reads a file that need not be there.
///
/// # Errors
/// When it is there and cannot be read as text.
pub fn read_optional(path: &Path) -> Outcome<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            let hint = if error.kind() == io::ErrorKind::InvalidData {
                "save it as UTF-8 text"
            } else {
                "check its permissions and owner"
            };
            Err(Failure::new(format!("cannot read {}: {}", path.display(), plain(&error))).hint(hint))
        }
    }
}

/// The failure of a write, with the fix for the usual causes.
#[must_use]
pub fn unwritable(path: &Path, error: &io::Error) -> Failure {
    let hint = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free some space and try again",
        io::ErrorKind::PermissionDenied => "check the owner and permissions of that directory",
        io::ErrorKind::ReadOnlyFilesystem => "choose a writable directory",
        _ => "nothing was changed; try again",
    };
    Failure::new(format!("cannot write {}: {}", path.display(), plain(error))).hint(hint)
}

/// An I/O error without its number.
#[must_use]
pub fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_lowercase().chain(characters).collect())
}

/// A URL as we keep it: scheme, host, perhaps port and path, no slash at the end. Without a scheme, loopback gets `http`, all else `https`.
///
/// # Errors
/// When the text is not the URL of a web server.
pub fn normalize_url(text: &str) -> Outcome<String> {
    let text = text.trim();
    let refused =
        || Failure::usage(format!("{text:?} is not the URL of a deployment")).hint("it looks like https://berth.example.com");
    let loopback = ["localhost", "127.", "[::1]"].iter().any(|host| text.starts_with(host));
    let whole = match text.contains("://") {
        true => text.to_owned(),
        false if loopback => format!("http://{text}"),
        false => format!("https://{text}"),
    };
    let url: http::Uri = whole.parse().map_err(|_| refused())?;
    let (Some(scheme @ ("http" | "https")), Some(authority)) = (url.scheme_str(), url.authority()) else { return Err(refused()) };
    if authority.host().is_empty() || authority.as_str().contains('@') || url.query().is_some() {
        return Err(refused());
    }
    Ok(format!("{scheme}://{}{}", authority.as_str().to_ascii_lowercase(), url.path().trim_end_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(directory: &Path, pairs: &[(&str, &str)]) -> Config {
        let flags = GlobalFlags { global_config: Some(directory.to_owned()), ..GlobalFlags::default() };
        Config::load(&flags, Environment::of(pairs)).unwrap()
    }

    #[test]
    fn a_url_is_kept_in_one_form() {
        let read = |text| normalize_url(text).unwrap_or_else(|failure| failure.to_string());
        assert_eq!(read("https://Berth.Example.com/"), "https://berth.example.com");
        assert_eq!(read("127.0.0.1:7080"), "http://127.0.0.1:7080");
        assert_eq!(read("localhost:7080/"), "http://localhost:7080");
        assert_eq!(read("berth.example.com"), "https://berth.example.com");
        assert_eq!(read("https://example.com/berth/"), "https://example.com/berth");
        for text in ["", "ftp://x", "https://", "https://a:b@c", "https://c/?q", "a b"] {
            assert!(normalize_url(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_session_is_private_and_goes_only_to_its_own_deployment() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("a/berth");
        let config = config(&directory, &[]);
        config.remember("https://one.example", &Secret::new("s3cret".into())).unwrap();
        assert_eq!(config.deployment().unwrap().token.unwrap().expose(), "s3cret");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&directory), mode(&directory.join("session")), mode(&directory.join("url"))), (0o700, 0o600, 0o600));
        let other = self::config(&directory, &[("CODER_URL", "https://two.example")]);
        assert!(other.deployment().unwrap().token.is_none());
        let same = self::config(&directory, &[("BERTH_URL", "https://one.example/"), ("CODER_URL", "https://two.example")]);
        assert!(same.deployment().unwrap().token.is_some());
        assert!(config.forget().unwrap());
        assert!(!config.forget().unwrap());
        assert!(config.deployment().unwrap().token.is_none());
    }

    #[test]
    fn our_variables_win_over_the_compatible_ones_and_flags_over_both() {
        let pairs = [("BERTH_SESSION_TOKEN", "ours"), ("CODER_SESSION_TOKEN", "theirs"), ("HOME", "/home/ada"), ("BERTH_URL", "")];
        let read = |flags: &GlobalFlags| Config::load(flags, Environment::of(&pairs)).unwrap();
        assert_eq!(read(&GlobalFlags::default()).given_token().unwrap().expose(), "ours");
        assert_eq!(read(&GlobalFlags::default()).directory(), Path::new("/home/ada/.config/berth"));
        let flags = GlobalFlags { token: Some("flag".into()), ..GlobalFlags::default() };
        assert_eq!(read(&flags).given_token().unwrap().expose(), "flag");
    }

    #[test]
    fn without_a_deployment_the_hint_says_how_to_get_one() {
        let home = tempfile::tempdir().unwrap();
        let failure = config(home.path(), &[]).deployment().unwrap_err();
        assert_eq!(failure.to_string(), "you are not signed in to a deployment");
        assert!(failure.next().unwrap().contains("berth login URL"));
    }
}
