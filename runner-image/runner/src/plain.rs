//! Reading what Terraform's processes may have put there: only plain files, never what a link names.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use rustix::fs::{Mode, OFlags, open};

/// The bytes of a regular file. A template's code can put anything in its place: a link would have the runner read with the runner's
/// rights what that code may not, and a pipe would have it wait for ever.
///
/// # Errors
/// When there is no file, or something else in its place.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut file = File::from(open(path, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::{fs::symlink, net::UnixListener};

    #[test]
    fn a_link_and_a_pipe_are_not_read() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        std::fs::write(at("plain"), "words").unwrap();
        assert_eq!(read(&at("plain")).unwrap(), b"words");
        symlink(at("plain"), at("link")).unwrap();
        assert!(read(&at("link")).is_err());
        let made = std::process::Command::new("mkfifo").arg(at("pipe")).status().unwrap();
        assert!(made.success());
        assert_eq!(read(&at("pipe")).unwrap_err().to_string(), "it is not a regular file");
        let _listener = UnixListener::bind(at("socket")).unwrap();
        assert!(read(&at("socket")).is_err());
        assert_eq!(read(&at("nothing")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
