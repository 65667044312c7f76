//! What the network does, for the one who looks for a fault: only with `-v`, or in a file with `--log-dir`.

use crate::{
    config::{plain, private_directory},
    failure::{Failure, Outcome},
    session::Session,
};
use std::{fs::File, io, path::Path, sync::Mutex};
use tracing_subscriber::EnvFilter;

const FILTER: &str = "info,berth_net=debug,berth_cli=debug,iroh=info,russh=info";

/// Says everything on stderr.
pub fn to_stderr() {
    // A second subscriber in one process, as in tests, is not wanted.
    let _set =
        tracing_subscriber::fmt().with_env_filter(EnvFilter::new(FILTER)).with_writer(io::stderr).with_ansi(false).try_init();
}

/// Says everything to `writer`.
pub fn to(writer: impl io::Write + Send + 'static) {
    let _set = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(FILTER))
        .with_writer(Mutex::new(writer))
        .with_ansi(false)
        .try_init();
}

/// Says everything in a new file in `directory`, named after this process; without a directory on stderr if `-v` was given, else nowhere.
///
/// # Errors
/// When the file cannot be made.
pub fn to_directory(directory: Option<&Path>, session: &Session) -> Outcome {
    let Some(directory) = directory else {
        if session.config.verbose {
            to_stderr();
        }
        return Ok(());
    };
    let path = directory.join(format!("berth-ssh-{}.log", std::process::id()));
    let made = private_directory(directory).and_then(|()| File::create(&path));
    let file = made.map_err(|error| {
        Failure::new(format!("cannot write {}: {}", path.display(), plain(&error))).hint("name another directory with --log-dir")
    })?;
    to(file);
    Ok(())
}
