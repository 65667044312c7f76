//! The socket at which scripts tell of their units. Only the agent's own user can reach it.
//!
//! A request is one line, words with a tab between them: `ping`, `want UNIT ON...`, `start UNIT`, `complete UNIT`, `status UNIT`, `list`. The answer
//! is any number of lines, of which the last is `ok` or `error WHY`; `wait` says that the next line may take long.

use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::{UnitError, Units};
use crate::identity::private_directory;

/// The longest request, in bytes.
const REQUEST_BYTES_MAX: u64 = 64 * 1024;

/// Scripts that are served at a time; further ones wait.
const SCRIPTS_MAX: usize = 256;

/// How long a script may take to say what it wants.
const REQUEST_WITHIN: Duration = Duration::from_secs(10);

/// Serves until dropped.
///
/// # Errors
/// When the socket cannot be made, or its directory is somebody else's.
pub async fn serve(file: PathBuf) -> io::Result<()> {
    let listener = listen(&file)?;
    let _place = Place(file);
    let (units, seats) = (Arc::new(watch::Sender::new(Units::default())), Arc::new(Semaphore::new(SCRIPTS_MAX)));
    let mut serving = JoinSet::new();
    loop {
        let seat = Arc::clone(&seats).acquire_owned().await.map_err(io::Error::other)?;
        let stream = tokio::select! {
            accepted = listener.accept() => accepted?.0,
            Some(_) = serving.join_next() => continue,
        };
        let units = Arc::clone(&units);
        serving.spawn(async move {
            // A script that is gone needs no answer.
            let _heard = answer(stream, &units).await;
            drop(seat);
        });
    }
}

/// Takes the socket away with itself, and its directory where that holds nothing else.
struct Place(PathBuf);

impl Drop for Place {
    fn drop(&mut self) {
        let _gone = std::fs::remove_file(&self.0);
        let _not_empty = self.0.parent().map(std::fs::remove_dir);
    }
}

fn listen(file: &Path) -> io::Result<UnixListener> {
    let directory = file.parent().unwrap_or_else(|| Path::new("/"));
    private_directory(directory)?;
    let found = std::fs::symlink_metadata(directory)?;
    let is_ours = found.is_dir() && found.uid() == nix::unistd::getuid().as_raw() && found.permissions().mode() & 0o077 == 0;
    if !is_ours {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("{} is not ours alone", directory.display())));
    }
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    UnixListener::bind(file)
}

async fn answer(stream: UnixStream, units: &watch::Sender<Units>) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader.take(REQUEST_BYTES_MAX));
    let mut request = String::new();
    tokio::time::timeout(REQUEST_WITHIN, reader.read_line(&mut request)).await??;
    let words: Vec<&str> = request.trim_end_matches('\n').split('\t').collect();
    let done = tokio::select! {
        biased;
        done = perform(&words, units, &mut writer) => done?,
        // Nobody says more than one line: this is the end of somebody who waits.
        _ = reader.read_u8() => return Ok(()),
    };
    let last = match done {
        Ok(lines) => format!("{lines}ok\n"),
        Err(error) => format!("error {error}\n"),
    };
    writer.write_all(last.as_bytes()).await
}

/// What was asked for: lines for the script, or why not.
async fn perform(
    words: &[&str],
    units: &watch::Sender<Units>,
    writer: &mut OwnedWriteHalf,
) -> io::Result<Result<String, UnitError>> {
    let nothing = |done: Result<(), UnitError>| done.map(|()| String::new());
    Ok(match words {
        ["ping"] => Ok(String::new()),
        ["want", unit, on @ ..] => nothing(change(units, |units| units.want(unit, on))),
        ["start", unit] => return start(unit, units, writer).await,
        ["complete", unit] => nothing(change(units, |units| units.complete(unit))),
        ["status", unit] => Ok(described(&units.borrow(), unit)),
        ["list"] => {
            let units = units.borrow();
            let line = |unit: &str| format!("{unit}\t{}\t{}\n", units.status(unit), units.is_ready(unit));
            Ok(units.names().fold(String::new(), |lines, unit| lines + &line(unit)))
        }
        _ => Err(UnitError::Name(words.join(" ").chars().take(64).collect())),
    })
}

/// Waits until a unit may begin, and lets it.
async fn start(unit: &str, units: &watch::Sender<Units>, writer: &mut OwnedWriteHalf) -> io::Result<Result<String, UnitError>> {
    if let Err(error) = change(units, |units| units.want(unit, &[])) {
        return Ok(Err(error));
    }
    let mut seen = units.subscribe();
    if !seen.borrow_and_update().is_ready(unit) {
        writer.write_all(b"wait\n").await?;
    }
    seen.wait_for(|units| units.is_ready(unit)).await.map_err(io::Error::other)?;
    Ok(change(units, |units| units.start(unit)).map(|()| String::new()))
}

fn change(units: &watch::Sender<Units>, change: impl FnOnce(&mut Units) -> Result<(), UnitError>) -> Result<(), UnitError> {
    let mut done = Ok(());
    units.send_if_modified(|units| {
        done = change(units);
        done.is_ok()
    });
    done
}

/// `status STATUS`, `ready BOOLEAN`, and a line `wants UNIT STATUS` for each that it waits for.
fn described(units: &Units, unit: &str) -> String {
    let head = format!("status\t{}\nready\t{}\n", units.status(unit), units.is_ready(unit));
    units.wants(unit).fold(head, |lines, (on, status)| format!("{lines}wants\t{on}\t{status}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_util::task::AbortOnDropHandle;

    struct Bench {
        file: PathBuf,
        _directory: tempfile::TempDir,
        _serving: AbortOnDropHandle<io::Result<()>>,
    }

    impl Bench {
        async fn start() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let file = directory.path().join("deep/agent.sock");
            #[allow(clippy::disallowed_methods, reason = "the handle owns the task")]
            let serving = AbortOnDropHandle::new(tokio::spawn(serve(file.clone())));
            while UnixStream::connect(&file).await.is_err() {
                assert!(!serving.is_finished());
                tokio::task::yield_now().await;
            }
            Self { file, _directory: directory, _serving: serving }
        }

        async fn begin(&self, request: &str) -> BufReader<UnixStream> {
            let mut stream = UnixStream::connect(&self.file).await.unwrap();
            stream.write_all(format!("{request}\n").as_bytes()).await.unwrap();
            BufReader::new(stream)
        }

        async fn ask(&self, request: &str) -> String {
            let mut answer = String::new();
            self.begin(request).await.read_to_string(&mut answer).await.unwrap();
            answer
        }
    }

    #[tokio::test]
    async fn a_script_that_starts_waits_until_what_it_wants_is_completed() {
        let bench = Bench::start().await;
        assert_eq!(bench.ask("ping").await, "ok\n");
        assert_eq!(bench.ask("want\tapp\tclone").await, "ok\n");
        let mut waiting = bench.begin("start\tapp").await;
        let mut line = String::new();
        waiting.read_line(&mut line).await.unwrap();
        assert_eq!(line, "wait\n");
        assert_eq!(bench.ask("status\tapp").await, "status\tpending\nready\tfalse\nwants\tclone\tnot registered\nok\n");
        assert_eq!(bench.ask("start\tclone").await, "ok\n");
        assert_eq!(bench.ask("complete\tclone").await, "ok\n");
        line.clear();
        waiting.read_line(&mut line).await.unwrap();
        assert_eq!(line, "ok\n");
        assert_eq!(bench.ask("list").await, "app\tstarted\ttrue\nclone\tcompleted\ttrue\nok\n");
    }

    #[tokio::test]
    async fn what_cannot_be_is_refused_in_words() {
        let bench = Bench::start().await;
        bench.ask("want\ta\tb").await;
        assert!(bench.ask("want\tb\ta").await.starts_with("error unit \"b\" cannot want \"a\""));
        assert!(bench.ask("complete\tb").await.starts_with("error unit \"b\" is not registered"));
        assert!(bench.ask("nonsense").await.starts_with("error "));
        assert!(bench.ask(&"x".repeat(60_000)).await.len() < 200);
    }

    #[tokio::test]
    async fn a_directory_that_others_may_enter_holds_no_socket() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let refused = serve(directory.path().join("agent.sock")).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
    }
}
