//! `berth completion SHELL`.

use crate::{failure::Outcome, printer::Printer};
use clap::{Args, CommandFactory};
use clap_complete::Shell;

/// Which shell.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The shell: `source <(berth completion bash)`
    shell: Shell,
}

/// Prints the completion script.
pub(super) fn run(arguments: &Arguments, printer: Printer) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut super::Cli::command(), "berth", &mut script);
    printer.text(&String::from_utf8_lossy(&script))
}
