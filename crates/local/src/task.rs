//! Tasks on this machine: a runner process per job, where Fargate would run one.
//!
//! A task's process is remembered in `tasks/<task id>.json`, so that a server that comes back after a crash knows which runners still work
//! (it waits for them) and which died with nobody watching (their jobs end as failed at once, without waiting for the lease).

use crate::config::Config;
use berth_domain::{Secret, TaskId};
use berth_store::JobId;
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    fs, io,
    path::PathBuf,
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    process::Command,
    sync::{mpsc, watch},
};
use tokio_util::task::TaskTracker;

/// How often a runner that an earlier server started is looked at; it is nobody's child.
const ADOPTED_LOOK: Duration = Duration::from_millis(500);
/// How long Terraform may outlive a killed runner: the runner's guard gives it 10 s.
const ORPHANED: Duration = Duration::from_secs(12);

/// A task that is over.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its job.
    pub(crate) job: JobId,
    /// The task.
    pub(crate) task: TaskId,
    /// For the person who asked for the build.
    pub(crate) reason: String,
}

/// A task as the file remembers it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    job: String,
    task: TaskId,
    pid: i32,
    /// The process's start time as the kernel gives it, so that a reused process id is not taken for the runner.
    started: String,
    /// Which boot of the machine that was: all its processes end with it.
    #[serde(default)]
    boot: String,
}

/// All tasks of this server. Clones are the same tasks.
#[derive(Clone)]
pub(crate) struct Tasks {
    config: Arc<Config>,
    local_url: Arc<str>,
    ended: mpsc::UnboundedSender<Ended>,
    watchers: TaskTracker,
    running: Arc<Mutex<HashMap<TaskId, i32>>>,
    counted: watch::Sender<usize>,
}

impl Tasks {
    /// Adopts the tasks of an earlier server; `ended` hears of every end.
    pub(crate) fn new(config: Arc<Config>, local_url: Arc<str>, ended: mpsc::UnboundedSender<Ended>) -> io::Result<Self> {
        fs::create_dir_all(config.data.join("tasks"))?;
        remove_rooms_of_the_dead();
        let tasks = Self {
            config,
            local_url,
            ended,
            watchers: TaskTracker::new(),
            running: Arc::default(),
            counted: watch::Sender::new(0),
        };
        tasks.adopt()?;
        Ok(tasks)
    }

    /// Starts a runner for a job.
    pub(crate) fn start(&self, job: JobId, task: TaskId, token: &Secret) -> io::Result<()> {
        let mut command = Command::new(self.config.binaries.join("berth-runner"));
        command.env_clear().envs(self.environment(job, task, token)).stdin(Stdio::null()).stdout(Stdio::null());
        // Its own process group: Ctrl-C at the server's terminal is not for the runner.
        command.process_group(0).kill_on_drop(false);
        let mut child = command.spawn()?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).unwrap_or_default();
        let record = Record { job: job.to_string(), task, pid, started: started(pid).unwrap_or_default(), boot: boot() };
        if let Err(error) = self.remember(&record) {
            // A task that the next server would not know of must not run.
            child.start_kill()?;
            self.forget(task);
            return Err(error);
        }
        let tasks = self.clone();
        self.watchers.spawn(async move {
            let (reason, well) = match child.wait().await {
                Ok(status) => (format!("the runner ended with {status}"), status.code().is_some()),
                Err(error) => (format!("the runner cannot be waited for: {error}"), false),
            };
            tasks.over(&record, reason);
            if !well {
                tokio::time::sleep(ORPHANED).await;
                remove_rooms_of_the_dead();
            }
        });
        Ok(())
    }

    /// How many tasks run.
    pub(crate) fn count(&self) -> usize {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Returns when no task runs.
    pub(crate) async fn none(&self) {
        let mut count = self.counted.subscribe();
        let _gone = count.wait_for(|count| *count == 0).await;
    }

    /// Asks every runner to interrupt Terraform, push what there is and end.
    pub(crate) fn interrupt(&self) {
        for pid in self.running.lock().unwrap_or_else(PoisonError::into_inner).values() {
            let _gone = killpg(Pid::from_raw(*pid), Signal::SIGTERM);
        }
    }

    /// What the runner is told: where the API is, its one-time token, and what is special about this machine.
    fn environment(&self, job: JobId, task: TaskId, token: &Secret) -> Vec<(String, String)> {
        let config = &self.config;
        let ours = |name: &str| name.starts_with("BERTH_") || name.starts_with("CODER_");
        let mut environment: Vec<_> = config.environment.iter().filter(|(name, _)| !ours(name)).cloned().collect();
        let mut set = |name: &str, value: String| environment.push((name.to_owned(), value));
        let path = |path: PathBuf| path.to_string_lossy().into_owned();
        set("BERTH_API_URL", self.local_url.to_string());
        set("BERTH_JOB_ID", job.uuid().to_string());
        set("BERTH_JOB_TOKEN", token.expose().clone());
        set("BERTH_TASK_ID", task.to_string());
        // A heartbeat hears of a cancel. Here it costs nothing to ask often.
        set("BERTH_HEARTBEAT_SECONDS", "1".to_owned());
        set("BERTH_DATA_DIR", path(config.data.clone()));
        set("BERTH_PROCESS_ROOT", path(config.data.join("workspaces")));
        set("BERTH_AGENT_BINARY", path(config.binaries.join("berth-agent")));
        if let Some(terraform) = &config.options.terraform {
            set("BERTH_TERRAFORM_BIN", path(terraform.clone()));
        }
        if let Some(url) = &config.options.terraform_releases_url {
            set("BERTH_TERRAFORM_RELEASES_URL", url.clone());
        }
        if let Some(file) = &config.options.terraform_cli_config {
            set("BERTH_TERRAFORM_CLI_CONFIG", path(file.clone()));
        }
        environment
    }

    fn remember(&self, record: &Record) -> io::Result<()> {
        self.keep(record);
        let file = self.file(record.task);
        let beside = file.with_extension("new");
        fs::write(&beside, serde_json::to_vec(record)?)?;
        fs::rename(beside, file)
    }

    fn keep(&self, record: &Record) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.insert(record.task, record.pid);
        self.counted.send_replace(running.len());
    }

    fn forget(&self, task: TaskId) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.remove(&task);
        self.counted.send_replace(running.len());
    }

    fn over(&self, record: &Record, reason: String) {
        self.forget(record.task);
        // What it started in its own process group is not left behind.
        if owns_group(record) {
            let _gone = killpg(Pid::from_raw(record.pid), Signal::SIGKILL);
        }
        let _gone = fs::remove_file(self.file(record.task));
        let Ok(job) = record.job.parse() else { return };
        let _stopping = self.ended.send(Ended { job, task: record.task, reason });
    }

    fn adopt(&self) -> io::Result<()> {
        for entry in fs::read_dir(self.config.data.join("tasks"))? {
            let path = entry?.path();
            let Ok(record) = serde_json::from_slice::<Record>(&fs::read(&path)?) else {
                fs::remove_file(&path)?;
                continue;
            };
            self.keep(&record);
            let tasks = self.clone();
            self.watchers.spawn(async move {
                while record.boot == boot() && started(record.pid).is_some_and(|started| started == record.started) {
                    tokio::time::sleep(ADOPTED_LOOK).await;
                }
                tasks.over(&record, "the runner ended while the server was down".to_owned());
            });
        }
        Ok(())
    }

    fn file(&self, task: TaskId) -> PathBuf {
        self.config.data.join("tasks").join(format!("{task}.json"))
    }
}

/// Whether the process group that a record names can only be its runner's: of this boot, and not led by a stranger with a reused id.
/// Ids up to 1 name our own group or every process there is (kill(2)).
fn owns_group(record: &Record) -> bool {
    record.pid > 1 && record.boot == boot() && started(record.pid).is_none_or(|started| started == record.started)
}

/// Removes the directories of runners that were killed: each holds a state with its secrets. They are named `berth-<process id>-*`.
fn remove_rooms_of_the_dead() {
    for entry in fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let room = name.to_str().and_then(|name| name.strip_prefix("berth-")?.split_once('-'));
        let Some(pid) = room.and_then(|(pid, _)| pid.parse::<i32>().ok()) else { continue };
        if started(pid).is_none()
            && let Err(error) = fs::remove_dir_all(entry.path())
        {
            // Another user's, or one that a dying Terraform still writes to.
            tracing::debug!(%error, room = %entry.path().display(), "cannot remove what a killed runner left");
        }
    }
}

/// What tells this boot of the machine from others; empty where the system does not say.
fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}

/// The start time of a live process: field 22 of `/proc/<pid>/stat` (proc(5)); `None` when there is none or it is a zombie.
#[cfg(target_os = "linux")]
fn started(pid: i32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<_> = stat.rsplit(')').next()?.split_whitespace().collect();
    if fields.first() == Some(&"Z") {
        return None;
    }
    fields.get(19).map(|&field| field.to_owned())
}

/// Where there is no `/proc`, a live process is all we can ask for.
#[cfg(not(target_os = "linux"))]
fn started(pid: i32) -> Option<String> {
    nix::sys::signal::kill(Pid::from_raw(pid), None).ok().map(|()| String::new())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_start_time() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(started(own).is_some_and(|started| started.parse::<u64>().is_ok()));
        assert_eq!(started(own), started(own));
        assert_eq!(started(i32::MAX), None);
    }

    #[test]
    fn the_room_of_a_dead_runner_is_removed_and_that_of_a_live_one_is_not() {
        let room = |pid: i32| tempfile::Builder::new().prefix(&format!("berth-{pid}-")).tempdir().unwrap().keep();
        let (dead, alive) = (room(i32::MAX), room(i32::try_from(std::process::id()).unwrap()));
        fs::write(dead.join("terraform.tfstate"), "secret").unwrap();
        remove_rooms_of_the_dead();
        assert!(!dead.exists());
        assert!(alive.exists());
        fs::remove_dir(alive).unwrap();
    }

    #[test]
    fn the_group_of_a_stranger_is_never_killed() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let task = "0190a6a0-0000-7000-8000-000000000001".parse().unwrap();
        let record = |pid, started: String, boot| Record { job: String::new(), task, pid, started, boot };
        let ours = started(pid).unwrap();
        assert!(owns_group(&record(pid, ours.clone(), boot())));
        assert!(owns_group(&record(i32::MAX, ours.clone(), boot())), "its leader has ended");
        assert!(!owns_group(&record(pid, "1".to_owned(), boot())), "the id is reused");
        assert!(!owns_group(&record(pid, ours.clone(), "another".to_owned())), "the machine was started again");
        for everyone in [-1, 0, 1] {
            assert!(!owns_group(&record(everyone, ours.clone(), boot())), "{everyone}");
        }
    }
}
