//! The process table of this machine: `/proc` on Linux, the output of `ps` elsewhere.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(any(not(target_os = "linux"), test))]
mod ps;

#[cfg(target_os = "linux")]
pub(super) use linux::{all, boot_id, command_line, marks, one};
#[cfg(not(target_os = "linux"))]
pub(super) use ps::{all, boot_id, command_line, marks, one};

/// A process as the table shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) pid: i32,
    pub(super) parent: i32,
    pub(super) group: i32,
    pub(super) session: i32,
    /// When it started; two processes with the same number differ in it.
    pub(super) start: String,
    /// It has ended and waits for its parent.
    pub(super) zombie: bool,
}

/// The environment with which a process was started, as `NAME=value`; empty when it is not ours to read.
#[derive(Clone, Debug, Default)]
pub(super) struct Marks(Vec<String>);

impl Marks {
    /// True when the environment holds this `NAME=value`.
    pub(super) fn contains(&self, mark: &str) -> bool {
        self.0.iter().any(|entry| entry == mark)
    }

    /// The value of the environment variable `name`.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='))
    }
}
