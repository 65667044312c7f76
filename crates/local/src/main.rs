//! `berth-local`: what `berth server` starts.

use berth_local::{Config, Options, serve};
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    // `berth server ARGS` hands its arguments on as they are; the verb itself may be there or not.
    let arguments = std::env::args().enumerate().filter(|(position, argument)| *position != 1 || argument != "server");
    let options = Options::parse_from(arguments.map(|(_, argument)| argument));
    match run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(error.as_ref());
            ExitCode::FAILURE
        }
    }
}

fn run(options: Options) -> Result<(), Box<dyn std::error::Error>> {
    let filter = tracing_subscriber::EnvFilter::try_new(&options.log)?;
    let colour = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colour).with_writer(std::io::stderr).init();
    let config = Config::new(options, std::env::vars().collect())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build()?;
    runtime.block_on(serve(config))?;
    Ok(())
}

/// One line for the error, its causes behind it, and what to do next where the error knows.
#[allow(clippy::print_stderr)]
fn complain(error: &dyn std::error::Error) {
    let text = error.to_string();
    let (clause, hint) = text.split_once('\n').unwrap_or((&text, ""));
    let mut line = format!("error: {clause}");
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !line.contains(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = error.source();
    }
    eprintln!("{line}");
    if !hint.is_empty() {
        eprintln!("{hint}");
    }
}
