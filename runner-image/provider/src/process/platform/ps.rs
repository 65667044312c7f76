//! The process table from `ps`, for systems without `/proc` (macOS).
#![cfg_attr(target_os = "linux", allow(dead_code, reason = "only its parser is tested here"))]

use std::io;
use std::process::Command;

use super::{Marks, Seen};

const COLUMNS: &str = "pid=,ppid=,pgid=,sess=,stat=,lstart=";

/// A number that changes with every boot.
pub(in super::super) fn boot_id() -> io::Result<String> {
    run("sysctl", &["-n", "kern.bootsessionuuid"]).map(|text| text.trim().to_owned())
}

/// The process with this number.
pub(in super::super) fn one(pid: i32) -> Option<Seen> {
    let text = run("ps", &["-ww", "-o", COLUMNS, "-p", &pid.to_string()]).ok()?;
    text.lines().find_map(parse)
}

/// Every process that can be seen.
pub(in super::super) fn all() -> io::Result<Vec<Seen>> {
    Ok(run("ps", &["-axww", "-o", COLUMNS])?.lines().filter_map(parse).collect())
}

/// The environment with which the process was started. `ps` joins it with spaces, which our marks do not hold.
pub(in super::super) fn marks(pid: i32) -> Marks {
    let text = run("ps", &["-Eww", "-o", "command=", "-p", &pid.to_string()]).unwrap_or_default();
    Marks(text.split_whitespace().map(str::to_owned).collect())
}

/// What the process runs, its arguments joined by spaces.
pub(in super::super) fn command_line(pid: i32) -> String {
    run("ps", &["-ww", "-o", "command=", "-p", &pid.to_string()]).unwrap_or_default().trim().to_owned()
}

fn run(program: &str, arguments: &[&str]) -> io::Result<String> {
    let output = Command::new(program).args(arguments).env("LC_ALL", "C").output()?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn parse(line: &str) -> Option<Seen> {
    let mut words = line.split_whitespace();
    let mut number = || words.next()?.parse().ok();
    let (pid, parent, group) = (number()?, number()?, number()?);
    // macOS prints the address of a session, or 0, here: not a process number.
    let session = words.next()?.parse().unwrap_or_default();
    let zombie = words.next()?.starts_with('Z');
    let start = words.collect::<Vec<_>>().join(" ");
    (!start.is_empty()).then_some(Seen { pid, parent, group, session, start, zombie })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_ps_is_a_process() {
        let line = "  412     1   412      0 Ss   Tue Nov 24 02:34:36 2026";
        let start = "Tue Nov 24 02:34:36 2026".into();
        assert_eq!(parse(line), Some(Seen { pid: 412, parent: 1, group: 412, session: 0, start, zombie: false }));
        assert_eq!(parse("412 1 412 0 Z"), None);
    }
}
