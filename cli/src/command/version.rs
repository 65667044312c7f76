//! `berth version`.

use crate::{
    Program,
    failure::Outcome,
    printer::{Format, FormatFlag, Printer},
};
use clap::Args;
use serde::Serialize;

/// `-o`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    format: FormatFlag,
}

/// What `-o json` shows. IDE extensions compare `version` with the deployment's.
#[derive(Debug, Serialize)]
struct Version {
    version: &'static str,
    api_version: &'static str,
}

/// Shows the version of this program. Asks nobody.
pub(super) fn run(arguments: &Arguments, program: Program, printer: Printer) -> Outcome {
    match arguments.format.output {
        Format::Json => printer.json(&Version { version: program.version(), api_version: berth_wire::COMPATIBLE_VERSION }),
        Format::Table => printer.data(format_args!("berth {}", program.version())),
    }
}
