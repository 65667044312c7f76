//! The processes the agent starts: each in a session of its own, each reaped, all ended with the agent.
//!
//! On Linux the agent is the *child subreaper*: a process that detaches from its session (`nohup`, a daemon) becomes the agent's child when
//! its parent ends, so the agent sees every descendant, reaps the ones nobody waits for, and can end them all.

use std::collections::HashSet;
use std::io;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use process_wrap::tokio::{ChildWrapper, CommandWrap, ProcessSession};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::time::Instant;

mod table;

use table::ProcessTable;

/// How often [`Processes::end_all`] looks whether everything is gone. Only runs during shutdown.
const END_POLL: Duration = Duration::from_millis(20);

/// Starts, reaps and ends processes. Cheap to clone; clones share one register.
#[derive(Clone, Debug, Default)]
pub struct Processes {
    register: Arc<Mutex<Register>>,
}

#[derive(Debug, Default)]
struct Register {
    /// Session leaders that a [`Running`] still waits for. Nobody else may reap these.
    waited: HashSet<i32>,
    /// Session leaders whose sessions may still hold processes. A subreaper needs only the running ones: the rest are its children by then.
    leaders: HashSet<i32>,
}

/// Closes what this process got from whoever started it, standard streams excepted: all that it starts would get it too. Comes first in `main`, before
/// this process has opened anything itself.
#[cfg(target_os = "linux")]
pub fn close_inherited() -> io::Result<()> {
    let number = |entry: io::Result<std::fs::DirEntry>| entry.ok()?.file_name().to_str()?.parse::<i32>().ok();
    let open: Vec<i32> = std::fs::read_dir("/proc/self/fd")?.filter_map(number).collect();
    for descriptor in open.into_iter().filter(|descriptor| *descriptor > 2) {
        // The one that was listing them is closed by now.
        nix::unistd::close(descriptor).ok();
    }
    Ok(())
}

impl Processes {
    /// Makes this process the subreaper of its descendants, so that detached ones come back to it. Does nothing where the kernel has no such thing.
    pub fn adopt_orphans(&self) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        rustix::process::set_child_subreaper(rustix::process::getpid().into())?;
        Ok(())
    }

    /// Starts `command` as the leader of a new session (`setsid`), without a terminal.
    pub fn spawn(&self, command: Command) -> io::Result<Running> {
        let mut register = self.register();
        let child = CommandWrap::from(command).wrap(ProcessSession).spawn()?.into_inner();
        Running::enter(child, &mut register, self)
    }

    /// Starts `command` as the leader of a new session whose controlling terminal is `pts`.
    pub fn spawn_on_terminal(&self, command: Command, pts: pty_process::Pts) -> io::Result<Running> {
        let mut register = self.register();
        let child = pty_process::Command::from(command).spawn(pts).map_err(io::Error::other)?;
        Running::enter(Box::new(child), &mut register, self)
    }

    /// Reaps the orphans that the kernel hands to the agent, until dropped. Costs nothing while no child ends.
    pub async fn reap_orphans(&self) -> io::Result<()> {
        let mut child_ended = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::child())?;
        while child_ended.recv().await.is_some() {
            self.reap_now();
        }
        Ok(())
    }

    /// Ends every process that descends from what was started here: hang-up and terminate at once, kill after `grace`. Returns how many had to be killed.
    pub async fn end_all(&self, grace: Duration) -> usize {
        let deadline = Instant::now() + grace;
        let mut told = HashSet::new();
        loop {
            self.reap_now();
            let left = self.alive();
            if left.is_empty() {
                return 0;
            }
            if Instant::now() >= deadline {
                return self.kill_all().await;
            }
            for pid in left.into_iter().filter(|pid| told.insert(*pid)) {
                for signal in [Signal::SIGHUP, Signal::SIGTERM, Signal::SIGCONT] {
                    kill(Pid::from_raw(pid), signal).ok();
                }
            }
            tokio::time::sleep(END_POLL).await;
        }
    }

    /// Kills until nothing is left: a process may fork while it is being killed.
    async fn kill_all(&self) -> usize {
        let mut killed = HashSet::new();
        for _ in 0..100 {
            let left = self.alive();
            if left.is_empty() {
                break;
            }
            for pid in left {
                killed.insert(pid);
                kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
            }
            tokio::time::sleep(END_POLL).await;
            self.reap_now();
        }
        killed.len()
    }

    fn alive(&self) -> Vec<i32> {
        let leaders = self.register().leaders.clone();
        ProcessTable::read().descending_from(std::process::id(), &leaders)
    }

    /// Reaps zombie children that no [`Running`] waits for. The register is held, so a child being started cannot be mistaken for an orphan.
    fn reap_now(&self) {
        let register = self.register();
        for pid in ProcessTable::read().zombie_children_of(std::process::id()) {
            if !register.waited.contains(&pid) {
                waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG)).ok();
            }
        }
    }

    fn register(&self) -> MutexGuard<'_, Register> {
        self.register.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A started process. Dropping it without waiting leaves the process running; the runtime then reaps it.
#[derive(Debug)]
pub struct Running {
    child: Box<dyn ChildWrapper>,
    pid: Pid,
    processes: Processes,
}

impl Running {
    fn enter(child: Box<dyn ChildWrapper>, register: &mut Register, processes: &Processes) -> io::Result<Running> {
        let pid = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .ok_or_else(|| io::Error::other("the process ended before its id was read"))?;
        register.waited.insert(pid);
        register.leaders.insert(pid);
        Ok(Running { child, pid: Pid::from_raw(pid), processes: processes.clone() })
    }

    /// The process id, which is also the id of its process group and session.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// Takes the writing end of its standard input, once, if that is a pipe.
    pub fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin().take()
    }

    /// Takes the reading end of its standard output, once, if that is a pipe.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout().take()
    }

    /// Takes the reading end of its standard error, once, if that is a pipe.
    pub fn take_stderr(&mut self) -> Option<ChildStderr> {
        self.child.stderr().take()
    }

    /// Waits for the process (not for its children) and reaps it. Safe to cancel and to call again.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await;
        let mut register = self.processes.register();
        register.waited.remove(&self.pid.as_raw());
        if table::is_subreaper() {
            register.leaders.remove(&self.pid.as_raw());
        }
        status
    }
}

/// Sends `signal` to the process group that `pid` leads. A group that is already gone is not an error.
pub fn signal_group(pid: i32, signal: Signal) {
    if let Err(error) = killpg(Pid::from_raw(pid), signal) {
        tracing::debug!(process.id = pid, %signal, %error, "signal not delivered");
    }
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(script).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        command
    }

    #[tokio::test]
    async fn a_process_leads_its_own_session_and_its_status_is_exact() {
        let processes = Processes::default();
        let mut running = processes.spawn(shell("exit 7")).unwrap();
        assert_ne!(rustix::process::getpgid(rustix::process::Pid::from_raw(running.pid())).ok(), Some(rustix::process::getpgrp()));
        assert_eq!(running.wait().await.unwrap().code(), Some(7));
        assert_eq!(running.wait().await.unwrap().code(), Some(7));
    }

    #[tokio::test]
    async fn ending_all_reaches_a_stubborn_process_and_its_children() {
        let processes = Processes::default();
        let mut running =
            processes.spawn(shell("trap '' HUP TERM; sleep 1000 & echo ready; while :; do sleep 1000; done")).unwrap();
        let mut stdout = running.take_stdout().unwrap();
        tokio::io::AsyncReadExt::read_u8(&mut stdout).await.unwrap();
        let killed = processes.end_all(Duration::from_millis(200)).await;
        assert!(killed >= 1, "the shell ignores everything but a kill");
        assert!(!running.wait().await.unwrap().success());
        assert_eq!(processes.alive(), Vec::<i32>::new());
    }
}
