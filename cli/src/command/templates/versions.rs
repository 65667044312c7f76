//! `berth templates versions`.

use crate::{
    failure::{Failure, Outcome},
    printer::{FormatFlag, ago, table},
    prompt,
    session::Session,
};
use berth_client::{Client, ClientError};
use berth_wire::{
    domain::Timestamp,
    template::{Template, UpdateVersion, Version},
};
use clap::{Args, Subcommand};
use comfy_table::Table;

/// What to do with the versions of a template. Its name alone lists them.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    list: List,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the versions of a template
    #[command(alias = "ls")]
    List(List),
    /// Make a version the one that new workspaces get
    Promote(Promote),
    /// Go back to the version that was active before
    #[command(alias = "undo")]
    Rollback {
        /// The template
        template: String,
        /// Answer the question with yes
        #[arg(short, long)]
        yes: bool,
    },
    /// Put versions away: hidden from lists, not for new workspaces; those who have them keep them
    Archive(Names),
    /// Bring archived versions back
    Unarchive(Names),
    /// Give a version another name or message
    Edit(Edit),
}

#[derive(Debug, Args)]
struct List {
    /// The template
    #[arg(required = true, value_name = "TEMPLATE")]
    name: Option<String>,
    /// Show those too that are put away
    #[arg(long)]
    include_archived: bool,
    #[command(flatten)]
    format: FormatFlag,
}

#[derive(Debug, Args)]
struct Promote {
    /// The template
    #[arg(short, long, value_name = "NAME")]
    template: String,
    /// The version
    #[arg(long, visible_alias = "version", value_name = "NAME")]
    template_version: String,
}

#[derive(Debug, Args)]
struct Names {
    /// The template
    template: String,
    /// The versions
    #[arg(value_name = "VERSION", required = true)]
    versions: Vec<String>,
    /// Answer the question with yes
    #[arg(short, long)]
    yes: bool,
}

#[derive(Debug, Args)]
struct Edit {
    /// The template
    template: String,
    /// The version
    version: String,
    /// Another name
    #[arg(long, required_unless_present = "message")]
    name: Option<String>,
    /// Another message
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
}

/// Does it.
pub(super) async fn run(arguments: Arguments, session: &Session) -> Outcome {
    match arguments.verb {
        None => list(&arguments.list, session).await,
        Some(Verb::List(arguments)) => list(&arguments, session).await,
        Some(Verb::Promote(arguments)) => promote(&arguments, session).await,
        Some(Verb::Rollback { template, yes }) => rollback(&template, yes, session).await,
        Some(Verb::Archive(names)) => archive(&names, true, session).await,
        Some(Verb::Unarchive(names)) => archive(&names, false, session).await,
        Some(Verb::Edit(arguments)) => edit(&arguments, session).await,
    }
}

async fn list(arguments: &List, session: &Session) -> Outcome {
    let client = session.client()?;
    let name = arguments.name.as_deref().unwrap_or_default();
    let template = super::find(&client, name).await?;
    let versions = client.template_versions(template.id, arguments.include_archived).await?;
    session.printer.table_or_json(arguments.format.output, &versions, || listed(&versions, &template, Timestamp::now()))
}

fn listed(versions: &[Version], template: &Template, now: Timestamp) -> Table {
    let mut table = table(["version", "import", "by", "pushed", "message", ""]);
    for version in versions {
        let mark = match version {
            version if version.id == template.active_version_id => "active",
            version if version.archived => "archived",
            _ => "",
        };
        table.add_row([
            version.name.clone(),
            version.job.status.to_string(),
            version.created_by.username.clone(),
            ago(version.created_at, now),
            version.message.lines().next().unwrap_or_default().to_owned(),
            mark.to_owned(),
        ]);
    }
    table
}

/// The version of a template with this name.
pub(super) async fn find(client: &Client, template: &Template, name: &str) -> Outcome<Version> {
    client.version_by_name(template.id, name).await.map_err(|error| match error.is_not_found() {
        true => Failure::new(format!("template {} has no version {name:?}", template.name))
            .hint(format!("`berth templates versions {} --include-archived` shows them", template.name)),
        false => error.into(),
    })
}

async fn promote(arguments: &Promote, session: &Session) -> Outcome {
    let client = session.client()?;
    let template = super::find(&client, &arguments.template).await?;
    let version = find(&client, &template, &arguments.template_version).await?;
    if version.id == template.active_version_id {
        session.printer.say(format_args!("Version {} of {} is the active one already.", version.name, template.name));
        return Ok(());
    }
    activate(session, &client, &template, &version).await
}

async fn activate(session: &Session, client: &Client, template: &Template, version: &Version) -> Outcome {
    let refused = |error: ClientError| refused(error, &template.name, &version.name);
    client.activate_version(template.id, version.id).await.map_err(refused)?;
    super::activated(session, &template.name, &version.name);
    Ok(())
}

/// Makes the version active that was active before. Twice is there and back, as with `kubectl rollout undo`.
async fn rollback(name: &str, yes: bool, session: &Session) -> Outcome {
    let client = session.client()?;
    let template = super::find(&client, name).await?;
    let Some(previous) = template.previous_version_id else {
        return Err(Failure::new(format!("template {name} has had no other active version"))
            .hint(format!("`berth templates versions promote -t {name} --template-version VERSION` makes any of them active")));
    };
    let (active, previous) = tokio::try_join!(client.version(template.active_version_id), client.version(previous))?;
    let question = format!("Go back from version {} of {name} to {}?", active.name, previous.name);
    prompt::confirm(&session.printer, yes, &question)?;
    activate(session, &client, &template, &previous).await
}

async fn archive(names: &Names, archived: bool, session: &Session) -> Outcome {
    let client = session.client()?;
    let template = super::find(&client, &names.template).await?;
    // All are looked up before the first is changed: a name that is mistyped changes nothing.
    let mut versions = Vec::with_capacity(names.versions.len());
    for name in &names.versions {
        versions.push(find(&client, &template, name).await?);
    }
    if archived {
        let question = format!("Put away {} of {}?", names.versions.join(", "), template.name);
        prompt::confirm(&session.printer, names.yes, &question)?;
    }
    for version in versions {
        let refused = |error: ClientError| refused(error, &template.name, &version.name);
        client.archive_version(version.id, archived).await.map_err(refused)?;
        let done = if archived { "archived" } else { "back" };
        session.printer.say(format_args!("Version {} of {} is {done}.", version.name, template.name));
    }
    Ok(())
}

fn refused(error: ClientError, template: &str, version: &str) -> Failure {
    let failure = Failure::new(error.to_string());
    match error.status() {
        Some(409) if error.to_string().contains("active") => {
            failure.hint(format!("`berth templates versions promote -t {template} --template-version OTHER`"))
        }
        Some(409) => failure.hint(format!("`berth templates versions unarchive {template} {version}`")),
        Some(400) => failure.hint(format!("`berth templates versions {template}` shows how the imports ended")),
        _ => error.into(),
    }
}

async fn edit(arguments: &Edit, session: &Session) -> Outcome {
    let client = session.client()?;
    let template = super::find(&client, &arguments.template).await?;
    let version = find(&client, &template, &arguments.version).await?;
    let update = UpdateVersion { name: arguments.name.clone(), message: arguments.message.clone() };
    let version = client.update_version(version.id, &update).await.map_err(|error| match error.is_conflict() {
        true => Failure::new(error.to_string()).hint("choose another name"),
        false => error.into(),
    })?;
    session.printer.say(format_args!("Version {} of {} is changed.", version.name, template.name));
    Ok(())
}
