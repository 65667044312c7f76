//! A snapshot of the machine's processes, read from `/proc`: who is whose child, which session each is in, which are zombies.

use std::collections::{HashMap, HashSet};
use std::fs;

/// All processes visible at one moment. Empty where there is no `/proc`.
#[derive(Debug, Default)]
pub(super) struct ProcessTable {
    rows: Vec<Row>,
}

#[derive(Debug, PartialEq, Eq)]
struct Row {
    pid: i32,
    parent: i32,
    session: i32,
    zombie: bool,
}

impl ProcessTable {
    /// Reads `/proc`: one small file per process.
    pub(super) fn read() -> ProcessTable {
        let Ok(entries) = fs::read_dir("/proc") else {
            return ProcessTable::default();
        };
        let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        ProcessTable { rows: pids.filter_map(|pid| Row::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)).collect() }
    }

    /// Zombies whose parent is `pid`.
    pub(super) fn zombie_children_of(&self, pid: u32) -> Vec<i32> {
        self.rows.iter().filter(|row| row.zombie && u32::try_from(row.parent) == Ok(pid)).map(|row| row.pid).collect()
    }

    /// Living processes in the sessions of `leaders`, the children `agent` adopted, and everything that descends from either.
    pub(super) fn descending_from(&self, agent: u32, leaders: &HashSet<i32>) -> Vec<i32> {
        let agent = i32::try_from(agent).unwrap_or_default();
        let subreaper = is_subreaper();
        let mut found: HashSet<i32> = self
            .rows
            .iter()
            .filter(|row| leaders.contains(&row.session) || leaders.contains(&row.pid) || (subreaper && row.parent == agent))
            .map(|row| row.pid)
            .collect();
        let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
        for row in &self.rows {
            children.entry(row.parent).or_default().push(row.pid);
        }
        let mut next: Vec<i32> = found.iter().copied().collect();
        while let Some(pid) = next.pop() {
            next.extend(children.get(&pid).into_iter().flatten().filter(|child| found.insert(**child)));
        }
        self.rows.iter().filter(|row| !row.zombie && row.pid != agent && found.contains(&row.pid)).map(|row| row.pid).collect()
    }
}

impl Row {
    /// Parses `/proc/<pid>/stat` (proc(5)): the name in parentheses may hold anything, so fields are counted from the last `)`.
    fn parse(stat: &str) -> Option<Row> {
        let (head, tail) = stat.rsplit_once(')')?;
        let pid = head.split_whitespace().next()?.parse().ok()?;
        let mut fields = tail.split_whitespace();
        let state = fields.next()?;
        let parent = fields.next()?.parse().ok()?;
        let session = fields.nth(1)?.parse().ok()?;
        Some(Row { pid, parent, session, zombie: matches!(state, "Z" | "X") })
    }
}

/// Whether orphans come to this process. Then every child of it is its responsibility.
pub(super) fn is_subreaper() -> bool {
    #[cfg(target_os = "linux")]
    return rustix::process::child_subreaper().is_ok_and(|pid| pid.is_some());
    #[cfg(not(target_os = "linux"))]
    return false;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_does_not_shift_the_fields() {
        let row = Row::parse("42 (a) b (c)) Z 7 41 40 34816 42 4194560").unwrap();
        assert_eq!(row, Row { pid: 42, parent: 7, session: 40, zombie: true });
    }

    #[test]
    fn descendants_include_detached_members_of_a_session() {
        let row = |pid, parent, session| Row { pid, parent, session, zombie: false };
        let table = ProcessTable {
            rows: vec![row(1, 0, 1), row(10, 1, 1), row(20, 10, 20), row(21, 1, 20), row(22, 21, 22), row(30, 1, 30)],
        };
        let mut found = table.descending_from(10, &HashSet::from([20]));
        found.sort_unstable();
        assert_eq!(found, vec![20, 21, 22]);
    }
}
