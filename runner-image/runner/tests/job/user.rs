//! Stories of a Terraform that runs as another user than the runner, as in the runner's image. They need root, which alone can make two
//! other users; the runner itself then has the rights that the image gives it and no more.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Stdio,
};

use berth_domain::Transition;
use berth_wire::runner::Outcome;
use rustix::{
    fs::{XattrFlags, setxattr},
    process::Signal,
};
use tempfile::TempDir;

use crate::{
    api::{Api, Runner, build, until, until_gone},
    job, resources_of, slow_template, terraform_of,
};

/// Numbers that no account of this machine has.
const RUNNER: u32 = 41_001;
const TERRAFORM: u32 = 41_002;
/// `cap_chown`, `cap_kill`, `cap_setgid` and `cap_setuid` as bits (capabilities(7)).
const CAPABILITIES: u32 = 1 | 1 << 5 | 1 << 6 | 1 << 7;

/// A machine that is set up as the image is: the runner's executable is its user's alone, and has the capabilities.
struct Machine {
    home: TempDir,
    runner: PathBuf,
}

impl Machine {
    /// `None` when the test is not run by root.
    fn new() -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: only root can run the runner as another user");
            return None;
        }
        let home = tempfile::tempdir().unwrap();
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let runner = home.path().join("berth-runner");
        fs::copy(env!("CARGO_BIN_EXE_berth-runner"), &runner).unwrap();
        chown(&runner, Some(RUNNER), Some(RUNNER)).unwrap();
        fs::set_permissions(&runner, fs::Permissions::from_mode(0o500)).unwrap();
        // What `setcap` writes: version 2, effective; permitted and inheritable, low and high words (linux/capability.h).
        let words = [0x0200_0001, CAPABILITIES, 0, 0, 0];
        let value: Vec<u8> = words.iter().flat_map(|word: &u32| word.to_le_bytes()).collect();
        setxattr(&runner, "security.capability", &value, XattrFlags::CREATE).unwrap();
        Some(Self { home, runner })
    }

    /// A file that only the runner can read.
    fn secret(&self, name: &str, text: &str) -> PathBuf {
        let path = self.home.path().join(name);
        fs::write(&path, text).unwrap();
        chown(&path, Some(RUNNER), Some(RUNNER)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        path
    }

    /// Starts the runner as its user, with a home that is not there and no data directory.
    fn runner(&self, api: &Api, user: &str) -> Runner {
        let mut command = tokio::process::Command::new(&self.runner);
        // The shared group is the runner's own: a container runtime may leave out all others.
        command.uid(RUNNER).gid(TERRAFORM).stderr(Stdio::inherit());
        let extra = [("BERTH_DATA_DIR", ""), ("BERTH_PROCESS_ROOT", ""), ("BERTH_TERRAFORM_USER", user)];
        api.run(command, Path::new("/nonexistent"), &extra)
    }
}

/// Tries what a hostile template would; a line each, `OPEN` or `shut`.
const SPY: &str = r#"#!/bin/bash
parent() { awk '/^PPid:/ {print $2}' "/proc/$1/status"; }
guard=$(parent "$PPID")
runner=$(parent "$guard")
try() { local name=$1; shift; if out=$("$@" 2>&1); then echo "OPEN $name: ${out:0:80}"; else echo "shut $name"; fi; }
trace() { strace -qq -o /dev/null -e trace=none -p "$1" 2>&1 & sleep 0.3; if grep -q "^TracerPid:.*[1-9]" "/proc/$1/status"; then kill $!; else kill $! 2>/dev/null; return 1; fi; }
for one in guard runner; do
  id=${!one}
  for file in environ mem maps auxv stack; do try "$one $file" bash -c ": < /proc/$id/$file"; done
  for name in fd root cwd exe; do try "$one $name" bash -c "ls /proc/$id/$name/ || readlink /proc/$id/$name"; done
  try "$one kill" kill -0 "$id"
  try "$one ptrace" trace "$id"
done
try "runner's executable" bash -c "sleep 1 | RUNNER guard - id"
try "runner's executable is written" bash -c "echo >> RUNNER"
try "secret" cat SECRET
try "root" setpriv --reuid 0 --clear-groups id
try "runner's user" setpriv --reuid 41001 --clear-groups id
try "set-user-id program" bash -c 'su -c id nobody < /dev/null'
echo "capabilities $(awk '/^Cap(Prm|Eff|Amb|Inh):/ {print $2}' /proc/self/status | sort -u | tr '\n' ' ')"
echo "no new privileges $(awk '/^NoNewPrivs:/ {print $2}' /proc/self/status)"
echo "user $(id -u):$(id -g) groups $(id -G)"
echo "mine $(stat -c '%u' main.tf spy.sh . | sort -u)"
env | sed 's/^/env /'
"#;

const SPYING: &str = r#"
resource "terraform_data" "spy" {
  provisioner "local-exec" {
    command = "chmod 755 spy.sh && exec ./spy.sh"
  }
}
data "coder_workspace" "early" {}
# Terraform looks every second whether the provider lives.
data "coder_workspace" "late" {
  depends_on = [terraform_data.spy]
}
resource "terraform_data" "told" {
  input = "${data.coder_workspace.early.name} and ${data.coder_workspace.late.name}"
}
"#;

/// What is in the state then.
const SPIED: [&str; 4] = ["coder_workspace.early", "coder_workspace.late", "terraform_data.spy", "terraform_data.told"];

/// What a spy finds: everything that it printed.
async fn spied(machine: &Machine, user: &str) -> String {
    let secret = machine.secret("secret", "file-canary");
    let spy = SPY.replace("RUNNER", machine.runner.to_str().unwrap()).replace("SECRET", secret.to_str().unwrap());
    let api = Api::serve(job(build(Transition::Start)), &[("main.tf", SPYING), ("spy.sh", &spy)], None).await;
    let finish = machine.runner(&api, user).reported(&api).await;
    assert_eq!(finish.outcome, Outcome::Succeeded, "{}", api.memory.borrow().log());
    assert_eq!(resources_of(&api.last_state().unwrap()), SPIED, "the state of another user is read");
    api.memory.borrow().log()
}

#[tokio::test]
async fn a_hostile_template_reaches_nothing_of_the_runners() {
    let Some(machine) = Machine::new() else { return };
    let log = spied(&machine, &format!("{TERRAFORM}:{TERRAFORM}")).await;
    let open: Vec<_> = log.lines().filter(|line| line.contains("OPEN")).collect();
    assert_eq!(open, [""; 0], "{log}");
    assert!(log.matches("): shut ").count() >= 25, "every probe ran: {log}");
    assert!(log.contains("capabilities 0000000000000000\n") && log.contains("no new privileges 1"), "{log}");
    assert!(log.contains(&format!("user {TERRAFORM}:{TERRAFORM} groups {TERRAFORM}\n")), "{log}");
    assert!(log.contains(&format!("mine {TERRAFORM}\n")), "the working directory is Terraform's: {log}");
    assert!(log.contains("env TF_REATTACH_PROVIDERS=") && !log.contains("canary"), "{log}");
}

/// The same probes find what is open where there is no other user: they can tell the difference.
#[tokio::test]
async fn the_probes_find_the_runner_open_when_terraform_is_the_runners_user() {
    let Some(machine) = Machine::new() else { return };
    let log = spied(&machine, "").await;
    for open in ["OPEN guard kill", "OPEN runner kill", "OPEN secret: file-canary", "OPEN runner's executable"] {
        assert!(log.contains(open), "{open}: {log}");
    }
    // Memory and environment are shut even so: the process is not dumpable.
    for shut in ["shut runner environ", "shut runner mem", "shut runner ptrace", "shut guard environ"] {
        assert!(log.contains(shut), "{shut}: {log}");
    }
}

#[tokio::test]
async fn signals_reach_a_terraform_of_another_user_and_its_room_goes_with_it() {
    let Some(machine) = Machine::new() else { return };
    let main = slow_template("user-marker");
    let files = [("main.tf", main.as_str())];
    let api = Api::serve(job(build(Transition::Start)), &files, None).await;
    let runner = machine.runner(&api, &format!("{TERRAFORM}:{TERRAFORM}"));
    let room = format!("berth-{}-", runner.pid());
    api.until("the slow resource begins", |memory| memory.log().contains("Provisioning with")).await;
    assert_eq!(rooms(&room), 1);
    runner.signal(Signal::TERM);
    let finish = runner.reported(&api).await;
    assert_eq!(finish.outcome, Outcome::Failed { error: "the runner was told to stop".into() }, "{}", api.memory.borrow().log());
    assert_eq!(resources_of(&api.last_state().unwrap()), ["terraform_data.quick", "terraform_data.slow"], "the started one too");
    until_gone("user-marker").await;
    assert_eq!(rooms(&room), 0, "nothing stays in /tmp");

    let api = Api::serve(job(build(Transition::Start)), &files, None).await;
    let runner = machine.runner(&api, &format!("{TERRAFORM}:{TERRAFORM}"));
    api.until("the slow resource begins", |memory| memory.log().contains("Provisioning with")).await;
    api.until("the first state", |memory| !memory.states.is_empty()).await;
    let terraform = terraform_of(&runner);
    runner.signal(Signal::KILL);
    runner.end().await;
    until_gone("user-marker").await;
    until("terraform ends", || !Path::new(&format!("/proc/{terraform}")).exists()).await;
}

#[tokio::test]
async fn a_link_in_the_place_of_the_state_makes_the_runner_read_nothing_of_its_own() {
    let Some(machine) = Machine::new() else { return };
    let secret = machine.secret("secret", r#"{"version": 4, "serial": 99, "lineage": "file-canary", "resources": []}"#);
    let swap = format!(
        "resource \"terraform_data\" \"swap\" {{\n  provisioner \"local-exec\" {{\n    command = \"rm -f terraform.tfstate README.md && ln -s {} \
         terraform.tfstate && sleep 1\"\n  }}\n}}\n",
        secret.display()
    );
    let api = Api::serve(job(build(Transition::Start)), &[("main.tf", &swap)], None).await;
    let runner = machine.runner(&api, &format!("{TERRAFORM}:{TERRAFORM}"));
    let outcome = runner.reported(&api).await.outcome;
    assert_eq!(outcome, Outcome::Failed { error: "the newest Terraform state could not be stored".into() });
    let memory = api.memory.borrow();
    assert!(memory.log().contains("Provisioning with"), "{}", memory.log());
    assert!(memory.states.iter().all(|state| !String::from_utf8_lossy(state).contains("canary")));
}

#[tokio::test]
async fn a_runner_that_may_not_change_users_says_what_it_needs() {
    let Some(machine) = Machine::new() else { return };
    rustix::fs::removexattr(&machine.runner, "security.capability").unwrap();
    let api = Api::serve(job(build(Transition::Start)), &[("main.tf", "resource \"terraform_data\" \"a\" {}")], None).await;
    let finish = machine.runner(&api, &format!("{TERRAFORM}:{TERRAFORM}")).reported(&api).await;
    let Outcome::Failed { error } = finish.outcome else { panic!("{:?}", finish.outcome) };
    assert!(error.contains("cap_setuid") && error.contains("setcap"), "{error}");
}

fn rooms(prefix: &str) -> usize {
    let names = fs::read_dir("/tmp").unwrap().flatten().map(|entry| entry.file_name());
    names.filter(|name| name.to_string_lossy().starts_with(prefix)).count()
}
