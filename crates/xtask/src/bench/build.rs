//! What a build costs beyond Terraform itself.

use super::{Row, median, spread, world::World, world::quiet};
use crate::run::Outcome;
use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::Instant,
};

const ROUNDS: usize = 9;
/// More rounds where a few milliseconds decide.
const TRIVIAL_ROUNDS: usize = 21;

/// A build that is next to nothing: one data source of ours, one resource of Terraform's own.
const TRIVIAL: &str = "data \"coder_workspace\" \"me\" {}\n\
    resource \"terraform_data\" \"dev\" {\n  input = data.coder_workspace.me.name\n}\n";

/// A whole build, from the request to the recorded end, against nothing but `terraform apply` in a directory that is ready, with the
/// provider already served: no init, no graph, no show. The two take turns, and turns at being first.
pub(crate) fn trivial(world: &World) -> Outcome<Vec<Row>> {
    let template = world.directory("trivial")?;
    write(&template.join("main.tf"), TRIVIAL)?;
    quiet(&mut world.berth(&["templates", "push", "trivial", "--directory", &template.to_string_lossy(), "--yes"]))?;
    let provider = Provider::start(world)?;
    let (mut ours, mut claimed, mut rival) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=TRIVIAL_ROUNDS {
        let mut bare = None;
        if round % 2 == 0 {
            bare = Some(provider.apply(world, round)?);
        }
        let (whole, held) = build(world, &format!("trivial{round}"))?;
        let bare = bare.map_or_else(|| provider.apply(world, round), Ok)?;
        // The first round warms the caches.
        if round > 0 {
            ours.push(whole);
            claimed.push(held);
            rival.push(bare);
        }
    }
    let over = |part: &[f64]| format!("{:.2}", median(part.iter().zip(&rival).map(|(ours, rival)| ours / rival).collect()));
    let row = |what, part: Vec<f64>, aim| Row {
        what,
        ratio: over(&part),
        ours: range(part),
        rival: format!("bare terraform apply {}", range(rival.clone())),
        aim,
    };
    Ok(vec![
        row("trivial build, asked for to recorded", ours, "at most 1.1"),
        row("trivial build, the runner's part (claim to recorded)", claimed, ""),
    ])
}

fn range(values: Vec<f64>) -> String {
    let (low, high) = spread(&values);
    format!("{:.0} ({low:.0}-{high:.0}) ms", median(values))
}

fn write(path: &Path, text: &str) -> Outcome {
    fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
}

/// Creates a workspace and deletes it; gives how long the build took since it was asked for, and since it was claimed, in milliseconds.
fn build(world: &World, name: &str) -> Outcome<(f64, f64)> {
    quiet(&mut world.berth(&["create", name, "--template", "trivial", "--yes"]))?;
    let shown = world.json(&["show", name])?;
    quiet(&mut world.berth(&["delete", name, "--yes"]))?;
    let job = shown.pointer("/latest_build/job").ok_or("berth show -o json has no job")?;
    let end = milliseconds(job, "completed_at")?;
    Ok((end - milliseconds(job, "created_at")?, end - milliseconds(job, "started_at")?))
}

/// Our provider as Terraform's `TF_REATTACH_PROVIDERS` wants it; ended on drop.
struct Provider {
    child: Child,
    reattach: String,
}

impl Provider {
    fn start(world: &World) -> Outcome<Self> {
        let mut command = Command::new(world.binary("terraform-provider-berth"));
        command.arg("--debug").env("CODER_WORKSPACE_NAME", "dev").env("CODER_WORKSPACE_TRANSITION", "start");
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut child = spawned.map_err(|error| format!("cannot start the provider: {error}"))?;
        let said = child.stdout.take();
        let mut provider = Self { child, reattach: String::new() };
        for line in said.map(BufReader::new).into_iter().flat_map(BufRead::lines).map_while(Result::ok) {
            if let Some((_, value)) = line.split_once("TF_REATTACH_PROVIDERS=") {
                value.trim_matches('\'').clone_into(&mut provider.reattach);
                return Ok(provider);
            }
        }
        Err("the provider does not say how to reach it".to_owned())
    }

    /// Applies in a new directory; milliseconds.
    fn apply(&self, world: &World, round: usize) -> Outcome<f64> {
        let directory = world.directory(&format!("bare{round}"))?;
        write(&directory.join("main.tf"), TRIVIAL)?;
        let settings = directory.join("terraform.rc");
        write(&settings, "disable_checkpoint = true\n")?;
        let mut command = Command::new("terraform");
        command.args(["apply", "-json", "-auto-approve", "-input=false"]).current_dir(&directory);
        command.env("TF_REATTACH_PROVIDERS", &self.reattach).env("TF_CLI_CONFIG_FILE", settings).env("CHECKPOINT_DISABLE", "1");
        let begun = Instant::now();
        quiet(&mut command)?;
        Ok(begun.elapsed().as_secs_f64() * 1000.0)
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

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
