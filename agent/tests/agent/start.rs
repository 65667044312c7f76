//! Hello, scripts, reports, and the end.

use std::fs;
use std::path::Path;

use axum::http::StatusCode;
use berth_wire::domain::{Lifecycle, LogLevel};
use berth_wire::runner::Script;
use tokio::process::Command;

use crate::plane::{PATIENCE, Plane, eventually, script, terminate};

fn is_running(file: &Path) -> bool {
    let pid = fs::read_to_string(file).unwrap();
    fs::read_to_string(format!("/proc/{}/stat", pid.trim())).is_ok_and(|stat| !stat.contains(") Z "))
}

#[tokio::test]
async fn an_agent_starts_reports_and_leaves_nothing_behind() {
    let start = script(
        10,
        "echo hello; echo problem >&2; echo $FROM_TEMPLATE $CODER_WORKSPACE_NAME; nohup sleep 1000 >/dev/null 2>&1 & echo $! > daemon",
    );
    let stop = Script { run_on_start: false, run_on_stop: true, ..script(11, "echo stopped > stopped") };
    let unknown = (StatusCode::UNAUTHORIZED, "unknown token");
    let plane = Plane::start(vec![start.clone(), stop], &[unknown, unknown]).await;
    let agent = plane.agent();
    plane.until(Lifecycle::Ready).await;
    assert_eq!(plane.states(), [Lifecycle::Starting, Lifecycle::Ready]);
    eventually("the lines", || plane.lines(&start).len() == 3).await;
    let lines = plane.lines(&start);
    assert!(
        lines.contains(&(LogLevel::Info, "hello".to_owned())) && lines.contains(&(LogLevel::Error, "problem".to_owned())),
        "{lines:?}"
    );
    assert!(lines.contains(&(LogLevel::Info, "yes dev".to_owned())), "{lines:?}");
    let home = plane.home.path();
    assert!(fs::read_to_string(home.join(format!("coder-script-{}.log", start.id))).unwrap().contains("hello"));
    let hello = plane.heard.lock().unwrap().hellos.last().unwrap().clone();
    assert_eq!(hello.expanded_directory, home.to_str().unwrap());
    assert!(is_running(&home.join("daemon")));
    assert_eq!(terminate(agent).await, Some(0));
    assert!(home.join("stopped").exists());
    assert!(!is_running(&home.join("daemon")), "a detached process ends with the agent");
    assert_eq!(plane.states()[2..], [Lifecycle::ShuttingDown, Lifecycle::Off]);
}

#[tokio::test]
async fn the_worst_script_decides_the_state() {
    let slow = Script { timeout_seconds: 1, ..script(20, "trap 'echo interrupted; exit 0' INT; while :; do sleep 0.05; done") };
    let plane = Plane::start(vec![script(21, "true"), slow.clone()], &[]).await;
    let agent = plane.agent();
    plane.until(Lifecycle::StartTimeout).await;
    eventually("what the script said last", || plane.lines(&slow).iter().any(|(_, line)| line == "interrupted")).await;
    assert_eq!(terminate(agent).await, Some(0));

    let bad = script(22, "exit 9");
    let plane = Plane::start(vec![script(23, "true"), bad.clone()], &[]).await;
    let agent = plane.agent();
    plane.until(Lifecycle::StartError).await;
    eventually("the reason", || plane.lines(&bad) == [(LogLevel::Error, "the script failed: exit status: 9".to_owned())]).await;
    assert_eq!(terminate(agent).await, Some(0));
}

#[tokio::test]
async fn a_script_has_its_interpreter_its_directories_and_its_log() {
    let python = Script {
        log_path: "~/logs/python.log".to_owned(),
        ..script(30, "#!/usr/bin/env python3\nimport os\nprint(os.environ['CODER_SCRIPT_DATA_DIR'])")
    };
    let install = script(
        31,
        "printf '#!/bin/sh\\necho tool works\\n' > $CODER_SCRIPT_BIN_DIR/tool; chmod +x $CODER_SCRIPT_BIN_DIR/tool; tool",
    );
    let plane = Plane::start(vec![python.clone(), install.clone()], &[]).await;
    let agent = plane.agent();
    plane.until(Lifecycle::Ready).await;
    eventually("the lines", || plane.lines(&python).len() == 1 && plane.lines(&install).len() == 1).await;
    assert_eq!(plane.lines(&install)[0].1, "tool works");
    let (_, data) = plane.lines(&python).remove(0);
    assert!(data.ends_with(&python.id.to_string()), "{data}");
    let metadata = fs::metadata(&data).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::mode(&metadata) & 0o777, 0o700);
    assert_eq!(fs::read_to_string(plane.home.path().join("logs/python.log")).unwrap().trim(), data);
    assert_eq!(terminate(agent).await, Some(0));
}

#[tokio::test]
async fn a_replaced_agent_ends_with_a_code_of_its_own() {
    let plane = Plane::start(vec![], &[(StatusCode::FORBIDDEN, "superseded")]).await;
    let mut agent = plane.agent();
    let status = tokio::time::timeout(PATIENCE, agent.wait()).await.expect("the agent ended").unwrap();
    assert_eq!(status.code(), Some(3));
}

#[tokio::test]
async fn an_instance_says_who_it_is_and_its_agents_of_one_boot_share_a_token() {
    let plane = Plane::start(vec![], &[]).await;
    let endpoint = format!("http://{}", plane.address);
    let environment = [
        ("CODER_AGENT_TOKEN", ""),
        ("CODER_AGENT_AUTH", "aws-instance-identity"),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &endpoint),
    ];
    for number in 1..=2 {
        let agent = plane.agent_with(&environment);
        eventually("the hello", || plane.heard.lock().unwrap().hellos.len() >= 2 * number).await;
        assert_eq!(terminate(agent).await, Some(0));
    }
    assert_eq!(plane.heard.lock().unwrap().introductions, 2, "one in vain, and one that both agents live on");
}

#[tokio::test]
async fn an_agent_without_a_token_says_what_is_missing() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_berth-agent"));
    let output = command.env_clear().env("CODER_AGENT_URL", "http://127.0.0.1:9").output().await.unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("CODER_AGENT_TOKEN is not set"));
}

#[tokio::test]
async fn an_agent_nobody_answers_can_still_be_told_to_end() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_berth-agent"));
    let home = tempfile::tempdir().unwrap();
    command
        .env_clear()
        .env("HOME", home.path())
        .env("CODER_AGENT_URL", "http://127.0.0.1:9")
        .env("CODER_AGENT_TOKEN", "x")
        .kill_on_drop(true);
    let agent = command.spawn().unwrap();
    eventually("its key", || {
        fs::read_dir(home.path().join(".local/state/berth")).is_ok_and(|mut entries| entries.next().is_some())
    })
    .await;
    // The handler of the signal is in place before anything else happens.
    assert_eq!(terminate(agent).await, Some(0));
}
