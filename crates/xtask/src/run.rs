//! Running other programs, and the only place that prints.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// What a step answers: nothing, or one sentence on what went wrong and what to do.
pub(crate) type Outcome<T = ()> = Result<T, String>;

/// Says a line to the person, on standard output.
#[allow(clippy::print_stdout)]
pub(crate) fn say(line: &str) {
    println!("{line}");
}

/// Says what went wrong, on standard error.
#[allow(clippy::print_stderr)]
pub(crate) fn complain(line: &str) {
    eprintln!("error: {line}");
}

/// Announces a step as cargo does: a right-aligned green verb on standard error.
#[allow(clippy::print_stderr)]
pub(crate) fn step(verb: &str, what: &str) {
    use std::io::IsTerminal;
    if std::io::stderr().is_terminal() {
        eprintln!("\x1b[1;32m{verb:>12}\x1b[0m {what}");
    } else {
        eprintln!("{verb:>12} {what}");
    }
}

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).map(Path::to_path_buf).unwrap_or_default()
}

/// Cargo, as it started us, but without what `cargo run` tells us of our own package: build scripts that read it would run again each
/// time a person's own `cargo build` and ours take turns.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(option_env!("CARGO").unwrap_or("cargo"));
    command.current_dir(root());
    let ours = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(ours)) {
        command.env_remove(name);
    }
    command
}

/// The directory with the binaries of a profile (`debug` or `release`), wherever cargo's target directory is.
pub(crate) fn binaries(profile: &str) -> Outcome<PathBuf> {
    let output = cargo()
        .args(["metadata", "--format-version=1", "--no-deps"])
        .output()
        .map_err(|error| format!("cannot run cargo: {error}"))?;
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).map_err(|error| format!("cargo metadata: {error}"))?;
    let target =
        metadata.get("target_directory").and_then(|value| value.as_str()).ok_or("cargo metadata names no target directory")?;
    Ok(Path::new(target).join(profile))
}

/// Runs to the end, with its output on our terminal.
pub(crate) fn run(command: &mut Command) -> Outcome {
    let line = words(command);
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{line}` ended with {status}")),
        Err(error) => Err(format!("cannot run `{line}`: {error}")),
    }
}

/// Runs to the end and gives what it printed; its standard error stays on our terminal.
pub(crate) fn output(command: &mut Command) -> Outcome<String> {
    let line = words(command);
    let output = command.stderr(Stdio::inherit()).output().map_err(|error| format!("cannot run `{line}`: {error}"))?;
    if !output.status.success() {
        return Err(format!("`{line}` ended with {}", output.status));
    }
    String::from_utf8(output.stdout).map_err(|_| format!("`{line}` printed something that is not text"))
}

/// Whether a program is on PATH.
pub(crate) fn has(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]).any(|directory| directory.join(program).is_file())
    })
}

/// Waits until `ready` gives something, or says what was waited for.
pub(crate) fn wait_for<T>(what: &str, limit: Duration, mut ready: impl FnMut() -> Outcome<Option<T>>) -> Outcome<T> {
    let started = Instant::now();
    while started.elapsed() < limit {
        if let Some(value) = ready()? {
            return Ok(value);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err(format!("{what} did not happen within {} s", limit.as_secs()))
}

fn words(command: &Command) -> String {
    let mut line = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}
