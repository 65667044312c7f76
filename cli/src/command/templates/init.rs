//! `berth templates init`.

use crate::{
    failure::{Failure, Outcome},
    printer::{Format, FormatFlag, table},
    prompt,
    session::Session,
    starter::{STARTERS, Starter},
};
use clap::Args;
use comfy_table::Table;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Which starter, and where to.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The directory to make; the starter's name, unless given
    directory: Option<PathBuf>,
    /// Which starter template
    #[arg(long, value_name = "ID", value_parser = STARTERS.iter().map(|starter| starter.id).collect::<Vec<_>>(), hide_possible_values = true)]
    id: Option<String>,
    /// List the starter templates and write nothing
    #[arg(long, conflicts_with_all = ["id", "directory"])]
    list: bool,
    #[command(flatten)]
    format: FormatFlag,
}

/// A starter template, as `-o json` lists it.
#[derive(Debug, Serialize)]
struct Listed {
    id: &'static str,
    display_name: String,
    description: String,
    icon: String,
    tags: Vec<String>,
}

/// What was written, as `-o json` tells it.
#[derive(Debug, Serialize)]
struct Written<'a> {
    id: &'static str,
    directory: &'a Path,
    files: Vec<&'static str>,
}

/// Writes a starter template, or lists them all.
pub(super) fn run(arguments: &Arguments, session: &Session) -> Outcome {
    let printer = &session.printer;
    if arguments.list {
        let listed: Vec<_> = STARTERS.iter().map(Listed::from).collect();
        return printer.table_or_json(arguments.format.output, &listed, || rows(&listed));
    }
    let starter = choose(arguments, session)?;
    let directory = arguments.directory.clone().unwrap_or_else(|| PathBuf::from(starter.id));
    starter.write(&directory)?;
    printer.say(format_args!("Wrote the template {} into {}.", starter.id, directory.display()));
    let shown = directory.display();
    printer.hint(format_args!("{shown}/README.md says what it makes, costs and needs; then `berth templates push -d {shown}`"));
    match arguments.format.output {
        Format::Json => printer.json(&Written { id: starter.id, directory: &directory, files: starter.files().collect() }),
        Format::Table => Ok(()),
    }
}

fn choose(arguments: &Arguments, session: &Session) -> Outcome<&'static Starter> {
    let named = |id: &String| STARTERS.iter().find(|starter| starter.id == id);
    match &arguments.id {
        Some(id) => named(id),
        None if session.printer.is_interactive() => {
            let width = STARTERS.iter().map(|starter| starter.id.len()).max().unwrap_or_default();
            let label = |starter: &Starter| format!("{:width$}  {}", starter.id, starter.about().description);
            STARTERS.get(prompt::select("Template to start from:", STARTERS.iter().map(label).collect(), 0)?)
        }
        None => None,
    }
    .ok_or_else(|| {
        Failure::usage("no starter template is chosen")
            .hint(format!("--id, one of {}; `berth templates init --list` describes them", ids()))
    })
}

fn ids() -> String {
    STARTERS.iter().map(|starter| starter.id).collect::<Vec<_>>().join(", ")
}

fn rows(listed: &[Listed]) -> Table {
    let mut table = table(["id", "description"]);
    for starter in listed {
        table.add_row([starter.id, &starter.description]);
    }
    table
}

impl From<&Starter> for Listed {
    fn from(starter: &Starter) -> Self {
        let about = starter.about();
        Self {
            id: starter.id,
            display_name: about.display_name,
            description: about.description,
            icon: about.icon,
            tags: about.tags,
        }
    }
}
