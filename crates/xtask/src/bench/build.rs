//! What a build costs beyond Terraform itself.

use super::{Row, median, world::World, world::quiet};
use crate::run::Outcome;

const ROUNDS: usize = 9;

/// From the request to the saved state, less Terraform's own wall time as the runner logs it, over that time.
pub(crate) fn overhead(world: &World) -> Outcome<Vec<Row>> {
    let (mut overheads, mut terraform, mut over) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let name = format!("bench{round}");
        quiet(&mut world.berth(&["create", &name, "--template", "local", "--yes"]))?;
        let shown = world.json(&["show", &name])?;
        let own = terraform_wall(&world.server_log()).ok_or("the server's log does not say how long Terraform took")?;
        quiet(&mut world.berth(&["delete", &name, "--yes"]))?;
        let job = shown.pointer("/latest_build/job").ok_or("berth show -o json has no job")?;
        let total = milliseconds(job, "completed_at")? - milliseconds(job, "created_at")?;
        terraform.push(own);
        overheads.push(total - own);
        over.push((total - own) / own);
    }
    Ok(vec![Row {
        what: "build overhead, starter template (create to state saved, less Terraform)",
        ours: format!("{:.0} ms", median(overheads)),
        rival: format!("terraform itself {:.0} ms", median(terraform)),
        ratio: format!("{:.2}", median(over)),
        aim: "at most 15 % + 300 ms",
    }])
}

/// The milliseconds of a job's time of day; builds across midnight are left out by their negative length.
fn milliseconds(job: &serde_json::Value, field: &str) -> Outcome<f64> {
    let text = job.get(field).and_then(|value| value.as_str()).ok_or(format!("the job has no {field}"))?;
    let time = text.split('T').nth(1).map(|time| time.trim_end_matches('Z')).ok_or(format!("{text:?} is no time"))?;
    let parts: Vec<f64> = time.split(':').filter_map(|part| part.parse().ok()).collect();
    match parts.as_slice() {
        [hours, minutes, seconds] => Ok((hours * 3600.0 + minutes * 60.0 + seconds) * 1000.0),
        _ => Err(format!("{text:?} is no time")),
    }
}

/// The runner logs how long each Terraform command took; this is the newest apply.
fn terraform_wall(log: &str) -> Option<f64> {
    let line = log.lines().rev().find(|line| line.contains("terraform ended") && line.contains("command=\"apply\""))?;
    line.split("took_ms=").nth(1)?.split_whitespace().next()?.parse().ok()
}
