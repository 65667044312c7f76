//! `berth templates`.

mod init;
mod pull;
mod push;

use crate::{
    failure::{Failure, Outcome},
    printer::{FormatFlag, ago, table},
    prompt,
    session::Session,
};
use berth_client::Client;
use berth_wire::{
    domain::Timestamp,
    template::{Template, Version},
};
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
    /// List the versions of a template
    Versions {
        /// The template
        name: String,
        #[command(flatten)]
        format: FormatFlag,
    },
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
        Verb::Versions { name, format } => {
            let client = session.client()?;
            let template = find(&client, &name).await?;
            let versions = client.template_versions(template.id).await?;
            session.printer.table_or_json(format.output, &versions, || versions_listed(&versions, &template, Timestamp::now()))
        }
        Verb::Delete { name, yes } => delete(session, &name, yes).await,
    }
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
    let mut table = table(["name", "description", "used by", "changed"]);
    for template in templates {
        let people = template.active_user_count.to_string();
        table.add_row([template.name.clone(), template.description.clone(), people, ago(template.updated_at, now)]);
    }
    table
}

fn versions_listed(versions: &[Version], template: &Template, now: Timestamp) -> Table {
    let mut table = table(["version", "import", "by", "pushed", "message", ""]);
    for version in versions {
        let active = if version.id == template.active_version_id { "active" } else { "" };
        let by = version.created_by.username.clone();
        let message = version.message.lines().next().unwrap_or_default().to_owned();
        table.add_row([
            version.name.clone(),
            version.job.status.to_string(),
            by,
            ago(version.created_at, now),
            message,
            active.to_owned(),
        ]);
    }
    table
}
