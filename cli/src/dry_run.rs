//! What a workspace would be made of: as its version's import found it, or planned for it alone.

use crate::{
    failure::{Failure, Outcome},
    printer::{Format, render, table},
    session::Session,
    signal,
    wait::{self, Detail, JobRef, LogView},
};
use berth_client::Client;
use berth_wire::{
    domain::{JobStatus, Transition},
    resource::Resource,
    template::CreateDryRun,
};
use comfy_table::Table;
use uuid::Uuid;

/// Plans a workspace of a version without making it, and prints what it would be made of.
///
/// # Errors
/// When the API refuses or the plan fails. An interrupted one is canceled: nobody waits for it.
pub async fn run(session: &Session, client: &Client, version: Uuid, (wish, format): (&CreateDryRun, Format)) -> Outcome {
    let name = &wish.workspace_name;
    let id = client.create_dry_run(version, wish).await?.id;
    let mut view = LogView::new(session, Detail::Lines, &format!("Waiting for the plan of {name}"));
    let printer = session.printer;
    let farewell = || printer.say(format_args!("\nnothing was made of {name}"));
    let followed = wait::job(client, JobRef::DryRun { version, id }, |line| view.show(line));
    let job = signal::unless_ended(followed, farewell).await;
    drop(view);
    if job.is_err() {
        // It may have ended; if not, nobody is left to read it.
        let _ended = client.cancel_dry_run(version, id).await;
    }
    let job = job?;
    if job.status != JobStatus::Succeeded {
        let reason = if job.error.is_empty() { job.status.to_string() } else { job.error.trim_end().to_owned() };
        return Err(Failure::new(format!("a workspace {name} cannot be made: {reason}"))
            .hint("other answers may do; else tell the template's author. Nothing was made"));
    }
    let resources = client.dry_run_resources(version, id).await?;
    printer.table_or_json(format, &resources, || planned(&resources))?;
    printer.say("This is a plan; nothing was made.");
    Ok(())
}

fn planned(resources: &[Resource]) -> Table {
    let mut table = table(["resource", "agents"]);
    for resource in resources.iter().filter(|resource| !resource.hide) {
        table.add_row([format!("{}.{}", resource.kind, resource.name), agents(resource)]);
    }
    table
}

fn agents(resource: &Resource) -> String {
    let names: Vec<&str> = resource.agents.iter().flatten().map(|agent| agent.name.as_str()).collect();
    names.join(", ")
}

/// What workspaces of a version are made of while they run, and whether it outlasts a stop.
#[must_use]
pub fn made_of(resources: &[Resource]) -> Table {
    let of = |transition| resources.iter().filter(move |one| one.workspace_transition == transition && !one.hide);
    let stays =
        |resource: &Resource| of(Transition::Stop).any(|other| (&other.kind, &other.name) == (&resource.kind, &resource.name));
    let mut table = table(["resource", "agents", "when stopped"]);
    for resource in of(Transition::Start) {
        let kept = if stays(resource) { "stays" } else { "goes" };
        table.add_row([format!("{}.{}", resource.kind, resource.name), agents(resource), kept.to_owned()]);
    }
    table
}

/// Shows a person what a workspace of a version is made of, when its import knows.
///
/// # Errors
/// When the API does not answer.
pub async fn preview(session: &Session, client: &Client, version: Uuid) -> Outcome {
    let resources = client.version_resources(version).await?;
    if resources.iter().any(|resource| resource.workspace_transition == Transition::Start) {
        session.printer.say(render(&made_of(&resources)).trim_end());
    }
    Ok(())
}
