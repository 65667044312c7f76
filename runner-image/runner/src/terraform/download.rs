//! Downloading Terraform once: checksum verified, renamed into place whole, one runner at a time.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use reqwest::{Client, Response};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;
use tokio::task::spawn_blocking;

use crate::{log::Log, package};

/// The version that is downloaded.
const VERSION: &str = "1.11.4";
/// The largest release archive, and the largest executable in it, in bytes.
const BYTES_MAX: u64 = 512 * 1024 * 1024;
/// The largest list of checksums, in bytes.
const SUMS_BYTES_MAX: usize = 256 * 1024;
/// How long a connection may take to stand, and how long a transfer may be silent.
const PATIENCE: Duration = Duration::from_secs(15);

/// Which archive to fetch, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    site: String,
    platform: String,
}

/// Why nothing was downloaded. What was fetched is thrown away.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// The site cannot be reached or broke off.
    #[error("{0}")]
    Network(String),
    /// The site answered, but not with the file.
    #[error("{url} answered {status}")]
    Answer {
        /// What was asked.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// The list of checksums does not have the archive.
    #[error("the checksums do not list {0}")]
    Unlisted(String),
    /// The archive is not the one that was released.
    #[error("the checksum of {0} is wrong")]
    Checksum(String),
    /// It is larger than any release.
    #[error("{0} is larger than {BYTES_MAX} bytes")]
    TooLarge(String),
    /// There is no executable in the archive.
    #[error("{0} holds no terraform executable")]
    Empty(String),
    /// The disk refused.
    #[error("cannot write to {path}: {source}")]
    Disk {
        /// Where.
        path: String,
        /// Why.
        source: io::Error,
    },
}

impl Release {
    /// The release for the machine that this runs on.
    #[must_use]
    pub fn of_this_machine(site: &str) -> Self {
        Self { site: site.trim_end_matches('/').to_owned(), platform: package::platform() }
    }

    fn archive(&self) -> String {
        format!("terraform_{VERSION}_{}.zip", self.platform)
    }

    fn url(&self, file: &str) -> String {
        format!("{}/terraform/{VERSION}/{file}", self.site)
    }
}

/// The path of the downloaded executable below `data_dir`; downloads it if it is not there. Two runners that ask at the same time
/// download it once.
///
/// # Errors
/// When the site, the checksum or the disk says no.
pub async fn once(release: &Release, data_dir: &Path, log: &Log) -> Result<PathBuf, DownloadError> {
    let home = data_dir.join("terraform").join(VERSION);
    let target = home.join("terraform");
    if target.exists() {
        return Ok(target);
    }
    let disk = |source| DownloadError::Disk { path: home.display().to_string(), source };
    fs::create_dir_all(&home).map_err(disk)?;
    let _lock = lock(&home.join(".lock"), log).await.map_err(disk)?;
    if target.exists() {
        return Ok(target);
    }
    let http = client(&release.site)?;
    let name = release.archive();
    let sums = fetch_text(&http, &release.url(&format!("terraform_{VERSION}_SHA256SUMS"))).await?;
    let wanted = listed(&sums, &name).ok_or_else(|| DownloadError::Unlisted(name.clone()))?;
    log.say(&format!("Downloading Terraform {VERSION} from {}", release.site));
    let archive = NamedTempFile::new_in(&home).map_err(disk)?;
    let sum = fetch_file(&http, &release.url(&name), archive.path(), log).await?;
    if sum != wanted {
        return Err(DownloadError::Checksum(name));
    }
    let (extracted, home_again) = (target.clone(), home.clone());
    let unpacked = spawn_blocking(move || extract(archive.path(), &home_again, &extracted)).await;
    unpacked.map_err(|error| disk(io::Error::other(error)))?.map_err(disk)?.ok_or(DownloadError::Empty(name))?;
    Ok(target)
}

/// Waits for the file's lock, which ends with the answered file.
async fn lock(path: &Path, log: &Log) -> io::Result<File> {
    let file = File::options().create(true).truncate(false).write(true).open(path)?;
    if file.try_lock().is_ok() {
        return Ok(file);
    }
    log.say("Waiting for another build to download Terraform");
    spawn_blocking(move || file.lock().map(|()| file)).await.map_err(io::Error::other)?
}

fn client(site: &str) -> Result<Client, DownloadError> {
    let network = |error: &dyn std::error::Error| DownloadError::Network(root_cause(error));
    let tls = berth_client::tls_config(!site.starts_with("http://")).map_err(|error| network(&error))?;
    let builder = Client::builder().tls_backend_preconfigured(tls).connect_timeout(PATIENCE).read_timeout(PATIENCE);
    builder.build().map_err(|error| network(&error))
}

async fn get(http: &Client, url: &str) -> Result<Response, DownloadError> {
    let response = http.get(url).send().await.map_err(|error| DownloadError::Network(root_cause(&error)))?;
    if response.status().is_success() {
        return Ok(response);
    }
    Err(DownloadError::Answer { url: url.to_owned(), status: response.status().as_u16() })
}

async fn fetch_text(http: &Client, url: &str) -> Result<String, DownloadError> {
    let mut response = get(http, url).await?;
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| DownloadError::Network(root_cause(&error)))? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > SUMS_BYTES_MAX {
            return Err(DownloadError::TooLarge(url.to_owned()));
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Writes the answer to `path` and answers its SHA-256, saying how far it is in tenths.
async fn fetch_file(http: &Client, url: &str, path: &Path, log: &Log) -> Result<String, DownloadError> {
    use tokio::io::AsyncWriteExt;
    let disk = |source| DownloadError::Disk { path: path.display().to_string(), source };
    let mut response = get(http, url).await?;
    let total = response.content_length().unwrap_or(0);
    let mut file = tokio::fs::File::create(path).await.map_err(disk)?;
    let (mut hash, mut done, mut said) = (Sha256::new(), 0_u64, 0);
    while let Some(chunk) = response.chunk().await.map_err(|error| DownloadError::Network(root_cause(&error)))? {
        done += chunk.len() as u64;
        if done > BYTES_MAX {
            return Err(DownloadError::TooLarge(url.to_owned()));
        }
        hash.update(&chunk);
        file.write_all(&chunk).await.map_err(disk)?;
        let tenths = (done * 10).checked_div(total).unwrap_or(0).min(10);
        if tenths > said {
            said = tenths;
            log.say(&format!("Downloading Terraform: {} %", tenths * 10));
        }
    }
    file.flush().await.map_err(disk)?;
    Ok(hex::encode(hash.finalize()))
}

/// The checksum of a file in a list as `sha256sum` writes it.
fn listed(sums: &str, name: &str) -> Option<String> {
    sums.lines().find_map(|line| {
        let (sum, file) = line.split_once(char::is_whitespace)?;
        (file.trim().trim_start_matches('*') == name).then(|| sum.to_ascii_lowercase())
    })
}

/// Unpacks the executable beside its place and renames it there. `None` when the archive has none.
fn extract(archive: &Path, home: &Path, target: &Path) -> io::Result<Option<()>> {
    let Ok(mut archive) = zip::ZipArchive::new(File::open(archive)?) else { return Ok(None) };
    let Ok(executable) = archive.by_name("terraform") else { return Ok(None) };
    let mut file = NamedTempFile::new_in(home)?;
    io::copy(&mut executable.take(BYTES_MAX), &mut file)?;
    file.as_file().set_permissions(fs::Permissions::from_mode(0o755))?;
    file.as_file().sync_all()?;
    // Closed before it is renamed: an executable that is open for writing cannot be run.
    file.into_temp_path().persist(target).map_err(|error| error.error)?;
    Ok(Some(()))
}

/// The innermost cause, which is the one a person can act on.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::release_site;

    const SCRIPT: &str = "#!/bin/sh\necho '{\"terraform_version\": \"1.11.4\"}'\n";

    fn file_name() -> String {
        Release::of_this_machine("").archive()
    }

    #[tokio::test]
    async fn it_is_downloaded_once_even_when_two_runners_ask() {
        let room = tempfile::tempdir().unwrap();
        let (log, mut unsent) = crate::log::log();
        let site = release_site(VERSION, &file_name(), SCRIPT, None).await;
        let release = Release::of_this_machine(&site.url);
        let (one, two) = tokio::join!(once(&release, room.path(), &log), once(&release, room.path(), &log));
        let path = one.unwrap();
        assert_eq!(path, two.unwrap());
        assert_eq!(site.archives_served(), 1);
        let output = std::process::Command::new(&path).arg("version").output().unwrap();
        assert!(String::from_utf8_lossy(&output.stdout).contains("1.11.4"));
        let said: Vec<String> = std::iter::from_fn(|| unsent.next_text()).collect();
        assert!(said.contains(&"Downloading Terraform: 100 %".to_owned()), "{said:?}");
        let left: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left.len(), 2, "only the executable and the lock stay: {left:?}");
    }

    #[tokio::test]
    async fn a_wrong_checksum_is_refused_and_leaves_nothing() {
        let room = tempfile::tempdir().unwrap();
        let (log, _unsent) = crate::log::log();
        let site = release_site(VERSION, &file_name(), SCRIPT, Some("0".repeat(64))).await;
        let error = once(&Release::of_this_machine(&site.url), room.path(), &log).await.unwrap_err();
        assert!(matches!(error, DownloadError::Checksum(_)), "{error}");
        assert!(!room.path().join("terraform").join(VERSION).join("terraform").exists());
    }

    #[tokio::test]
    async fn without_network_the_error_says_what_to_do() {
        let room = tempfile::tempdir().unwrap();
        let (log, _unsent) = crate::log::log();
        let mut config = crate::testing::config(room.path());
        config.data_dir = Some(room.path().to_owned());
        config.releases_url = "http://127.0.0.1:1".to_owned();
        config.inherited.insert("PATH".into(), room.path().into());
        let error = crate::terraform::find(&config, &log).await.unwrap_err().to_string();
        let start = "no Terraform: install terraform or tofu, put it on PATH or set BERTH_TERRAFORM_BIN; downloading from http://127.0.0.1:1 failed: ";
        assert!(error.starts_with(start), "{error}");
        assert!(error.to_lowercase().contains("refused"), "{error}");
    }

    #[test]
    fn sums_are_read_as_sha256sum_writes_them() {
        let sums = "aa  terraform_1_a.zip\nBB *terraform_1_b.zip\n";
        assert_eq!(listed(sums, "terraform_1_b.zip").as_deref(), Some("bb"));
        assert_eq!(listed(sums, "terraform_1_c.zip"), None);
    }
}
