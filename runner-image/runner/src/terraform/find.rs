//! Finding Terraform: the setting, else PATH, else a copy downloaded once.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::download::{self, Release};
use crate::{Config, log::Log};

/// The oldest version that will do: `terraform_data` and `-json` output as we read it.
const OLDEST: (u64, u64) = (1, 5);
/// How long `version` may take.
const VERSION: Duration = Duration::from_secs(30);
/// Where the version of an executable is remembered, so that a build does not ask it again.
const KNOWN_FILE: &str = "terraform-known.json";

/// A Terraform or OpenTofu that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terraform {
    /// The executable.
    pub path: PathBuf,
    /// Its version, `1.11.4`.
    pub version: String,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// The setting names one that will not do.
    #[error("BERTH_TERRAFORM_BIN is {path}, which {why}: set it to terraform or tofu 1.5 or newer, or unset it")]
    Setting {
        /// The setting.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// None anywhere, and none could be fetched.
    #[error(
        "no Terraform: install terraform or tofu, put it on PATH or set BERTH_TERRAFORM_BIN; downloading from {site} failed: {why}"
    )]
    Nowhere {
        /// The release site.
        site: String,
        /// Why the download failed.
        why: String,
    },
}

/// Finds a Terraform that runs. Costs nothing but a few `stat` calls when it was found before; otherwise one `version` command per
/// candidate, or a download of 30 MB.
///
/// # Errors
/// With the one thing to do about it.
pub async fn find(config: &Config, log: &Log) -> Result<Terraform, FindError> {
    let search = Search { inherited: &config.inherited, data_dir: config.data_dir.as_deref() };
    if let Some(setting) = &config.terraform_bin {
        let path =
            if setting.components().count() == 1 { search.on_path(&setting.to_string_lossy()) } else { Some(setting.clone()) };
        let checked = match path {
            Some(path) => search.check(path).await,
            None => Err("is not on PATH".to_owned()),
        };
        return checked.map_err(|why| FindError::Setting { path: setting.display().to_string(), why });
    }
    for candidate in ["terraform", "tofu"].into_iter().filter_map(|name| search.on_path(name)) {
        let path = candidate.display().to_string();
        match search.check(candidate).await {
            Ok(terraform) => return Ok(terraform),
            Err(why) => log.warn(&format!("{path} {why}: looking further")),
        }
    }
    let nowhere = |why: String| FindError::Nowhere { site: config.releases_url.clone(), why };
    let Some(data_dir) = &config.data_dir else {
        return Err(nowhere("there is no directory to keep it in (BERTH_DATA_DIR)".to_owned()));
    };
    let release = Release::of_this_machine(&config.releases_url);
    let path = download::once(&release, data_dir, log).await.map_err(|error| nowhere(error.to_string()))?;
    search.check(path.clone()).await.map_err(|why| nowhere(format!("{} {why}", path.display())))
}

/// Where to look.
struct Search<'a> {
    inherited: &'a BTreeMap<OsString, OsString>,
    data_dir: Option<&'a Path>,
}

/// An executable whose version is known, as long as its file is the same.
#[derive(PartialEq, Serialize, Deserialize)]
struct Known {
    path: PathBuf,
    bytes: u64,
    modified_nanoseconds: u128,
    version: String,
}

impl Search<'_> {
    fn on_path(&self, name: &str) -> Option<PathBuf> {
        let path = self.inherited.get(std::ffi::OsStr::new("PATH"))?;
        std::env::split_paths(path).map(|directory| directory.join(name)).find(|file| is_executable(file))
    }

    /// Whether it runs and is new enough; else what is wrong with it, as the end of a sentence.
    async fn check(&self, path: PathBuf) -> Result<Terraform, String> {
        if !is_executable(&path) {
            return Err("is not an executable file".to_owned());
        }
        if let Some(version) = self.known(&path) {
            return Ok(Terraform { path, version });
        }
        let version = self.ask_version(&path).await?;
        let mut numbers = version.split(['.', '-']).map_while(|part| part.parse::<u64>().ok());
        let (major, minor) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        if (major, minor) < OLDEST {
            return Err(format!("is version {version}, older than {}.{}", OLDEST.0, OLDEST.1));
        }
        self.remember(&path, &version);
        Ok(Terraform { path, version })
    }

    async fn ask_version(&self, path: &Path) -> Result<String, String> {
        #[derive(Deserialize)]
        struct Answer {
            terraform_version: String,
        }
        let mut command = tokio::process::Command::new(path);
        command.args(["version", "-json"]).env_clear().envs(self.inherited).env("CHECKPOINT_DISABLE", "1");
        command.stdin(Stdio::null()).kill_on_drop(true);
        let output = match timeout(VERSION, command.output()).await {
            Ok(Ok(output)) => output,
            Ok(Err(error)) => return Err(format!("does not run ({error})")),
            Err(_) => return Err("does not answer `version`".to_owned()),
        };
        let answer: Result<Answer, _> = serde_json::from_slice(&output.stdout);
        answer.map(|answer| answer.terraform_version).map_err(|_| "does not answer `version -json` as terraform does".to_owned())
    }

    fn known(&self, path: &Path) -> Option<String> {
        let known: Known = serde_json::from_slice(&fs::read(self.data_dir?.join(KNOWN_FILE)).ok()?).ok()?;
        let now = about(path, &known.version)?;
        (known == now).then_some(known.version)
    }

    /// Best effort: without it the next build asks again.
    fn remember(&self, path: &Path, version: &str) {
        let Some(directory) = self.data_dir else { return };
        let written = about(path, version).and_then(|known| serde_json::to_vec(&known).ok()).map(|bytes| {
            let file = tempfile::NamedTempFile::new_in(directory)?;
            fs::write(file.path(), bytes)?;
            file.persist(directory.join(KNOWN_FILE)).map_err(|error| error.error)
        });
        if let Some(Err(error)) = written {
            tracing::debug!(%error, "terraform's version is not remembered");
        }
    }
}

fn about(path: &Path, version: &str) -> Option<Known> {
    let about = fs::metadata(path).ok()?;
    let modified = about.modified().ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    let modified_nanoseconds = modified.as_nanos();
    Some(Known { path: path.to_owned(), bytes: about.len(), modified_nanoseconds, version: version.to_owned() })
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{config, executable};

    const ANSWERS: &str = "#!/bin/sh\necho \"{\\\"terraform_version\\\": \\\"1.9.1\\\"}\"\n";

    #[tokio::test]
    async fn the_setting_comes_first_and_must_run() {
        let room = tempfile::tempdir().unwrap();
        let (log, _unsent) = crate::log::log();
        let mut config = config(room.path());
        config.terraform_bin = Some(room.path().join("absent"));
        let error = find(&config, &log).await.unwrap_err().to_string();
        assert!(error.contains("which is not an executable file"), "{error}");
        config.terraform_bin = Some(executable(room.path(), "old", "#!/bin/sh\necho '{\"terraform_version\": \"1.4.9\"}'\n"));
        assert!(find(&config, &log).await.unwrap_err().to_string().contains("is version 1.4.9, older than 1.5"));
        config.terraform_bin = Some(executable(room.path(), "mute", "#!/bin/sh\nexit 1\n"));
        assert!(find(&config, &log).await.unwrap_err().to_string().contains("does not answer `version -json`"));
        config.terraform_bin = Some(executable(room.path(), "good", ANSWERS));
        assert_eq!(find(&config, &log).await.unwrap().version, "1.9.1");
    }

    #[tokio::test]
    async fn a_broken_terraform_on_path_is_passed_over_for_tofu() {
        let room = tempfile::tempdir().unwrap();
        let (log, _unsent) = crate::log::log();
        executable(room.path(), "terraform", "#!/bin/sh\nexit 1\n");
        let tofu = executable(room.path(), "tofu", ANSWERS);
        let mut config = config(room.path());
        config.inherited.insert("PATH".into(), format!("{}:/bin:/usr/bin", room.path().display()).into());
        assert_eq!(find(&config, &log).await.unwrap().path, tofu);
    }

    #[tokio::test]
    async fn a_known_executable_is_not_asked_again_until_it_changes() {
        let room = tempfile::tempdir().unwrap();
        let (log, _unsent) = crate::log::log();
        let counting = format!("#!/bin/sh\necho x >> {}/asked\n{}", room.path().display(), &ANSWERS[10..]);
        let mut config = config(room.path());
        config.data_dir = Some(room.path().to_owned());
        config.terraform_bin = Some(executable(room.path(), "t", &counting));
        let asked = || fs::read_to_string(room.path().join("asked")).unwrap().lines().count();
        find(&config, &log).await.unwrap();
        find(&config, &log).await.unwrap();
        assert_eq!(asked(), 1);
        executable(room.path(), "t", &format!("{counting}# changed\n"));
        find(&config, &log).await.unwrap();
        assert_eq!(asked(), 2);
    }
}
