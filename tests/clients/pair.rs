//! A workspace and a local `sshd`, side by side.

use crate::harness::{Answer, Berth, finish, repository};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

/// Rows that run at the same time; each is mostly waiting.
pub(super) const ROWS_AT_ONCE: usize = 3;

/// How long a row may take.
const SECONDS_MAX: &str = "80";

/// Programs that find the configuration of both hosts by themselves, as they would with a person's own.
const WRAPPED: &[&str] = &["ssh", "scp", "sftp"];

/// One thing that a client does: run with `$HOST` for where, `$DIR` for an empty directory of this side, and `$CLIENTS` for the programs of this
/// folder, by bash.
pub(super) struct Row {
    pub(super) name: &'static str,
    /// The exit code on both sides.
    pub(super) code: i32,
    pub(super) line: &'static str,
    pub(super) compared: Compared,
}

/// What of a row's answer must be the same.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Compared {
    /// Output and errors.
    All,
    /// Output; the errors hold what differs by nature, such as times.
    Output,
    /// Nothing but the exit code: the line itself looks at what it finds.
    Code,
}

/// Both sides of a comparison.
pub(super) struct Pair {
    berth: Berth,
    rows: AtomicUsize,
}

impl Pair {
    /// The workspace's side, for what has no other.
    pub(super) fn berth(&self) -> &Berth {
        &self.berth
    }

    /// Adds the reference to the person's SSH configuration, beside what `berth config-ssh` writes.
    pub(super) fn new(berth: Berth) -> Self {
        let home = berth.home().to_owned();
        fs::create_dir(home.join(".ssh")).unwrap();
        reference(&berth, &home.join("reference"));
        let programs = home.join("programs");
        fs::create_dir(&programs).unwrap();
        for name in WRAPPED {
            let wrapper = format!("#!/bin/sh\nexec /usr/bin/{name} -F '{}' \"$@\"\n", home.join(".ssh/config").display());
            fs::write(programs.join(name), wrapper).unwrap();
            fs::set_permissions(programs.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        berth.ok(&["config-ssh", "--yes"]);
        // The first session notes the host key, for clients that look there before they connect.
        let first = finish(berth.ssh_client("ssh").args(["dev.berth", "true"]));
        assert_eq!(first.code, Some(0), "{first:?}");
        Self { berth, rows: AtomicUsize::new(0) }
    }

    /// Runs a row on both sides; what differs, or is not as the row says, as text.
    pub(super) fn difference(&self, row: &Row) -> Option<String> {
        let number = self.rows.fetch_add(1, Ordering::Relaxed);
        let (ours, theirs) = std::thread::scope(|scope| {
            let ours = scope.spawn(|| self.run(row.line, number, "dev.berth"));
            let theirs = self.run(row.line, number, "reference");
            (ours.join().unwrap(), theirs)
        });
        let same_output = row.compared == Compared::Code || ours.stdout == theirs.stdout;
        let same_errors = row.compared != Compared::All || ours.stderr == theirs.stderr;
        let same_code = ours.code == Some(row.code) && theirs.code == Some(row.code);
        let told = || format!("--- {}\n    {}\n    workspace: {ours:?}\n    sshd:      {theirs:?}", row.name, row.line.trim());
        (!(same_code && same_output && same_errors)).then(told)
    }

    /// Runs a line with the workspace alone.
    pub(super) fn on_workspace(&self, line: &str) -> Answer {
        self.run(line, self.rows.fetch_add(1, Ordering::Relaxed), "dev.berth")
    }

    fn run(&self, line: &str, number: usize, host: &str) -> Answer {
        let home = self.berth.home();
        let directory = home.join(format!("{host}-{number}"));
        fs::create_dir(&directory).unwrap();
        // It ends what a row started, too, where the row does not end.
        let mut command = self.berth.program("timeout");
        let path = format!("{}:{}:{}", home.join("programs").display(), python().display(), std::env::var("PATH").unwrap());
        command.args(["--kill-after=5", SECONDS_MAX, "bash", "-c", line]).env("PATH", path).current_dir(&directory);
        command.env("HOST", host).env("DIR", &directory).env("CLIENTS", repository().join("tests/clients"));
        command.envs(std::env::vars().filter(|(name, _)| name == "BERTH_PAUSE_SECONDS"));
        let mut answer = finish(&mut command);
        for text in [&mut answer.stdout, &mut answer.stderr] {
            *text = text.replace(&*directory.to_string_lossy(), "DIR").replace(host, "HOST");
        }
        answer
    }
}

/// An `sshd` that serves one connection on its standard streams, as inetd would start it, and how a client reaches it.
fn reference(berth: &Berth, directory: &Path) {
    fs::create_dir_all(directory.join("home")).unwrap();
    for key in ["host", "person"] {
        let made = finish(berth.program("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(directory.join(key)));
        assert_eq!(made.code, Some(0), "{made:?}");
    }
    let (at, read) =
        (|name: &str| directory.join(name).display().to_string(), |name: &str| fs::read_to_string(directory.join(name)).unwrap());
    let is_root = nix::unistd::getuid().is_root();
    if is_root && !Path::new("/run/sshd").exists() {
        fs::create_dir("/run/sshd").unwrap();
    }
    let server = format!(
        "HostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPermitRootLogin yes\nPidFile none\nLogLevel ERROR\n\
         AcceptEnv *\nSetEnv \"HOME={}\" \"PATH={}\" LANG=C.UTF-8\nMaxSessions 300\nSubsystem sftp /usr/lib/openssh/sftp-server\n",
        at("host"),
        at("person.pub"),
        at("home"),
        std::env::var("PATH").unwrap(),
    );
    fs::write(directory.join("sshd_config"), server).unwrap();
    fs::write(directory.join("known_hosts"), format!("reference {}", read("host.pub"))).unwrap();
    let user = nix::unistd::User::from_uid(nix::unistd::getuid()).unwrap().unwrap().name;
    let client = format!(
        "Host reference\n    ProxyCommand /usr/sbin/sshd -E {} -i -f {}\n    User {user}\n    IdentityFile {}\n    IdentitiesOnly yes\n    \
         HostKeyAlias reference\n    StrictHostKeyChecking yes\n    UserKnownHostsFile {}\n    GlobalKnownHostsFile /dev/null\n    \
         LogLevel ERROR\n",
        at("log"),
        at("sshd_config"),
        at("person"),
        at("known_hosts"),
    );
    fs::write(berth.home().join(".ssh/config"), client).unwrap();
}

/// The directory of the Python clients.
pub(super) fn python() -> PathBuf {
    crate::moto::python("clients").expect("cargo xtask test installs the clients").parent().unwrap().to_path_buf()
}
