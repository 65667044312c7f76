//! `berth cp`, and `berth scp` and `berth rsync`: the stock programs, led to a workspace.

use crate::{
    failure::{Failure, Outcome},
    openssh::{self, host, place},
    session::Session,
};
use clap::Args;
use std::ffi::{OsStr, OsString};

/// What to copy where.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Files and directories, and where to put them: NAME:PATH is in a workspace, without a beginning slash in the home directory
    #[arg(value_name = "FROM... TO", required = true, num_args = 2..)]
    paths: Vec<OsString>,
    /// Do not copy what is in directories
    #[arg(long)]
    no_recursive: bool,
    /// Keep times and modes
    #[arg(short, long)]
    preserve: bool,
    /// Say nothing while it copies
    #[arg(short, long)]
    quiet: bool,
}

/// Arguments of the stock program; NAME:PATH is in a workspace.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub struct Stock {
    /// As the program takes them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS", required = true)]
    arguments: Vec<OsString>,
}

/// Copies by `scp`.
pub(super) fn run(arguments: &Arguments, session: &Session) -> Outcome {
    if !arguments.paths.iter().any(|path| place(path).is_some()) {
        return Err(Failure::usage("no path names a workspace")
            .hint("`berth cp file NAME:` copies there, `berth cp NAME:file .` from there"));
    }
    let mut all: Vec<OsString> = options(session)?;
    let flags = [("-r", !arguments.no_recursive), ("-p", arguments.preserve), ("-q", arguments.quiet)];
    all.extend(flags.iter().filter(|(_, wanted)| *wanted).map(|(flag, _)| OsString::from(flag)));
    all.push("--".into());
    all.extend(arguments.paths.iter().map(|path| led(path)));
    openssh::run("scp", &all)
}

/// Runs `scp` with these arguments.
pub(super) fn scp(stock: &Stock, session: &Session) -> Outcome {
    let mut all = options(session)?;
    all.extend(stock.arguments.iter().map(|argument| led(argument)));
    openssh::run("scp", &all)
}

/// Runs `rsync` with these arguments.
pub(super) fn rsync(stock: &Stock, session: &Session) -> Outcome {
    let shell: Vec<String> =
        ["ssh".to_owned()].into_iter().chain(openssh::options(session, None)?).map(|word| rsync_word(&word)).collect();
    let mut all: Vec<OsString> = vec!["-e".into(), shell.join(" ").into()];
    all.extend(stock.arguments.iter().map(|argument| led(argument)));
    openssh::run("rsync", &all)
}

fn options(session: &Session) -> Outcome<Vec<OsString>> {
    Ok(openssh::options(session, None)?.into_iter().map(OsString::from).collect())
}

/// The argument as the stock program understands it.
fn led(argument: &OsStr) -> OsString {
    place(argument).map_or_else(|| argument.to_owned(), |(reference, path)| format!("{}:{path}", host(&reference)).into())
}

/// A word of `rsync -e`, which knows quotes, doubled within themselves, and nothing else (rsync(1)).
fn rsync_word(word: &str) -> String {
    format!("'{}'", word.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_names_a_workspace_is_changed() {
        let read = |text: &str| led(OsStr::new(text)).into_string().unwrap();
        assert_eq!(read("-avz"), "-avz");
        assert_eq!(read("./a:b"), "./a:b");
        assert_eq!(read("ada/dev:x y"), "ada--dev:x y");
        assert_eq!(rsync_word("it's"), "'it''s'");
    }
}
