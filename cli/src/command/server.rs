//! `berth server`: the sibling executable `berth-local`, with the same arguments.

use crate::failure::{Failure, Outcome};
use clap::Args;
use std::{ffi::OsString, io, os::unix::process::CommandExt, path::PathBuf, process::Command};

const SIBLING: &str = "berth-local";

/// Everything is for `berth-local` to read.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub struct Arguments {
    /// Options of the server; `berth server --help` lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTIONS")]
    options: Vec<OsString>,
}

/// Becomes `berth-local`. Returns only when it cannot.
pub(super) fn run(arguments: &Arguments) -> Outcome {
    let sibling = sibling();
    let program = sibling.clone().unwrap_or_else(|| SIBLING.into());
    let error = Command::new(&program).args(&arguments.options).exec();
    if error.kind() == io::ErrorKind::NotFound {
        return Err(Failure::new(format!("{SIBLING} is not installed beside berth nor on PATH"))
            .hint("install it, or from a source tree: `cargo build -p berth-local`"));
    }
    Err(Failure::new(format!("cannot run {}: {}", program.display(), crate::config::plain(&error)))
        .hint("is the file complete and executable?"))
}

/// The executable beside ours, links resolved.
fn sibling() -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?.canonicalize().ok()?;
    Some(own.with_file_name(SIBLING)).filter(|path| path.is_file())
}
