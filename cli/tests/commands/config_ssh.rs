//! `config-ssh` on a temporary home, read back by the real OpenSSH.

use crate::Person;
use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

/// What OpenSSH makes of a host, by option.
fn openssh(config: &Path, host: &str) -> Vec<String> {
    let output = Command::new("ssh").args(["-G", "-F"]).arg(config).arg(host).output().expect("OpenSSH's client is needed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn option<'a>(options: &'a [String], name: &str) -> &'a str {
    let prefix = format!("{name} ");
    options.iter().find_map(|line| line.strip_prefix(&prefix)).unwrap_or_else(|| panic!("{name} is not set"))
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_new_home_gets_both_files_and_a_second_run_changes_nothing() {
    let person = Person::new();
    assert_eq!(person.types("config-ssh -y").code, 0);
    let config = person.home().join(".ssh/config");
    assert_eq!((mode(&person.home().join(".ssh")), mode(&config)), (0o700, 0o600));
    let before = (fs::read_to_string(&config).unwrap(), fs::metadata(&config).unwrap().modified().unwrap());
    let again = person.types("config-ssh -y");
    assert_eq!((again.code, again.stderr.as_str()), (0, "Nothing to change.\n"));
    assert_eq!((fs::read_to_string(&config).unwrap(), fs::metadata(&config).unwrap().modified().unwrap()), before);
    let options = openssh(&config, "dev.berth");
    assert!(option(&options, "proxycommand").ends_with("ssh --stdio --hostname-suffix berth %h"), "{options:?}");
    assert_eq!(option(&options, "stricthostkeychecking"), "true");
    assert_eq!(option(&options, "userknownhostsfile"), person.home().join(".config/berth/known_hosts").to_str().unwrap());
    assert!(!openssh(&config, "elsewhere.example").iter().any(|line| line.starts_with("proxycommand")));
}

#[test]
fn what_was_there_stays_and_removing_restores_it_to_the_byte() {
    let person = Person::new();
    let theirs = "Host *\n  User someone\n  ProxyCommand false\n\nHost last\r\n";
    let config = person.home().join(".ssh/config");
    fs::create_dir(person.home().join(".ssh")).unwrap();
    fs::write(&config, theirs).unwrap();
    fs::set_permissions(&config, fs::Permissions::from_mode(0o640)).unwrap();
    let dry = person.types("config-ssh --dry-run");
    assert!(dry.stdout.contains("+Include "), "{}", dry.stdout);
    assert_eq!(fs::read_to_string(&config).unwrap(), theirs);
    assert!(!person.home().join(".config").exists());
    assert_eq!(person.types("config-ssh -y").code, 0);
    // Ours comes first, so that a `Host *` of theirs does not take its place; what it leaves open is theirs.
    let options = openssh(&config, "dev.berth");
    assert!(option(&options, "proxycommand").contains("--stdio"));
    assert_eq!(option(&options, "user"), "someone");
    assert_eq!(mode(&config), 0o640);
    assert_eq!(person.types("config-ssh --remove -y").code, 0);
    assert_eq!(fs::read_to_string(&config).unwrap(), theirs);
    assert!(!person.home().join(".config/berth/ssh_config").exists());
}

#[test]
fn a_linked_configuration_stays_a_link() {
    let person = Person::new();
    let (dotfiles, ssh) = (person.home().join("dotfiles"), person.home().join(".ssh"));
    fs::create_dir_all(&dotfiles).unwrap();
    fs::create_dir_all(&ssh).unwrap();
    fs::write(dotfiles.join("ssh"), "Host a\n").unwrap();
    std::os::unix::fs::symlink("../dotfiles/ssh", ssh.join("config")).unwrap();
    assert_eq!(person.types("config-ssh -y").code, 0);
    assert!(fs::symlink_metadata(ssh.join("config")).unwrap().is_symlink());
    assert!(fs::read_to_string(dotfiles.join("ssh")).unwrap().starts_with("# >>> berth >>>"));
}

/// The ProxyCommand, run by the person's shell as OpenSSH would, must hand over the directory in one piece.
#[test]
fn odd_directories_survive_openssh_and_the_shell() {
    for name in ["with space", "100%h", "it's", "a;b", "$HOME", "b[1]*", "quote\"d", "back\\slash"] {
        let person = Person::new();
        let directory = person.home().join(name);
        let output = person.command(&["config-ssh", "-y", "--global-config"]).arg(&directory).output().unwrap();
        assert!(output.status.success(), "{name}: {output:?}");
        let config = person.home().join(".ssh/config");
        let options = openssh(&config, "dev.berth");
        assert_eq!(option(&options, "userknownhostsfile"), directory.join("known_hosts").to_str().unwrap(), "{name}");
        fs::write(directory.join("url"), "http://127.0.0.1:1").unwrap();
        fs::write(directory.join("session"), "token").unwrap();
        let ssh = Command::new("ssh").arg("-F").arg(&config).args(["dev.berth", "true"]).env("SHELL", "/bin/sh").output().unwrap();
        let stderr = String::from_utf8(ssh.stderr).unwrap();
        assert!(stderr.contains("cannot reach Berth at http://127.0.0.1:1: connection refused"), "{name}: {stderr}");
        assert_eq!(ssh.status.code(), Some(255));
    }
}

#[test]
fn an_option_that_starts_a_program_is_refused() {
    let person = Person::new();
    let output = person.command(&["config-ssh", "-y", "-o", "ProxyCommand evil"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(!person.home().join(".ssh").exists());
    let output = person.command(&["config-ssh", "-y", "-o", "ForwardAgent yes", "-o", "ServerAliveInterval=30"]).output().unwrap();
    assert!(output.status.success());
    let options = openssh(&person.home().join(".ssh/config"), "dev.berth");
    assert_eq!((option(&options, "forwardagent"), option(&options, "serveraliveinterval")), ("yes", "30"));
}
