//! What `coder` and `berth` answer inside a workspace: git without set-up, dotfiles, figures, scripts that wait for each other.

use crate::harness::{Berth, eventually, finish};
use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Stdio},
};

/// A git server: `sshd` that knows one key, and a repository.
struct Forge {
    sshd: Child,
    directory: PathBuf,
    port: u16,
}

impl Forge {
    fn start(berth: &Berth) -> Self {
        let directory = berth.home().join("forge");
        fs::create_dir(&directory).unwrap();
        let at = |name: &str| directory.join(name).display().to_string();
        let made = finish(berth.program("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", &at("host")]));
        assert_eq!(made.code, Some(0), "{made:?}");
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPermitRootLogin yes\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nPidFile none\nSetEnv \"PATH={}\"\n",
            at("host"),
            at("authorized"),
            std::env::var("PATH").unwrap(),
        );
        fs::write(at("config"), config).unwrap();
        if nix::unistd::getuid().is_root() {
            fs::create_dir_all("/run/sshd").unwrap();
        }
        let mut sshd = berth.program("/usr/sbin/sshd");
        sshd.args(["-D", "-E", &at("log"), "-f", &at("config")]).stdout(Stdio::null()).stderr(Stdio::null());
        let forge = Self { sshd: sshd.spawn().unwrap(), directory, port };
        eventually("the start of sshd", || TcpStream::connect(("127.0.0.1", port)).ok());
        forge.repository(berth);
        forge
    }

    fn repository(&self, berth: &Berth) {
        let (work, bare) = (self.directory.join("work"), self.directory.join("repository.git"));
        let script = "git init --quiet --initial-branch=main $WORK && cd $WORK && echo 'set number' > .vimrc && git add . \
                      && git -c user.name=bob -c user.email=bob@example.com commit --quiet -m first && git clone --quiet --bare . $BARE";
        let made = finish(berth.program("sh").args(["-c", script]).env("WORK", work).env("BARE", bare));
        assert_eq!(made.code, Some(0), "{made:?}");
    }

    fn url(&self) -> String {
        let user = nix::unistd::User::from_uid(nix::unistd::getuid()).unwrap().unwrap().name;
        format!("ssh://{user}@127.0.0.1:{}{}", self.port, self.directory.join("repository.git").display())
    }

    /// Lets in whoever has this key.
    fn lets_in(&self, key: &str) {
        fs::write(self.directory.join("authorized"), key).unwrap();
    }
}

impl Drop for Forge {
    fn drop(&mut self) {
        let _ended = self.sshd.kill().and_then(|()| self.sshd.wait());
    }
}

#[test]
fn git_in_a_workspace_needs_no_key_of_its_own() {
    let berth = Berth::with_workspace();
    let forge = Forge::start(&berth);
    // ssh heeds the home directory of the user database, not HOME: the servers that it gets to know are kept apart from the tester's own.
    let known = r#"export GIT_SSH_COMMAND="$GIT_SSH_COMMAND -o UserKnownHostsFile=$HOME/known_hosts""#;
    let inside = |line: &str| berth.run(&["ssh", "dev", "--", &format!("{known}; {line}")]);
    let clone = format!("git clone --quiet {} cloned", forge.url());

    forge.lets_in("");
    let refused = inside(&clone);
    let key = berth.ok(&["publickey"]);
    assert!(refused.code != Some(0) && refused.stderr.contains(key.trim()), "{refused:?}");

    forge.lets_in(&key);
    let cloned = inside(&format!("{clone} && cat cloned/.vimrc"));
    assert_eq!((cloned.code, cloned.stdout.as_str()), (Some(0), "set number\n"), "{cloned:?}");
    let pushed = inside("cd cloned && echo more >> .vimrc && git commit --quiet -am more && git push --quiet");
    assert_eq!(pushed.code, Some(0), "{pushed:?}");
    assert_eq!(inside("ls ${TMPDIR:-/tmp} | grep -c ^berth-git-").stdout, "0\n", "no key is left behind");
    assert_eq!(inside("coder publickey").stdout, key);

    let installed = inside(&format!("coder dotfiles -y {} && cat .vimrc", forge.url()));
    assert_eq!((installed.code, installed.stdout.ends_with("set number\nmore\n")), (Some(0), true), "{installed:?}");

    assert_ne!(berth.ok(&["publickey", "--reset", "--yes"]), key);
    assert_ne!(inside("cd cloned && git fetch").code, Some(0), "the old key is not used any more");
}

#[test]
fn scripts_of_templates_find_their_verbs_under_both_names() {
    let berth = Berth::with_workspace();
    let inside = |line: &str| berth.run(&["ssh", "dev", "--", line]);
    for name in ["coder", "berth"] {
        let cpu = inside(&format!("{name} stat cpu"));
        assert!(cpu.stdout.contains(" cores"), "{cpu:?}");
        assert!(inside(&format!("{name} stat disk --path /")).stdout.contains(" GiB ("));
        let memory: serde_json::Value = serde_json::from_str(&inside(&format!("{name} stat mem --host -o json")).stdout).unwrap();
        assert!(memory["unit"] == "B" && memory["used"].as_f64().unwrap() < memory["total"].as_f64().unwrap(), "{memory}");
    }
    assert!(inside("coder stat").stdout.starts_with("HOST CPU "));

    let token = inside("coder external-auth access-token github");
    assert_eq!((token.code, token.stdout.as_str()), (Some(1), ""), "{token:?}");
    assert!(token.stderr.contains("no external authentication is configured for \"github\""), "{token:?}");
    let asked = inside(r#""$GIT_ASKPASS" "Username for 'https://github.com': ""#);
    assert!(asked.code == Some(1) && asked.stderr.contains("git goes on without"), "{asked:?}");

    let waits = "coder exp sync want app clone && (coder exp sync start app && cat order; echo app) & \
                 until coder exp sync status app | grep -q 'Status: pending'; do :; done; \
                 coder exp sync start clone >&2 && echo clone > order && coder exp sync complete clone >&2; wait";
    let order = inside(waits);
    assert!(order.code == Some(0) && order.stdout.ends_with("Unit 'app' started\nclone\napp\n"), "{order:?}");
    assert_eq!(inside("coder exp sync ping").stdout, "Success\n");

    let unknown = inside("coder templates push");
    assert!(unknown.code == Some(2) && unknown.stderr.contains("hint: "), "{unknown:?}");
}
