//! Files: sftp and scp.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Output, Stdio};

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::bench::{Bench, PATIENCE, finish, stderr, stdout};

/// Runs a batch in `sftp`, locally in `here`.
async fn sftp(bench: &Bench, here: &Path, batch: &str) -> Output {
    let mut command = Command::new("sftp");
    command.args(bench.options()).arg("-P").arg(bench.port.to_string()).args(["-b", "-", "me@127.0.0.1"]);
    command.current_dir(here).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(batch.as_bytes()).await.unwrap();
    tokio::time::timeout(PATIENCE, child.wait_with_output()).await.expect("sftp ended").unwrap()
}

#[tokio::test]
async fn files_go_there_and_back_with_their_times_and_modes() {
    let (bench, here) = (Bench::start().await, tempfile::tempdir().unwrap());
    let data: Vec<u8> = (0..3_000_000u32).map(|i| (i % 251) as u8).collect();
    fs::write(here.path().join("a"), &data).unwrap();
    fs::set_permissions(here.path().join("a"), fs::Permissions::from_mode(0o640)).unwrap();
    let output = sftp(&bench, here.path(), "put -p a b\nget -p b c\nls -l b\n").await;
    assert!(output.status.success(), "{}", stderr(&output));
    let (a, b, c) = (here.path().join("a"), bench.home.path().join("b"), here.path().join("c"));
    assert_eq!(fs::read(&b).unwrap(), data);
    assert_eq!(fs::read(&c).unwrap(), data);
    for copy in [&b, &c] {
        assert_eq!(fs::metadata(copy).unwrap().mtime(), fs::metadata(&a).unwrap().mtime());
        assert_eq!(fs::metadata(copy).unwrap().mode() & 0o777, 0o640);
    }
    assert!(stdout(&output).contains("-rw-r-----"), "{}", stdout(&output));
}

#[tokio::test]
async fn a_rename_replaces_the_target_as_editors_save() {
    let (bench, here) = (Bench::start().await, tempfile::tempdir().unwrap());
    let home = bench.home.path();
    fs::write(home.join("old"), "old").unwrap();
    fs::write(here.path().join("new"), "new").unwrap();
    let output = sftp(&bench, here.path(), "put new tmp\nrename tmp old\n").await;
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(fs::read_to_string(home.join("old")).unwrap(), "new");
    assert!(!home.join("tmp").exists());
    fs::write(home.join("other"), "other").unwrap();
    let output = sftp(&bench, here.path(), "-rename -l old other\nquit\n").await;
    assert_eq!(fs::read_to_string(home.join("other")).unwrap(), "other", "{}", stderr(&output));
}

#[tokio::test]
async fn directories_links_modes_and_space_work() {
    let (bench, here) = (Bench::start().await, tempfile::tempdir().unwrap());
    let home = bench.home.path();
    fs::write(home.join("file"), "x").unwrap();
    for i in 0..250 {
        fs::write(home.join(format!("many{i}")), "").unwrap();
    }
    let batch =
        "mkdir d\nsymlink file d/s\nln file d/h\nchmod 600 file\ndf -h .\npwd\nls -1 many*\nrm d/s\nls -la\ncp file d/copy\n";
    let output = sftp(&bench, here.path(), batch).await;
    assert!(output.status.success(), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(text.contains(&format!("Remote working directory: {}", home.canonicalize().unwrap().display())), "{text}");
    assert_eq!(text.lines().filter(|line| line.starts_with("many")).count(), 250);
    assert_eq!(fs::metadata(home.join("d/h")).unwrap().nlink(), 2);
    assert_eq!(fs::metadata(home.join("file")).unwrap().mode() & 0o777, 0o600);
    let output = sftp(&bench, here.path(), "rm d/h\n-rm d/copy\nrmdir d\n").await;
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(!home.join("d").exists());
}

#[tokio::test]
async fn failures_say_what_is_wrong() {
    let (bench, here) = (Bench::start().await, tempfile::tempdir().unwrap());
    let output = sftp(&bench, here.path(), "get nothing\n").await;
    assert!(!output.status.success());
    assert!(stderr(&output).contains("not found"), "{}", stderr(&output));
    let output = sftp(&bench, here.path(), "-rmdir nothing\n-mkdir /proc/x\nls\n").await;
    assert!(output.status.success(), "a refused request does not end the session: {}", stderr(&output));
}

#[tokio::test]
async fn names_that_are_not_text_pass_through() {
    let (bench, here) = (Bench::start().await, tempfile::tempdir().unwrap());
    let name = std::ffi::OsStr::from_bytes(b"caf\xe9 1");
    fs::create_dir(bench.home.path().join("odd")).unwrap();
    fs::write(bench.home.path().join("odd").join(name), "latin").unwrap();
    let output = sftp(&bench, here.path(), "get -r odd\n").await;
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(fs::read_to_string(here.path().join("odd").join(name)).unwrap(), "latin");
}

#[tokio::test]
async fn scp_copies_trees_with_both_protocols() {
    let (bench, here) = (Bench::start().await, tempfile::tempdir().unwrap());
    fs::create_dir_all(here.path().join("tree/sub")).unwrap();
    fs::write(here.path().join("tree/sub/leaf"), "green").unwrap();
    for (protocol, target) in [("-s", "new"), ("-O", "old")] {
        let mut command = Command::new("scp");
        command.args(bench.options()).args([
            protocol,
            "-r",
            "-p",
            "-P",
            &bench.port.to_string(),
            "tree",
            &format!("me@127.0.0.1:{target}"),
        ]);
        command.current_dir(here.path());
        let output = finish(command).await;
        assert_eq!(output.status.code(), Some(0), "{protocol}: {}", stderr(&output));
        assert_eq!(fs::read_to_string(bench.home.path().join(target).join("sub/leaf")).unwrap(), "green");
    }
    let mut command = Command::new("scp");
    command.args(bench.options()).args(["-P", &bench.port.to_string(), "me@127.0.0.1:nothing", "."]).current_dir(here.path());
    assert_eq!(finish(command).await.status.code(), Some(1));
}

#[tokio::test]
async fn rsync_and_git_move_trees_over_their_own_protocols() {
    let (bench, here) = (Bench::start().await, tempfile::tempdir().unwrap());
    let remote_shell = format!("ssh {} -p {}", bench.options().join(" "), bench.port);
    fs::create_dir_all(here.path().join("tree/sub")).unwrap();
    fs::write(here.path().join("tree/sub/leaf"), vec![7; 1_000_000]).unwrap();
    let mut rsync = Command::new("rsync");
    rsync.args(["-a", "--checksum", "-e", &remote_shell, "tree/", "me@127.0.0.1:copy/"]).current_dir(here.path());
    let output = finish(rsync).await;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(fs::read(bench.home.path().join("copy/sub/leaf")).unwrap().len(), 1_000_000);

    let setup = "git init -q repo && cd repo && git -c user.name=a -c user.email=a@b commit -q --allow-empty -m first";
    assert_eq!(bench.run(setup).await.status.code(), Some(0));
    let mut git = Command::new("git");
    git.args(["clone", "-q", "me@127.0.0.1:repo", "cloned"]).env("GIT_SSH_COMMAND", &remote_shell).current_dir(here.path());
    let output = finish(git).await;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(here.path().join("cloned/.git").is_dir());
}
