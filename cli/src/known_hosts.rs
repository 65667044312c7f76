//! The host keys that OpenSSH is to trust: one line per host name, from the deployment over its own authenticated channel.

use crate::{
    config::{Config, plain, read_optional},
    failure::{Failure, Outcome},
};
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;

/// The file's name in the configuration directory.
pub const FILE: &str = "known_hosts";
const LOCK: &str = "known_hosts.lock";

/// Makes sure that the file holds exactly this key for `host`, so that OpenSSH, which reads the file when the server shows its key, pins it.
/// Does nothing, and takes no lock, when it already does.
///
/// # Errors
/// When host or key could not stand in one line of the file, or the file cannot be written.
pub fn pin(config: &Config, host: &str, key: &str) -> Outcome {
    let host = host.to_ascii_lowercase();
    let line = line(&host, key)?;
    let path = config.directory().join(FILE);
    if read_optional(&path)?.is_some_and(|text| is_pinned(&text, &host, &line)) {
        return Ok(());
    }
    crate::config::private_directory(config.directory()).map_err(|error| crate::config::unwritable(config.directory(), &error))?;
    let lock = config.directory().join(LOCK);
    let locked = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&lock)
        .and_then(|file| file.lock().map(|()| file));
    let _held = locked.map_err(|error| {
        Failure::new(format!("cannot lock {}: {}", lock.display(), plain(&error))).hint("check its permissions")
    })?;
    let text = read_optional(&path)?.unwrap_or_default();
    config.write(FILE, replaced(&text, &host, &line).as_bytes()).map(drop)
}

fn line(host: &str, key: &str) -> Outcome<String> {
    let broken =
        || Failure::new("the deployment's host key for this workspace is not one").hint("is the deployment newer than your berth?");
    let word = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    let mut parts = key.split(' ');
    let (Some(kind), Some(blob)) = (parts.next(), parts.next()) else { return Err(broken()) };
    if !word(kind) || !word(blob) || !word(host) || host.contains([',', '*', '?', '!', '#', '|', '@']) {
        return Err(broken());
    }
    Ok(format!("{host} {kind} {blob}"))
}

fn is_pinned(text: &str, host: &str, wanted: &str) -> bool {
    let mut lines = text.lines().filter(|line| names(line, host));
    lines.next() == Some(wanted) && lines.next().is_none()
}

fn names(line: &str, host: &str) -> bool {
    line.split(' ').next() == Some(host)
}

fn replaced(text: &str, host: &str, wanted: &str) -> String {
    let others = text.lines().filter(|line| !line.is_empty() && !names(line, host));
    others.chain([wanted]).map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, GlobalFlags};

    #[test]
    fn a_host_has_one_key_and_a_new_one_takes_its_place() {
        let home = tempfile::tempdir().unwrap();
        let flags = GlobalFlags { global_config: Some(home.path().join("c")), ..GlobalFlags::default() };
        let config = Config::load(&flags, Environment::default()).unwrap();
        let read = || std::fs::read_to_string(config.directory().join(FILE)).unwrap();
        pin(&config, "dev.berth", "ssh-ed25519 AAAA comment").unwrap();
        pin(&config, "Other.berth", "ssh-ed25519 BBBB").unwrap();
        assert_eq!(read(), "dev.berth ssh-ed25519 AAAA\nother.berth ssh-ed25519 BBBB\n");
        pin(&config, "dev.berth", "ssh-ed25519 CCCC").unwrap();
        assert_eq!(read(), "other.berth ssh-ed25519 BBBB\ndev.berth ssh-ed25519 CCCC\n");
    }

    #[test]
    fn a_key_or_host_that_would_forge_lines_is_refused() {
        for (host, key) in [("dev", "ssh-ed25519"), ("dev", "ssh-ed25519 AA\nevil"), ("*", "k v"), ("a b", "k v"), ("dev", "")] {
            assert!(line(host, key).is_err(), "{host:?} {key:?}");
        }
    }
}
