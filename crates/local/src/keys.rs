//! The deployment's keys, in the data directory: made on first start, mode 0600, never overwritten.

use berth_wire::ticket::SigningKey;
use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// A key file cannot be read or made.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the key file {path}: {source}")]
pub(crate) struct KeyError {
    path: PathBuf,
    source: io::Error,
}

/// The keys of a deployment.
pub(crate) struct Keys {
    /// Signs tickets.
    pub(crate) ticket: SigningKey,
    /// SSH host keys are derived from it.
    pub(crate) host_key_secret: [u8; 32],
}

impl Keys {
    /// Reads the keys, or makes those that are missing.
    pub(crate) fn open(data: &Path) -> Result<Self, KeyError> {
        let directory = data.join("keys");
        fs::create_dir_all(&directory).map_err(|source| KeyError { path: directory.clone(), source })?;
        let key = |name: &str| {
            let path = directory.join(name);
            read_or_make(&path).map_err(|source| KeyError { path, source })
        };
        Ok(Self { ticket: SigningKey::new(key("ticket")?), host_key_secret: key("ssh-host")? })
    }
}

fn read_or_make(path: &Path) -> Result<[u8; 32], io::Error> {
    match File::open(path) {
        Ok(mut file) => {
            let mut key = [0; 32];
            file.read_exact(&mut key)?;
            Ok(key)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(path),
        Err(error) => Err(error),
    }
}

/// Writes beside the place and renames, so that a key is whole or not there.
fn make(path: &Path) -> Result<[u8; 32], io::Error> {
    let mut key = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut key)?;
    let beside = path.with_extension("new");
    let mut file = fs::OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(&key)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    if let Some(directory) = path.parent() {
        File::open(directory)?.sync_all()?;
    }
    Ok(key)
}
