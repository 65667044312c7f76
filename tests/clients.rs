//! The SSH clients and editors that people use, each tried with a workspace and with a local `sshd` in the same run: what they find must be the same.
//!
//! The reference is OpenSSH's own server, started per connection as inetd would. A row of [`table`] is a line as a person types it; [`Pair`] runs it
//! on both sides, each in a directory of its own, and compares exit code, output and errors. The code that a row names holds on both sides, so that two
//! failures alike are no success.

mod pair;
mod table;

use crate::harness::{Berth, eventually, finish};
use pair::{Pair, Row};
use std::{
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    os::fd::OwnedFd,
    process::Stdio,
    sync::Mutex,
};

/// Runs the rows on both sides and tells about all that differ.
fn compare(rows: &[Row]) {
    let pair = Pair::new(Berth::with_workspace());
    let differences = Mutex::new(Vec::new());
    let next = Mutex::new(rows.iter());
    std::thread::scope(|scope| {
        for _ in 0..pair::ROWS_AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some(row) = next.lock().unwrap().next() else { return };
                    let difference = pair.difference(row);
                    differences.lock().unwrap().extend(difference);
                }
            });
        }
    });
    let differences = differences.into_inner().unwrap();
    assert!(differences.is_empty(), "{} of {} rows differ:\n{}", differences.len(), rows.len(), differences.join("\n"));
}

#[test]
fn openssh_finds_commands_terminals_and_environments_as_at_sshd() {
    compare(table::OPENSSH);
}

#[test]
fn openssh_finds_forwards_as_at_sshd() {
    compare(table::FORWARDS);
}

#[test]
fn file_tools_find_files_as_at_sshd() {
    compare(table::FILES);
}

#[test]
fn editors_and_ides_find_what_they_need_as_at_sshd() {
    compare(table::EDITORS);
}

#[test]
fn ssh_libraries_and_ansible_find_the_same_as_at_sshd() {
    compare(table::LIBRARIES);
}

#[test]
fn signals_of_a_client_reach_its_command() {
    let pair = Pair::new(Berth::with_workspace());
    let answer = pair.on_workspace("python3 $CLIENTS/signals.py");
    assert_eq!(answer.stdout, "INT -1 INT\nTERM -1 TERM\nUSR1 5 None\nKILL -1 KILL\n", "{answer:?}");
}

/// What ssh-audit says of the algorithms that a workspace offers: at each level, the names.
fn audit(berth: &Berth) -> serde_json::Value {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let mut auditor = berth.program(&pair::python().join("ssh-audit").to_string_lossy());
    auditor.args(["--json", "--skip-rate-test", "--port", &port, "127.0.0.1"]);
    std::thread::scope(|scope| {
        let answer = scope.spawn(|| finish(&mut auditor));
        listener.set_nonblocking(true).unwrap();
        let mut ways = Vec::new();
        while !answer.is_finished() {
            match listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false).unwrap();
                    let ends = (OwnedFd::from(stream.try_clone().unwrap()), OwnedFd::from(stream));
                    ways.push(
                        berth.berth(&["ssh", "--stdio", "dev"]).stdin(ends.0).stdout(ends.1).stderr(Stdio::null()).spawn().unwrap(),
                    );
                }
                Err(_) => std::thread::sleep(std::time::Duration::from_millis(10)),
            }
        }
        for mut way in ways {
            way.kill().unwrap();
            way.wait().unwrap();
        }
        let answer = answer.join().unwrap();
        serde_json::from_str(&answer.stdout).unwrap_or_else(|_| panic!("{answer:?}"))
    })
}

#[test]
fn ssh_audit_finds_nothing_to_fail_and_only_the_warnings_we_chose() {
    let found = audit(&Berth::with_workspace());
    let (mut failures, mut warnings) = (Vec::new(), Vec::new());
    for kind in ["kex", "key", "enc", "mac"] {
        for algorithm in found[kind].as_array().unwrap() {
            let name = algorithm["algorithm"].as_str().unwrap().to_owned();
            failures.extend(algorithm["notes"].get("fail").map(|_| name.clone()));
            warnings.extend(algorithm["notes"].get("warn").map(|_| name));
        }
    }
    assert_eq!(failures, [""; 0]);
    assert_eq!(warnings, ["curve25519-sha256", "curve25519-sha256@libssh.org"], "no post-quantum part; see KEX_ORDER in the agent");
}

#[test]
fn an_agent_whose_client_stopped_reading_stays_small() {
    let pair = Pair::new(Berth::with_workspace());
    let agent = pair.berth().agents()[0];
    let resident = || {
        let status = fs::read_to_string(format!("/proc/{agent}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap().trim().trim_end_matches(" kB").to_owned();
        line.parse::<u64>().unwrap()
    };
    let mut client = pair.berth().ssh_client("ssh").args(["dev.berth", "yes"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(client.stdout.take().unwrap());
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    assert_eq!(line, "y\n");
    let before = resident();
    // Nobody reads on. The command, which prints without end, must come to a halt: everything on the way is full.
    let written = || {
        let io = pair.berth().processes("BERTH_PROCESS_ID=").into_iter().filter_map(|pid| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
            (name == "yes\n").then(|| fs::read_to_string(format!("/proc/{pid}/io")).ok())?
        });
        io.collect::<String>()
    };
    let mut last = String::new();
    eventually("the command's halt", || {
        std::thread::sleep(std::time::Duration::from_secs(1));
        let now = written();
        let halted = !now.is_empty() && now == last;
        last = now;
        halted.then_some(())
    });
    let grown = resident().saturating_sub(before);
    assert!(grown < 32 << 10, "the agent grew by {grown} kB");
    client.kill().unwrap();
    client.wait().unwrap();
}
