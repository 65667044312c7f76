//! Measuring: the kernel's files (proc(5), the kernel's documentation of cgroup v1 and v2), and `statvfs`.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::Figure;

/// How long the processors are watched.
const SAMPLE: Duration = Duration::from_millis(200);

/// In names of the control groups of containers.
const CONTAINERS: [&str; 6] = ["docker", "kubepods", "lxc", "libpod", "containerd", "/ecs/"];

/// What cgroup v1 says where nothing limits memory is near 2^63; no machine has this much.
const UNLIMITED_BYTES: f64 = 1_152_921_504_606_846_976.0;

/// Why something cannot be measured.
#[derive(Debug, thiserror::Error)]
pub(super) enum MeasureError {
    /// A file of the kernel's is missing, or says something else than expected.
    #[error("cannot read {what} in {}", .file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// What should be in it.
        what: &'static str,
    },
    /// No file system is there.
    #[error("cannot measure the disk at {path}: {error}")]
    Disk {
        /// Where.
        path: String,
        /// Why.
        error: std::io::Error,
    },
}

/// A machine, by the root of its file system.
#[derive(Debug)]
pub(super) struct Machine {
    root: PathBuf,
}

/// Where the limits of this container are.
enum Group {
    /// cgroup v2: one directory for all.
    Unified(PathBuf),
    /// cgroup v1: one for each.
    Split { cpu: PathBuf, usage: PathBuf, memory: PathBuf },
}

impl Machine {
    pub(super) fn own() -> Self {
        Self { root: PathBuf::from("/") }
    }

    fn file(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// Whether the first process is in a container's control group, or in a namespace of groups that begins with its own.
    pub(super) fn is_container(&self) -> bool {
        let marked = [".dockerenv", "run/.containerenv"].iter().any(|mark| self.file(mark).exists());
        let groups = fs::read_to_string(self.file("proc/1/cgroup")).unwrap_or_default();
        marked || groups.lines().any(|line| line == "0::/" || CONTAINERS.iter().any(|name| line.contains(name)))
    }

    /// The processors of the machine, all containers together.
    pub(super) fn host_cpu(&self) -> Result<Figure, MeasureError> {
        let (before, _) = self.processors()?;
        sleep(SAMPLE);
        let (after, cores) = self.processors()?;
        let (busy, all) = (after.0 - before.0, after.1 - before.1);
        let used = if all > 0.0 { busy.max(0.0) / all * cores } else { 0.0 };
        Ok(Figure { used, total: Some(cores), unit: "cores" })
    }

    /// How many ticks the processors were busy, and how many there were; and how many processors.
    fn processors(&self) -> Result<((f64, f64), f64), MeasureError> {
        let file = self.file("proc/stat");
        let text = fs::read_to_string(&file).unwrap_or_default();
        let unread = || MeasureError::File { file: file.clone(), what: "the processors' time" };
        let cpus: Vec<&str> = text.lines().filter(|line| line.starts_with("cpu")).collect();
        let (first, each) = cpus.split_first().ok_or_else(unread)?;
        // user nice system idle iowait irq softirq steal; what follows is counted in user already.
        let ticks: Vec<f64> = first.split_whitespace().skip(1).take(8).filter_map(|tick| tick.parse().ok()).collect();
        let (Some(idle), Some(waiting)) = (ticks.get(3), ticks.get(4)) else { return Err(unread()) };
        let all: f64 = ticks.iter().sum();
        let cores = u32::try_from(each.len()).unwrap_or(u32::MAX);
        Ok(((all - idle - waiting, all), f64::from(cores.max(1))))
    }

    /// The memory of the machine. What is only kept in case it is needed again is not used.
    pub(super) fn host_memory(&self) -> Result<Figure, MeasureError> {
        let file = self.file("proc/meminfo");
        let text = fs::read_to_string(&file).unwrap_or_default();
        let field = |name: &str| {
            let kibibytes = text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse::<f64>().ok());
            kibibytes.map(|kibibytes| kibibytes * 1024.0)
        };
        let (Some(total), Some(available)) = (field("MemTotal:"), field("MemAvailable:")) else {
            return Err(MeasureError::File { file, what: "how much memory there is" });
        };
        Ok(Figure { used: total - available, total: Some(total), unit: "B" })
    }

    /// The processors' time that this container takes.
    pub(super) fn container_cpu(&self) -> Result<Figure, MeasureError> {
        let group = self.group();
        let (started, before) = (Instant::now(), group.cpu_seconds()?);
        sleep(SAMPLE);
        let used = (group.cpu_seconds()? - before) / started.elapsed().as_secs_f64();
        Ok(Figure { used: used.max(0.0), total: group.cpu_limit(), unit: "cores" })
    }

    /// The memory that this container takes, without files that are only kept in case they are read again.
    pub(super) fn container_memory(&self) -> Result<Figure, MeasureError> {
        let group = self.group();
        Ok(Figure { used: group.memory_bytes()?, total: group.memory_limit(), unit: "B" })
    }

    fn group(&self) -> Group {
        let groups = fs::read_to_string(self.file("proc/self/cgroup")).unwrap_or_default();
        let mounted = self.file("sys/fs/cgroup");
        if mounted.join("cgroup.controllers").exists() {
            let path = groups.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
            return Group::Unified(nearest(&mounted, path, "cpu.stat"));
        }
        let path = |controller: &str| {
            let named = |line: &&str| line.split(':').nth(1).is_some_and(|names| names.split(',').any(|name| name == controller));
            groups.lines().find(named).and_then(|line| line.splitn(3, ':').nth(2)).unwrap_or("/")
        };
        let of = |controller: &str, file: &str| nearest(&mounted.join(controller), path(controller), file);
        Group::Split {
            cpu: of("cpu", "cpu.cfs_period_us"),
            usage: of("cpuacct", "cpuacct.usage"),
            memory: of("memory", "memory.usage_in_bytes"),
        }
    }
}

/// The directory of a group where it holds `file`, else its root: a container sees its own group as the root, but may still call it by the machine's
/// name.
fn nearest(root: &Path, group: &str, file: &str) -> PathBuf {
    let own = root.join(group.trim_start_matches('/'));
    if own.join(file).exists() { own } else { root.to_owned() }
}

fn number(directory: &Path, name: &str, what: &'static str) -> Result<f64, MeasureError> {
    let file = directory.join(name);
    let read = fs::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok());
    read.ok_or(MeasureError::File { file, what })
}

/// The number after `key` in a file of such pairs.
fn pair(directory: &Path, name: &str, key: &str) -> Option<f64> {
    let text = fs::read_to_string(directory.join(name)).ok()?;
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

impl Group {
    fn cpu_seconds(&self) -> Result<f64, MeasureError> {
        const WHAT: &str = "the container's processor time";
        match self {
            Self::Unified(directory) => {
                let missing = || MeasureError::File { file: directory.join("cpu.stat"), what: WHAT };
                Ok(pair(directory, "cpu.stat", "usage_usec").ok_or_else(missing)? / 1e6)
            }
            Self::Split { usage, .. } => Ok(number(usage, "cpuacct.usage", WHAT)? / 1e9),
        }
    }

    /// In cores.
    fn cpu_limit(&self) -> Option<f64> {
        let (quota, period) = match self {
            Self::Unified(directory) => {
                let text = fs::read_to_string(directory.join("cpu.max")).ok()?;
                let (quota, period) = text.trim().split_once(' ')?;
                (quota.parse::<f64>().ok()?, period.parse::<f64>().ok()?)
            }
            Self::Split { cpu, .. } => (number(cpu, "cpu.cfs_quota_us", "").ok()?, number(cpu, "cpu.cfs_period_us", "").ok()?),
        };
        (quota > 0.0 && period > 0.0).then(|| quota / period)
    }

    fn memory_bytes(&self) -> Result<f64, MeasureError> {
        const WHAT: &str = "the container's memory";
        let (used, kept) = match self {
            Self::Unified(directory) => {
                (number(directory, "memory.current", WHAT)?, pair(directory, "memory.stat", "inactive_file"))
            }
            Self::Split { memory, .. } => {
                (number(memory, "memory.usage_in_bytes", WHAT)?, pair(memory, "memory.stat", "total_inactive_file"))
            }
        };
        Ok((used - kept.unwrap_or(0.0)).max(0.0))
    }

    fn memory_limit(&self) -> Option<f64> {
        let limit = match self {
            Self::Unified(directory) => number(directory, "memory.max", ""),
            Self::Split { memory, .. } => number(memory, "memory.limit_in_bytes", ""),
        };
        limit.ok().filter(|bytes| *bytes < UNLIMITED_BYTES)
    }
}

/// The file system at a path.
pub(super) fn disk(path: &str) -> Result<Figure, MeasureError> {
    let found = rustix::fs::statvfs(path).map_err(|error| MeasureError::Disk { path: path.to_owned(), error: error.into() })?;
    #[allow(clippy::cast_precision_loss, reason = "for people to read")]
    let bytes = |blocks: u64| blocks as f64 * found.f_frsize as f64;
    Ok(Figure { used: bytes(found.f_blocks - found.f_bfree), total: Some(bytes(found.f_blocks)), unit: "B" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(files: &[(&str, &str)]) -> (tempfile::TempDir, Machine) {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let file = root.path().join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        let machine = Machine { root: root.path().to_owned() };
        (root, machine)
    }

    #[test]
    fn a_container_of_version_2_is_measured_by_its_own_group() {
        let (_root, machine) = machine(&[
            ("proc/1/cgroup", "0::/\n"),
            ("proc/self/cgroup", "0::/\n"),
            ("sys/fs/cgroup/cgroup.controllers", "cpu memory\n"),
            ("sys/fs/cgroup/cpu.stat", "usage_usec 5000000\nuser_usec 1\n"),
            ("sys/fs/cgroup/cpu.max", "250000 100000\n"),
            ("sys/fs/cgroup/memory.current", "3000\n"),
            ("sys/fs/cgroup/memory.stat", "anon 1\ninactive_file 1000\n"),
            ("sys/fs/cgroup/memory.max", "8000\n"),
        ]);
        assert!(machine.is_container());
        assert_eq!(machine.container_cpu().unwrap(), Figure { used: 0.0, total: Some(2.5), unit: "cores" });
        assert_eq!(machine.container_memory().unwrap(), Figure { used: 2000.0, total: Some(8000.0), unit: "B" });
        fs::write(machine.file("sys/fs/cgroup/cpu.max"), "max 100000\n").unwrap();
        fs::write(machine.file("sys/fs/cgroup/memory.max"), "max\n").unwrap();
        assert_eq!((machine.container_cpu().unwrap().total, machine.container_memory().unwrap().total), (None, None));
    }

    #[test]
    fn a_container_of_version_1_has_a_group_for_each() {
        let (_root, machine) = machine(&[
            ("proc/1/cgroup", "4:memory:/docker/abc\n"),
            ("proc/self/cgroup", "5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n"),
            ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "50000\n"),
            ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
            ("sys/fs/cgroup/cpuacct/cpuacct.usage", "7000000000\n"),
            ("sys/fs/cgroup/memory/docker/abc/memory.usage_in_bytes", "3000\n"),
            ("sys/fs/cgroup/memory/docker/abc/memory.stat", "total_inactive_file 500\n"),
            ("sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", "9223372036854771712\n"),
        ]);
        assert!(machine.is_container());
        assert_eq!(machine.container_cpu().unwrap(), Figure { used: 0.0, total: Some(0.5), unit: "cores" });
        assert_eq!(machine.container_memory().unwrap(), Figure { used: 2500.0, total: None, unit: "B" });
    }

    #[test]
    fn a_machine_is_no_container_and_is_measured_whole() {
        let (_root, machine) = machine(&[
            ("proc/1/cgroup", "0::/init.scope\n"),
            ("proc/stat", "cpu  10 0 10 70 10 0 0 0 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\ncpu1 1 1 1 1 1 1 1 1 0 0\nintr 1\n"),
            ("proc/meminfo", "MemTotal:       1000 kB\nMemFree:         100 kB\nMemAvailable:    400 kB\n"),
        ]);
        assert!(!machine.is_container());
        assert_eq!(machine.processors().unwrap(), ((20.0, 100.0), 2.0));
        assert_eq!(machine.host_memory().unwrap(), Figure { used: 614_400.0, total: Some(1_024_000.0), unit: "B" });
        assert!(machine.container_memory().unwrap_err().to_string().starts_with("cannot read the container's memory in "));
    }

    #[test]
    fn the_machine_that_runs_this_can_be_measured() {
        let machine = Machine::own();
        let cpu = machine.host_cpu().unwrap();
        assert!(cpu.total.unwrap() >= 1.0 && cpu.used <= cpu.total.unwrap() && cpu.used >= 0.0, "{cpu:?}");
        assert!(machine.host_memory().unwrap().used > 0.0);
        assert!(disk("/").unwrap().total.unwrap() > 0.0);
        assert!(disk("/no/such/place").unwrap_err().to_string().contains("/no/such/place"));
    }
}
