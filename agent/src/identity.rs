//! The agent's tailnet key: kept, so that clients that know the agent find it again after a restart.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use berth_net::Identity;

/// The key kept in `file`, or a new one that is kept from now on. A disk that cannot be written costs only the continuity.
pub fn load_or_create(file: &Path) -> Identity {
    match read(file) {
        Ok(identity) => identity,
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(%error, file = %file.display(), "the tailnet key cannot be used, making a new one");
            }
            let identity = Identity::generate();
            if let Err(error) = write(file, &identity) {
                tracing::warn!(%error, file = %file.display(), "the tailnet key cannot be kept");
            }
            identity
        }
    }
}

/// Creates a directory, and those above it, that only its owner can enter.
pub(crate) fn private_directory(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn read(file: &Path) -> io::Result<Identity> {
    let bytes = fs::read(file)?;
    let seed = <[u8; 32]>::try_from(bytes.as_slice())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not 32 bytes long"))?;
    Ok(Identity::from_seed(seed))
}

/// Written beside and renamed, so that a crash leaves no half of it.
fn write(file: &Path, identity: &Identity) -> io::Result<()> {
    if let Some(directory) = file.parent() {
        private_directory(directory)?;
    }
    let beside = file.with_extension("new");
    let mut created = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    created.write_all(identity.seed().expose())?;
    created.sync_all()?;
    fs::rename(beside, file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_is_private() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("deep/tailnet.key");
        let first = load_or_create(&file);
        assert_eq!(load_or_create(&file).endpoint_id(), first.endpoint_id());
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        fs::write(&file, "short").unwrap();
        assert_ne!(load_or_create(&file).endpoint_id(), first.endpoint_id());
    }

    #[test]
    fn a_disk_that_cannot_be_written_does_not_stop_the_agent() {
        let identity = load_or_create(Path::new("/proc/no/such/tailnet.key"));
        assert!(!identity.endpoint_id().is_empty());
    }
}
