//! Commands that ask nobody.

use crate::Person;
use std::{os::unix::net::UnixStream, process::Stdio};

#[test]
fn completions_are_printed_for_each_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let seen = Person::new().types(&format!("completion {shell}"));
        assert!(seen.code == 0 && seen.stdout.contains("config-ssh"), "{shell}");
    }
}

#[test]
fn a_reader_that_went_away_hears_no_complaint() {
    let (reader, writer) = UnixStream::pair().unwrap();
    drop(reader);
    let output =
        Person::new().command(&["completion", "bash"]).stdout(Stdio::from(std::os::fd::OwnedFd::from(writer))).output().unwrap();
    assert_eq!((output.status.code(), output.stderr.len()), (Some(141), 0));
}

#[test]
fn the_name_coder_reports_the_version_that_ide_extensions_compare() {
    let person = Person::new();
    let link = person.home().join("coder");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_berth"), &link).unwrap();
    let output = std::process::Command::new(&link).args(["version", "--output", "json"]).output().unwrap();
    let version: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(version["version"], berth_wire::COMPATIBLE_VERSION);
    assert_eq!(person.types("--version").stdout, format!("berth {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn the_server_that_is_not_installed_says_how_to_get_it() {
    let person = Person::new();
    let alone = person.home().join("berth");
    // By another process: a writer of ours would be inherited by the children of other tests, and a file being written cannot be run.
    assert!(std::process::Command::new("cp").arg(env!("CARGO_BIN_EXE_berth")).arg(&alone).status().unwrap().success());
    let output = std::process::Command::new(&alone).args(["server", "--port", "0"]).env_clear().output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.starts_with("error: berth-local is not installed beside berth nor on PATH\nhint: "), "{stderr}");
}
