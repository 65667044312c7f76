//! The process in the background that holds connections: `cli/src/mux.rs`.

use crate::harness::{Berth, eventually, finish};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::PathBuf,
    process::Stdio,
};

/// What runs.
fn running(berth: &Berth) -> Vec<Value> {
    berth.json(&["mux", "status"]).as_array().unwrap().clone()
}

/// The one that runs.
fn pid(berth: &Berth) -> Pid {
    let running = running(berth);
    assert_eq!(running.len(), 1, "{running:?}");
    Pid::from_raw(running[0]["pid"].as_i64().unwrap().try_into().unwrap())
}

/// The directory of its socket.
fn directory(berth: &Berth) -> PathBuf {
    berth.home().join("run/berth")
}

/// Asks it something in its own words; what it answers.
fn ask(berth: &Berth, version: &str, ask: &Value) -> Value {
    let socket = fs::read_dir(directory(berth)).unwrap().map(|entry| entry.unwrap().path());
    let socket = socket.into_iter().find(|path| path.extension().is_some_and(|end| end == "sock")).unwrap();
    let mut socket = UnixStream::connect(socket).unwrap();
    let question = json!({ "version": version, "ask": ask }).to_string();
    socket.write_all(&u16::try_from(question.len()).unwrap().to_be_bytes()).unwrap();
    socket.write_all(question.as_bytes()).unwrap();
    let mut length = [0; 2];
    socket.read_exact(&mut length).unwrap();
    let mut answer = vec![0; u16::from_be_bytes(length).into()];
    socket.read_exact(&mut answer).unwrap();
    serde_json::from_slice(&answer).unwrap()
}

#[test]
fn a_second_command_needs_no_server_and_a_killed_multiplexer_costs_only_time() {
    let berth = Berth::with_workspace();
    assert!(running(&berth).is_empty(), "what needs no connection starts none");
    assert_eq!(berth.ok(&["ssh", "dev", "--", "echo one"]), "one\n");
    let first = pid(&berth);
    let status = running(&berth);
    assert_eq!(status[0]["url"], berth.url.trim_end_matches('/'));
    assert_eq!(status[0]["agents"][0]["name"], "dev");
    let mode = fs::metadata(directory(&berth)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);

    // A direct path needs no relay, a known workspace no API: the server, which is both, may stand still.
    eventually("a direct path", || berth.ok(&["ping", "dev", "-n", "1"]).contains("directly").then_some(()));
    kill(berth.server_pid(), Signal::SIGSTOP).unwrap();
    let during = berth.run(&["ssh", "dev", "--", "echo two"]);
    kill(berth.server_pid(), Signal::SIGCONT).unwrap();
    assert_eq!(during.stdout, "two\n", "{during:?}");
    assert_eq!(pid(&berth), first, "it is still the same");

    kill(first, Signal::SIGKILL).unwrap();
    assert_eq!(berth.ok(&["ssh", "dev", "--", "echo three"]), "three\n");
    assert_ne!(pid(&berth), first);
    berth.ok(&["mux", "stop"]);
    assert!(running(&berth).is_empty());
}

#[test]
fn a_killed_command_leaves_no_session_that_waits_for_it() {
    let berth = Berth::with_workspace();
    let over = berth.home().join("over");
    let command = format!("echo here; cat; touch '{}'", over.display());
    let mut child = berth
        .berth(&["ssh", "dev", "--", &command])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "here\n");
    assert!(!over.exists());
    child.kill().unwrap();
    child.wait().unwrap();
    eventually("the end of what read from it", || over.exists().then_some(()));
}

#[test]
fn it_ends_itself_and_can_be_done_without() {
    let berth = Berth::with_workspace();
    let without = finish(berth.berth(&["ssh", "dev", "--", "echo alone"]).env("BERTH_MUX", "off"));
    assert_eq!((without.code, without.stdout.as_str()), (Some(0), "alone\n"), "{without:?}");
    assert!(running(&berth).is_empty());
    let brief = finish(berth.berth(&["ssh", "dev", "--", "echo brief"]).env("BERTH_MUX_IDLE", "1s"));
    assert_eq!(brief.stdout, "brief\n", "{brief:?}");
    eventually("its end", || running(&berth).is_empty().then_some(()));
    let socket =
        fs::read_dir(directory(&berth)).unwrap().any(|entry| entry.unwrap().path().extension().is_some_and(|end| end == "sock"));
    assert!(!socket, "it takes its socket with it");
    let nonsense = finish(berth.berth(&["ssh", "dev", "--", "true"]).env("BERTH_MUX", "perhaps"));
    assert!(nonsense.stderr.contains("neither on nor off"), "{nonsense:?}");
}

#[test]
fn another_version_is_replaced_and_what_is_open_goes_on() {
    let berth = Berth::with_workspace();
    let mut session = berth.berth(&["ssh", "dev", "--", "cat"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut typed, mut shown) = (session.stdin.take().unwrap(), BufReader::new(session.stdout.take().unwrap()));
    let mut echo = |word: &str| {
        let mut line = String::new();
        writeln!(typed, "{word}").unwrap();
        shown.read_line(&mut line).unwrap();
        assert_eq!(line.trim(), word);
    };
    echo("before");
    let old = pid(&berth);
    let refused = ask(&berth, "0.0.0-other", &json!({ "kind": "status" }));
    assert_eq!(refused["kind"], "version");
    assert_eq!(ask(&berth, "0.0.0-other", &json!({ "kind": "dance" }))["kind"], "version", "a question of another time");
    assert_eq!(ask(&berth, "0.0.0-other", &json!({ "kind": "leave" }))["kind"], "done");
    eventually("its place to be free", || running(&berth).is_empty().then_some(()));
    echo("meanwhile");
    assert_eq!(berth.ok(&["ssh", "dev", "--", "echo new"]), "new\n");
    assert_ne!(pid(&berth), old);
    echo("after");
    drop(typed);
    assert_eq!(session.wait().unwrap().code(), Some(0));
    eventually("the old one's end", || (!PathBuf::from(format!("/proc/{old}")).exists()).then_some(()));
}

#[test]
fn it_keeps_nothing_of_the_command_that_started_it_and_writes_no_secret() {
    let berth = Berth::with_workspace();
    let lock = berth.home().join("lock");
    let script = format!("exec 9>{0}; flock 9; berth ssh dev -- true", lock.display());
    assert_eq!(finish(berth.program("sh").args(["-c", &script])).code, Some(0));
    let pid = pid(&berth);
    let free = finish(berth.program("flock").arg("-n").arg(&lock).arg("true"));
    assert_eq!(free.code, Some(0), "the lock went with the command: {free:?}");
    let open: Vec<_> = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().map(|entry| fs::read_link(entry.unwrap().path())).collect();
    assert!(!open.iter().flatten().any(|path| path == &lock), "{open:?}");
    let session = fs::read_to_string(berth.home().join("config/session")).unwrap();
    let log = fs::read_to_string(berth.home().join(".local/state/berth/mux.log")).unwrap();
    assert!(log.contains("serving") && !log.contains(session.trim()), "{log}");
    for part in ["cmdline", "environ"] {
        let text = fs::read(format!("/proc/{pid}/{part}")).unwrap();
        assert!(!String::from_utf8_lossy(&text).contains(session.trim()), "{part}");
    }
}

#[test]
fn a_workspace_that_was_replaced_is_found_anew() {
    let berth = Berth::with_workspace();
    let id = |berth: &Berth| berth.ok(&["ssh", "dev", "--", "echo $CODER_WORKSPACE_ID"]);
    let first = id(&berth);
    berth.ok(&["rename", "dev", "old", "--yes"]);
    berth.ok(&["create", "dev", "--template", "local", "--yes"]);
    assert_ne!(id(&berth), first, "the name stands for the new one at once");
    berth.ok(&["stop", "dev", "--yes"]);
    let stopped = berth.fails(&["ssh", "--disable-autostart", "dev", "--", "true"]);
    assert!(stopped.contains("dev is stopped"), "{stopped}");
}
