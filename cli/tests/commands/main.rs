//! The binary as people and programs use it, against a deployment that answers as each story needs. Stories with the real one are in `tests/`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "helpers of tests may fail as tests do")]

mod build;
mod completion;
mod config_ssh;
mod deployment;
mod doctor;
mod login;
mod parameter;
mod workspace;

use std::{
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

/// A person with an empty home.
struct Person {
    home: tempfile::TempDir,
}

/// What the person sees.
#[derive(Debug)]
struct Seen {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Person {
    fn new() -> Self {
        Self { home: tempfile::tempdir().unwrap() }
    }

    fn home(&self) -> &Path {
        self.home.path()
    }

    /// `berth` with these words, nothing of our own environment, and no terminal.
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_berth"));
        command.args(words).env_clear().env("HOME", self.home()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn types(&self, line: &str) -> Seen {
        seen(self.command(&line.split(' ').collect::<Vec<_>>()).output().unwrap())
    }

    fn types_with_input(&self, line: &str, input: &str) -> Seen {
        let mut child = self.command(&line.split(' ').collect::<Vec<_>>()).stdin(Stdio::piped()).spawn().unwrap();
        // A command that fails early does not read it.
        child.stdin.take().unwrap().write_all(input.as_bytes()).ok();
        seen(child.wait_with_output().unwrap())
    }

    /// Signs in by leaving the files of a session.
    fn signed_in(self, url: &str) -> Self {
        let directory = self.home().join(".config/berth");
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("url"), url).unwrap();
        std::fs::write(directory.join("session"), deployment::TOKEN).unwrap();
        self
    }
}

fn seen(output: Output) -> Seen {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Seen { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
}
