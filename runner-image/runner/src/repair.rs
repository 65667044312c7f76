//! Repairing a workspace: what exists of it and is in no state is found, and removed where a person asked for that.
//!
//! ```text
//! template + state --plan, with generated data sources--> what carries the workspace's tag --minus what the state names--> strays
//! strays to remove --terraform import into an empty state, then apply without them--> gone
//! ```
//!
//! Terraform does both with the template's own provider configuration: no cloud's SDK is here. The workspace's state is read and never
//! written; there is no pusher.

mod arn;
mod look;

use std::{fs, path::Path};

use berth_domain::{Stray, StrayRef};
use berth_wire::runner::{Finish, Outcome, Repair};

use crate::{
    environment, plain,
    resources::State,
    state::STATE_FILE,
    terraform::Ended,
    work::{Done, Ready, Work, report},
};

/// Holds the blocks that the strays to remove are imported into.
const REMOVE_FILE: &str = "zz_berth_remove.tf";
/// What those blocks are named, with a number behind.
const LABEL: &str = "zz_berth_stray_";

/// A stray, and the provider configuration through which it was found: `aws.west`, or none for the default one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    stray: Stray,
    provider: Option<String>,
}

impl Found {
    fn is(&self, wanted: &StrayRef) -> bool {
        self.stray.kind == wanted.kind && self.stray.id == wanted.id
    }
}

/// Looks, removes what is to be removed, and reports what is left.
pub(crate) async fn run(mut work: Work, repair: &Repair) -> Done {
    match steps(&mut work, repair).await {
        Ok(finish) => Done::Finish(Box::new(finish)),
        Err(done) => done,
    }
}

async fn steps(work: &mut Work, repair: &Repair) -> Result<Finish, Done> {
    let build = &repair.build;
    let fetched = work.unless_stopped(async { tokio::join!(work.archive(), work.state()) }).await?;
    let state = fetched.1?;
    if let Some(bytes) = &state {
        State::parse(bytes).map_err(|error| work.failed(error.to_string()))?;
    }
    let room = work.room(fetched.0?, state.clone()).await?;
    let unwritable = |error: std::io::Error| work.failed(format!("cannot prepare the working directory: {error}"));
    room.write_variables(&build.variables).map_err(unwritable)?;
    let mut ready = work.ready(room, environment::of_build(&work.config, build)).await?;
    ready.run.environment.extend(environment::tags(build));
    let mut found = look::look(work, build, &mut ready, state.as_deref()).await?;
    let removed = if repair.delete.is_empty() { Ok(()) } else { remove(work, &mut ready, &mut found, &repair.delete).await? };
    let outcome = match removed {
        Ok(()) => Outcome::Succeeded,
        Err(error) => {
            work.log.fail(&error);
            Outcome::Failed { error }
        }
    };
    Ok(Finish { found: found.into_iter().map(|found| found.stray).collect(), ..report(outcome) })
}

/// Removes what was asked for of what was found, and takes it out of `found`. The inner error says what could not be removed.
async fn remove(work: &Work, ready: &mut Ready, found: &mut Vec<Found>, wanted: &[StrayRef]) -> Result<Result<(), String>, Done> {
    let doomed: Vec<Found> = found.iter().filter(|one| wanted.iter().any(|wanted| one.is(wanted))).cloned().collect();
    for gone in wanted.iter().filter(|wanted| !doomed.iter().any(|one| one.is(wanted))) {
        work.log.warn(&format!("{} {} is left alone: it is gone, or the state has it now", gone.kind, gone.id));
    }
    if doomed.is_empty() {
        return Ok(Ok(()));
    }
    let directory = ready.room.directory();
    empty(&directory, &doomed).map_err(|error| work.failed(format!("cannot prepare the removal: {error}")))?;
    let (mut targets, mut left) = (Vec::new(), Vec::new());
    for (number, one) in doomed.iter().enumerate() {
        let address = format!("{}.{LABEL}{number}", one.stray.kind);
        let imported = import(work, ready, &address, &one.stray.id).await?;
        if imported.is_success() {
            targets.push(format!("-target={address}"));
        } else {
            work.log.fail(&format!("{} {} cannot be taken in hand: {}", one.stray.kind, one.stray.id, imported.error()));
            left.push(one.stray.id.clone());
        }
    }
    fs::remove_file(directory.join(REMOVE_FILE)).map_err(|error| work.failed(format!("cannot prepare the removal: {error}")))?;
    if !targets.is_empty() {
        let mut arguments = vec!["apply", "-json", "-auto-approve", "-input=false", "-lock=false", "-backup=-"];
        arguments.extend(targets.iter().map(String::as_str));
        stopped(work, &work.command(ready, "Removing", &arguments).await?)?;
    }
    left.extend(remaining(&directory, &doomed));
    found.retain(|one| !doomed.contains(one) || left.contains(&one.stray.id));
    Ok(if left.is_empty() { Ok(()) } else { Err(format!("not removed: {}", left.join(", "))) })
}

/// Brings one stray into the empty state.
async fn import(work: &Work, ready: &mut Ready, address: &str, id: &str) -> Result<Ended, Done> {
    let ended = work.command(ready, "Removing", &["import", "-input=false", "-no-color", "-lock=false", address, id]).await?;
    stopped(work, &ended)?;
    Ok(ended)
}

/// Someone asked to stop: what was being removed may be half gone, and the next look tells.
fn stopped(work: &Work, ended: &Ended) -> Result<(), Done> {
    match work.stops.now().filter(|_| ended.was_asked) {
        Some(stop) => Err(Done::Stopped(stop)),
        None => Ok(()),
    }
}

/// Takes the workspace's state out of the room and writes a block for each stray.
fn empty(directory: &Path, doomed: &[Found]) -> std::io::Result<()> {
    match fs::remove_file(directory.join(STATE_FILE)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    look::clear(directory)?;
    let block = |(number, one): (usize, &Found)| {
        let provider = one.provider.as_ref().map(|provider| format!("  provider = {provider}\n")).unwrap_or_default();
        format!("resource \"{}\" \"{LABEL}{number}\" {{\n{provider}}}\n", one.stray.kind)
    };
    fs::write(directory.join(REMOVE_FILE), doomed.iter().enumerate().map(block).collect::<String>())
}

/// The ids of those that are still in the state that they were imported into.
fn remaining(directory: &Path, doomed: &[Found]) -> Vec<String> {
    let id = |number: &str| number.parse().ok().and_then(|number: usize| doomed.get(number)).map(|one| one.stray.id.clone());
    let state = plain::read(&directory.join(STATE_FILE)).ok();
    let state = state.as_deref().and_then(|bytes| State::parse(bytes).ok());
    state.iter().flat_map(State::nodes).filter_map(|node| id(node.name.strip_prefix(LABEL)?)).collect()
}
