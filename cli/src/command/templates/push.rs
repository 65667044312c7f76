//! `berth templates push`.

use crate::{
    archive::{self, Packed},
    failure::{Failure, Outcome},
    parameter::file,
    session::Session,
    signal,
    starter::About,
    wait::{self, Detail, JobRef, LogView},
};
use berth_client::Client;
use berth_wire::{
    domain::{JobStatus, TemplateName},
    template::{CreateTemplate, CreateVersion, Template, VariableValue, Version},
};
use clap::{ArgAction, Args};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};
use uuid::Uuid;

/// Which directory becomes which template.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The template; the directory's name, unless given
    #[arg(value_name = "TEMPLATE")]
    template: Option<String>,
    /// The directory of Terraform
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    directory: PathBuf,
    /// Name of the new version; one is made, unless given
    #[arg(long, value_name = "NAME", default_value = "")]
    name: String,
    /// What changed
    #[arg(short, long, value_name = "TEXT", default_value = "")]
    message: String,
    /// Whether new workspaces get this version
    #[arg(long, action = ArgAction::Set, default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    activate: bool,
    /// Value of a Terraform variable; may be repeated
    #[arg(long, visible_alias = "var", value_name = "NAME=VALUE")]
    variable: Vec<String>,
    /// File with values of Terraform variables: `name: value` lines, as YAML
    #[arg(long, value_name = "FILE")]
    variables_file: Option<PathBuf>,
    /// Import it even when nothing has changed: modules and providers are looked for anew
    #[arg(long)]
    force: bool,
    /// Accepted for scripts: nothing is asked
    #[arg(short, long)]
    yes: bool,
}

/// Uploads, follows the import, and makes the version active.
pub(super) async fn run(arguments: &Arguments, session: &Session) -> Outcome {
    let name = name(arguments)?;
    let variables = variables(arguments)?;
    let packed = archive::pack(&arguments.directory)?;
    let client = session.client()?;
    let template = match client.template_by_name(name.as_str()).await {
        Ok(template) => Some(template),
        Err(error) if error.is_not_found() => None,
        Err(error) => return Err(error.into()),
    };
    let file = upload(session, &client, packed).await?;
    if let Some(active) = unchanged(arguments, &client, template.as_ref(), file).await? {
        session
            .printer
            .say(format_args!("Nothing to push: template {name} has these files already, as its active version {active}."));
        session.printer.hint("`--force` imports them anew, with the modules and providers that there are now");
        return Ok(());
    }
    let wish = CreateVersion {
        name: arguments.name.clone(),
        message: arguments.message.clone(),
        template_id: template.as_ref().map(|template| template.id),
        storage_method: "file".to_owned(),
        file_id: file,
        provisioner: "terraform".to_owned(),
        user_variable_values: variables,
    };
    let version = client.create_version(&wish).await?;
    import(session, &client, &version, name.as_str()).await?;
    finish(arguments, session, &client, (name.as_str(), template, version)).await
}

/// The name of the template's active version when it has the same files, and nothing asks for another one of them.
async fn unchanged(arguments: &Arguments, client: &Client, template: Option<&Template>, file: Uuid) -> Outcome<Option<String>> {
    let has_values = !arguments.variable.is_empty() || arguments.variables_file.is_some();
    let asks = arguments.force || has_values || !arguments.name.is_empty() || !arguments.message.is_empty();
    let Some(template) = template.filter(|_| !asks && arguments.activate) else { return Ok(None) };
    let active = client.version(template.active_version_id).await?;
    Ok((active.job.file_id == file).then_some(active.name))
}

fn name(arguments: &Arguments) -> Outcome<TemplateName> {
    let name = match &arguments.template {
        Some(name) => name.clone(),
        None => {
            let directory = arguments.directory.canonicalize().unwrap_or_else(|_| arguments.directory.clone());
            directory.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
        }
    };
    TemplateName::parse(&name)
        .map_err(|error| Failure::usage(error.to_string()).hint("name the template: `berth templates push NAME`"))
}

/// The values of the file, and those of the flags, which win.
fn variables(arguments: &Arguments) -> Outcome<Vec<VariableValue>> {
    let mut values = match &arguments.variables_file {
        Some(path) => file::read(path)?,
        None => BTreeMap::new(),
    };
    for flag in &arguments.variable {
        let Some((name, value)) = flag.split_once('=') else {
            return Err(Failure::usage(format!("--variable {flag:?} has no value")).hint("write --variable name=value"));
        };
        values.insert(name.to_owned(), value.to_owned());
    }
    Ok(values.into_iter().map(|(name, value)| VariableValue { name, value }).collect())
}

async fn upload(session: &Session, client: &Client, packed: Packed) -> Outcome<Uuid> {
    let mut progress = session.printer.progress();
    progress.stage(&format!("Uploading {} files, {} KiB", packed.files, packed.bytes.div_ceil(1024)));
    let file = tokio::fs::File::from_std(packed.file);
    Ok(client.upload_file(file, packed.bytes, |_| {}).await?.id)
}

/// Follows the import to its good end. What Terraform found wrong is on the screen by then, with file and line.
async fn import(session: &Session, client: &Client, version: &Version, name: &str) -> Outcome {
    let mut view = LogView::new(session, Detail::Lines, &format!("Waiting for the import of {name}"));
    let printer = session.printer;
    let farewell = || {
        printer
            .say(format_args!("\nthe import of {name} goes on without you; `berth templates versions {name}` tells how it ended"))
    };
    let job = signal::unless_ended(wait::job(client, JobRef::Version(version.id), |line| view.show(line)), farewell).await;
    drop(view);
    let job = job?;
    match job.status {
        JobStatus::Succeeded => Ok(()),
        JobStatus::Canceled => Err(Failure::new(format!("the import of {name} was canceled")).hint("push again")),
        _ => {
            let reason = if job.error.is_empty() { String::new() } else { format!(": {}", job.error.trim_end()) };
            Err(Failure::new(format!("the import of {name} failed{reason}"))
                .hint("correct the template and push again; nothing was changed"))
        }
    }
}

async fn finish(arguments: &Arguments, session: &Session, client: &Client, pushed: (&str, Option<Template>, Version)) -> Outcome {
    let (name, template, version) = pushed;
    match template {
        None => {
            let about = about(&arguments.directory);
            let wish = CreateTemplate {
                name: name.to_owned(),
                display_name: about.display_name,
                description: about.description,
                icon: about.icon,
                template_version_id: version.id,
                ..CreateTemplate::default()
            };
            client.create_template(&wish).await?;
            session.printer.say(format_args!("Template {name} is new, with version {}.", version.name));
            session.printer.hint(format_args!("`berth create NAME -t {name}` makes a workspace of it"));
        }
        Some(template) if arguments.activate => {
            client.activate_version(template.id, version.id).await?;
            super::activated(session, name, &version.name);
        }
        Some(_) => {
            session.printer.say(format_args!("Template {name} got version {}, which is not active.", version.name));
            let promote = format!("berth templates versions promote -t {name} --template-version {}", version.name);
            session.printer.hint(format_args!("`{promote}` makes it active"));
        }
    }
    Ok(())
}

fn about(directory: &Path) -> About {
    std::fs::read_to_string(directory.join("README.md")).map(|readme| About::of(&readme)).unwrap_or_default()
}
