//! The job's log: lines go into a bounded queue and from there to the API in batches, so that a slow network never slows Terraform.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use berth_client::RunnerClient;
use berth_domain::{
    LogLevel, LogSource, Timestamp,
    limit::{LOG_BYTES_MAX, LOG_LINE_BYTES_MAX},
};
use berth_wire::runner::LogLine;
use tokio::{
    sync::{
        Notify,
        mpsc::{Receiver, Sender, channel},
    },
    time::{Instant, sleep_until, timeout},
};
use tokio_util::task::AbortOnDropHandle;

use crate::task::owned;

/// Lines that may wait for the API before further ones are dropped.
const QUEUE_LINES_MAX: usize = 4096;
/// A batch leaves when it holds so many lines,
const BATCH_LINES: usize = 64;
/// or when its first line is so old.
const BATCH_WAIT: Duration = Duration::from_millis(200);
/// How long delivering what is left may take at the end.
const DRAIN: Duration = Duration::from_secs(15);
/// Pauses between attempts to deliver a batch.
const PAUSES: [Duration; 5] = [
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];

/// Where lines are written. Cheap to clone; never blocks.
#[derive(Debug, Clone)]
pub struct Log {
    lines: Sender<LogLine>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    dropped: AtomicU64,
    bytes: AtomicU64,
    stage: Mutex<String>,
    flush: Notify,
}

/// The queue's other end, before it is known where lines go.
#[derive(Debug)]
pub struct Unsent {
    lines: Receiver<LogLine>,
    shared: Arc<Shared>,
}

/// The task that delivers lines.
#[derive(Debug)]
pub struct Delivery(AbortOnDropHandle<()>);

/// A log and the lines written to it so far.
#[must_use]
pub fn log() -> (Log, Unsent) {
    let (sender, receiver) = channel(QUEUE_LINES_MAX);
    let shared = Arc::new(Shared::default());
    (Log { lines: sender, shared: Arc::clone(&shared) }, Unsent { lines: receiver, shared })
}

impl Log {
    /// Begins a stage: `Preparing`, `Applying`. Lines from now on belong to it.
    pub fn stage(&self, name: &str) {
        if let Ok(mut stage) = self.shared.stage.lock() {
            name.clone_into(&mut stage);
        }
    }

    /// A line of the runner's own.
    pub fn say(&self, text: &str) {
        self.write(LogSource::ProvisionerDaemon, LogLevel::Info, text);
    }

    /// A warning of the runner's own.
    pub fn warn(&self, text: &str) {
        self.write(LogSource::ProvisionerDaemon, LogLevel::Warn, text);
    }

    /// Text from Terraform; each of its lines becomes one.
    pub fn terraform(&self, level: LogLevel, text: &str) {
        self.write(LogSource::Provisioner, level, text);
    }

    /// An error of the runner's own.
    pub fn fail(&self, text: &str) {
        self.write(LogSource::ProvisionerDaemon, LogLevel::Error, text);
    }

    /// Lets the lines written so far leave now: for when there is something else to wait for.
    pub fn flush(&self) {
        self.shared.flush.notify_one();
    }

    fn write(&self, source: LogSource, level: LogLevel, text: &str) {
        let stage = self.shared.stage.lock().map(|stage| stage.clone()).unwrap_or_default();
        for line in text.split('\n') {
            self.push(LogLine { created_at: Timestamp::now(), source, level, stage: stage.clone(), output: cut(line.trim_end()) });
        }
    }

    fn push(&self, mut line: LogLine) {
        let bytes = line.output.len() as u64 + 1;
        let before = self.shared.bytes.fetch_add(bytes, Ordering::Relaxed);
        if before >= LOG_BYTES_MAX {
            return;
        }
        if before + bytes >= LOG_BYTES_MAX {
            line.level = LogLevel::Warn;
            line.output = format!("the log has reached {} MiB; the rest is left out", LOG_BYTES_MAX / (1024 * 1024));
        }
        if self.lines.try_send(line).is_err() {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// At most the limit's bytes of a line, on a character boundary.
fn cut(line: &str) -> String {
    if line.len() <= LOG_LINE_BYTES_MAX {
        return line.to_owned();
    }
    let end = (0..=LOG_LINE_BYTES_MAX - 4).rev().find(|end| line.is_char_boundary(*end)).unwrap_or(0);
    format!("{}\u{2026}", line.get(..end).unwrap_or_default())
}

impl Unsent {
    /// Starts to deliver, beginning with the lines written so far.
    #[must_use]
    pub fn deliver(self, client: RunnerClient) -> Delivery {
        Delivery(owned(deliver(self, client)))
    }
}

#[cfg(test)]
impl Unsent {
    /// The next line's text, if there is one.
    pub(crate) fn next_text(&mut self) -> Option<String> {
        self.lines.try_recv().ok().map(|line| line.output)
    }
}

impl Delivery {
    /// Waits until every line is delivered, which needs all [`Log`] clones to be gone, or until the time for it is over.
    pub async fn finish(self) {
        if timeout(DRAIN, self.0).await.is_err() {
            tracing::warn!("the end of the log could not be delivered in time");
        }
    }
}

async fn deliver(mut unsent: Unsent, client: RunnerClient) {
    while let Some(first) = unsent.lines.recv().await {
        let batch = fill(first, &mut unsent.lines, &unsent.shared.flush).await;
        let dropped = unsent.shared.dropped.swap(0, Ordering::Relaxed);
        if !send(&client, with_note(batch, dropped)).await {
            return;
        }
    }
}

async fn fill(first: LogLine, lines: &mut Receiver<LogLine>, flush: &Notify) -> Vec<LogLine> {
    let end = Instant::now() + BATCH_WAIT;
    let mut batch = vec![first];
    while batch.len() < BATCH_LINES {
        // In this order: what was written before a flush leaves with it.
        tokio::select! {
            biased;
            line = lines.recv() => match line {
                Some(line) => batch.push(line),
                None => break,
            },
            () = flush.notified() => break,
            () = sleep_until(end) => break,
        }
    }
    batch
}

fn with_note(mut batch: Vec<LogLine>, dropped: u64) -> Vec<LogLine> {
    if let Some(last) = batch.last().filter(|_| dropped > 0).cloned() {
        let output = format!("{dropped} lines are left out here: the log came faster than it could be delivered");
        batch.push(LogLine { level: LogLevel::Warn, source: LogSource::ProvisionerDaemon, output, ..last });
    }
    batch
}

/// Delivers one batch. False when the API will take no more, ever.
async fn send(client: &RunnerClient, batch: Vec<LogLine>) -> bool {
    for pause in PAUSES {
        match client.logs(&batch).await {
            Ok(()) => return true,
            Err(error) if error.is_transient() => tokio::time::sleep(pause).await,
            Err(error) => {
                tracing::warn!(%error, "the log is no longer accepted");
                return !(error.is_unauthorized() || error.is_conflict() || error.is_not_found());
            }
        }
    }
    tracing::warn!(lines = batch.len(), "log lines could not be delivered");
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_queue_drops_lines_and_says_how_many() {
        let (log, mut unsent) = log();
        log.stage("Applying");
        for number in 0..QUEUE_LINES_MAX + 3 {
            log.say(&format!("line {number}"));
        }
        let first = unsent.lines.recv().await.unwrap();
        assert_eq!((first.stage.as_str(), first.output.as_str()), ("Applying", "line 0"));
        let batch = fill(first, &mut unsent.lines, &unsent.shared.flush).await;
        assert_eq!(batch.len(), BATCH_LINES);
        let batch = with_note(batch, unsent.shared.dropped.swap(0, Ordering::Relaxed));
        assert!(batch.last().unwrap().output.starts_with("3 lines are left out"));
    }

    #[test]
    fn a_long_line_is_cut_between_characters_and_text_becomes_lines() {
        let long = "\u{e9}".repeat(LOG_LINE_BYTES_MAX);
        let short = cut(&long);
        assert!(short.len() <= LOG_LINE_BYTES_MAX && short.ends_with('\u{2026}'));
        let (log, mut unsent) = log();
        log.terraform(LogLevel::Error, "one\r\ntwo");
        assert_eq!(unsent.lines.try_recv().unwrap().output, "one");
        assert_eq!(unsent.lines.try_recv().unwrap().output, "two");
    }

    #[test]
    fn a_log_without_end_is_cut_with_one_note() {
        let (log, mut unsent) = log();
        log.shared.bytes.store(LOG_BYTES_MAX - 2, Ordering::Relaxed);
        log.say("over");
        log.say("never seen");
        assert!(unsent.lines.try_recv().unwrap().output.contains("the rest is left out"));
        assert!(unsent.lines.try_recv().is_err());
    }
}
