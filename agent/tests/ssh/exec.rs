//! Commands: exit codes, signals, standard streams, environment, and what outlives the client.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use crate::bench::{Bench, PATIENCE, eventually, finish, stderr, stdout};

#[tokio::test]
async fn exit_codes_are_exact() {
    let bench = Bench::start().await;
    for code in [0, 3, 127, 255] {
        assert_eq!(bench.run(&format!("exit {code}")).await.status.code(), Some(code));
    }
    let output = bench.run("no-such-command-anywhere").await;
    assert_eq!(output.status.code(), Some(127));
    assert!(stderr(&output).contains("no-such-command-anywhere"));
}

#[tokio::test]
async fn death_by_a_signal_is_reported_as_openssh_does() {
    let bench = Bench::start().await;
    let output = bench.run("kill -TERM $$").await;
    assert_eq!(output.status.code(), Some(255));
    let debug = finish(bench.ssh(&["-oLogLevel=DEBUG2", "me@127.0.0.1", "kill -SEGV $$"])).await;
    assert!(stderr(&debug).contains("rtype exit-signal"), "{}", stderr(&debug));
}

#[tokio::test]
async fn standard_error_is_apart_and_both_are_complete() {
    let bench = Bench::start().await;
    let output = bench.run("for i in 1 2 3; do echo out$i; echo err$i >&2; done; exit 4").await;
    assert_eq!(stdout(&output), "out1\nout2\nout3\n");
    assert_eq!(stderr(&output), "err1\nerr2\nerr3\n");
    assert_eq!(output.status.code(), Some(4));
}

#[tokio::test]
async fn end_of_file_reaches_the_command_and_its_answer_comes_back() {
    let bench = Bench::start().await;
    let output = bench.run_with("cat; echo after", b"hello\n".to_vec()).await;
    assert_eq!(stdout(&output), "hello\nafter\n");
    assert_eq!(output.status.code(), Some(0));
}

#[tokio::test]
async fn ten_megabytes_arrive_whole_in_both_directions() {
    let bench = Bench::start().await;
    let data: Vec<u8> = (0..10u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let hash = hex::encode(Sha256::digest(&data));
    let up = bench.run_with("sha256sum", data.clone()).await;
    assert!(stdout(&up).starts_with(&hash));
    let both = bench.run_with("cat", data).await;
    assert_eq!(hex::encode(Sha256::digest(&both.stdout)), hash);
}

/// New keys after every megabyte of 20 each way. `BERTH_REKEY_BYTES=3221225472` makes it 3 GiB, which takes minutes.
#[tokio::test]
async fn new_keys_in_the_middle_of_a_transfer_lose_nothing() {
    let bench = Bench::start().await;
    let bytes: u64 = std::env::var("BERTH_REKEY_BYTES").map_or(20_000_000, |bytes| bytes.parse().unwrap());
    let patience = PATIENCE + Duration::from_secs(bytes >> 20);
    let down = format!("ssh \"$@\" 'head -c {bytes} /dev/zero; exit 5' | cmp -n {bytes} - /dev/zero; echo ${{PIPESTATUS[*]}}");
    let up = format!(
        "head -c {bytes} /dev/zero | ssh \"$@\" 'cmp -n {bytes} - /dev/zero; code=$?; test $(wc -c) = 0; exit $((code + 7))'; echo $?"
    );
    for (line, expected) in [(down, "5 0\n"), (up, "7\n")] {
        let mut shell = tokio::process::Command::new("bash");
        let client = bench.ssh(&["-oRekeyLimit=1M", "me@127.0.0.1"]);
        shell.args(["-c", &line, "bash"]).args(client.as_std().get_args()).kill_on_drop(true);
        let output = tokio::time::timeout(patience, shell.output()).await.expect("all of it came in time").unwrap();
        assert_eq!(stdout(&output), expected, "{}", stderr(&output));
    }
}

#[tokio::test]
async fn a_session_has_the_environment_of_sshd_and_of_the_template() {
    let bench = Bench::start().await;
    let home = bench.home.path().canonicalize().unwrap();
    let line =
        "echo $HOME $PWD $FROM_TEMPLATE $CODER ${SSH_CLIENT%% *} ${SSH_CONNECTION##* } \"$LANG\" \"$WISH\" \"$USER\" \"$SHLVL\"";
    let output = finish(bench.ssh(&["-oSetEnv=WISH=granted", "me@127.0.0.1", line])).await;
    let found = stdout(&output);
    let words: Vec<&str> = found.split_whitespace().collect();
    let (home, expected) = (home.to_str().unwrap(), format!("{}/x", home.display()));
    assert_eq!(&words[..8], &[home, home, expected.as_str(), "true", "127.0.0.1", "22", "C.UTF-8", "granted"], "{found}");
    assert_eq!(words[8], berth_agent::user::User::current(None).name);
}

#[tokio::test]
async fn bash_reads_its_rc_file_for_a_command() {
    let bench = Bench::start_with(|sessions| drop(sessions.inherited.insert("SHLVL".into(), "2".into()))).await;
    fs::write(bench.home.path().join(".bashrc"), "export FROM_RC=yes\n").unwrap();
    let expected = if fs::exists("/bin/bash").unwrap() { "yes" } else { "" };
    assert_eq!(stdout(&bench.run("echo $FROM_RC").await).trim(), expected);
}

#[tokio::test]
async fn a_missing_directory_is_told_on_standard_error_only() {
    let bench = Bench::start_with(|sessions| sessions.directory = "~/project".to_owned()).await;
    let output = bench.run("pwd").await;
    let home = bench.home.path().canonicalize().unwrap();
    assert_eq!(stdout(&output).trim(), home.to_str().unwrap());
    assert!(stderr(&output).contains("project does not exist"), "{}", stderr(&output));
    fs::create_dir(bench.home.path().join("project")).unwrap();
    let output = bench.run("pwd").await;
    assert_eq!((stdout(&output).trim(), stderr(&output).as_str()), (home.join("project").to_str().unwrap(), ""));
}

#[tokio::test]
async fn a_background_process_does_not_hold_the_session() {
    let bench = Bench::start().await;
    let before = Instant::now();
    let output = bench.run("sleep 1000 & echo started $!").await;
    let pid = stdout(&output).trim().strip_prefix("started ").unwrap().to_owned();
    assert!(before.elapsed().as_secs() < 30);
    assert!(is_running(&pid), "it goes on");
    kill(&pid).await;
}

#[tokio::test]
async fn output_that_comes_just_after_the_shell_is_not_lost() {
    let bench = Bench::start().await;
    let output = bench.run("(sleep 0.05; echo late) & echo early").await;
    assert_eq!(stdout(&output), "early\nlate\n");
}

#[tokio::test]
async fn when_the_client_vanishes_readers_end_and_silent_commands_go_on() {
    let bench = Bench::start().await;
    let mark = |name: &str| bench.home.path().join(name);
    let mut client = bench
        .ssh(&["me@127.0.0.1", "nohup sleep 1000 >/dev/null 2>&1 & echo $! > nohup; echo $$ > silent; sleep 1000"])
        .spawn()
        .unwrap();
    let mut reader =
        bench.ssh(&["me@127.0.0.1", "echo $$ > reader; cat; echo ended > reader-ended"]).stdin(Stdio::piped()).spawn().unwrap();
    eventually("all have started", || {
        ["nohup", "silent", "reader"].iter().all(|name| fs::read_to_string(mark(name)).is_ok_and(|text| text.ends_with('\n')))
    })
    .await;
    client.kill().await.unwrap();
    reader.kill().await.unwrap();
    eventually("the reader saw the end of its input", || mark("reader-ended").exists()).await;
    for name in ["nohup", "silent"] {
        let pid = fs::read_to_string(mark(name)).unwrap();
        assert!(is_running(pid.trim()), "{name} goes on");
        kill(&format!("-- -{}", pid.trim())).await;
        kill(pid.trim()).await;
    }
}

#[tokio::test]
async fn fifty_sessions_share_one_connection() {
    let bench = Bench::start().await;
    let socket = bench.home.path().join("master");
    let path = format!("-oControlPath={}", socket.display());
    let master = bench.ssh(&["-N", "-oControlMaster=yes", &path, "me@127.0.0.1"]).spawn().unwrap();
    eventually("the master listens", || socket.exists()).await;
    let clients = (0..50).map(|i| finish(bench.ssh(&[&path, "me@127.0.0.1", &format!("sleep 0.2; echo {i}; exit {i}")])));
    let outputs = futures_util::future::join_all(clients).await;
    for (i, output) in outputs.iter().enumerate() {
        assert_eq!(
            (stdout(output).trim().to_owned(), output.status.code()),
            (i.to_string(), i32::try_from(i).ok()),
            "{}",
            stderr(output)
        );
    }
    drop(master);
}

#[tokio::test]
async fn two_hundred_sessions_run_at_once_on_one_connection() {
    let bench = Bench::start().await;
    let socket = bench.home.path().join("master");
    let path = format!("-oControlPath={}", socket.display());
    let master = bench.ssh(&["-N", "-oControlMaster=yes", &path, "me@127.0.0.1"]).spawn().unwrap();
    eventually("the master listens", || socket.exists()).await;
    two_hundred_at_once(&bench, &path).await;
    drop(master);
}

#[tokio::test]
async fn two_hundred_connections_run_at_once() {
    two_hundred_at_once(&Bench::start().await, "-oKexAlgorithms=curve25519-sha256").await;
}

async fn two_hundred_at_once(bench: &Bench, option: &str) {
    let waiting = "touch here.$$; while ! test -e go; do sleep 0.2; done; rm here.$$; exit 7";
    let clients: Vec<_> = (0..200).map(|_| bench.ssh(&[option, "me@127.0.0.1", waiting]).spawn().unwrap()).collect();
    let here = || {
        fs::read_dir(bench.home.path())
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("here."))
            .count()
    };
    eventually("all run at the same time", || here() == 200).await;
    fs::write(bench.home.path().join("go"), "").unwrap();
    for client in clients {
        let output = tokio::time::timeout(PATIENCE, client.wait_with_output()).await.expect("the session ended").unwrap();
        assert_eq!(output.status.code(), Some(7), "{}", stderr(&output));
    }
}

#[tokio::test]
async fn a_client_that_stops_reading_does_not_disturb_the_next_one() {
    let bench = Bench::start().await;
    let mut stuck = bench.ssh(&["me@127.0.0.1", "yes"]).spawn().unwrap();
    let mut lines = BufReader::new(stuck.stdout.as_mut().unwrap()).lines();
    assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("y"));
    assert_eq!(stdout(&bench.run("echo fine").await), "fine\n");
    drop(stuck);
}

#[tokio::test]
async fn a_large_input_nobody_reads_ends_with_the_command() {
    let bench = Bench::start().await;
    let mut child = bench.ssh(&["me@127.0.0.1", "exit 6"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let feed = async move { drop(stdin.write_all(&vec![0; 30_000_000]).await) };
    let (status, ()) = tokio::time::timeout(PATIENCE, async { tokio::join!(child.wait(), feed) }).await.expect("it ended");
    assert_eq!(status.unwrap().code(), Some(6));
}

fn is_running(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

async fn kill(target: &str) {
    let mut command = tokio::process::Command::new("sh");
    command.arg("-c").arg(format!("kill {target}"));
    drop(finish(command).await);
}
