//! Ends a job that takes too long, or that says and does nothing any more, and says what it was at.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    lease::{Stop, Stops},
    progress::{Oldest, Progress},
    task::owned,
};

/// How often it is looked whether something is done, at most and at least.
const LOOK_MAX: Duration = Duration::from_secs(30);
const LOOK_MIN: Duration = Duration::from_millis(200);
/// Less processor time than this is not work: Terraform itself uses some to say that it still waits.
const WORK_MIN: Duration = Duration::from_millis(500);
/// What a tick of `/proc/<pid>/stat` is; the same on all of Linux's architectures (`USER_HZ`).
const TICK: Duration = Duration::from_millis(10);

/// How long a job may take, and be silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// From the claim to the end.
    pub timeout: Duration,
    /// Without output, processor time, or a new process.
    pub silence: Duration,
}

/// Watches until dropped.
pub(crate) fn watch(limits: Limits, progress: Progress, stops: Stops) -> AbortOnDropHandle<()> {
    owned(async move {
        let (stop, words) = tokio::select! {
            () = sleep(limits.timeout) => (Stop::Overdue, format!("the build was ended after {}, the longest it may take", span(limits.timeout))),
            quiet = silent(limits.silence, &progress) => (Stop::Silent, format!("the build was ended: it said and did nothing for {}", span(quiet))),
        };
        stops.give_up(stop, words + &at(progress.oldest()));
    })
}

fn at(oldest: Option<Oldest>) -> String {
    oldest
        .map_or_else(String::new, |Oldest { action, resource, age }| format!("; it was at {resource} ({action}) for {}", span(age)))
}

/// Returns when there was no sign of life for so long; says for how long exactly.
async fn silent(limit: Duration, progress: &Progress) -> Duration {
    let mut last: Option<(Instant, Work)> = None;
    loop {
        sleep((limit / 20).clamp(LOOK_MIN, LOOK_MAX)).await;
        let Some((since, process)) = progress.quiet() else {
            last = None;
            continue;
        };
        let now = process.map(Work::of_session).unwrap_or_default();
        match &last {
            Some((known, before)) if *known == since => {
                if now.is_more_than(before) {
                    progress.sign();
                } else if since.elapsed() >= limit {
                    return since.elapsed();
                }
            }
            _ => last = Some((since, now)),
        }
    }
}

/// What the processes of a session have done so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Work {
    time: Duration,
    processes: Vec<i32>,
}

impl Work {
    fn is_more_than(&self, before: &Self) -> bool {
        self.processes != before.processes || self.time > before.time + WORK_MIN
    }

    /// Sums up the processes of the session that `leader` leads; nothing where the system does not say (proc(5)).
    fn of_session(leader: i32) -> Self {
        let mut work = Self::default();
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(process) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
            let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
            if let Some(time) = time_in_session(&stat, leader) {
                work.time += time;
                work.processes.push(process);
            }
        }
        work.processes.sort_unstable();
        work
    }
}

/// The processor time of a process and of its children that it waited for, if it is of the session.
fn time_in_session(stat: &str, leader: i32) -> Option<Duration> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |position: usize| fields.get(position)?.parse::<u32>().ok();
    if fields.get(3)?.parse::<i32>().ok()? != leader {
        return None;
    }
    let ticks = (11..15).map(|position| number(position).unwrap_or(0)).sum::<u32>();
    Some(TICK * ticks)
}

/// A time in words: `2 h`, `1 h 58 min`, `45 s`.
fn span(time: Duration) -> String {
    let (hours, minutes, seconds) = (time.as_secs() / 3600, time.as_secs() / 60 % 60, time.as_secs() % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds} s"),
        (0, minutes) if seconds == 0 || minutes >= 10 => format!("{minutes} min"),
        (0, minutes) => format!("{minutes} min {seconds} s"),
        (hours, 0) => format!("{hours} h"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terraform::event::{self, Step};
    use berth_domain::{Timestamp, TimingStage};

    #[test]
    fn times_read_well() {
        let read: Vec<_> = [45, 60, 90, 754, 7200, 7080, 86_460].map(|seconds| span(Duration::from_secs(seconds))).into();
        assert_eq!(read, ["45 s", "1 min", "1 min 30 s", "12 min", "2 h", "1 h 58 min", "24 h 1 min"]);
    }

    #[test]
    fn only_the_sessions_own_processes_count() {
        let stat = "42 (a) b) S 1 42 7 0 -1 4194560 100 0 0 0 150 50 10 5 20 0 1 0 100 0 0";
        assert_eq!(time_in_session(stat, 7), Some(Duration::from_millis(2150)));
        assert_eq!(time_in_session(stat, 8), None);
        assert_eq!(time_in_session("", 7), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_build_that_takes_too_long_is_ended_and_what_it_was_at_is_named() {
        let (progress, stops) = (Progress::default(), Stops::default());
        let limits = Limits { timeout: Duration::from_secs(7200), silence: Duration::from_secs(100_000) };
        let _watch = watch(limits, progress.clone(), stops.clone());
        progress.begin(TimingStage::Apply, None);
        let work = event::Work { source: "aws".into(), action: "create".into(), resource: "aws_instance.vm".into() };
        progress.note(Some(Step::Began { stage: TimingStage::Apply, work, at: Timestamp::now() }));
        stops.watch().wait_for(Option::is_some).await.unwrap();
        assert_eq!(stops.now(), Some(Stop::Overdue));
        let expected = "the build was ended after 2 h, the longest it may take; it was at aws_instance.vm (create) for 2 h";
        assert_eq!(stops.reason().unwrap(), expected);
    }

    #[tokio::test(start_paused = true)]
    async fn a_build_that_speaks_goes_on_and_one_that_falls_silent_is_ended() {
        let (progress, stops) = (Progress::default(), Stops::default());
        let limits = Limits { timeout: Duration::from_secs(100_000), silence: Duration::from_secs(600) };
        let _watch = watch(limits, progress.clone(), stops.clone());
        tokio::time::sleep(Duration::from_secs(5000)).await;
        assert_eq!(stops.now(), None, "no command runs");
        progress.begin(TimingStage::Apply, None);
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_secs(500)).await;
            progress.note(None);
        }
        assert_eq!(stops.now(), None);
        let fell_silent = Instant::now();
        stops.watch().wait_for(Option::is_some).await.unwrap();
        assert_eq!(stops.now(), Some(Stop::Silent));
        assert!((600..660).contains(&fell_silent.elapsed().as_secs()), "{:?}", fell_silent.elapsed());
        assert!(stops.reason().unwrap().starts_with("the build was ended: it said and did nothing for 10 min"));
    }
}
