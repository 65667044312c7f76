//! `berth speedtest`.

use crate::{
    connection::{Connection, Wishes},
    failure::{Failure, NO_CONNECTION, Outcome},
    name::{DEFAULT_SUFFIX, HostForm, WorkspaceRef},
    printer::{Format, FormatFlag},
    session::Session,
    signal,
    wait::Scripts,
};
use berth_net::{Measured, measure};
use berth_wire::tunnel::{Direction, SPEEDTEST_SECONDS_MAX, Target};
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::io;

/// Which workspace, which way, for how long.
#[derive(Debug, Args)]
pub struct Arguments {
    /// [owner/]name[.agent]
    #[arg(value_name = "NAME")]
    workspace: String,
    /// Which way; both, one after the other, without it
    #[arg(short, long, value_enum, value_name = "WAY")]
    direction: Option<Way>,
    /// How long each way takes, in seconds
    #[arg(short, long, value_name = "SECONDS", default_value_t = 5,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(SPEEDTEST_SECONDS_MAX)))]
    time: u32,
    #[command(flatten)]
    format: FormatFlag,
}

/// Which way the bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Way {
    /// To the workspace.
    Up,
    /// From the workspace.
    Down,
}

/// What was measured.
#[derive(Debug, Serialize)]
struct Speed {
    direction: Way,
    bytes: u64,
    seconds: f64,
    megabits_per_second: f64,
    direct: bool,
    via: String,
}

impl Speed {
    fn of(direction: Way, measured: Measured, (direct, via): (bool, String)) -> Self {
        let seconds = measured.took.as_secs_f64();
        let megabits_per_second = measured.bytes as f64 * 8.0 / seconds / 1e6;
        Self { direction, bytes: measured.bytes, seconds, megabits_per_second, direct, via }
    }
}

/// Measures how much the way to a workspace carries. Starts no workspace.
pub(super) async fn run(arguments: &Arguments, session: &Session) -> Outcome {
    let reference = WorkspaceRef::from_host(&arguments.workspace, &HostForm { prefix: "", suffix: DEFAULT_SUFFIX })?;
    crate::log::to_directory(None, session)?;
    let connection = Connection::to(session, reference, Wishes { start: None, scripts: Scripts::No })?;
    let ways = arguments.direction.map_or_else(|| vec![Way::Down, Way::Up], |way| vec![way]);
    let measured = signal::unless_ended(all(&connection, arguments, &ways, session), || {}).await;
    connection.close().await;
    let speeds = measured?;
    match arguments.format.output {
        Format::Json => session.printer.json(&speeds),
        Format::Table => Ok(()),
    }
}

async fn all(connection: &Connection, arguments: &Arguments, ways: &[Way], session: &Session) -> Outcome<Vec<Speed>> {
    let mut speeds = Vec::new();
    for &way in ways {
        let mut progress = session.printer.progress();
        progress.stage(match way {
            Way::Down => "Receiving from the workspace",
            Way::Up => "Sending to the workspace",
        });
        let speed = one(connection, arguments.time, way).await?;
        drop(progress);
        if arguments.format.output == Format::Table {
            session.printer.data(line(&speed))?;
        }
        speeds.push(speed);
    }
    Ok(speeds)
}

async fn one(connection: &Connection, seconds: u32, way: Way) -> Outcome<Speed> {
    let direction = match way {
        Way::Up => Direction::Up,
        Way::Down => Direction::Down,
    };
    let opened = connection.open(&Target::Speedtest { direction, seconds }).await?;
    let measured = measure(opened.stream, direction, seconds).await.map_err(|error| {
        let failure = Failure::new(format!("the measurement broke off: {}", crate::config::plain(&error))).code(NO_CONNECTION);
        match error.kind() {
            io::ErrorKind::Unsupported => failure.hint("the workspace's agent is older than your berth: `berth restart` renews it"),
            _ => failure.hint("try again; `berth ping` tells how the way there is"),
        }
    })?;
    let path = connection.look().await.map(|look| (look.direct, look.via)).unwrap_or_default();
    Ok(Speed::of(way, measured, path))
}

fn line(speed: &Speed) -> String {
    let name = match speed.direction {
        Way::Up => "up",
        Way::Down => "down",
    };
    let way = if speed.direct { "direct" } else { "through the relay" };
    let (megabytes, seconds) = (speed.bytes as f64 / 1e6, speed.seconds);
    format!("{name:<4}  {:.1} Mbit/s  {megabytes:.1} MB in {seconds:.1} s  {way}", speed.megabits_per_second)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_speed_is_shown_in_megabits() {
        let measured = Measured { bytes: 125_000_000, took: Duration::from_secs(5) };
        let speed = Speed::of(Way::Down, measured, (true, "192.0.2.1:1".to_owned()));
        insta::assert_snapshot!(line(&speed), @"down  200.0 Mbit/s  125.0 MB in 5.0 s  direct");
    }
}
