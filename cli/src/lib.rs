//! `berth`: commands over the API client and the tailnet.
//!
//! Data goes to stdout, talk to stderr. An error ends with what to do next. `docs/cli.md` tells what a person types and sees.

// Commands are futures of futures of futures.
#![recursion_limit = "256"]

pub mod archive;
pub mod away;
pub mod change;
pub mod command;
pub mod config;
pub mod connection;
pub mod dial;
pub mod dry_run;
pub mod editor;
pub mod failure;
pub mod forward;
pub mod known_hosts;
pub mod log;
pub mod mux;
pub mod name;
pub mod openssh;
pub mod parameter;
pub mod printer;
pub mod prompt;
pub mod redact;
pub mod session;
pub mod signal;
pub mod splice;
pub mod ssh_client;
pub mod ssh_config;
pub mod starter;
pub mod terminal;
pub mod wait;

use clap::{CommandFactory, FromArgMatches};
use command::Cli;
use config::Environment;
use std::{ffi::OsString, path::Path, process::ExitCode};

/// Runs the command line and gives its exit code. `--version` and `--help` do no I/O but their printing.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let program = Program::of(&arguments);
    let parsed = Cli::command()
        .version(program.version())
        .try_get_matches_from(&arguments)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => {
            // A closed stdout or stderr leaves nobody to tell.
            let _printed = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(failure::USAGE));
        }
    };
    let printer = printer::Printer::new(cli.globals.no_color);
    match command::run(cli, program, printer, Environment::read()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            printer.failure(&failure);
            ExitCode::from(failure.exit_code())
        }
    }
}

/// Under which name the program was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// `berth`.
    Berth,
    /// `coder`: IDE extensions compare our version with the deployment's.
    Coder,
}

impl Program {
    fn of(arguments: &[OsString]) -> Self {
        let name = arguments.first().map(Path::new).and_then(Path::file_stem).unwrap_or_default();
        if name == "coder" { Self::Coder } else { Self::Berth }
    }

    /// The version under this name.
    #[must_use]
    pub const fn version(self) -> &'static str {
        match self {
            Self::Berth => env!("CARGO_PKG_VERSION"),
            Self::Coder => berth_wire::COMPATIBLE_VERSION,
        }
    }
}
