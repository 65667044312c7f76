//! Metadata blocks: lines for the shell that say how the workspace fares, run again and again, each at its interval. What they said is told
//! to the control plane together, and only when it has changed or is getting old.

use std::collections::BTreeMap;
use std::time::Duration;

use berth_wire::agent::{MetadataReport, MetadataValue};
use berth_wire::domain::Timestamp;
use berth_wire::domain::limit::METADATA_BLOCKS_MAX;
use berth_wire::runner::Metadata;
use futures_util::future::join_all;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use crate::control::Control;
use crate::script::ScriptRunner;

/// The shortest interval and the shortest time limit that are kept to.
const SECONDS_MIN: u64 = 1;
/// How long the first value waits for company.
const GATHER: Duration = Duration::from_millis(500);
/// How often a value that does not change is told again: whoever keeps it may have forgotten it.
const TELL_AGAIN: Duration = Duration::from_secs(300);

/// Runs all blocks until dropped; without blocks it never wakes up.
pub async fn run(runner: &ScriptRunner, control: &Control, blocks: &[Metadata]) {
    let (sender, values) = mpsc::channel(METADATA_BLOCKS_MAX);
    let asking = join_all(blocks.iter().take(METADATA_BLOCKS_MAX).map(|block| ask(runner, block, sender.clone())));
    drop(sender);
    tokio::join!(asking, tell(control, values));
    std::future::pending::<()>().await;
}

/// Runs one block at its interval; once, if it has none.
async fn ask(runner: &ScriptRunner, block: &Metadata, values: mpsc::Sender<MetadataValue>) {
    let seconds = |seconds: i64| Duration::from_secs(u64::try_from(seconds).unwrap_or(0).max(SECONDS_MIN));
    let limit = if block.timeout > 0 { seconds(block.timeout) } else { seconds(block.interval) };
    let mut told: Option<(MetadataValue, Instant)> = None;
    loop {
        let next = Instant::now() + seconds(block.interval);
        let (value, error) = match runner.ask(&block.script, limit).await {
            Ok(value) => (value, String::new()),
            Err(error) => (String::new(), error),
        };
        let value = MetadataValue { key: block.key.clone(), collected_at: Timestamp::now(), value, error };
        let same = |(before, at): &(MetadataValue, Instant)| {
            before.value == value.value && before.error == value.error && at.elapsed() < TELL_AGAIN
        };
        if !told.as_ref().is_some_and(same) {
            told = Some((value.clone(), Instant::now()));
            if values.send(value).await.is_err() {
                return;
            }
        }
        if block.interval <= 0 {
            return;
        }
        sleep_until(next).await;
    }
}

/// Tells values together. One that is not heard is not told again: a newer one comes.
async fn tell(control: &Control, mut values: mpsc::Receiver<MetadataValue>) {
    while let Some(first) = values.recv().await {
        sleep(GATHER).await;
        let mut latest = BTreeMap::from([(first.key.clone(), first)]);
        while let Ok(value) = values.try_recv() {
            latest.insert(value.key.clone(), value);
        }
        control.tell_metadata(&MetadataReport { values: latest.into_values().collect() }).await;
    }
}
