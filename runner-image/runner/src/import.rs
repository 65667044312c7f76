//! Importing a template version: plan a start and a stop of a workspace of the pusher's, report what it asks and would make, and keep
//! what builds will need.

use berth_domain::{Transition, VersionId};
use berth_wire::runner::{Finish, Import, Imported, Outcome};
use serde_json::Value;

use crate::{
    environment, frozen, plan,
    resources::{
        Reading,
        planned::{self, Graph},
    },
    template::{Lock, Template},
    work::{Done, Ready, Work, report},
};

/// The saved plan's file name.
const PLAN_FILE: &str = "zz_berth.plan";

/// Plans the version and reads the plans. Nothing is created; Terraform's own diagnostics go to the log.
pub(crate) async fn run(mut work: Work, import: &Import) -> Done {
    match steps(&mut work, import).await {
        Ok(imported) => Done::Finish(Box::new(Finish { imported: Some(Box::new(imported)), ..report(Outcome::Succeeded) })),
        Err(done) => done,
    }
}

async fn steps(work: &mut Work, import: &Import) -> Result<Imported, Done> {
    let archive = work.unless_stopped(work.archive()).await??;
    let room = work.room(archive, None).await?;
    let mut warnings = check_variables(work, &room.template, import)?;
    room.write_variables(&import.variables)
        .map_err(|error| work.failed(format!("cannot prepare the working directory: {error}")))?;
    let told = environment::of_import(&work.config, import, (Transition::Start, &room.template.stand_ins));
    let mut ready = work.ready(room, told).await?;

    let start = plan(work, &mut ready, "Planning", &mut warnings).await?;
    let graph = graph(work, &ready).await?;
    let found = plan::read(&start, &ready.room.template.data, VersionId(import.version_id));
    let found = found.map_err(|error| work.failed(error.to_string()))?;
    warn(work, &mut warnings, found.warnings);
    let start = resources(work, &start, &graph, import)?;
    warn(work, &mut warnings, start.warnings);

    let told = environment::of_import(&work.config, import, (Transition::Stop, &ready.room.template.stand_ins));
    ready.tell(told);
    // What a stop says once more is known from the start.
    let stop = plan(work, &mut ready, "Planning a stop", &mut Vec::new()).await?;
    let stop = resources(work, &stop, &graph, import)?;

    let lock = frozen::keep(work, &ready.room, &mut warnings).await?;
    for locked in Lock::parse(&lock).providers {
        work.log.say(&format!("Builds will use {}", locked.short()));
    }
    Ok(Imported {
        parameters: found.parameters,
        presets: found.presets,
        variables: std::mem::take(&mut ready.room.template.variables),
        tags: found.tags,
        external_auth: found.external_auth,
        start: start.resources,
        stop: stop.resources,
        readme: ready.room.readme(),
        lock,
        warnings,
    })
}

/// Fails when a variable has no value, before Terraform is run: it would not say where to give one.
fn check_variables(work: &Work, template: &Template, import: &Import) -> Result<Vec<String>, Done> {
    let missing = template.missing(&import.variables);
    if !missing.is_empty() {
        let names = missing.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
        let flags = missing.iter().map(|name| format!("--variable {name}=VALUE")).collect::<Vec<_>>().join(" ");
        let (noun, verb) = if missing.len() == 1 { ("variable", "has") } else { ("variables", "have") };
        return Err(work.failed(format!("{noun} {names} {verb} no default and no value: push again with {flags}")));
    }
    let mut warnings = Vec::new();
    let undeclared = template.undeclared(&import.variables).into_iter();
    warn(
        work,
        &mut warnings,
        undeclared.map(|name| format!("variable {name:?} is given but the template does not declare it")).collect(),
    );
    Ok(warnings)
}

fn warn(work: &Work, warnings: &mut Vec<String>, more: Vec<String>) {
    more.iter().for_each(|warning| work.log.warn(warning));
    warnings.extend(more);
}

/// Plans, and answers the plan as JSON. Terraform's warnings are in the log already.
pub(crate) async fn plan(work: &Work, ready: &mut Ready, stage: &str, warnings: &mut Vec<String>) -> Result<Value, Done> {
    let out = format!("-out={PLAN_FILE}");
    let ended = work.command(ready, stage, &["plan", "-json", "-input=false", "-lock=false", &out]).await?;
    if !ended.is_success() {
        return Err(match work.stops.now().filter(|_| ended.was_asked) {
            Some(stop) => Done::Stopped(stop),
            None if ended.is_explained() => Done::finish(Outcome::Failed { error: ended.error() }),
            None => work.failed(ended.error()),
        });
    }
    warnings.extend(ended.warnings);
    let json = output(work, ready, &["show", "-json", PLAN_FILE]).await?;
    plan::parse(&json).map_err(|error| work.failed(error.to_string()))
}

pub(crate) async fn graph(work: &Work, ready: &Ready) -> Result<Graph, Done> {
    let dot = output(work, ready, &["graph", "-type=plan"]).await?;
    Ok(Graph::parse(&String::from_utf8_lossy(&dot)))
}

async fn output(work: &Work, ready: &Ready, arguments: &[&str]) -> Result<Vec<u8>, Done> {
    let shown = work.unless_stopped(ready.run.output(arguments)).await?;
    let (status, bytes) = shown.map_err(|error| work.failed(error.to_string()))?;
    if status.success() { Ok(bytes) } else { Err(work.failed(format!("terraform {} failed", arguments.join(" ")))) }
}

fn resources(work: &Work, plan: &Value, graph: &Graph, import: &Import) -> Result<Reading, Done> {
    planned::read(plan, graph, import.version_id).map_err(|error| work.failed(error.to_string()))
}
