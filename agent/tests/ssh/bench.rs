//! A server on a loopback port, and OpenSSH clients for it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use berth_agent::process::Processes;
use berth_agent::ssh::{Server, SessionEnvironment, SshConfig};
use berth_agent::user::User;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio_util::task::AbortOnDropHandle;

/// How long anything may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Bench {
    pub(crate) home: TempDir,
    pub(crate) port: u16,
    _listening: AbortOnDropHandle<()>,
}

impl Bench {
    pub(crate) async fn start() -> Bench {
        Bench::start_with(|_| ()).await
    }

    pub(crate) async fn start_with(adjust: impl FnOnce(&mut SessionEnvironment)) -> Bench {
        let home = tempfile::tempdir().unwrap();
        let mut sessions = SessionEnvironment {
            inherited: BTreeMap::from([("PATH".into(), std::env::var_os("PATH").unwrap())]),
            template: BTreeMap::from([("FROM_TEMPLATE".to_owned(), "$HOME/x".to_owned())]),
            agent: BTreeMap::from([("CODER".to_owned(), "true".to_owned())]),
            user: Some(User { home: home.path().to_owned(), shell: shell(), ..User::current(None) }),
            ..SessionEnvironment::default()
        };
        adjust(&mut sessions);
        let server = Server::new(SshConfig { host_key_seed: [7; 32], sessions, processes: Processes::default() });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let listening = AbortOnDropHandle::new(tokio::task::spawn(accept(listener, server)));
        Bench { home, port, _listening: listening }
    }

    /// Options every client gets. OpenSSH takes the first value of an option, so others go before them.
    pub(crate) fn options(&self) -> Vec<String> {
        [
            "-F/dev/null",
            "-oStrictHostKeyChecking=no",
            "-oUserKnownHostsFile=/dev/null",
            "-oLogLevel=ERROR",
            "-oIdentityAgent=none",
            "-oIdentityFile=none",
        ]
        .map(str::to_owned)
        .to_vec()
    }

    /// `ssh` to the server with more arguments, nothing on standard input.
    pub(crate) fn ssh(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("ssh");
        let (first, rest) = arguments.split_at(arguments.iter().take_while(|argument| argument.starts_with("-o")).count());
        command.args(first).args(self.options()).arg("-p").arg(self.port.to_string()).args(rest);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    /// Runs a command line there.
    pub(crate) async fn run(&self, line: &str) -> Output {
        finish(self.ssh(&["me@127.0.0.1", line])).await
    }

    /// Runs a command line there with `input` on its standard input.
    pub(crate) async fn run_with(&self, line: &str, input: Vec<u8>) -> Output {
        let mut child = self.ssh(&["me@127.0.0.1", line]).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let feed = async move {
            stdin.write_all(&input).await.unwrap();
        };
        let (output, ()) =
            tokio::time::timeout(PATIENCE, async { tokio::join!(child.wait_with_output(), feed) }).await.expect("ssh ended");
        output.unwrap()
    }
}

async fn accept(listener: TcpListener, server: Server) {
    let server = Arc::new(server);
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (stream, peer) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let server = Arc::clone(&server);
        connections.spawn(async move { server.serve(stream, &peer.to_string()).await });
    }
}

/// Bash where it is installed, as most users have it.
fn shell() -> PathBuf {
    ["/bin/bash", "/bin/sh"].iter().map(PathBuf::from).find(|shell| shell.exists()).unwrap()
}

pub(crate) async fn finish(mut command: Command) -> Output {
    tokio::time::timeout(PATIENCE, command.output()).await.expect("the client ended").unwrap()
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Waits until `condition` holds.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
