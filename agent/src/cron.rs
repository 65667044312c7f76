//! Scripts that run on a schedule, by the clock of the workspace.
//!
//! A schedule that comes round while its script still runs is left out. An agent without such scripts never wakes up for them.

use std::ffi::OsStr;
use std::time::Duration;

use berth_wire::domain::{Cron, LogLevel, ScriptStage, Timestamp};
use berth_wire::runner::Script;
use futures_util::future::join_all;
use jiff::ZonedDateTime;
use jiff::tz::TimeZone;
use tokio::time::sleep;

use crate::script::ScriptRunner;

/// The longest sleep at once: a timer does not see that the machine slept or that its clock was set.
const SLEEP_MAX: Duration = Duration::from_secs(600);

/// Runs every script that has a schedule, each time it says so, until dropped.
pub async fn run(runner: &ScriptRunner, scripts: &[Script]) {
    join_all(scripts.iter().filter(|script| !script.cron.is_empty()).map(|script| follow(runner, script))).await;
    std::future::pending::<()>().await;
}

async fn follow(runner: &ScriptRunner, script: &Script) {
    let cron = match Cron::parse_with_seconds(&script.cron) {
        Ok(cron) => cron,
        Err(error) => {
            return runner.log.line(script.id, LogLevel::Error, format!("the schedule {:?} cannot be used: {error}", script.cron));
        }
    };
    let zone = zone(runner, script, &cron);
    while let Some(next) = cron.next_after(&Timestamp::now().to_zoned_datetime(zone.clone())) {
        until(&next).await;
        runner.run(script, ScriptStage::Cron).await;
    }
    runner.log.line(script.id, LogLevel::Warn, format!("the schedule {:?} has no time in the next years", script.cron));
}

/// The schedule's own time zone, else the one of the workspace's environment, else the machine's.
fn zone(runner: &ScriptRunner, script: &Script, cron: &Cron) -> TimeZone {
    let variables = runner.sessions.surroundings().variables;
    let named = cron.zone().or_else(|| variables.get(OsStr::new("TZ"))?.to_str()).map(|name| name.trim_start_matches(':'));
    let Some(name) = named.filter(|name| !name.is_empty()) else { return TimeZone::system() };
    TimeZone::get(name).unwrap_or_else(|error| {
        let zone = TimeZone::system();
        let text = format!("the time zone {name:?} is not known here ({error}): the schedule follows the machine's clock");
        runner.log.line(script.id, LogLevel::Warn, text);
        zone
    })
}

async fn until(time: &ZonedDateTime) {
    loop {
        let left = time.timestamp().duration_since(Timestamp::now());
        match Duration::try_from(left) {
            Ok(left) if !left.is_zero() => sleep(left.min(SLEEP_MAX)).await,
            _ => return,
        }
    }
}
