//! `berth create`.

use crate::{
    change, dry_run,
    failure::{Failure, Outcome},
    name::WorkspaceRef,
    parameter::{self, Asking, Given, ParameterFlags},
    printer::Format,
    prompt,
    session::{Session, find_workspace},
    wait::{self, Detail},
};
use berth_client::Client;
use berth_wire::{
    domain::{AutomaticUpdates, Parameter, ParameterValue},
    template::{CreateDryRun, Template},
    workspace::CreateWorkspace,
};
use clap::Args;
use uuid::Uuid;

/// Which workspace, from which template, with which answers.
#[derive(Debug, Args)]
pub struct Arguments {
    /// [owner/]name
    #[arg(value_name = "NAME")]
    workspace: Option<String>,
    /// The template; without it, it asks
    #[arg(short, long, value_name = "NAME")]
    template: Option<String>,
    #[command(flatten)]
    parameters: ParameterFlags,
    /// The template's preset to take, or none [variable: CODER_PRESET_NAME]
    #[arg(long, value_name = "NAME", help_heading = "Parameters")]
    preset: Option<String>,
    /// Take the answers that another workspace has
    #[arg(long, value_name = "WORKSPACE", help_heading = "Parameters")]
    copy_parameters_from: Option<String>,
    /// How long after a start to stop it: 8h, 90m
    #[arg(long, value_name = "DURATION")]
    stop_after: Option<String>,
    /// Whether each start moves it to the template's active version: always or never
    #[arg(long, value_name = "WHEN", default_value_t = AutomaticUpdates::Never)]
    automatic_updates: AutomaticUpdates,
    /// Only plan it, and print what it would be made of
    #[arg(long)]
    dry_run: bool,
    /// How to write what a dry run finds
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT", requires = "dry_run")]
    output: Format,
    /// Answer every question with yes, and parameters with their defaults
    #[arg(short, long)]
    yes: bool,
}

/// Makes a workspace, follows its first build, waits for its agents.
pub(super) async fn run(arguments: Arguments, session: &Session) -> Outcome {
    let reference = reference(&arguments, session)?;
    let given = arguments.parameters.given(&session.config.environment)?;
    let stop_after = arguments.stop_after.as_deref().map(super::schedule::duration).transpose()?;
    let client = session.client()?;
    let template = template(&arguments, &client, session).await?;
    if session.printer.is_interactive() && !arguments.yes && !arguments.dry_run {
        dry_run::preview(session, &client, template.active_version_id).await?;
    }
    let (rich_parameter_values, template_version_preset_id) = answers(&arguments, &client, session, (&template, given)).await?;
    if arguments.dry_run {
        let workspace_name = reference.workspace.to_string();
        let wish = CreateDryRun { workspace_name, rich_parameter_values, template_version_preset_id, ..CreateDryRun::default() };
        return dry_run::run(session, &client, template.active_version_id, (&wish, arguments.output)).await;
    }
    let body = CreateWorkspace {
        template_id: Some(template.id),
        name: reference.workspace.to_string(),
        ttl_ms: stop_after.map(|duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)),
        rich_parameter_values,
        template_version_preset_id,
        automatic_updates: arguments.automatic_updates,
        ..CreateWorkspace::default()
    };
    let typed = reference.typed();
    let workspace = client.create_workspace(reference.owner_or_me(), &body).await.map_err(|error| match error.is_conflict() {
        true => Failure::new(error.to_string()).hint(format!("choose another name, or `berth show {typed}`")),
        false => error.into(),
    })?;
    wait::build(session, &client, &workspace.latest_build, &typed, Detail::Lines).await?;
    let build = client.build(workspace.latest_build.id).await?;
    change::welcome(session, &client, &build, &typed).await
}

/// The answers to send and the preset, all of them checked; on a terminal the whole of them is shown.
async fn answers(
    arguments: &Arguments,
    client: &Client,
    session: &Session,
    (template, mut given): (&Template, Given),
) -> Outcome<(Vec<ParameterValue>, Option<Uuid>)> {
    let printer = session.printer;
    let parameters = parameter::known(&client.version_parameters(template.active_version_id).await?)?;
    if let Some(source) = &arguments.copy_parameters_from {
        copy(client, source, &parameters, &mut given).await?;
    }
    let presets = client.version_presets(template.active_version_id).await?;
    let named = arguments.preset.as_deref().or_else(|| session.config.environment.setting("PRESET_NAME"));
    let ask = (printer.is_interactive() && !arguments.yes).then_some(printer);
    let preset = parameter::choose(&presets, named, &mut given, ask, printer)?;
    let asking = Asking {
        parameters: &parameters,
        previous: None,
        preset: &preset.values,
        yes: arguments.yes,
        always: false,
        ephemeral: arguments.parameters.prompt_ephemeral_parameters,
    };
    let values = asking.complete(given, printer)?;
    if printer.is_interactive() && !parameters.is_empty() {
        printer.say(format_args!("\n{}", parameter::summary(&parameter::decided(asking, &values))));
    }
    Ok((values, preset.id))
}

/// Adds what another workspace was given, as far as the template asks it. What was typed stays.
async fn copy(client: &Client, source: &str, parameters: &[Parameter], given: &mut Given) -> Outcome {
    let source = find_workspace(client, &source.parse()?).await?;
    for value in client.build_parameters(source.latest_build.id).await? {
        if parameters.iter().any(|parameter| parameter.name == value.name && !parameter.ephemeral) {
            given.values.entry(value.name).or_insert(value.value);
        }
    }
    Ok(())
}

fn reference(arguments: &Arguments, session: &Session) -> Outcome<WorkspaceRef> {
    let name = match &arguments.workspace {
        Some(name) => name.clone(),
        None if session.printer.is_interactive() => prompt::text("Name of the workspace:", None)?,
        None => return Err(Failure::usage("the workspace's name is missing").hint("`berth create NAME -t TEMPLATE`")),
    };
    let reference: WorkspaceRef = name.parse()?;
    match reference.agent {
        None => Ok(reference),
        Some(_) => {
            Err(Failure::usage(format!("{name:?} is not a name for a new workspace"))
                .hint("leave the agent's name away: [owner/]name"))
        }
    }
}

/// The template, unless it is deprecated.
async fn template(arguments: &Arguments, client: &Client, session: &Session) -> Outcome<Template> {
    let template = chosen(arguments, client, session).await?;
    if !template.deprecated {
        return Ok(template);
    }
    let why = template.settings.deprecation_message.trim();
    Err(Failure::new(format!("template {} is deprecated: {why}", template.name)).hint("`berth templates list` shows the others"))
}

async fn chosen(arguments: &Arguments, client: &Client, session: &Session) -> Outcome<Template> {
    let none = || Failure::new("there are no templates yet").hint("`berth templates init` makes a directory to start from");
    if let Some(name) = &arguments.template {
        return client.template_by_name(name).await.map_err(|error| match error.is_not_found() {
            true => Failure::new(format!("template {name:?} does not exist")).hint("`berth templates list` shows them"),
            false => error.into(),
        });
    }
    let mut templates = client.templates().await?;
    templates.retain(|template| !template.deprecated);
    match templates.len() {
        0 => Err(none()),
        1 => templates.pop().ok_or_else(none),
        _ if session.printer.is_interactive() => {
            let labels = templates.iter().map(|template| format!("{}  {}", template.name, template.description)).collect();
            let chosen = prompt::select("Template:", labels, 0)?;
            templates.into_iter().nth(chosen).ok_or_else(none)
        }
        _ => {
            let names: Vec<&str> = templates.iter().map(|template| template.name.as_str()).collect();
            Err(Failure::usage("the template is missing").hint(format!("--template NAME; there are {}", names.join(", "))))
        }
    }
}
