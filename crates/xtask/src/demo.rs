//! `cargo demo`: the main job, for real, on this machine.
//!
//! It types what a person would type: `berth server`, `berth login`, `berth templates push`, `berth create`, `berth ssh`.

use crate::run::{Outcome, binaries, cargo, output, root, run, say, step, wait_for};
use std::{
    fs,
    net::TcpStream,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

const EMAIL: &str = "demo@berth.example";
const WORKSPACE: &str = "dev";

/// What the person asked for.
pub(crate) struct Options {
    once: bool,
    data: Option<PathBuf>,
    port: u16,
    build: bool,
}

impl Options {
    /// `--once` on a free port, with programs that are built already.
    pub(crate) const fn once_as_built() -> Self {
        Self { once: true, data: None, port: 0, build: false }
    }

    /// Reads the arguments.
    pub(crate) fn parse(arguments: &[String]) -> Outcome<Self> {
        let mut options = Self { once: false, data: None, port: 7090, build: true };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let (name, inline) =
                argument.split_once('=').map_or((argument.as_str(), None), |(name, value)| (name, Some(value.to_owned())));
            let mut value = || inline.clone().or_else(|| arguments.next().cloned()).ok_or(format!("{name} needs a value"));
            match name {
                "--once" => options.once = true,
                "--data" => options.data = Some(PathBuf::from(value()?)),
                "--port" => options.port = value()?.parse().map_err(|_| "--port needs a number from 0 to 65535".to_owned())?,
                _ => {
                    return Err(format!(
                        "{argument:?} is not an option of `cargo demo`\nhint: cargo demo [--once] [--data DIR] [--port N]"
                    ));
                }
            }
        }
        Ok(options)
    }
}

/// Builds, starts, does the main job; then stays until Ctrl-C, or with `--once` ends.
pub(crate) fn demo(options: &Options) -> Outcome {
    if options.build {
        step("Building", "berth, berth-local, berth-agent, berth-runner (a few minutes the first time)");
        run(cargo().args(["build", "-p", "berth-cli", "-p", "berth-local", "-p", "berth-agent", "-p", "berth-runner"]))?;
    }
    let (stop, stopped) = mpsc::channel();
    ctrlc::set_handler(move || {
        let _nobody_waits = stop.send(());
    })
    .map_err(|error| format!("cannot handle Ctrl-C: {error}"))?;
    let data = Data::new(options)?;
    let mut demo = Demo::start(&data, options.port)?;
    let outcome = demo.main_job();
    if outcome.is_ok() && !options.once {
        demo.next();
        let _interrupted = stopped.recv();
    }
    let ended = demo.end(data.temporary);
    outcome.and(ended)
}

/// Where the demo keeps its things; a temporary one goes with it.
struct Data {
    directory: PathBuf,
    temporary: bool,
}

impl Data {
    fn new(options: &Options) -> Outcome<Self> {
        let (directory, temporary) = match (&options.data, options.once) {
            (Some(directory), _) => (directory.clone(), false),
            (None, true) => (std::env::temp_dir().join(format!("berth-demo-{}", std::process::id())), true),
            (None, false) => (binaries("demo")?, false),
        };
        fs::create_dir_all(&directory).map_err(|error| format!("cannot create {}: {error}", directory.display()))?;
        let directory = directory.canonicalize().map_err(|error| format!("cannot open {}: {error}", directory.display()))?;
        Ok(Self { directory, temporary })
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        if self.temporary {
            let _gone = fs::remove_dir_all(&self.directory);
        }
    }
}

struct Demo {
    berth: PathBuf,
    config: PathBuf,
    url: String,
    password: String,
    server: Child,
}

impl Demo {
    fn start(data: &Data, port: u16) -> Outcome<Self> {
        let berth = binaries("debug")?.join("berth");
        let ready = data.directory.join("demo-url");
        let _stale = fs::remove_file(&ready);
        step("Starting", &format!("berth server --data {} --port {port}", data.directory.display()));
        let log = fs::File::create(data.directory.join("server.log"))
            .map_err(|error| format!("cannot write the server's log: {error}"))?;
        let mut command = Command::new(&berth);
        command
            .arg("server")
            .arg("--data")
            .arg(&data.directory)
            .args(["--port", &port.to_string()])
            .arg("--ready-file")
            .arg(&ready);
        // Its own process group: Ctrl-C is for us, so that the workspace can be stopped before the server.
        command.stdin(Stdio::null()).stdout(log.try_clone().map_err(|error| error.to_string())?).stderr(log).process_group(0);
        let mut server = command.spawn().map_err(|error| format!("cannot start berth server: {error}"))?;
        let url = wait_for("the server's start", Duration::from_secs(60), || {
            if let Ok(Some(status)) = server.try_wait() {
                let log = fs::read_to_string(data.directory.join("server.log")).unwrap_or_default();
                return Err(format!("berth server ended with {status}\n{}", log.trim_end()));
            }
            Ok(fs::read_to_string(&ready).ok().filter(|url| url.ends_with('\n')).map(|url| url.trim().to_owned()))
        })?;
        let password = password(&data.directory)?;
        Ok(Self { berth, config: data.directory.join("config"), url, password, server })
    }

    fn berth(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.berth);
        command.env("BERTH_CONFIG_DIR", &self.config).args(arguments).current_dir(root()).stdin(Stdio::null());
        command
    }

    /// Says the command as the person would type it, then runs it.
    fn type_in(&self, arguments: &[&str]) -> Outcome {
        step("$ berth", &arguments.join(" "));
        run(&mut self.berth(arguments))
    }

    fn main_job(&self) -> Outcome {
        step("$ berth", &format!("login {}", self.url));
        let who = ["--first-user-username", "demo", "--first-user-email", EMAIL];
        run(self.berth(&["login", &self.url]).args(who).env("BERTH_FIRST_USER_PASSWORD", &self.password))?;
        self.type_in(&["templates", "push", "local", "--directory", "templates/local", "--yes"])?;
        if self.exists()? {
            self.type_in(&["start", WORKSPACE, "--yes"])?;
        } else {
            self.type_in(&["create", WORKSPACE, "--template", "local", "--yes"])?;
        }
        let script = "echo \"hello from $CODER_WORKSPACE_OWNER_NAME/$CODER_WORKSPACE_NAME on $(hostname), $(uname -sm), in $PWD\"";
        step("$ berth", &format!("ssh {WORKSPACE} -- '{script}'"));
        let hello = output(&mut self.berth(&["ssh", WORKSPACE, "--", script]))?;
        say(hello.trim_end());
        if hello.contains("hello from demo/dev") { Ok(()) } else { Err("the workspace answered something else".into()) }
    }

    fn exists(&self) -> Outcome<bool> {
        let list = output(&mut self.berth(&["list", "-o", "json"]))?;
        let list: serde_json::Value = serde_json::from_str(&list).map_err(|error| format!("berth list -o json: {error}"))?;
        Ok(list.as_array().is_some_and(|all| all.iter().any(|one| one.get("name").is_some_and(|name| name == WORKSPACE))))
    }

    fn next(&self) {
        let config = self.config.display();
        say(&format!(
            "
Berth is up at {url}   (open it in a browser, or use it from a terminal; user {EMAIL}, password {password})
Its server log: {log}

Try next, in another terminal:

  export BERTH_CONFIG_DIR={config} PATH={bin}:$PATH
  berth ssh {WORKSPACE}                    # a shell in the workspace
  berth config-ssh                 # then: ssh {WORKSPACE}.berth, scp, rsync, git, VS Code Remote-SSH
                                   # (puts `Include {config}/ssh_config` into ~/.ssh/config; undo: --remove)
  berth stop {WORKSPACE}; berth list; berth templates init

Ctrl-C here stops the workspace and the server; the data stays in {data}.",
            url = self.url,
            password = self.password,
            log = self.config.with_file_name("server.log").display(),
            bin = self.berth.parent().unwrap_or(Path::new(".")).display(),
            data = self.config.parent().unwrap_or(Path::new(".")).display(),
        ));
    }

    /// Brings the workspace down (a temporary one is deleted), then the server.
    fn end(&mut self, delete: bool) -> Outcome {
        let verb = if delete { "delete" } else { "stop" };
        let down = if self.server.try_wait().is_ok_and(|status| status.is_none()) {
            self.type_in(&[verb, WORKSPACE, "--yes"])
        } else {
            Err("berth server has ended by itself".to_owned())
        };
        step("Stopping", "berth server");
        let _signalled = Command::new("kill").arg(self.server.id().to_string()).status();
        let status =
            wait_for("the server's end", Duration::from_secs(60), || self.server.try_wait().map_err(|error| error.to_string()));
        let address = self.url.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let closed = if TcpStream::connect(address).is_ok() { Err("the server's port is still open".to_owned()) } else { Ok(()) };
        let ended =
            status.and_then(|status| if status.success() { Ok(()) } else { Err(format!("berth server ended with {status}")) });
        down.and(ended).and(closed)
    }
}

/// The demo user's password: random, kept beside the data.
fn password(data: &Path) -> Outcome<String> {
    use std::{io::Read, os::unix::fs::OpenOptionsExt};
    let file = data.join("demo-password");
    if let Ok(password) = fs::read_to_string(&file) {
        return Ok(password);
    }
    let mut random = [0; 12];
    let read = fs::File::open("/dev/urandom").and_then(|mut urandom| urandom.read_exact(&mut random));
    read.map_err(|error| format!("cannot read random numbers: {error}"))?;
    let password: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut open = fs::OpenOptions::new();
    let mut opened = open
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&file)
        .map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    std::io::Write::write_all(&mut opened, password.as_bytes())
        .map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    Ok(password)
}
