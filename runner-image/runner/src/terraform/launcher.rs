//! Ties Terraform's life to the runner's: a runner that is killed with SIGKILL must not leave a Terraform behind.
//!
//! The runner starts itself with [`VERB`], which asks the kernel to send SIGINT when the runner dies (prctl(2), PR_SET_PDEATHSIG: it
//! must be asked for in the child, and it survives the exec) and then becomes Terraform. Terraform answers SIGINT by stopping its
//! providers and provisioners. Elsewhere than on Linux it just becomes Terraform.

use std::{ffi::OsString, io, os::unix::process::CommandExt, process::Command};

/// The runner's first argument for this: then its process id, the program, and the program's arguments.
pub const VERB: &str = "become";

/// Becomes the given program. Returns only when that fails.
#[must_use]
pub fn become_program(mut arguments: impl Iterator<Item = OsString>) -> io::Error {
    let parent = arguments.next().and_then(|id| id.to_str()?.parse::<i32>().ok());
    let Some(program) = arguments.next() else { return io::Error::other("no program is named") };
    #[cfg(target_os = "linux")]
    if let Err(error) = die_with(parent) {
        return error;
    }
    #[cfg(not(target_os = "linux"))]
    let _ = parent;
    Command::new(program).args(arguments).exec()
}

#[cfg(target_os = "linux")]
fn die_with(parent: Option<i32>) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::INT))?;
    // It may have died before the kernel was asked.
    let now = rustix::process::getppid().map(|id| id.as_raw_nonzero().get());
    if parent.is_some() && now != parent {
        return Err(io::Error::other("the runner is gone"));
    }
    Ok(())
}
