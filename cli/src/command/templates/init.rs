//! `berth templates init`.

use crate::{
    failure::{Failure, Outcome},
    prompt,
    session::Session,
    starter::{STARTERS, Starter},
};
use clap::Args;
use std::path::PathBuf;

/// Which starter, and where to.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The directory to make; the starter's name, unless given
    directory: Option<PathBuf>,
    /// Which starter template
    #[arg(long, value_name = "ID", value_parser = STARTERS.iter().map(|starter| starter.id).collect::<Vec<_>>())]
    id: Option<String>,
}

/// Writes a starter template.
pub(super) fn run(arguments: &Arguments, session: &Session) -> Outcome {
    let starter = choose(arguments, session)?;
    let directory = arguments.directory.clone().unwrap_or_else(|| PathBuf::from(starter.id));
    starter.write(&directory)?;
    session.printer.say(format_args!("Wrote the template {} into {}.", starter.id, directory.display()));
    session.printer.hint(format_args!("look at its main.tf, then `berth templates push -d {}`", directory.display()));
    Ok(())
}

fn choose(arguments: &Arguments, session: &Session) -> Outcome<&'static Starter> {
    let none = || Failure::usage("no starter template is chosen").hint(format!("--id, one of {}", ids()));
    match (&arguments.id, STARTERS) {
        (Some(id), all) => all.iter().find(|starter| starter.id == id).ok_or_else(none),
        (None, [only]) => Ok(only),
        (None, all) if session.printer.is_interactive() => {
            let labels = all.iter().map(|starter| format!("{}  {}", starter.id, starter.description())).collect();
            all.get(prompt::select("Template to start from:", labels, 0)?).ok_or_else(none)
        }
        _ => Err(none()),
    }
}

fn ids() -> String {
    STARTERS.iter().map(|starter| starter.id).collect::<Vec<_>>().join(", ")
}
