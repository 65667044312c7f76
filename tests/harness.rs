//! One server, one person, one temporary home; everything is ended and removed on drop.

use crate::bed::Bed;
use berth_client::Client;
use berth_domain::Secret;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Mutex, Once},
    time::{Duration, Instant},
};
use tempfile::TempDir;

pub(crate) const PASSWORD: &str = "correct horse battery staple";
/// Longer than anything here takes on a busy machine; a story waits for a condition, never for this.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// A running Berth with its own data, and a person's home with its own configuration. Or the bed's Berth, which others use too.
pub(crate) struct Berth {
    home: TempDir,
    /// The deployed one, where this is not a server of our own.
    pub(crate) bed: Option<&'static Bed>,
    /// The workspaces that this person made on the bed.
    made: Mutex<BTreeSet<String>>,
    /// Where our executables are.
    binaries: PathBuf,
    server: Option<Child>,
    options: Vec<String>,
    environment: Vec<(String, String)>,
    /// The network namespaces of the server and of the person, where they are on machines of their own.
    places: Option<Places>,
    pub(crate) url: String,
}

/// Names of network namespaces.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    pub(crate) server: String,
    pub(crate) person: String,
}

/// What a command answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Answer {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

/// Where the built binaries are: beside the directory of this test's own.
pub(crate) fn binaries() -> PathBuf {
    static CHECK: Once = Once::new();
    let directory = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().to_path_buf();
    CHECK.call_once(|| {
        for name in ["berth", "berth-local", "berth-agent", "berth-runner", "berth-relay"] {
            assert!(directory.join(name).is_file(), "{name} is not built; run `cargo xtask test`, which builds it first");
        }
    });
    directory
}

/// Whether a program is on PATH.
pub(crate) fn has(program: &str) -> bool {
    std::env::split_paths(&std::env::var("PATH").unwrap()).any(|directory| directory.join(program).is_file())
}

/// Runs a command to its end; one that does not end is a failure, not a hanging suite.
pub(crate) fn finish(command: &mut Command) -> Answer {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = Pid::from_raw(child.id().try_into().unwrap());
    let (done, timer) = std::sync::mpsc::channel::<()>();
    let killer = std::thread::spawn(move || {
        if timer.recv_timeout(PATIENCE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            let _gone = kill(pid, Signal::SIGKILL);
        }
    });
    let answer = child.wait_with_output().unwrap().into();
    drop(done);
    killer.join().unwrap();
    answer
}

/// Waits until `condition` gives something.
pub(crate) fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(started.elapsed() < PATIENCE, "{what} did not happen within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(30));
    }
}

impl Berth {
    /// A server with nothing in it.
    pub(crate) fn start() -> Self {
        Self::start_with(&[], &[])
    }

    /// A server with more options and environment.
    pub(crate) fn start_with(options: &[&str], environment: &[(&str, &str)]) -> Self {
        let home = tempfile::Builder::new().prefix("berth-story-").tempdir().unwrap();
        let mut berth = Self::at(home, binaries());
        berth.options = options.iter().map(|&option| option.to_owned()).collect();
        berth.environment = environment.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        berth.boot("0");
        berth
    }

    fn at(home: TempDir, binaries: PathBuf) -> Self {
        let (options, environment, made) = (Vec::new(), Vec::new(), Mutex::default());
        Self { home, bed: None, made, binaries, server: None, options, environment, places: None, url: String::new() }
    }

    /// A person of its own at the deployed Berth, signed in.
    pub(crate) fn deployed(bed: &'static Bed) -> Self {
        let home = tempfile::Builder::new().prefix("berth-story-").tempdir().unwrap();
        let mut berth = Self::at(home, binaries());
        (berth.bed, berth.url) = (Some(bed), bed.url());
        let mut login = berth.berth(&["login", &berth.url, "--first-user-email", &bed.person()]);
        let answer: Answer = login.env("BERTH_FIRST_USER_PASSWORD", PASSWORD).output().unwrap().into();
        assert_eq!(answer.code, Some(0), "{answer:?}\n{}", bed.logs());
        berth
    }

    /// A server with executables of the story's own.
    pub(crate) fn start_from(binaries: &Path) -> Self {
        let home = tempfile::Builder::new().prefix("berth-story-").tempdir().unwrap();
        let mut berth = Self::at(home, binaries.to_path_buf());
        berth.boot("0");
        berth
    }

    /// A server on a machine of its own, at this port; the person is on another.
    pub(crate) fn start_within(places: Places, (port, options): (u16, &[&str]), environment: &[(&str, &str)]) -> Self {
        let home = tempfile::Builder::new().prefix("berth-story-").tempdir().unwrap();
        let mut berth = Self::at(home, binaries());
        berth.places = Some(places);
        berth.options = options.iter().map(|&option| option.to_owned()).collect();
        berth.environment = environment.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        berth.boot(&port.to_string());
        berth
    }

    /// A server whose first user, `ada`, is signed in.
    pub(crate) fn signed_in() -> Self {
        Self::start().sign_in()
    }

    /// A server whose data directory is a file system of its own, this small. Mounting needs root.
    pub(crate) fn on_small_disk(size: &str) -> Self {
        let home = tempfile::Builder::new().prefix("berth-story-").tempdir().unwrap();
        let mut berth = Self::at(home, binaries());
        fs::create_dir(berth.data()).unwrap();
        let mounted =
            finish(berth.program("mount").args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(berth.data()));
        assert_eq!(mounted.code, Some(0), "{mounted:?}");
        berth.boot("0");
        berth
    }

    /// Makes the first user and signs in.
    pub(crate) fn sign_in(self) -> Self {
        let url = self.url.clone();
        let mut login = self.berth(&["login", &url, "--first-user-username", "ada", "--first-user-email", "ada@example.com"]);
        let answer: Answer = login.env("BERTH_FIRST_USER_PASSWORD", PASSWORD).output().unwrap().into();
        assert_eq!(answer.code, Some(0), "{answer:?}");
        self
    }

    /// Signed in, with the starter template pushed as `local`.
    pub(crate) fn with_template() -> Self {
        Self::signed_in().push_template()
    }

    pub(crate) fn push_template(self) -> Self {
        let berth = self;
        let push = || {
            let directory = repository().join("templates/local");
            berth.ok(&["templates", "push", "local", "--directory", &directory.to_string_lossy(), "--yes"]);
        };
        match berth.bed {
            Some(bed) => bed.local.call_once(push),
            None => push(),
        }
        berth
    }

    /// With a running workspace `dev`.
    pub(crate) fn with_workspace() -> Self {
        Self::with_workspace_on(Self::signed_in())
    }

    /// The same on a server that was started in a special way.
    pub(crate) fn with_workspace_on(signed_in: Self) -> Self {
        let berth = signed_in.push_template();
        berth.ok(&["create", "dev", "--template", "local", "--yes"]);
        berth
    }

    fn boot(&mut self, port: &str) {
        let ready = self.home.path().join("ready");
        let _stale = fs::remove_file(&ready);
        let log = fs::OpenOptions::new().create(true).append(true).open(self.home.path().join("server.log")).unwrap();
        let place = self.places.as_ref().map(|places| places.server.as_str());
        let mut command = self.program_at(place, &self.binaries.join("berth").to_string_lossy());
        command
            .args(["server", "--port", port, "--ready-file"])
            .arg(&ready)
            .arg("--data")
            .arg(self.data())
            .args(&self.options)
            .stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        let mut server = command.spawn().unwrap();
        self.url = eventually("the server's start", || {
            if let Some(status) = server.try_wait().unwrap() {
                panic!("the server ended with {status}:\n{}", self.server_log());
            }
            fs::read_to_string(&ready).ok().filter(|url| url.ends_with('\n')).map(|url| url.trim().to_owned())
        });
        self.server = Some(server);
    }

    /// The server's data directory. On the bed, where what is data of a server's machine is: the workspaces.
    pub(crate) fn data(&self) -> PathBuf {
        self.bed.map_or_else(|| self.home.path().join("data"), Bed::workspaces)
    }

    /// A template's name that no other story uses.
    pub(crate) fn template_name(&self, name: &str) -> String {
        match self.bed {
            Some(_) => format!("{name}-{}", self.json(&["whoami"])["username"].as_str().unwrap()),
            None => name.to_owned(),
        }
    }

    /// The person's home directory.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// What the server logged so far.
    pub(crate) fn server_log(&self) -> String {
        if let Some(bed) = self.bed {
            return bed.logs();
        }
        fs::read_to_string(self.home.path().join("server.log")).unwrap_or_default()
    }

    /// A `berth` command in the person's environment.
    pub(crate) fn berth(&self, arguments: &[&str]) -> Command {
        let mut command = self.program(&self.binaries.join("berth").to_string_lossy());
        command.args(arguments);
        command
    }

    /// Any program in the person's environment, with `berth` on PATH.
    pub(crate) fn program(&self, program: &str) -> Command {
        self.program_at(self.places.as_ref().map(|places| places.person.as_str()), program)
    }

    /// The same in another network namespace, or in that of this test.
    pub(crate) fn program_at(&self, namespace: Option<&str>, program: &str) -> Command {
        let mut command = Command::new(if namespace.is_some() { "ip" } else { program });
        if let Some(namespace) = namespace {
            command.args(["netns", "exec", namespace, program]);
        }
        let path = format!("{}:{}:/usr/sbin", self.binaries.display(), std::env::var("PATH").unwrap());
        command
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.home.path())
            .env("BERTH_CONFIG_DIR", self.home.path().join("config"))
            .env("XDG_RUNTIME_DIR", self.home.path().join("run"));
        command.env("USER", "ada").env("LANG", "C.UTF-8").env("TERM", "xterm-256color").env("TMPDIR", std::env::temp_dir());
        command.envs(self.environment.iter().cloned()).stdin(Stdio::null()).current_dir(self.home.path());
        command
    }

    /// Runs `berth` to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Answer {
        finish(&mut self.berth(arguments))
    }

    /// Runs `berth`, which must succeed; gives what it printed.
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let answer = self.run(arguments);
        assert_eq!(answer.code, Some(0), "berth {arguments:?}: {answer:?}\nserver log:\n{}", self.server_log());
        if self.bed.is_some() && arguments.first() == Some(&"create") {
            self.remember_workspaces();
        }
        answer.stdout
    }

    /// Notes which workspaces are this person's, for when they are deleted.
    fn remember_workspaces(&self) {
        let workspaces = self.json(&["list"]);
        let ids = workspaces.as_array().unwrap().iter().filter_map(|workspace| workspace["id"].as_str());
        self.made.lock().unwrap().extend(ids.map(str::to_owned));
    }

    /// Runs `berth ... -o json`, which must succeed; gives the value.
    pub(crate) fn json(&self, arguments: &[&str]) -> serde_json::Value {
        serde_json::from_str(&self.ok(&[arguments, &["-o", "json"]].concat())).unwrap()
    }

    /// Runs `berth`, which must fail, with a one-line error and a hint; gives the text.
    pub(crate) fn fails(&self, arguments: &[&str]) -> String {
        let answer = self.run(arguments);
        assert!(answer.code.is_some_and(|code| code != 0), "berth {arguments:?} should fail: {answer:?}");
        assert!(answer.stderr.contains("error: "), "berth {arguments:?}: {answer:?}");
        answer.stderr
    }

    /// A `ssh`-family program that uses what `berth config-ssh` wrote.
    pub(crate) fn ssh_client(&self, program: &str) -> Command {
        let config = self.home.path().join(".ssh/config");
        let mut command = self.program(program);
        match program {
            "rsync" => command.args(["-e", &format!("ssh -F {}", config.display())]),
            "git" => command.env("GIT_SSH_COMMAND", format!("ssh -F {}", config.display())),
            _ => command.arg("-F").arg(&config),
        };
        command
    }

    /// The typed client, signed in as the person.
    pub(crate) fn client(&self) -> Client {
        let session = fs::read_to_string(self.home.path().join("config/session")).unwrap();
        Client::new(&self.url, Some(Secret::new(session.trim().to_owned()))).unwrap()
    }

    /// The server as the kernel knows it.
    pub(crate) fn server_pid(&self) -> Pid {
        Pid::from_raw(self.server.as_ref().unwrap().id().try_into().unwrap())
    }

    /// Kills the server and does not look what becomes of it.
    pub(crate) fn strike_server(&self) {
        let _gone_already = kill(self.server_pid(), Signal::SIGKILL);
    }

    /// Whether the server was killed since it was started.
    pub(crate) fn server_has_died(&mut self) -> bool {
        self.server.as_mut().is_none_or(|server| server.try_wait().unwrap().is_some())
    }

    /// Pulls the plug.
    pub(crate) fn kill_server(&mut self) {
        let mut server = self.server.take().unwrap();
        server.kill().unwrap();
        server.wait().unwrap();
    }

    /// Asks the server to end and waits for it; gives the exit code.
    pub(crate) fn stop_server(&mut self) -> Option<i32> {
        kill(self.server_pid(), Signal::SIGTERM).unwrap();
        let mut server = self.server.take().unwrap();
        eventually("the server's end", || server.try_wait().unwrap()).code()
    }

    /// Starts the server again, on the port it had.
    pub(crate) fn start_server(&mut self) {
        let port = self.url.trim_end_matches('/').rsplit(':').next().unwrap().to_owned();
        self.boot(&port);
    }

    /// The id of the newest build of `dev`, which is its job's.
    pub(crate) fn job(&self) -> String {
        self.json(&["show", "dev"])["latest_build"]["id"].as_str().unwrap().to_owned()
    }

    /// The runner processes of this server; on the bed, the one that builds `dev`.
    pub(crate) fn runners(&self) -> Vec<Pid> {
        if let Some(bed) = self.bed {
            return bed.runner(&self.job()).map(Pid::from_raw).into_iter().collect();
        }
        let record =
            |entry: fs::DirEntry| serde_json::from_slice::<serde_json::Value>(&fs::read(entry.path()).ok()?).ok()?["pid"].as_i64();
        let records = fs::read_dir(self.data().join("tasks")).unwrap().flatten();
        records.filter_map(record).map(|pid| Pid::from_raw(pid.try_into().unwrap())).collect()
    }

    /// The agents of this server's workspaces.
    pub(crate) fn agents(&self) -> Vec<Pid> {
        let is_agent = |pid: &Pid| {
            fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| String::from_utf8_lossy(&line).contains("berth-agent"))
        };
        self.workspace_processes().into_iter().filter(is_agent).collect()
    }

    /// Processes of ours whose command line or environment holds `text`, the server and this test excepted.
    pub(crate) fn processes(&self, text: &str) -> Vec<Pid> {
        let own = [std::process::id(), self.server.as_ref().map_or(0, Child::id)];
        let holds =
            |path: PathBuf| fs::read(path).is_ok_and(|bytes| bytes.windows(text.len()).any(|window| window == text.as_bytes()));
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Ok(id) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
            let zombie = fs::read_to_string(entry.path().join("stat")).map_or(true, |stat| stat.contains(") Z "));
            let ours = entry.metadata().is_ok_and(|metadata| metadata.uid() == nix::unistd::getuid().as_raw());
            if zombie || !ours || own.contains(&id.unsigned_abs()) {
                continue;
            }
            if holds(entry.path().join("environ")) || holds(entry.path().join("cmdline")) {
                found.push(Pid::from_raw(id));
            }
        }
        found
    }

    /// Processes started for workspaces of this server: agents, and all that runs in them.
    pub(crate) fn workspace_processes(&self) -> Vec<Pid> {
        self.processes("BERTH_PROCESS_ID=").into_iter().filter(|pid| self.is_ours(*pid)).collect()
    }

    fn is_ours(&self, pid: Pid) -> bool {
        let texts = match self.bed {
            Some(_) => self.made.lock().unwrap().iter().cloned().collect(),
            None => vec![self.home.path().to_string_lossy().into_owned()],
        };
        let bytes = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        texts.iter().any(|text| bytes.windows(text.len()).any(|window| window == text.as_bytes()))
    }
}

impl Drop for Berth {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _gone = server.kill();
            let _reaped = server.wait();
        }
        let text = self.home.path().to_string_lossy().into_owned();
        for pid in self.processes(&text) {
            let _gone = kill(pid, Signal::SIGKILL);
        }
        if fs::read_to_string("/proc/mounts").is_ok_and(|mounts| mounts.contains(&text)) {
            let _unmounted = self.program("umount").arg("-l").arg(self.data()).status();
        }
        if std::thread::panicking() {
            let log = self.server_log();
            let tail: Vec<_> = log.lines().rev().take(40).collect();
            eprintln!("--- the server's last words ---\n{}", tail.into_iter().rev().collect::<Vec<_>>().join("\n"));
        }
    }
}

/// The repository's root.
pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// Writes a template directory with this `main.tf`; gives its path.
pub(crate) fn template(berth: &Berth, name: &str, main: &str) -> String {
    let directory = berth.home().join(name);
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("main.tf"), main).unwrap();
    directory.to_string_lossy().into_owned()
}
