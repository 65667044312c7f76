//! How much of memory or of a volume is used.
//!
//! Memory is that of the control group the workspace is in, if it has a limit, else the machine's
//! (<https://docs.kernel.org/admin-guide/cgroup-v2.html>, <https://docs.kernel.org/filesystems/proc.html#meminfo>).

use std::fs;
use std::io;
use std::path::Path;

/// Bytes in use, of how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) used: u64,
    pub(super) total: u64,
}

impl Usage {
    /// The part in use; of nothing at all nothing is used.
    pub(super) fn percent(self) -> u64 {
        let percent = u128::from(self.used) * 100 / u128::from(self.total.max(1));
        u64::try_from(percent).unwrap_or(u64::MAX)
    }

    /// The whole, for people.
    #[allow(clippy::cast_precision_loss, reason = "one digit is shown")]
    pub(super) fn whole(self) -> String {
        format!("{:.1} GiB", self.total as f64 / f64::from(1 << 30))
    }
}

/// The workspace's memory.
pub(super) fn memory() -> io::Result<Usage> {
    let group = Path::new("/sys/fs/cgroup");
    let machine = || machine(&fs::read_to_string("/proc/meminfo")?);
    let grouped = unified(group).or_else(|| divided(&group.join("memory")));
    match (grouped, machine()) {
        // A limit above what the machine has is none.
        (Some(group), Ok(machine)) if group.total > machine.total => Ok(machine),
        (Some(group), _) => Ok(group),
        (None, machine) => machine,
    }
}

/// A volume, by a path on it. What is kept for the administrator counts as used.
pub(super) fn volume(path: &Path) -> io::Result<Usage> {
    let volume = rustix::fs::statvfs(path)?;
    let total = volume.f_blocks.saturating_mul(volume.f_frsize);
    Ok(Usage { used: total.saturating_sub(volume.f_bavail.saturating_mul(volume.f_frsize)), total })
}

/// The group's memory in version 2; `None` without a limit.
fn unified(group: &Path) -> Option<Usage> {
    grouped(group, ["memory.max", "memory.current", "inactive_file"])
}

/// The same in version 1.
fn divided(group: &Path) -> Option<Usage> {
    grouped(group, ["memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"])
}

/// What files of the group say. Pages of files that nobody uses are given up when memory is short: they count as free.
fn grouped(group: &Path, [limit, current, inactive]: [&str; 3]) -> Option<Usage> {
    let number = |file: &str| fs::read_to_string(group.join(file)).ok()?.trim().parse::<u64>().ok();
    let statistics = fs::read_to_string(group.join("memory.stat")).ok()?;
    let inactive = statistics.lines().find_map(|line| line.strip_prefix(inactive)?.strip_prefix(' ')?.parse::<u64>().ok());
    Some(Usage { total: number(limit)?, used: number(current)?.saturating_sub(inactive.unwrap_or(0)) })
}

/// The machine's memory.
fn machine(meminfo: &str) -> io::Result<Usage> {
    let field = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
    };
    match (field("MemTotal"), field("MemAvailable")) {
        (Some(total), Some(available)) => Ok(Usage { used: total.saturating_sub(available), total }),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "/proc/meminfo does not tell")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_groups_limit_is_what_counts_in_both_versions() {
        let group = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| fs::write(group.path().join(file), text).unwrap();
        assert_eq!(unified(group.path()), None);
        write("memory.stat", "anon 5\ninactive_file 30\ntotal_inactive_file 20\n");
        write("memory.max", "max\n");
        write("memory.current", "90\n");
        assert_eq!(unified(group.path()), None, "a group without a limit has the machine's memory");
        write("memory.max", "200\n");
        let usage = unified(group.path()).unwrap();
        assert_eq!((usage, usage.percent()), (Usage { used: 60, total: 200 }, 30));
        write("memory.limit_in_bytes", "100\n");
        write("memory.usage_in_bytes", "60\n");
        assert_eq!(divided(group.path()), Some(Usage { used: 40, total: 100 }));
    }

    #[test]
    fn the_machines_memory_is_what_programs_can_still_have() {
        let text = "MemTotal:        4000 kB\nMemFree:          100 kB\nMemAvailable:    1000 kB\n";
        let usage = machine(text).unwrap();
        assert_eq!((usage.percent(), usage.total), (75, 4000 * 1024));
        assert!(machine("MemTotal: 1 kB\n").is_err());
        let here = memory().unwrap();
        assert!(here.total > 0 && here.used <= here.total, "{here:?}");
        assert_eq!(Usage { used: 1, total: 0 }.percent(), 100);
    }
}
