//! Terminals: size, modes, login shell, hang-up.

use std::fs;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

use crate::bench::{Bench, PATIENCE, eventually, finish, stdout};

#[tokio::test]
async fn a_terminal_has_a_name_a_type_and_modes() {
    let bench = Bench::start().await;
    let mut command =
        bench.ssh(&["-tt", "me@127.0.0.1", "test -t 0 && test \"$(tty)\" = \"$SSH_TTY\" && echo $TERM && stty size && tput cols"]);
    command.env("TERM", "xterm-256color");
    let output = finish(command).await;
    let text = stdout(&output).replace('\r', "");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert_eq!(lines[..2], ["xterm-256color", "24 80"]);
}

#[tokio::test]
async fn the_shell_is_a_login_shell_and_greets() {
    let motd = tempfile::NamedTempFile::new().unwrap();
    fs::write(motd.path(), "welcome aboard\n").unwrap();
    let bench = Bench::start_with(|sessions| sessions.motd_file = Some(motd.path().to_owned())).await;
    fs::write(bench.home.path().join(".profile"), "echo profile was read\n").unwrap();
    let text = converse(&bench, "echo name=$0\nexit 9\n").await;
    assert!(text.starts_with("welcome aboard\r\n"), "{text}");
    assert!(text.contains("profile was read"), "{text}");
    assert!(text.contains("name=-"), "{text}");
    fs::write(bench.home.path().join(".hushlogin"), "").unwrap();
    assert!(!converse(&bench, "exit\n").await.contains("welcome"));
}

/// A shell on a terminal that reads `input`; its exit code must be that of the last `exit`.
async fn converse(bench: &Bench, input: &str) -> String {
    let mut child = bench.ssh(&["-tt", "me@127.0.0.1"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(input.as_bytes()).await.unwrap();
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.expect("the shell ended").unwrap();
    let code = if input.contains("exit 9") { 9 } else { 0 };
    assert_eq!(output.status.code(), Some(code), "{}", stdout(&output));
    stdout(&output)
}

#[tokio::test]
async fn typing_control_c_interrupts_the_command_in_the_foreground() {
    let bench = Bench::start().await;
    let mut child = bench
        .ssh(&["-tt", "me@127.0.0.1", "trap 'echo interrupted; exit 42' INT; echo ready; while :; do sleep 0.05; done"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next_line().await.unwrap().unwrap().trim(), "ready");
    child.stdin.as_mut().unwrap().write_all(&[3]).await.unwrap();
    let status = tokio::time::timeout(PATIENCE, child.wait()).await.expect("it was interrupted").unwrap();
    assert_eq!(status.code(), Some(42));
    let mut said = String::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        said.push_str(&line);
    }
    assert!(said.contains("interrupted"), "{said}");
}

#[tokio::test]
async fn a_terminal_hangs_up_when_the_client_vanishes() {
    let bench = Bench::start().await;
    let script = "trap 'echo hup > hup; exit' HUP; echo $$ > started; while :; do sleep 0.05; done";
    let mut child = bench.ssh(&["-tt", "me@127.0.0.1", script]).stdin(Stdio::piped()).spawn().unwrap();
    eventually("the command runs", || bench.home.path().join("started").exists()).await;
    child.kill().await.unwrap();
    eventually("the command was told", || bench.home.path().join("hup").exists()).await;
}

#[tokio::test]
async fn a_background_process_does_not_hold_a_terminal() {
    let bench = Bench::start().await;
    let output = finish(bench.ssh(&["-tt", "me@127.0.0.1", "trap '' HUP; sleep 1000 & echo $!; exit 3"])).await;
    assert_eq!(output.status.code(), Some(3));
    let pid = stdout(&output).trim().to_owned();
    drop(
        finish({
            let mut kill = tokio::process::Command::new("kill");
            kill.arg(pid);
            kill
        })
        .await,
    );
}

#[tokio::test]
async fn the_window_can_change_its_size() {
    let bench = Bench::start().await;
    let (mut pty, pts) = pty_process::open().unwrap();
    pty.resize(pty_process::Size::new(30, 100)).unwrap();
    let remote = "echo first $(stty size); trap 'echo second $(stty size); exit' WINCH; echo ready; while :; do sleep 0.05; done";
    let mut command = tokio::process::Command::new("ssh");
    command.args(bench.options()).args(["-p", &bench.port.to_string(), "-t", "me@127.0.0.1", remote]).kill_on_drop(true);
    let _client = pty_process::Command::from(command).spawn(pts).unwrap();
    assert!(read_until(&mut pty, "ready").await.contains("first 30 100"));
    pty.resize(pty_process::Size::new(40, 120)).unwrap();
    read_until(&mut pty, "second 40 120").await;
}

async fn read_until(pty: &mut pty_process::Pty, expected: &str) -> String {
    let mut found = String::new();
    let reading = async {
        let mut buffer = [0; 1024];
        while !found.contains(expected) {
            let count = pty.read(&mut buffer).await.unwrap();
            found.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("the text came");
    found
}
