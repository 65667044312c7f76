//! Importing a template version: plan it as if for a workspace of the pusher's, and report what it asks.

use berth_wire::runner::{Finish, Import, Imported, Outcome};

use crate::{
    environment, plan,
    work::{Done, Ready, Work, report},
};

/// The saved plan's file name.
const PLAN_FILE: &str = "zz_berth.plan";

/// Plans the version and reads the plan. Nothing is created; Terraform's own diagnostics go to the log.
pub(crate) async fn run(mut work: Work, import: &Import) -> Done {
    match steps(&mut work, import).await {
        Ok(finish) => Done::Finish(Box::new(finish)),
        Err(done) => done,
    }
}

async fn steps(work: &mut Work, import: &Import) -> Result<Finish, Done> {
    let archive = work.unless_stopped(work.archive()).await??;
    let room = work.room(archive, None).await?;
    room.write_variables(&import.variables)
        .map_err(|error| work.failed(format!("cannot prepare the working directory: {error}")))?;
    let told = environment::of_import(&work.config, import, &room.template.stand_ins);
    let mut ready = work.ready(room, told).await?;
    let out = format!("-out={PLAN_FILE}");
    let ended = work.command(&mut ready, "Planning", &["plan", "-json", "-input=false", "-lock=false", &out]).await?;
    if !ended.is_success() {
        return Err(match work.stops.now().filter(|_| ended.was_asked) {
            Some(stop) => Done::Stopped(stop),
            None if ended.is_explained() => Done::finish(Outcome::Failed { error: ended.error() }),
            None => work.failed(ended.error()),
        });
    }
    work.log.stage("Reading the plan");
    let found = read_plan(work, &ready).await?;
    for warning in &found.warnings {
        work.log.warn(warning);
    }
    let warnings = ended.warnings.into_iter().chain(found.warnings).collect();
    let imported = Imported { parameters: found.parameters, readme: ready.room.readme(), warnings, ..Imported::default() };
    Ok(Finish { imported: Some(Box::new(imported)), ..report(Outcome::Succeeded) })
}

async fn read_plan(work: &Work, ready: &Ready) -> Result<plan::Plan, Done> {
    let shown = work.unless_stopped(ready.run.output(&["show", "-json", PLAN_FILE])).await?;
    let (status, json) = shown.map_err(|error| work.failed(error.to_string()))?;
    if !status.success() {
        return Err(work.failed("terraform show could not read the plan".to_owned()));
    }
    plan::read(&json, &ready.room.template.parameters).map_err(|error| work.failed(error.to_string()))
}
