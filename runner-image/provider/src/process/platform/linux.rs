//! The process table from `/proc`; the fields of `stat` are those of proc_pid_stat(5).

use std::fs;
use std::io;

use super::{Marks, Seen};

/// A number that changes with every boot.
pub(in super::super) fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// The process with this number.
pub(in super::super) fn one(pid: i32) -> Option<Seen> {
    parse(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Every process that can be seen.
pub(in super::super) fn all() -> io::Result<Vec<Seen>> {
    let entries = fs::read_dir("/proc")?.flatten();
    Ok(entries.filter_map(|entry| one(entry.file_name().to_str()?.parse().ok()?)).collect())
}

/// The environment with which the process was started.
pub(in super::super) fn marks(pid: i32) -> Marks {
    let bytes = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    Marks(bytes.split(|byte| *byte == 0).map(|entry| String::from_utf8_lossy(entry).into_owned()).collect())
}

/// What the process runs, its arguments joined by spaces.
pub(in super::super) fn command_line(pid: i32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).trim_end_matches('\0').replace('\0', " ")
}

/// Reads `stat`: the name in parentheses may hold anything, so the fields are counted after the last one.
fn parse(pid: i32, stat: &str) -> Option<Seen> {
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse().ok();
    Some(Seen {
        pid,
        parent: number(1)?,
        group: number(2)?,
        session: number(3)?,
        start: (*fields.get(19)?).to_owned(),
        zombie: matches!(*fields.first()?, "Z" | "X"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_does_not_shift_the_fields() {
        let stat = "7 (a) b) S 3 7 5 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 1 2";
        let seen = Seen { pid: 7, parent: 3, group: 7, session: 5, start: "4242".into(), zombie: false };
        assert_eq!(parse(7, stat), Some(seen));
    }

    #[test]
    fn this_process_is_in_the_table() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let seen = one(pid).unwrap();
        assert!(all().unwrap().contains(&seen));
        assert_eq!(seen.parent, i32::try_from(std::os::unix::process::parent_id()).unwrap());
        assert_eq!(boot_id().unwrap().len(), 36);
    }
}
