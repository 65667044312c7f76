//! Logs of jobs and agents: lines numbered from 1, a row per batch, the count beside the body of the job's or agent's own row.
//!
//! A batch's row is named by its last line, so that what follows line N is one Query.

use berth_domain::{LogLevel, LogSource, Timestamp, limit};
use berth_wire::{agent::AgentLog, build::JobLog, runner::LogLine};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    JobId, JobRecord, LeaseError, RunnerSession, Store, TableError,
    lease::contention,
    table::{Bound, Key, RACES_MAX, Range, Row, WriteError, pause},
    write::Write,
};

/// The most text of one batch's row, in bytes; JSON can double it.
const BATCH_BYTES_MAX: usize = 128 * 1024;
/// The most rows written at once: with their JSON well below the 4 MB of a transaction.
const BATCHES_MAX: usize = 12;
/// How many rows a reader asks for at a time.
const PAGE: usize = 32;
/// What a line counts besides its text, in bytes.
const LINE_BYTES: usize = 120;
/// The last line of a log that reached its limit.
const CUT: &str = "the log is cut here: it reached its limit of 10 MiB";

/// A line of some log.
pub(crate) trait Line: Serialize + DeserializeOwned + Clone {
    fn number(&mut self) -> &mut u64;
    fn text(&mut self) -> &mut String;
}

impl Line for JobLog {
    fn number(&mut self) -> &mut u64 {
        &mut self.id
    }
    fn text(&mut self) -> &mut String {
        &mut self.output
    }
}

impl Line for AgentLog {
    fn number(&mut self) -> &mut u64 {
        &mut self.id
    }
    fn text(&mut self) -> &mut String {
        &mut self.output
    }
}

/// Whether a log of this size was cut.
pub(crate) const fn is_full(bytes: u64) -> bool {
    bytes > limit::LOG_BYTES_MAX
}

/// How far a log is, and the second until which it is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) lines: u64,
    pub(crate) bytes: u64,
    pub(crate) until: Option<i64>,
}

/// Batches to write, each with its size, and the log's size after them.
struct Batched<T> {
    batches: Vec<Vec<T>>,
    after: Size,
}

/// Numbers the lines, cuts those that are too long, and stops at the log's limit with one last line that says so.
fn batch<T: Line>(lines: Vec<T>, mut size: Size, cut: &str) -> Batched<T> {
    let (mut batches, mut current, mut room) = (Vec::new(), Vec::new(), BATCH_BYTES_MAX);
    for mut line in lines {
        if is_full(size.bytes) {
            break;
        }
        truncate(line.text());
        let bytes = line.text().len() + LINE_BYTES;
        size.bytes += bytes as u64;
        if is_full(size.bytes) {
            cut.clone_into(line.text());
        }
        size.lines += 1;
        *line.number() = size.lines;
        if bytes > room {
            batches.push(std::mem::take(&mut current));
            room = BATCH_BYTES_MAX;
        }
        room = room.saturating_sub(bytes);
        current.push(line);
    }
    batches.push(current);
    batches.retain(|batch: &Vec<T>| !batch.is_empty());
    Batched { batches, after: size }
}

fn truncate(text: &mut String) {
    if text.len() > limit::LOG_LINE_BYTES_MAX {
        text.truncate(text.floor_char_boundary(limit::LOG_LINE_BYTES_MAX));
    }
}

fn job_log(id: JobId) -> String {
    format!("LOG#{id}")
}

impl Store {
    /// Adds lines to a job's log and says the number of its last line; `None` when there is no such job. A read and a transaction.
    ///
    /// # Errors
    /// When the table fails.
    pub async fn append_logs(&self, id: JobId, lines: Vec<LogLine>) -> Result<Option<u64>, TableError> {
        for attempt in 0..RACES_MAX {
            let Some(row) = self.job_row(id).await? else { return Ok(None) };
            match self.append_to(&row, &lines).await? {
                Some(last) => return Ok(Some(last)),
                None => pause(attempt).await,
            }
        }
        Err(contention(id))
    }

    /// Adds a runner's lines to the log of the job that its session holds. A read and a transaction.
    ///
    /// # Errors
    /// [`LeaseError::Lost`] when the session does not hold the job.
    pub async fn append_runner_logs(&self, session: &RunnerSession, lines: Vec<LogLine>) -> Result<u64, LeaseError> {
        let id = session.job;
        for attempt in 0..RACES_MAX {
            let row = self.job_row(id).await?.ok_or(LeaseError::Missing(id))?;
            if !row.value.is_held_by(session) {
                return Err(LeaseError::Lost(id));
            }
            match self.append_to(&row, &lines).await? {
                Some(last) => return Ok(last),
                None => pause(attempt).await,
            }
        }
        Err(contention(id).into())
    }

    async fn append_to(&self, row: &Row<JobRecord>, lines: &[LogLine]) -> Result<Option<u64>, TableError> {
        let lines = lines.iter().cloned().map(|line| JobLog {
            id: 0,
            created_at: line.created_at,
            log_source: line.source,
            log_level: line.level,
            stage: line.stage,
            output: line.output,
        });
        let size = Size { lines: row.lines, bytes: row.bytes, until: row.value.kept_until() };
        self.append(&job_log(row.value.id), &row.key, size, lines.collect()).await
    }

    /// Adds lines to the log `log`, whose size stands in the row `key`; `None` when someone else added at the same time.
    pub(crate) async fn append<T: Line>(&self, log: &str, key: &Key, size: Size, lines: Vec<T>) -> Result<Option<u64>, TableError> {
        let Batched { batches, after } = batch(lines, size, CUT);
        let mut from = size.lines;
        for (written, some) in batches.chunks(BATCHES_MAX).enumerate() {
            let mut writes = Vec::with_capacity(some.len() + 1);
            let mut to = from;
            for batch in some {
                to += batch.len() as u64;
                let write = Write::insert(Key::new(log, format!("{to:012}")), batch)?;
                writes.push(match size.until {
                    Some(second) => write.until(second),
                    None => write,
                });
            }
            // Between the first and the last of many transactions the size in bytes is a little ahead.
            writes.insert(0, Write::tally(key.clone(), from, to, after.bytes));
            match self.table.transact(writes).await {
                Ok(()) => {}
                Err(WriteError::Refused { .. }) if written == 0 => return Ok(None),
                Err(WriteError::Refused { .. }) => return Err(TableError::Contention(log.to_owned())),
                Err(WriteError::Table(error)) => return Err(error),
            }
            from = to;
        }
        Ok(Some(after.lines))
    }

    /// At most `limit` lines of a job's log after line `after`. One Query, more for very many lines.
    ///
    /// # Errors
    /// When the table fails.
    pub async fn logs(&self, id: JobId, after: u64, limit: usize) -> Result<Vec<JobLog>, TableError> {
        self.lines(&job_log(id), after, limit).await
    }

    pub(crate) async fn lines<T: Line>(&self, log: &str, mut after: u64, limit: usize) -> Result<Vec<T>, TableError> {
        let mut lines = Vec::new();
        while lines.len() < limit {
            let range = Range { limit: Some(PAGE), ..Range::of(log, Bound::After(format!("{after:012}"))) };
            let rows = self.table.query::<Vec<T>>(range).await?;
            let ended = rows.len() < PAGE;
            let fresh = rows.into_iter().flat_map(|row| row.value).filter_map(|mut line| (*line.number() > after).then_some(line));
            lines.extend(fresh.take(limit - lines.len()));
            match lines.last_mut() {
                Some(last) if !ended => after = *last.number(),
                _ => break,
            }
        }
        Ok(lines)
    }

    /// The last lines of a job whose runner was lost: why it ended, and for a build what to do about it.
    #[must_use]
    pub fn lost_lines(job: JobId, reason: &str, now: Timestamp) -> Vec<LogLine> {
        let stage = "Ending the job";
        let mut lines = vec![Self::own_line(LogLevel::Error, stage, reason, now)];
        if matches!(job, JobId::Build(_)) {
            let text = "what was being made may exist and be in no state: `berth repair` finds it, to be imported or deleted";
            lines.push(Self::own_line(LogLevel::Warn, stage, text, now));
        }
        lines
    }

    /// A line of the control plane's own, for [`Self::append_logs`].
    #[must_use]
    pub fn own_line(level: LogLevel, stage: &str, output: &str, now: Timestamp) -> LogLine {
        LogLine { created_at: now, source: LogSource::ProvisionerDaemon, level, stage: stage.to_owned(), output: output.to_owned() }
    }
}
