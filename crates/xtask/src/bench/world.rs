//! What the benchmarks run against: a Berth with a running workspace, and a stock `sshd`, both on loopback or both at the far side of a link,
//! both ours to end.

use super::link::{self, Link, Side};
use crate::run::{Outcome, binaries, output, root, run, step, wait_for};
use std::{
    ffi::OsStr,
    fs,
    io::Read,
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

/// Where the servers and the person are.
pub(crate) enum Place {
    /// All on loopback.
    Loopback,
    /// All on loopback, with no direct connections: two ends on one machine find each other unless neither may.
    Relayed,
    /// The servers at the far side of a link, the person at its near side.
    Apart(Link),
}

/// Both servers and their files; ended and removed on drop.
pub(crate) struct World {
    home: PathBuf,
    binaries: PathBuf,
    pub(crate) url: String,
    pub(crate) server: u32,
    place: Place,
    sshd: u32,
    sshd_port: u16,
    children: Vec<Child>,
}

impl World {
    pub(crate) fn new(place: Place) -> Outcome<Self> {
        let home = std::env::temp_dir().join(format!("berth-bench-{}", std::process::id()));
        fs::create_dir_all(home.join("data")).map_err(|error| error.to_string())?;
        let binaries = binaries("release")?;
        let mut world = Self { home, binaries, url: String::new(), server: 0, place, sshd: 0, sshd_port: 0, children: Vec::new() };
        step("Starting", "berth server, a workspace, sshd");
        world.start_server()?;
        world.start_sshd()?;
        let who = ["--first-user-username", "ada", "--first-user-email", "ada@example.com"];
        quiet(world.berth(&["login", &world.url]).args(who).env("BERTH_FIRST_USER_PASSWORD", "correct horse battery"))?;
        let template = root().join("templates/local");
        quiet(&mut world.berth(&["templates", "push", "local", "--directory", &template.to_string_lossy(), "--yes"]))?;
        quiet(&mut world.berth(&["create", "dev", "--template", "local", "--yes"]))?;
        quiet(&mut world.berth(&["config-ssh", "--yes"]))?;
        Ok(world)
    }

    fn start_server(&mut self) -> Outcome {
        let ready = self.home.join("ready");
        let log = fs::File::create(self.home.join("server.log")).map_err(|error| error.to_string())?;
        let mut command = self.command(Side::Far, self.binary("berth"));
        self.at_home(&mut command);
        command.args(["server", "--port", "0", "--log", "warn,berth_runner=info", "--address", self.address(), "--data"]);
        command.arg(self.home.join("data")).arg("--ready-file").arg(&ready).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        if matches!(self.place, Place::Relayed) {
            command.arg("--disable-direct-connections");
        }
        let child = command.spawn().map_err(|error| format!("cannot start berth server: {error}"))?;
        self.server = child.id();
        self.children.push(child);
        let read = || Ok(fs::read_to_string(&ready).ok().filter(|url| url.ends_with('\n')).map(|url| url.trim().to_owned()));
        self.url = wait_for("the server's start", Duration::from_secs(30), read)?;
        Ok(())
    }

    fn start_sshd(&mut self) -> Outcome {
        let free =
            TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).map_err(|error| error.to_string())?;
        self.sshd_port = free.port();
        let (host, user) = (self.home.join("host_key"), self.home.join("user_key"));
        for key in [&host, &user] {
            run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(key))?;
        }
        fs::copy(user.with_extension("pub"), self.home.join("authorized_keys")).map_err(|error| error.to_string())?;
        let _exists = fs::create_dir_all("/run/sshd");
        let settings = format!(
            "Port {}\nListenAddress {}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\nUsePAM no\nPermitRootLogin yes\nSetEnv HOME={}\n",
            self.sshd_port,
            self.address(),
            host.display(),
            self.home.join("authorized_keys").display(),
            self.home.display()
        );
        fs::write(self.home.join("sshd_config"), settings).map_err(|error| error.to_string())?;
        let mut sshd = self.command(Side::Far, "/usr/sbin/sshd");
        sshd.args(["-D", "-e", "-f"]).arg(self.home.join("sshd_config")).stdin(Stdio::null()).stderr(Stdio::null());
        let sshd = sshd.spawn().map_err(|error| format!("cannot start sshd: {error}"))?;
        self.sshd = sshd.id();
        self.children.push(sshd);
        wait_for("sshd's start", Duration::from_secs(30), || Ok(quiet(&mut self.ssh_direct(&[], &["true"])).ok()))
    }

    /// Where both servers listen.
    pub(crate) const fn address(&self) -> &'static str {
        match self.place {
            Place::Apart(_) => link::FAR,
            Place::Loopback | Place::Relayed => "127.0.0.1",
        }
    }

    /// What is between the servers and the person.
    pub(crate) const fn link(&self) -> Option<&Link> {
        match &self.place {
            Place::Apart(link) => Some(link),
            Place::Loopback | Place::Relayed => None,
        }
    }

    /// A program at one side of the link, if there is one.
    pub(crate) fn command(&self, side: Side, program: impl AsRef<OsStr>) -> Command {
        match self.link() {
            Some(link) => link.command(side, program),
            None => Command::new(program),
        }
    }

    /// The process of the stock server.
    pub(crate) const fn sshd(&self) -> u32 {
        self.sshd
    }

    fn at_home(&self, command: &mut Command) {
        command.env("HOME", &self.home).env("BERTH_CONFIG_DIR", self.home.join("config"));
    }

    /// A `berth` command of the world's person.
    pub(crate) fn berth(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(Side::Near, self.binary("berth"));
        self.at_home(&mut command);
        command.args(arguments);
        command
    }

    /// A directory of the world's own.
    pub(crate) fn directory(&self, name: &str) -> Outcome<PathBuf> {
        let path = self.home.join(name);
        fs::create_dir_all(&path).map_err(|error| format!("cannot make {}: {error}", path.display()))?;
        Ok(path)
    }

    /// One of our executables.
    pub(crate) fn binary(&self, name: &str) -> PathBuf {
        self.binaries.join(name)
    }

    /// `ssh` to the stock server.
    pub(crate) fn ssh_direct(&self, options: &[&str], arguments: &[&str]) -> Command {
        let mut command = self.command(Side::Near, "ssh");
        command.args([
            "-F",
            "none",
            "-o",
            "BatchMode=yes",
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-o",
            "LogLevel=ERROR",
        ]);
        command.arg("-i").arg(self.home.join("user_key")).args(["-p", &self.sshd_port.to_string()]);
        command.args(options).arg(self.address()).args(arguments);
        command
    }

    /// `ssh dev.berth` with what `berth config-ssh` wrote.
    pub(crate) fn ssh_berth(&self, options: &[&str], arguments: &[&str]) -> Command {
        let mut command = self.command(Side::Near, "ssh");
        self.at_home(&mut command);
        command.arg("-F").arg(self.home.join(".ssh/config")).args(options).arg("dev.berth").args(arguments);
        command
    }

    /// The same, through the relay only. For a world whose two sides are apart.
    pub(crate) fn ssh_relayed(&self, options: &[&str], arguments: &[&str]) -> Command {
        let proxy = format!(
            "ProxyCommand={} --global-config {} --disable-direct-connections ssh --stdio %h",
            self.binary("berth").display(),
            self.home.join("config").display()
        );
        self.ssh_berth(&[options, &["-o", &proxy]].concat(), arguments)
    }

    /// What the server and its runners logged so far.
    pub(crate) fn server_log(&self) -> String {
        fs::read_to_string(self.home.join("server.log")).unwrap_or_default()
    }

    /// What the person's session is.
    pub(crate) fn session(&self) -> Outcome<String> {
        fs::read_to_string(self.home.join("config/session"))
            .map(|session| session.trim().to_owned())
            .map_err(|error| error.to_string())
    }

    /// `berth ... -o json`, read.
    pub(crate) fn json(&self, arguments: &[&str]) -> Outcome<serde_json::Value> {
        let text = output(self.berth(arguments).args(["-o", "json"]))?;
        serde_json::from_str(&text).map_err(|error| format!("berth {arguments:?}: {error}"))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _deleted = quiet(&mut self.berth(&["delete", "dev", "--yes"]));
        let _ended = quiet(&mut self.berth(&["mux", "stop"]));
        for child in &mut self.children {
            let _gone = child.kill();
            let _reaped = child.wait();
        }
        let _gone = fs::remove_dir_all(&self.home);
    }
}

/// A process that goes on beside us; killed on drop.
pub(crate) struct Running(Child);

impl Running {
    /// Its stdin stays open.
    pub(crate) fn start(mut command: Command) -> Outcome<Self> {
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        spawned.map(Self).map_err(|error| format!("cannot run {command:?}: {error}"))
    }

    /// Waits until it has said a byte.
    pub(crate) fn saying(mut command: Command, wanted: u8) -> Outcome<Self> {
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut running = spawned.map(Self).map_err(|error| format!("cannot run {command:?}: {error}"))?;
        let stdout = running.0.stdout.as_mut().ok_or("no pipe to a child")?;
        let mut byte = [0];
        while byte != [wanted] {
            stdout.read_exact(&mut byte).map_err(|_| format!("{command:?} ended"))?;
        }
        Ok(running)
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// Runs without its talk.
pub(crate) fn quiet(command: &mut Command) -> Outcome {
    let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim_end()))
}
