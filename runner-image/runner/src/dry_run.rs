//! A dry run: the plan of a new workspace, and what it would be made of. Nothing is created, and there is no state to push.

use berth_domain::Transition;
use berth_wire::runner::{Build, Finish, Outcome, Resource};

use crate::{
    environment, frozen, import,
    resources::planned,
    work::{Done, Work, report},
};

/// Plans a start of the workspace that `build` describes, and reads the plan.
pub(crate) async fn run(mut work: Work, build: &Build) -> Done {
    match steps(&mut work, build).await {
        Ok(resources) => Done::Finish(Box::new(Finish { resources, ..report(Outcome::Succeeded) })),
        Err(done) => done,
    }
}

async fn steps(work: &mut Work, build: &Build) -> Result<Vec<Resource>, Done> {
    let archive = work.unless_stopped(work.archive()).await??;
    let mut room = work.room(archive, None).await?;
    room.write_variables(&build.variables)
        .map_err(|error| work.failed(format!("cannot prepare the working directory: {error}")))?;
    frozen::lay(work, &build.frozen, &mut room).await?;
    let build = Build { transition: Transition::Start, ..build.clone() };
    let mut ready = work.ready(room, environment::of_build(&work.config, &build)).await?;
    ready.run.environment.extend(environment::tags(&build));
    let plan = import::plan(work, &mut ready, "Planning", &mut Vec::new()).await?;
    let graph = import::graph(work, &ready).await?;
    let reading = planned::read(&plan, &graph, build.build_id).map_err(|error| work.failed(error.to_string()))?;
    reading.warnings.iter().for_each(|warning| work.log.warn(warning));
    Ok(reading.resources)
}
