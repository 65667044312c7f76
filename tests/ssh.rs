//! SSH: our own client, and the stock OpenSSH tools after `berth config-ssh`.

use crate::harness::{Answer, Berth, finish};
use std::{fs, io::Write, process::Stdio};

fn answer(command: &mut std::process::Command) -> Answer {
    finish(command)
}

#[test]
fn berth_ssh_runs_a_command_with_its_output_and_exit_code() {
    commands(&Berth::with_workspace());
}

/// Commands in `dev` through our own client.
pub(crate) fn commands(berth: &Berth) {
    assert_eq!(berth.ok(&["ssh", "dev", "--", "echo", "hello", "$CODER_WORKSPACE_NAME"]), "hello dev\n");
    let failed = berth.run(&["ssh", "dev", "--", "echo out; echo err >&2; exit 42"]);
    assert_eq!((failed.code, failed.stdout.as_str(), failed.stderr.as_str()), (Some(42), "out\n", "err\n"));
    assert_eq!(berth.run(&["ssh", "dev", "--", "kill -TERM $$"]).code, Some(128 + 15));

    let mut cat = berth.berth(&["ssh", "dev", "--", "cat"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let bytes: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let mut stdin = cat.stdin.take().unwrap();
    let sent = bytes.clone();
    let writer = std::thread::spawn(move || stdin.write_all(&sent).unwrap());
    let output = cat.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.stdout == bytes, "12 MB come back as they went, then the end of file");
}

#[test]
fn berth_ssh_on_a_stopped_workspace_starts_it() {
    autostart(&Berth::with_workspace());
}

/// A session to `dev`, which is stopped before.
pub(crate) fn autostart(berth: &Berth) {
    berth.ok(&["stop", "dev", "--yes"]);
    assert_eq!(berth.json(&["show", "dev"])["latest_build"]["status"], "stopped");
    let refused = berth.run(&["ssh", "--disable-autostart", "dev", "--", "true"]);
    assert_ne!(refused.code, Some(0));
    assert_eq!(berth.ok(&["ssh", "dev", "--", "echo up"]), "up\n");
    assert_eq!(berth.json(&["show", "dev"])["latest_build"]["status"], "running");
}

#[test]
fn config_ssh_is_idempotent_removable_and_keeps_what_was_there() {
    let berth = Berth::signed_in();
    let config = berth.home().join(".ssh/config");
    fs::create_dir(berth.home().join(".ssh")).unwrap();
    let before = "Host mine\n    HostName example.com\n";
    fs::write(&config, before).unwrap();
    let dry = berth.ok(&["config-ssh", "--dry-run", "--yes"]);
    assert!(dry.contains("Include"), "{dry}");
    assert_eq!(fs::read_to_string(&config).unwrap(), before, "a dry run writes nothing");
    berth.ok(&["config-ssh", "--yes"]);
    let once = fs::read_to_string(&config).unwrap();
    assert!(once.contains("Include") && once.ends_with(before), "{once}");
    berth.ok(&["config-ssh", "--yes"]);
    assert_eq!(fs::read_to_string(&config).unwrap(), once);
    berth.ok(&["config-ssh", "--remove", "--yes"]);
    assert_eq!(fs::read_to_string(&config).unwrap(), before);
}

#[test]
fn stock_openssh_tools_work_after_config_ssh() {
    stock_tools(&Berth::with_workspace());
}

/// ssh, scp, rsync, sftp and git with `dev`.
pub(crate) fn stock_tools(berth: &Berth) {
    berth.ok(&["config-ssh", "--yes"]);
    let home = answer(berth.ssh_client("ssh").args(["dev.berth", "pwd"])).stdout.trim().to_owned();
    assert!(home.starts_with(&*berth.data().to_string_lossy()), "{home}");

    let failed = answer(berth.ssh_client("ssh").args(["dev.berth", "echo err >&2; exit 7"]));
    assert_eq!((failed.code, failed.stderr.as_str()), (Some(7), "err\n"));
    let terminal = answer(berth.ssh_client("ssh").args(["-tt", "dev.berth", "stty size; tty; exit"]));
    assert!(terminal.stdout.contains("/dev/pts/"), "{terminal:?}");

    let file = berth.home().join("file");
    let bytes: Vec<u8> = (0..500_000_u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    fs::write(&file, &bytes).unwrap();
    let source = file.to_string_lossy().into_owned();
    assert_eq!(answer(berth.ssh_client("scp").args([&source, "dev.berth:by-scp"])).code, Some(0));
    assert_eq!(answer(berth.ssh_client("rsync").args(["-a", &source, "dev.berth:by-rsync"])).code, Some(0));
    let batch = berth.home().join("batch");
    fs::write(&batch, format!("put {source} by-sftp\nrename by-sftp by-sftp-2\nls -l by-sftp-2\n")).unwrap();
    let sftp = answer(berth.ssh_client("sftp").arg("-b").arg(&batch).arg("dev.berth"));
    assert_eq!(sftp.code, Some(0), "{sftp:?}");
    for name in ["by-scp", "by-rsync", "by-sftp-2"] {
        assert!(fs::read(format!("{home}/{name}")).unwrap() == bytes, "{name}");
    }
    let back = berth.home().join("back");
    assert_eq!(answer(berth.ssh_client("scp").arg("dev.berth:by-scp").arg(&back)).code, Some(0));
    assert!(fs::read(&back).unwrap() == bytes);

    let commit = "git init -q repo && cd repo && echo hi > a && git add a && git -c user.name=a -c user.email=a@example.com commit -qm first";
    assert_eq!(answer(berth.ssh_client("ssh").args(["dev.berth", commit])).code, Some(0));
    let clone = answer(berth.ssh_client("git").args(["clone", "-q", "dev.berth:repo", "cloned"]));
    assert_eq!(clone.code, Some(0), "{clone:?}");
    assert_eq!(fs::read_to_string(berth.home().join("cloned/a")).unwrap(), "hi\n");
}

#[test]
fn stock_openssh_forwards_ports_both_ways() {
    let berth = Berth::with_workspace();
    berth.ok(&["config-ssh", "--yes"]);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let peer = std::thread::spawn(move || listener.accept().unwrap().0.write_all(b"from the laptop\n").unwrap());
    let script = format!("exec 3<>/dev/tcp/127.0.0.1/{port}; cat <&3");
    // A remote forward with a port the workspace side chooses: the chosen port is in the client's talk.
    let direct = answer(berth.ssh_client("ssh").args(["-W", &format!("127.0.0.1:{port}"), "dev.berth"]));
    assert_eq!(direct.stdout, "from the laptop\n", "{direct:?} {script}");
    peer.join().unwrap();
}

#[test]
fn an_interactive_session_has_a_terminal_of_the_right_size() {
    let berth = Berth::with_workspace();
    let session = format!("berth-{}", std::process::id());
    let path = berth.berth(&["--version"]).get_program().to_string_lossy().into_owned();
    let line = format!("HOME={home} BERTH_CONFIG_DIR={home}/config {path} ssh dev", home = berth.home().display());
    let socket = berth.home().join("tmux");
    let tmux = |arguments: &[&str]| answer(berth.program("tmux").arg("-S").arg(&socket).args(arguments));
    assert_eq!(tmux(&["new-session", "-d", "-s", &session, "-x", "101", "-y", "31", &line]).code, Some(0));
    tmux(&["send-keys", "-t", &session, "stty size; echo name=$CODER_WORKSPACE_NAME", "Enter"]);
    let screen = || tmux(&["capture-pane", "-p", "-t", &session]).stdout;
    crate::harness::eventually("the terminal's size and the workspace's name", || {
        let screen = screen();
        (screen.contains("31 101") && screen.contains("name=dev")).then_some(())
    });
    tmux(&["resize-window", "-t", &session, "-x", "90", "-y", "20"]);
    tmux(&["send-keys", "-t", &session, "clear; stty size", "Enter"]);
    crate::harness::eventually("the new size", || screen().contains("20 90").then_some(()));
    tmux(&["send-keys", "-t", &session, "exit", "Enter"]);
    crate::harness::eventually("the session's end", || (tmux(&["has-session", "-t", &session]).code != Some(0)).then_some(()));
}
