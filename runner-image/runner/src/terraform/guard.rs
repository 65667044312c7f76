//! The process between the runner and Terraform: whatever happens to the runner, nothing of a build lingers.
//!
//! The runner starts its own executable with [`VERB`] in a new session; that guard starts Terraform, as another user if the runner says
//! so, and holds the other end of a pipe.
//! A byte on the pipe means SIGINT to Terraform alone. The pipe's end means that the runner is gone, with SIGKILL perhaps: Terraform
//! gets SIGINT and a moment, then the whole process group SIGKILL. (The kernel's own parent-death signal would not do: Terraform dies
//! of SIGPIPE as soon as it prints, and what it started lives on.)

use std::{
    ffi::OsString,
    io::{self, Read},
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rustix::process::{Pid, Signal, getppid, kill_current_process_group, kill_process};

use super::user::{CAPABILITIES, User};

/// The runner's first argument for this; the user, the program and its arguments follow.
pub const VERB: &str = "guard";
/// In the place of a user: the runner's own.
pub const SAME_USER: &str = "-";
/// What Terraform makes is for its user and its group, to which the runner belongs.
pub(crate) const SHARED_MASK: u32 = 0o007;
/// The byte that asks for SIGINT.
pub const INTERRUPT: u8 = b'i';
/// How long Terraform may take to end when the runner is gone: nobody is left to store what it does.
const ORPHANED: Duration = Duration::from_secs(10);
/// Added to the number of a signal that ended Terraform, as shells do.
const SIGNALLED: i32 = 128;

/// Runs the program to its end and answers the exit code for the guard itself: the program's, or 128 and the signal's number.
///
/// # Errors
/// When the program cannot be started or waited for.
pub fn run(mut arguments: impl Iterator<Item = OsString>) -> io::Result<u8> {
    let user = arguments.next().unwrap_or_default();
    let program = arguments.next().ok_or_else(|| io::Error::other("no program is named"))?;
    let runner = getppid();
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    let mut child = if user == SAME_USER { command.spawn()? } else { spawn_as(&user.to_string_lossy(), &mut command)? };
    let ended = Arc::new(AtomicBool::new(false));
    listen(&child, Arc::clone(&ended));
    let status = child.wait()?;
    ended.store(true, Ordering::SeqCst);
    // The runner ends what a failed Terraform left, unless there is no runner. A broken pipe says so before the kernel does.
    if getppid() != runner || status.signal() == Some(Signal::PIPE.as_raw()) {
        kill_current_process_group(Signal::KILL)?;
    }
    Ok(exit_code(status))
}

/// Starts the program as another user, with that user's group alone and without a way to more rights: no set-user-id program and no
/// file capability counts for it and its children (prctl(2), PR_SET_NO_NEW_PRIVS).
fn spawn_as(user: &str, command: &mut Command) -> io::Result<Child> {
    let user: User = user.parse().map_err(|error| io::Error::other(format!("{user:?} is not {error}")))?;
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_no_new_privs()?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(SHARED_MASK));
    command.uid(user.uid()).gid(user.gid()).spawn().map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => io::Error::other(format!(
            "not allowed as user {user}: give the runner's executable {CAPABILITIES} (setcap), or unset BERTH_TERRAFORM_USER"
        )),
        _ => error,
    })
}

fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| Some(SIGNALLED + status.signal()?)).unwrap_or(1);
    u8::try_from(code).unwrap_or(u8::MAX)
}

/// The signal that ended a guarded program, read from the guard's exit code.
#[must_use]
pub fn signal_of(status: ExitStatus) -> Option<i32> {
    status.signal().or_else(|| status.code().filter(|code| *code > SIGNALLED).map(|code| code - SIGNALLED))
}

/// Listens to the runner on standard input, in a thread that ends with the process.
fn listen(child: &Child, ended: Arc<AtomicBool>) {
    let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    std::thread::spawn(move || {
        let interrupt = || {
            if let Some(id) = id.filter(|_| !ended.load(Ordering::SeqCst)) {
                let _nobody_there = kill_process(id, Signal::INT);
            }
        };
        for byte in io::stdin().lock().bytes() {
            match byte {
                Ok(INTERRUPT) => interrupt(),
                Ok(_) => {}
                Err(_) => break,
            }
        }
        interrupt();
        std::thread::sleep(ORPHANED);
        let _we_are_in_it = kill_current_process_group(Signal::KILL);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_survives_the_exit_code() {
        let killed = ExitStatus::from_raw(9);
        assert_eq!(exit_code(killed), 137);
        assert_eq!(signal_of(ExitStatus::from_raw(137 << 8)), Some(9));
        assert_eq!(signal_of(killed), Some(9), "the guard itself was killed");
        assert_eq!((exit_code(ExitStatus::from_raw(1 << 8)), signal_of(ExitStatus::from_raw(1 << 8))), (1, None));
    }
}
