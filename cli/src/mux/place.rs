//! Where the multiplexer of a deployment is met: a directory that is the user's own, and in it a socket named after whom it speaks for.

use super::Settings;
use crate::config::{Config, private_directory};
use sha2::{Digest, Sha256};
use std::{
    fs,
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};
use tokio::net::{UnixListener, UnixStream};

/// Bytes of the digest that make the name. It has to be short: a socket's path holds about a hundred characters.
const NAME_BYTES: usize = 12;
/// What names the network namespace of a process, on Linux.
const NETWORK: &str = "/proc/self/ns/net";
/// The variables that name proxies, and what they are not for.
const PROXIES: [&str; 8] =
    ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY"];
/// A log larger than this, in bytes, begins anew.
const LOG_BYTES_MAX: u64 = 1024 * 1024;

/// The socket of one multiplexer, and the files beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    directory: PathBuf,
    name: String,
    log: PathBuf,
}

impl Place {
    /// The place for a deployment as one user. Another session, another choice of the way, other proxies or another network namespace is another
    /// multiplexer's.
    #[must_use]
    pub fn of(config: &Config, settings: &Settings) -> Self {
        let token = settings.token.as_ref().map(|token| token.expose().as_str()).unwrap_or_default();
        let way = if settings.direct { "direct" } else { "relayed" };
        let network = fs::metadata(NETWORK).map_or(0, |found| found.ino()).to_string();
        let parts = [settings.url.as_str(), token, way, settings.relay.as_deref().unwrap_or_default(), network.as_str()];
        let proxies = PROXIES.iter().map(|name| config.environment.get(name).unwrap_or_default());
        let mut digest = Sha256::new();
        parts.into_iter().chain(proxies).for_each(|part| digest.update([part.as_bytes(), &[0]].concat()));
        let name = digest.finalize().iter().take(NAME_BYTES).map(|byte| format!("{byte:02x}")).collect();
        Self { directory: config.runtime_directory(), name, log: config.state_directory().join("mux.log") }
    }

    /// The places where a multiplexer of this user may be, whoever it speaks for.
    ///
    /// # Errors
    /// When the directory is there and cannot be trusted or read.
    pub fn all(config: &Config) -> io::Result<Vec<Self>> {
        let directory = config.runtime_directory();
        match check(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            checked => checked?,
        }
        let mut found = Vec::new();
        for entry in fs::read_dir(&directory)? {
            let name = entry?.file_name().into_string().unwrap_or_default();
            if let Some(name) = name.strip_suffix(".sock") {
                let log = config.state_directory().join("mux.log");
                found.push(Self { directory: directory.clone(), name: name.to_owned(), log });
            }
        }
        Ok(found)
    }

    fn socket(&self) -> PathBuf {
        self.directory.join(format!("{}.sock", self.name))
    }

    /// Connects, if someone listens who is the same user as we.
    pub(super) async fn connect(&self) -> io::Result<UnixStream> {
        check(&self.directory)?;
        let socket = UnixStream::connect(self.socket()).await?;
        is_own(&socket)?;
        Ok(socket)
    }

    /// Listens, unless another one does: who holds the lock is the one.
    pub(super) fn listen(&self) -> io::Result<Listening> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        check(&self.directory)?;
        let lock = fs::File::create(self.directory.join(format!("{}.lock", self.name)))?;
        lock.try_lock()?;
        let path = self.socket();
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        Ok(Listening { listener, path, _lock: lock })
    }

    /// Where its log goes.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Opens the log to add to it.
    pub(crate) fn open_log(&self) -> io::Result<Capped> {
        self.log.parent().map_or(Ok(()), private_directory)?;
        let file = fs::OpenOptions::new().create(true).append(true).open(&self.log)?;
        Ok(Capped { written: file.metadata()?.len(), file })
    }
}

/// A socket that is listened at. Dropping it lets another one take the place.
#[derive(Debug)]
pub(super) struct Listening {
    listener: UnixListener,
    path: PathBuf,
    _lock: fs::File,
}

impl Listening {
    /// The next connection of our own user. Others are closed without a word.
    pub(super) async fn accept(&self) -> io::Result<UnixStream> {
        loop {
            let (socket, _) = self.listener.accept().await?;
            match is_own(&socket) {
                Ok(()) => return Ok(socket),
                Err(error) => tracing::warn!(%error, "a connection was refused"),
            }
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        // Gone already: nothing to do.
        let _removed = fs::remove_file(&self.path);
    }
}

/// Nobody else may be able to put a socket there, or to connect to ours.
fn check(directory: &Path) -> io::Result<()> {
    let found = fs::symlink_metadata(directory)?;
    let own = found.is_dir() && found.uid() == rustix::process::getuid().as_raw() && found.mode() & 0o077 == 0;
    if own {
        return Ok(());
    }
    let text = format!("{} is not a directory of yours alone (mode 0700)", directory.display());
    Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
}

fn is_own(socket: &UnixStream) -> io::Result<()> {
    let (own, other) = (rustix::process::geteuid().as_raw(), socket.peer_cred()?.uid());
    if own == other {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("the other end runs as user {other}")))
}

/// A log that begins anew when it has become too long: what happened lately is what is asked for.
#[derive(Debug)]
pub(crate) struct Capped {
    file: fs::File,
    written: u64,
}

impl Write for Capped {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.written > LOG_BYTES_MAX {
            self.file.set_len(0)?;
            self.written = 0;
        }
        let written = self.file.write(data)?;
        self.written += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, GlobalFlags};
    use berth_wire::domain::Secret;
    use std::{os::unix::fs::PermissionsExt, time::Duration};

    fn place(home: &Path, token: &str) -> Place {
        let home = home.to_str().unwrap();
        let environment = Environment::of(&[("HOME", home), ("XDG_RUNTIME_DIR", home)]);
        let config = Config::load(&GlobalFlags::default(), environment).unwrap();
        let (url, token) = ("https://berth.example.com".to_owned(), Some(Secret::new(token.to_owned())));
        Place::of(&config, &Settings { url, token, direct: true, relay: None, idle: Duration::from_secs(1) })
    }

    #[tokio::test]
    async fn one_listens_at_a_place_and_leaves_it_to_the_next() {
        let home = tempfile::tempdir().unwrap();
        let (place, other) = (place(home.path(), "one"), place(home.path(), "two"));
        assert_eq!(place.connect().await.unwrap_err().kind(), io::ErrorKind::NotFound);
        let listening = place.listen().unwrap();
        assert!(place.listen().is_err(), "the place is taken");
        let _other = other.listen().unwrap();
        let (near, far) = tokio::join!(place.connect(), listening.accept());
        assert!(near.is_ok() && far.is_ok());
        drop(listening);
        assert!(place.connect().await.is_err());
        drop(place.listen().unwrap());
    }

    #[tokio::test]
    async fn a_directory_that_others_could_use_is_not_used() {
        let home = tempfile::tempdir().unwrap();
        let place = place(home.path(), "one");
        let listening = place.listen().unwrap();
        fs::set_permissions(&place.directory, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(place.connect().await.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        drop(listening);
        assert_eq!(place.listen().unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        let real = home.path().join("real");
        fs::rename(&place.directory, &real).unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(0o700)).unwrap();
        std::os::unix::fs::symlink(&real, &place.directory).unwrap();
        assert_eq!(place.listen().unwrap_err().kind(), io::ErrorKind::PermissionDenied, "a link is not followed");
    }

    #[test]
    fn a_log_does_not_grow_for_ever() {
        let home = tempfile::tempdir().unwrap();
        let mut log = place(home.path(), "one").open_log().unwrap();
        for _ in 0..40 {
            log.write_all(&[b'x'; 100_000]).unwrap();
        }
        assert!(log.file.metadata().unwrap().len() <= LOG_BYTES_MAX + 100_000);
    }
}
