//! `berth-relay`: serves until it is told to stop. `berth-relay --check` asks the one that runs whether it is ready.

use berth_relay::{Config, check, run};
use std::{error::Error, process::ExitCode};

fn main() -> ExitCode {
    let checks = std::env::args().nth(1).is_some_and(|argument| argument == "--check");
    match start(checks) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(error.as_ref());
            ExitCode::FAILURE
        }
    }
}

fn start(checks: bool) -> Result<(), Box<dyn Error>> {
    let read = |name: &str| std::env::vars().find(|(key, _)| key == name).map(|(_, value)| value);
    if checks {
        check(Config::health_listen(read)?)?;
        return Ok(());
    }
    let config = Config::from_env(read)?;
    let filter = tracing_subscriber::EnvFilter::try_new(&config.log)?;
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(std::io::stderr).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run(config))?;
    Ok(())
}

#[allow(clippy::print_stderr)]
fn complain(error: &dyn Error) {
    let text = error.to_string();
    let (clause, hint) = text.split_once('\n').unwrap_or((&text, ""));
    eprintln!("error: {clause}{}", error.source().map(|cause| format!(": {cause}")).unwrap_or_default());
    if !hint.is_empty() {
        eprintln!("{hint}");
    }
}
