//! Whether memory or a volume is nearly full, where the template asks to watch it: measured now and then, told as a line of the agent's log when
//! it becomes so and when it is over.
//!
//! A measurement above the threshold may be a moment's. It is full after `ABOVE_TO_TELL` such in a row, and over after as many good ones as
//! `BELOW_TO_CLEAR`: what goes up and down around the threshold is told once.

mod usage;

use std::path::Path;
use std::time::Duration;

use berth_wire::domain::LogLevel;
use berth_wire::domain::limit::VOLUME_MONITORS_MAX;
use berth_wire::runner::Monitors;
use tokio::time::sleep;
use uuid::Uuid;

use crate::log::LogSender;
use usage::Usage;

/// The time between two measurements.
const INTERVAL: Duration = Duration::from_secs(10);

/// So many measurements in a row above the threshold are told.
const ABOVE_TO_TELL: u32 = 4;

/// So many measurements in a row below the threshold end it.
const BELOW_TO_CLEAR: u32 = 20;

/// Watches until dropped; where nothing is to be watched it never wakes up.
pub async fn run(log: &LogSender, source: Uuid, monitors: &Monitors) {
    let mut watches: Vec<_> = watches(monitors).collect();
    if watches.is_empty() {
        return std::future::pending().await;
    }
    loop {
        for watch in &mut watches {
            if let Some((level, text)) = watch.look() {
                tracing::info!(watched = watch.what.name(), text, "what is watched changed");
                log.line(source, level, text);
            }
        }
        sleep(INTERVAL).await;
    }
}

fn watches(monitors: &Monitors) -> impl Iterator<Item = Watch<'_>> {
    let memory = monitors.memory.map(|threshold| Watch::new(What::Memory, threshold));
    let volumes = monitors.volumes.iter().take(VOLUME_MONITORS_MAX);
    memory.into_iter().chain(volumes.map(|volume| Watch::new(What::Volume(Path::new(&volume.path)), volume.threshold)))
}

#[derive(Clone, Copy, Debug)]
enum What<'a> {
    Memory,
    Volume(&'a Path),
}

impl What<'_> {
    fn name(self) -> String {
        match self {
            Self::Memory => "memory".to_owned(),
            Self::Volume(path) => format!("volume {}", path.display()),
        }
    }

    fn measure(self) -> std::io::Result<Usage> {
        match self {
            Self::Memory => usage::memory(),
            Self::Volume(path) => usage::volume(path),
        }
    }
}

/// One thing that is watched.
#[derive(Debug)]
struct Watch<'a> {
    what: What<'a>,
    threshold: u8,
    alarm: Alarm,
    /// Whether it cannot be measured, which is told once.
    is_blind: bool,
}

impl<'a> Watch<'a> {
    fn new(what: What<'a>, threshold: u8) -> Watch<'a> {
        Watch { what, threshold, alarm: Alarm::default(), is_blind: false }
    }

    /// Measures; gives a line for the log when there is news.
    fn look(&mut self) -> Option<(LogLevel, String)> {
        let name = self.what.name();
        let usage = match self.what.measure() {
            Ok(usage) => usage,
            Err(error) if !std::mem::replace(&mut self.is_blind, true) => {
                return Some((LogLevel::Warn, format!("{name} cannot be watched: {error}")));
            }
            Err(_) => return None,
        };
        self.is_blind = false;
        let (percent, whole, threshold) = (usage.percent(), usage.whole(), self.threshold);
        self.alarm.note(percent >= u64::from(threshold)).map(|is_full| match is_full {
            true => (
                LogLevel::Warn,
                format!("{name} is nearly full: {percent} % of {whole} is used, {threshold} % is the template's mark"),
            ),
            false => (LogLevel::Info, format!("{name} has room again: {percent} % of {whole} is used")),
        })
    }
}

/// Whether something is full, which many measurements decide.
#[derive(Debug, Default)]
struct Alarm {
    is_full: bool,
    /// How many measurements in a row said the contrary.
    contrary: u32,
}

impl Alarm {
    /// Notes a measurement; gives what holds now if that is news.
    fn note(&mut self, is_above: bool) -> Option<bool> {
        if is_above == self.is_full {
            self.contrary = 0;
            return None;
        }
        self.contrary += 1;
        let needed = if is_above { ABOVE_TO_TELL } else { BELOW_TO_CLEAR };
        if self.contrary < needed {
            return None;
        }
        *self = Alarm { is_full: is_above, contrary: 0 };
        Some(is_above)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_up_and_down_around_the_threshold_is_told_once() {
        let mut alarm = Alarm::default();
        let mut news = |measurements: &[(bool, usize)]| {
            let each = measurements.iter().flat_map(|(is_above, times)| std::iter::repeat_n(*is_above, *times));
            each.filter_map(|is_above| alarm.note(is_above)).collect::<Vec<_>>()
        };
        assert_eq!(news(&[(true, 3), (false, 1), (true, 3)]), [false; 0], "a moment's need is no news");
        assert_eq!(news(&[(true, 1)]), [true]);
        assert_eq!(news(&[(true, 9), (false, 19), (true, 1), (false, 19)]), [false; 0]);
        assert_eq!(news(&[(false, 1), (false, 30)]), [false]);
    }

    #[test]
    fn what_is_watched_is_measured_and_what_cannot_be_is_told_once() {
        let mut here = Watch::new(What::Volume(Path::new("/")), 0);
        let told: Vec<_> = (0..ABOVE_TO_TELL + 2).filter_map(|_| here.look()).collect();
        assert_eq!(told.len(), 1);
        assert!(told[0].1.starts_with("volume / is nearly full: "), "{told:?}");
        let mut nowhere = Watch::new(What::Volume(Path::new("/no/such/volume")), 0);
        let told: Vec<_> = (0..3).filter_map(|_| nowhere.look()).collect();
        assert_eq!(told.len(), 1);
        assert!(told[0].1.starts_with("volume /no/such/volume cannot be watched: "), "{told:?}");
        let mut memory = Watch::new(What::Memory, 101);
        assert!((0..9).all(|_| memory.look().is_none()), "it is measured, and never above 100 %");
    }
}
