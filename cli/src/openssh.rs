//! Stock OpenSSH programs on a workspace without `config-ssh`: what they are told on their command line.

use crate::{
    config::plain,
    failure::{Failure, Outcome},
    known_hosts,
    name::WorkspaceRef,
    session::Session,
    ssh_config,
};
use std::{
    ffi::{OsStr, OsString},
    io,
    os::unix::process::ExitStatusExt,
    process::Command,
};

/// The options that lead `ssh`, `scp` and `sftp` to workspaces by their names: `-o`, value, `-o`, value, ...
///
/// # Errors
/// When a path could not stand in an SSH configuration.
pub fn options(session: &Session, wait: Option<&str>) -> Outcome<Vec<String>> {
    let executable =
        std::env::current_exe().map_err(|error| Failure::new(format!("cannot tell where berth is: {}", plain(&error))))?;
    let directory = session.config.directory();
    let proxy = ssh_config::proxy_command((&executable, directory), wait, "")?;
    let known_hosts = ssh_config::config_word(ssh_config::path_text(&directory.join(known_hosts::FILE))?);
    let settings = [
        format!("ProxyCommand={proxy}"),
        "ConnectTimeout=0".to_owned(),
        "StrictHostKeyChecking=yes".to_owned(),
        format!("UserKnownHostsFile={known_hosts}"),
        "GlobalKnownHostsFile=/dev/null".to_owned(),
        "LogLevel=ERROR".to_owned(),
        "Ciphers=^aes256-gcm@openssh.com".to_owned(),
    ];
    Ok(settings.into_iter().flat_map(|setting| ["-o".to_owned(), setting]).collect())
}

/// The host name under which OpenSSH is told of a workspace: without a slash, which would make a file of it.
#[must_use]
pub fn host(reference: &WorkspaceRef) -> String {
    let agent = reference.agent.as_ref().map(|agent| format!(".{agent}")).unwrap_or_default();
    let owner = reference.owner.as_ref().map(|owner| format!("{owner}--")).unwrap_or_default();
    format!("{owner}{}{agent}", reference.workspace)
}

/// Runs a program to its end; its exit code is ours.
///
/// # Errors
/// When there is no such program; silent with its exit code when it failed.
pub fn run(program: &str, arguments: &[OsString]) -> Outcome {
    let status = Command::new(program).args(arguments).status().map_err(|error| missing(program, &error))?;
    match status.code().or_else(|| status.signal().map(|signal| 128 + signal)) {
        Some(0) => Ok(()),
        code => Err(Failure::silent(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))),
    }
}

fn missing(program: &str, error: &io::Error) -> Failure {
    let failure = Failure::new(format!("cannot run {program}: {}", plain(error)));
    match error.kind() {
        io::ErrorKind::NotFound if program == "rsync" => failure.hint("install rsync, or copy with `berth cp`"),
        io::ErrorKind::NotFound => failure.hint("install the OpenSSH client (Debian: openssh-client)"),
        _ => failure.hint("is it executable?"),
    }
}

/// One of a copy's ends: `NAME:PATH` is in a workspace, all else is a file here. As `scp` has it, a slash before the colon makes it a file, but
/// for an owner's: `ada/dev:file`.
#[must_use]
pub fn place(text: &OsStr) -> Option<(WorkspaceRef, String)> {
    let text = text.to_str()?;
    let (name, path) = text.split_once(':')?;
    let is_file = name.starts_with(['.', '/', '~']) || name.is_empty();
    let reference = name.parse::<WorkspaceRef>().ok().filter(|_| !is_file)?;
    Some((reference, path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workspace_is_told_from_a_file() {
        let read = |text: &str| place(OsStr::new(text)).map(|(reference, path)| format!("{}:{path}", host(&reference)));
        assert_eq!(read("dev:").as_deref(), Some("dev:"));
        assert_eq!(read("dev:a b:c").as_deref(), Some("dev:a b:c"));
        assert_eq!(read("dev.main:/x").as_deref(), Some("dev.main:/x"));
        assert_eq!(read("ada/dev.main:x").as_deref(), Some("ada--dev.main:x"));
        for text in ["file", "./dev:x", "/dev:x", "a_b:x", ":x", "a/b/c/d:x", ""] {
            assert_eq!(read(text), None, "{text:?}");
        }
    }
}
