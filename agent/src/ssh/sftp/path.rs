//! Paths in SFTP: where relative ones start, and what the canonical form of one is.

use std::io;
use std::path::{Component, Path, PathBuf};

use nix::unistd::User;

/// Turns a client's paths into ours.
#[derive(Debug)]
pub(super) struct Paths {
    directory: PathBuf,
    home: PathBuf,
}

impl Paths {
    pub(super) fn new(directory: PathBuf, home: PathBuf) -> Paths {
        Paths { directory, home }
    }

    pub(super) fn home(&self) -> &Path {
        &self.home
    }

    /// An absolute path. Empty means the working directory.
    pub(super) fn absolute(&self, path: &Path) -> PathBuf {
        self.directory.join(path)
    }

    /// The canonical path; its last component need not exist (as OpenSSH's `sftp_realpath`).
    pub(super) fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        let path = self.absolute(path);
        match path.canonicalize() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => match (path.parent(), path.file_name()) {
                (Some(parent), Some(name)) => {
                    Ok(parent.canonicalize().map_or_else(|_| lexically(&path), |parent| parent.join(name)))
                }
                _ => Err(error),
            },
            result => result,
        }
    }

    /// The canonical path of one that may start with `~` or `~user` (`expand-path@openssh.com`).
    pub(super) fn expanded(&self, path: &Path) -> io::Result<PathBuf> {
        let mut components = path.components();
        let first = components.next().and_then(|first| first.as_os_str().to_str());
        match first.and_then(|first| first.strip_prefix('~')) {
            Some("") => self.canonical(&self.home.join(components.as_path())),
            Some(name) => {
                let user = User::from_name(name)?.ok_or(io::ErrorKind::NotFound)?;
                self.canonical(&user.dir.join(components.as_path()))
            }
            None => self.canonical(path),
        }
    }
}

/// Resolves `.` and `..` without looking at the disk.
fn lexically(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut result, component| {
        match component {
            Component::ParentDir => drop(result.pop()),
            Component::CurDir => {}
            other => result.push(other),
        }
        result
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_to_be_created_has_a_canonical_path_already() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        let paths = Paths::new(root.clone(), root.join("home"));
        assert_eq!(paths.canonical(Path::new("new.txt")).unwrap(), root.join("new.txt"));
        assert_eq!(paths.canonical(Path::new("")).unwrap(), root);
        assert_eq!(paths.canonical(Path::new("no/such/../x")).unwrap(), root.join("no/x"));
        assert_eq!(paths.expanded(Path::new("~/x")).unwrap(), root.join("home/x"));
        assert_eq!(paths.expanded(Path::new("~root/x")).unwrap(), Path::new("/root/x"));
        assert!(paths.expanded(Path::new("~nobody-here/x")).is_err());
    }
}
