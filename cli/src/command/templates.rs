//! `berth templates`.

mod edit;
mod init;
mod pull;
mod push;
mod show;
mod versions;

use crate::{
    failure::{Failure, Outcome},
    printer::{FormatFlag, ago, table},
    prompt,
    session::Session,
};
use berth_client::Client;
use berth_wire::{domain::Timestamp, template::Template};
use clap::{Args, Subcommand};
use comfy_table::Table;

/// What to do with templates.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Write a starter template into a new directory
    Init(init::Arguments),
    /// Make a template, or a new version of one, of a directory
    #[command(alias = "create")]
    Push(push::Arguments),
    /// Fetch the files of a template
    Pull(pull::Arguments),
    /// List templates
    #[command(alias = "ls")]
    List(FormatFlag),
    /// Show a template's settings, and what its workspaces are made of
    Show(show::Arguments),
    /// Change a template's name, texts and settings
    Edit(Box<edit::Arguments>),
    /// List, promote, archive and rename the versions of a template
    Versions(versions::Arguments),
    /// Put away the versions of templates that nothing uses
    Archive(Archive),
    /// Delete a template that no workspace uses
    #[command(alias = "rm")]
    Delete {
        /// The template
        name: String,
        /// Answer the question with yes
        #[arg(short, long)]
        yes: bool,
    },
}

/// Which templates, and how thoroughly.
#[derive(Debug, Args)]
struct Archive {
    /// The templates
    #[arg(value_name = "TEMPLATE", required = true)]
    names: Vec<String>,
    /// Every unused version, not only those whose import failed
    #[arg(long)]
    all: bool,
    /// Answer the question with yes
    #[arg(short, long)]
    yes: bool,
}

/// Does it.
pub(super) async fn run(arguments: Arguments, session: &Session) -> Outcome {
    match arguments.verb {
        Verb::Init(arguments) => init::run(&arguments, session),
        Verb::Push(arguments) => push::run(&arguments, session).await,
        Verb::Pull(arguments) => pull::run(&arguments, session).await,
        Verb::List(format) => {
            let templates = session.client()?.templates().await?;
            if templates.is_empty() && session.printer.is_interactive() {
                session.printer.say("No templates.");
                session.printer.hint("`berth templates init` makes a directory to start from");
            }
            session.printer.table_or_json(format.output, &templates, || listed(&templates, Timestamp::now()))
        }
        Verb::Show(arguments) => show::run(&arguments, session).await,
        Verb::Edit(arguments) => edit::run(*arguments, session).await,
        Verb::Versions(arguments) => versions::run(arguments, session).await,
        Verb::Archive(arguments) => archive(&arguments, session).await,
        Verb::Delete { name, yes } => delete(session, &name, yes).await,
    }
}

/// Puts away what nothing uses.
async fn archive(arguments: &Archive, session: &Session) -> Outcome {
    let (client, names) = (session.client()?, arguments.names.join(", "));
    let which = if arguments.all { "all unused versions" } else { "the versions whose import failed" };
    prompt::confirm(&session.printer, arguments.yes, &format!("Put away {which} of {names}?"))?;
    for name in &arguments.names {
        let template = find(&client, name).await?;
        let versions = client.template_versions(template.id, true).await?;
        let archived = client.archive_unused_versions(template.id, arguments.all).await?.archived_ids;
        let named = versions.iter().filter(|version| archived.contains(&version.id)).map(|version| version.name.as_str());
        match named.collect::<Vec<_>>().as_slice() {
            [] => session.printer.say(format_args!("There is nothing to put away of {name}.")),
            names => session.printer.say(format_args!("Archived of {name}: {}.", names.join(", "))),
        }
    }
    Ok(())
}

/// Says that a version is active now, and what that means.
fn activated(session: &Session, template: &str, version: &str) {
    session.printer.say(format_args!("Template {template} has version {version} now."));
    session
        .printer
        .hint(format_args!("new workspaces get it: `berth create NAME -t {template}`; others move to it with `berth update NAME`"));
}

async fn delete(session: &Session, name: &str, yes: bool) -> Outcome {
    let client = session.client()?;
    let template = find(&client, name).await?;
    prompt::confirm(&session.printer, yes, &format!("Delete template {name} with all its versions?"))?;
    client.delete_template(template.id).await.map_err(|error| match error.status() {
        Some(400 | 409) => Failure::new(error.to_string()).hint(format!("`berth list --search template:{name}` shows who uses it")),
        _ => error.into(),
    })?;
    session.printer.say(format_args!("Template {name} is deleted."));
    Ok(())
}

async fn find(client: &Client, name: &str) -> Outcome<Template> {
    client.template_by_name(name).await.map_err(|error| match error.is_not_found() {
        true => Failure::new(format!("template {name:?} does not exist")).hint("`berth templates list` shows them"),
        false => error.into(),
    })
}

fn listed(templates: &[Template], now: Timestamp) -> Table {
    let mut table = table(["name", "description", "changed", ""]);
    for template in templates {
        let mark = if template.deprecated { "deprecated" } else { "" };
        table.add_row([template.name.clone(), template.description.clone(), ago(template.updated_at, now), mark.to_owned()]);
    }
    table
}
