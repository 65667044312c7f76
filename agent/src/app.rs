//! Whether the workspace's web apps answer: asked at each app's interval, told when it changes.
//!
//! ```text
//! initializing ──answers──> healthy <──answers── unhealthy
//!              └────`threshold` failures in a row────^
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use berth_client::AppProbe;
use berth_wire::agent::{AppHealthReport, CheckedApp};
use berth_wire::domain::AppHealth;
use futures_util::future::join_all;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};
use uuid::Uuid;

use crate::control::Control;

/// The shortest interval that is kept to.
const SECONDS_MIN: u64 = 1;

/// From this status on an app does not do what it is there for.
const BROKEN_STATUS: u16 = 500;

/// How long the first change waits for company.
const GATHER: Duration = Duration::from_millis(250);

/// Changes that wait to be told.
const CHANGES_WAITING_MAX: usize = 64;

/// Looks at all apps until dropped; without apps to look at it never wakes up.
pub async fn run(control: &Control, apps: &[CheckedApp]) {
    if !apps.is_empty() {
        let encrypted = apps.iter().any(|app| app.healthcheck.url.starts_with("https:"));
        match AppProbe::new(encrypted) {
            Ok(probe) => look_at_all(&probe, control, apps).await,
            Err(error) => tracing::warn!(%error, "the health of apps cannot be looked at"),
        }
    }
    std::future::pending::<()>().await;
}

async fn look_at_all(probe: &AppProbe, control: &Control, apps: &[CheckedApp]) {
    let (sender, changes) = mpsc::channel(CHANGES_WAITING_MAX);
    let looking = join_all(apps.iter().map(|app| look(probe, app, sender.clone())));
    tokio::join!(looking, tell(control, changes));
}

/// Looks at one app, at its interval.
async fn look(probe: &AppProbe, app: &CheckedApp, changes: mpsc::Sender<(Uuid, AppHealth)>) {
    let interval = Duration::from_secs(u64::try_from(app.healthcheck.interval).unwrap_or(0).max(SECONDS_MIN));
    let mut seen = Seen::default();
    loop {
        let next = Instant::now() + interval;
        let answer = probe.status(&app.healthcheck.url, interval).await;
        let answers = answer.as_ref().is_ok_and(|status| *status < BROKEN_STATUS);
        if let Some(health) = seen.note(answers, app.healthcheck.threshold) {
            tracing::info!(app.slug, %health, ?answer, "an app's health changed");
            if changes.send((app.id, health)).await.is_err() {
                return;
            }
        }
        sleep_until(next).await;
    }
}

/// What is known of an app.
#[derive(Debug, Default)]
struct Seen {
    health: Option<AppHealth>,
    failures: i64,
}

impl Seen {
    /// Notes an answer, or that there was none; gives the app's health if that is another one now.
    fn note(&mut self, answers: bool, threshold: i64) -> Option<AppHealth> {
        self.failures = if answers { 0 } else { self.failures.saturating_add(1) };
        let health = match answers {
            true => AppHealth::Healthy,
            false if self.failures >= threshold => AppHealth::Unhealthy,
            false => return None,
        };
        (self.health.replace(health) != Some(health)).then_some(health)
    }
}

/// Tells changes together, each until it is heard.
async fn tell(control: &Control, mut changes: mpsc::Receiver<(Uuid, AppHealth)>) {
    while let Some(first) = changes.recv().await {
        sleep(GATHER).await;
        let mut healths = BTreeMap::from([first]);
        while let Ok((app, health)) = changes.try_recv() {
            healths.insert(app, health);
        }
        control.tell_apps(&AppHealthReport { healths }).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_change_is_told_and_a_failure_counts_from_the_threshold_on() {
        let told = |answers: &[bool], threshold: i64| {
            let mut seen = Seen::default();
            answers.iter().map(|answers| seen.note(*answers, threshold).map_or("", AppHealth::as_str)).collect::<Vec<_>>().join(",")
        };
        assert_eq!(told(&[false, false, true, true], 3), ",,healthy,");
        assert_eq!(told(&[false, false, false, false, true], 3), ",,unhealthy,,healthy");
        assert_eq!(told(&[true, false, true, false, false, true], 2), "healthy,,,,unhealthy,healthy");
        assert_eq!(told(&[false], 1), "unhealthy");
        assert_eq!(told(&[false], 0), "unhealthy", "a threshold that is none counts the first failure");
    }
}
