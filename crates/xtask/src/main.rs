//! The project's own commands: `cargo demo` and `cargo xtask demo|test|check|bench|dist`. Next to nothing but `std`, so that they start at once.

mod bench;
mod check;
mod dashboard;
mod demo;
mod dist;
mod npm;
mod python;
mod run;
mod test;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask <command>

  demo [--once] [--data DIR] [--port N]   the main job, for real, on this machine (also: cargo demo)
  test [-- ARGS...]                       install what the tests need, then run all of them
  check                                   fmt, clippy, doc, deny, unused dependencies, the dashboard: exactly what CI runs
  bench [--as-built] [NAME...]            measure against a rival in the same run, print the table
  dist [--arch arm64|x86_64] [--out DIR]  what an operator deploys without Rust: zips, programs, templates (docs/operator.md)";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.split_first() {
        Some((command, rest)) => match command.as_str() {
            "demo" => demo::Options::parse(rest).and_then(|options| demo::demo(&options)),
            "test" => test::test(rest),
            "check" => check::check(),
            "bench" => bench::bench(rest),
            "dist" => dist::Options::parse(rest).and_then(|options| dist::dist(&options)),
            "help" | "--help" | "-h" => {
                run::say(USAGE);
                Ok(())
            }
            other => Err(format!("{other:?} is not a command\n\n{USAGE}")),
        },
        None => Err(USAGE.to_owned()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            run::complain(&error);
            ExitCode::FAILURE
        }
    }
}
