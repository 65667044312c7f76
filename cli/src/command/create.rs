//! `berth create`.

use crate::{
    change,
    failure::{Failure, Outcome},
    name::WorkspaceRef,
    parameter::{self, ParameterFlags},
    prompt,
    session::Session,
    wait::{self, Detail},
};
use berth_client::Client;
use berth_wire::{template::Template, workspace::CreateWorkspace};
use clap::Args;

/// Which workspace, from which template.
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
    /// Answer every question with yes, and parameters with their defaults
    #[arg(short, long)]
    yes: bool,
}

/// Makes a workspace, follows its first build, waits for its agents.
pub(super) async fn run(arguments: Arguments, session: &Session) -> Outcome {
    let reference = reference(&arguments, session)?;
    let given = arguments.parameters.given()?;
    let client = session.client()?;
    let template = template(&arguments, &client, session).await?;
    let asked = client.version_parameters(template.active_version_id).await?;
    let values = parameter::complete(&asked, given, session.printer, !arguments.yes)?;
    let body = CreateWorkspace {
        template_id: Some(template.id),
        name: reference.workspace.to_string(),
        rich_parameter_values: values,
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

async fn template(arguments: &Arguments, client: &Client, session: &Session) -> Outcome<Template> {
    let none = || Failure::new("there are no templates yet").hint("`berth templates init` makes a directory to start from");
    if let Some(name) = &arguments.template {
        return client.template_by_name(name).await.map_err(|error| match error.is_not_found() {
            true => Failure::new(format!("template {name:?} does not exist")).hint("`berth templates list` shows them"),
            false => error.into(),
        });
    }
    let mut templates = client.templates().await?;
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
