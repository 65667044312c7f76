//! Lines on their way to the agent's log: collected, sent together, dropped rather than ever holding up a script.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use berth_wire::agent::{Line, Logs};
use berth_wire::domain::limit::{LOG_BATCH_LINES_MAX, LOG_LINE_BYTES_MAX};
use berth_wire::domain::{LogLevel, Timestamp};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::control::Control;

/// Lines that wait to be sent. More are dropped, and their number is told.
const LINES_WAITING_MAX: usize = 10_000;

/// How long the first line waits for company.
const GATHER: Duration = Duration::from_millis(250);

/// Bytes of text in one request.
const BATCH_BYTES_MAX: usize = 256 << 10;

/// Bytes read from a script at a time.
const READ_BYTES: usize = 16 << 10;

/// Where lines go. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LogSender {
    lines: mpsc::Sender<(Uuid, Line)>,
    lost: Arc<AtomicUsize>,
}

/// Sends lines on to the control plane.
#[derive(Debug)]
pub struct LogShipper {
    lines: mpsc::Receiver<(Uuid, Line)>,
    lost: Arc<AtomicUsize>,
    control: Arc<Control>,
}

/// A log: one end to write to, one to be [run](LogShipper::run).
pub fn channel(control: Arc<Control>) -> (LogSender, LogShipper) {
    let (sender, lines) = mpsc::channel(LINES_WAITING_MAX);
    let lost = Arc::<AtomicUsize>::default();
    (LogSender { lines: sender, lost: Arc::clone(&lost) }, LogShipper { lines, lost, control })
}

impl LogSender {
    /// Adds a line of a source. A line that finds no room is lost: a script is never held up by its log.
    pub fn line(&self, source: Uuid, level: LogLevel, output: String) {
        let line = Line { created_at: Timestamp::now(), level, output };
        if self.lines.try_send((source, line)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Adds every line that `reader` yields, and hands the bytes as they are to `tee`, until the end of the stream.
    pub(crate) async fn lines_of(
        &self,
        mut reader: impl AsyncRead + Unpin,
        (source, level): (Uuid, LogLevel),
        mut tee: impl FnMut(&[u8]),
    ) {
        let mut splitter = Splitter::default();
        let mut buffer = vec![0; READ_BYTES];
        while let Ok(count @ 1..) = reader.read(&mut buffer).await {
            let bytes = buffer.get(..count).unwrap_or_default();
            tee(bytes);
            splitter.push(bytes, |line| self.line(source, level, line));
        }
        splitter.finish(|line| self.line(source, level, line));
    }
}

impl LogShipper {
    /// Sends lines until every sender is gone and all of them are sent.
    pub async fn run(mut self) {
        let mut waiting = VecDeque::new();
        let mut is_wanted = true;
        while let Some(first) = self.lines.recv().await {
            let source = first.0;
            waiting.push_back(first);
            self.gather(&mut waiting).await;
            let lost = self.lost.swap(0, Ordering::Relaxed);
            if lost > 0 {
                let output = format!("{lost} lines came faster than they could be sent and are not kept");
                waiting.push_back((source, Line { created_at: Timestamp::now(), level: LogLevel::Warn, output }));
            }
            while let Some(logs) = next_batch(&mut waiting) {
                is_wanted = is_wanted && self.control.send_logs(&logs).await;
            }
        }
    }

    async fn gather(&mut self, waiting: &mut VecDeque<(Uuid, Line)>) {
        let gathering = async {
            while waiting.len() < LOG_BATCH_LINES_MAX {
                match self.lines.recv().await {
                    Some(line) => waiting.push_back(line),
                    None => return,
                }
            }
        };
        tokio::time::timeout(GATHER, gathering).await.ok();
    }
}

/// Takes the lines at the front that share a source, as many as fit into one request.
fn next_batch(waiting: &mut VecDeque<(Uuid, Line)>) -> Option<Logs> {
    let source = waiting.front()?.0;
    let mut logs = Vec::new();
    let mut bytes = 0;
    while let Some((next, line)) = waiting.front()
        && *next == source
        && logs.len() < LOG_BATCH_LINES_MAX
        && (logs.is_empty() || bytes + line.output.len() <= BATCH_BYTES_MAX)
    {
        bytes += line.output.len();
        logs.extend(waiting.pop_front().map(|(_, line)| line));
    }
    Some(Logs { log_source_id: source, logs })
}

/// Cuts a stream into lines; a line longer than a log holds becomes several.
#[derive(Default)]
struct Splitter {
    partial: Vec<u8>,
}

impl Splitter {
    fn push(&mut self, bytes: &[u8], mut emit: impl FnMut(String)) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, is_whole) = part.strip_suffix(b"\n").map_or((part, false), |text| (text, true));
            for piece in text.chunks(LOG_LINE_BYTES_MAX) {
                if self.partial.len() + piece.len() > LOG_LINE_BYTES_MAX {
                    self.emit(&mut emit);
                }
                self.partial.extend_from_slice(piece);
            }
            if is_whole {
                self.emit(&mut emit);
            }
        }
    }

    fn finish(mut self, mut emit: impl FnMut(String)) {
        if !self.partial.is_empty() {
            self.emit(&mut emit);
        }
    }

    fn emit(&mut self, emit: &mut impl FnMut(String)) {
        let line = self.partial.strip_suffix(b"\r").unwrap_or(&self.partial);
        emit(String::from_utf8_lossy(line).into_owned());
        self.partial.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(chunks: &[&[u8]]) -> Vec<String> {
        let mut splitter = Splitter::default();
        let mut lines = Vec::new();
        for chunk in chunks {
            splitter.push(chunk, |line| lines.push(line));
        }
        splitter.finish(|line| lines.push(line));
        lines
    }

    #[test]
    fn lines_are_whole_however_the_stream_is_cut() {
        assert_eq!(split(&[b"on", b"e\r\n\ntw", b"o\nthree"]), ["one", "", "two", "three"]);
        assert_eq!(split(&[b"caf\xe9\n"]), ["caf\u{fffd}"]);
        assert_eq!(split(&[]), Vec::<String>::new());
    }

    #[test]
    fn a_line_without_end_is_cut_and_nothing_of_it_is_lost() {
        let long = vec![b'x'; LOG_LINE_BYTES_MAX * 2 + 5];
        let lines = split(&[&long[..7], &long[7..]]);
        assert!(lines.iter().all(|line| line.len() <= LOG_LINE_BYTES_MAX));
        assert_eq!(lines.concat().len(), long.len());
    }

    #[test]
    fn a_batch_has_one_source_and_fits() {
        let line = |bytes: usize| Line { created_at: Timestamp::UNIX_EPOCH, level: LogLevel::Info, output: "x".repeat(bytes) };
        let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let mut waiting: VecDeque<_> = (0..LOG_BATCH_LINES_MAX + 1).map(|_| (a, line(1))).collect();
        waiting.push_back((b, line(BATCH_BYTES_MAX)));
        waiting.push_back((b, line(1)));
        let sizes: Vec<usize> = std::iter::from_fn(|| next_batch(&mut waiting)).map(|logs| logs.logs.len()).collect();
        assert_eq!(sizes, [LOG_BATCH_LINES_MAX, 1, 1, 1]);
    }
}
