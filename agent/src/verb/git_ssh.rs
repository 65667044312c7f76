//! `gitssh`: ssh as git calls it (`GIT_SSH_COMMAND`), with the key of the workspace's owner besides whatever keys there are.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use berth_wire::agent::AgentGitKey;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::NamedTempFile;
use tokio::signal::unix::{SignalKind, signal};

use super::{Call, Failure, Outcome, tell};
use crate::user::User;

/// What ssh exits with when it did not get as far as the command.
const SSH_FAILED: u8 = 255;

/// The keys that ssh looks for where nothing is configured (ssh_config(5), `IdentityFile`).
const USUAL_KEYS: [&str; 5] =
    ["~/.ssh/id_rsa", "~/.ssh/id_ecdsa", "~/.ssh/id_ecdsa_sk", "~/.ssh/id_ed25519", "~/.ssh/id_ed25519_sk"];

/// Runs ssh.
pub(super) fn run(call: &Call<'_>) -> Outcome {
    let rest = match call.rest.split_first() {
        Some((first, rest)) if first == "--" => rest,
        _ => call.rest,
    };
    let key = match call.ask(async |client| client.git_key().await) {
        Ok(key) => Some(key),
        Err(why) => {
            tell(format_args!("berth: no key for git from the deployment ({why}); going on with your own keys"));
            None
        }
    };
    let file = key.as_ref().map(written).transpose();
    let file = file.map_err(|error| Failure::new(format!("cannot write the key for git: {error}")))?;
    let mut ssh = Command::new("ssh");
    ssh.args(found(rest).options(file.as_ref().map(NamedTempFile::path))).args(rest);
    let code =
        end(ssh).map_err(|error| Failure::new(format!("cannot run ssh: {error}")).hint("is OpenSSH installed here?".to_owned()))?;
    if let (SSH_FAILED, Some(key)) = (code, key) {
        tell(format_args!(
            "\nberth: git in your workspaces proves who you are with this key; is it added where the repository is?\n{}",
            key.public_key.trim_end()
        ));
    }
    Ok(code)
}

/// The key in a file of its own, which only its owner can read and which goes with the handle.
fn written(key: &AgentGitKey) -> io::Result<NamedTempFile> {
    let mut file = tempfile::Builder::new().prefix("berth-git-").tempfile()?;
    file.write_all(key.private_key.expose().as_bytes())?;
    Ok(file)
}

/// What ssh would do by itself.
#[derive(Debug, PartialEq, Eq)]
struct Configured {
    /// Keys that are there.
    keys: Vec<PathBuf>,
    /// Whether it would ask a person about a server that it does not know.
    asks: bool,
}

/// Asks ssh what it would do.
fn found(rest: &[OsString]) -> Configured {
    let said = Command::new("ssh").arg("-G").args(rest).stdin(Stdio::null()).stderr(Stdio::null()).output();
    let text = said.ok().filter(|said| said.status.success()).map(|said| String::from_utf8_lossy(&said.stdout).into_owned());
    // ssh does not heed HOME.
    read(text.as_deref(), &User::current(None).home)
}

fn read(said: Option<&str>, home: &Path) -> Configured {
    let usual = USUAL_KEYS.map(|key| format!("identityfile {key}\n")).concat();
    let text = said.unwrap_or(&usual);
    let option = |name: &'static str| text.lines().filter_map(move |line| line.strip_prefix(name)?.strip_prefix(' '));
    let path = |key: &str| key.strip_prefix("~/").map_or_else(|| PathBuf::from(key), |key| home.join(key));
    let keys = option("identityfile").map(path).filter(|key| key.is_file()).collect();
    Configured { keys, asks: option("stricthostkeychecking").next().is_none_or(|how| how == "ask") }
}

impl Configured {
    /// Naming one key makes ssh forget those that it would look for by itself, so all are named; the person's own come first. A server that is new is
    /// believed, as a person would who has nothing to compare with: scripts have nobody to ask.
    fn options(&self, own: Option<&Path>) -> Vec<OsString> {
        let mut options: Vec<OsString> = Vec::new();
        if self.asks {
            options.extend(["-o", "StrictHostKeyChecking=accept-new"].map(OsString::from));
        }
        if let Some(own) = own {
            let keys = self.keys.iter().map(PathBuf::as_path).chain([own]);
            options.extend(keys.flat_map(|key| ["-i".into(), key.as_os_str().to_owned()]));
        }
        options
    }
}

/// Runs a program to its end and hands it the signals that come meanwhile, so that the key's file is removed in any case.
fn end(command: Command) -> io::Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let [mut terminated, mut hung_up] = [signal(SignalKind::terminate())?, signal(SignalKind::hangup())?];
        // A terminal interrupts the whole group, the program too.
        let mut interrupted = signal(SignalKind::interrupt())?;
        let mut child = tokio::process::Command::from(command).spawn()?;
        loop {
            let passed_on = tokio::select! {
                status = child.wait() => return Ok(code(status?)),
                _ = terminated.recv() => Signal::SIGTERM,
                _ = hung_up.recv() => Signal::SIGHUP,
                _ = interrupted.recv() => continue,
            };
            if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
                kill(Pid::from_raw(pid), passed_on).ok();
            }
        }
    })
}

fn code(status: ExitStatus) -> u8 {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
    u8::try_from(code).unwrap_or(SSH_FAILED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_wire::domain::Secret;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn own_keys_come_first_and_who_configured_something_is_heard() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".ssh")).unwrap();
        let own = home.path().join(".ssh/id_ed25519");
        std::fs::write(&own, "").unwrap();
        let said = "user git\nstricthostkeychecking ask\nidentityfile ~/.ssh/id_rsa\nidentityfile ~/.ssh/id_ed25519\n";
        for configured in [read(Some(said), home.path()), read(None, home.path())] {
            assert_eq!(configured, Configured { keys: vec![own.clone()], asks: true });
            let options = configured.options(Some(Path::new("/tmp/ours")));
            let wanted = ["-o", "StrictHostKeyChecking=accept-new", "-i", own.to_str().unwrap(), "-i", "/tmp/ours"];
            assert_eq!(options, wanted);
            assert_eq!(configured.options(None).len(), 2, "without ours, ssh finds the others by itself");
        }
        assert!(!read(Some("stricthostkeychecking true\n"), home.path()).asks);
    }

    #[test]
    fn the_key_is_private_and_goes_with_its_handle() {
        let key = AgentGitKey { public_key: String::new(), private_key: Secret::new("secret".to_owned()) };
        let file = written(&key).unwrap();
        assert_eq!(std::fs::metadata(file.path()).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_to_string(file.path()).unwrap(), "secret");
        let path = file.path().to_owned();
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn the_programs_exit_code_is_ours() {
        let shell = |line: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", line]);
            end(command).unwrap()
        };
        assert_eq!((shell("exit 7"), shell("kill -TERM $$")), (7, 128 + 15));
    }
}
