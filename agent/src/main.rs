//! `berth-agent`: run by the template inside the workspace.

use std::process::ExitCode;

use berth_agent::config::Config;
use berth_agent::control::ControlError;
use berth_agent::{AgentError, Stop};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// The exit code when the environment or the deployment's answer makes no sense: starting again does not help.
const UNUSABLE: u8 = 2;

/// The exit code when a newer build replaced the agent: starting again does not help either.
const SUPERSEDED: u8 = 3;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    if let Some(code) = berth_agent::verb::run(&arguments) {
        return code;
    }
    #[cfg(target_os = "linux")]
    let closed = berth_agent::process::close_inherited();
    let config = Config::from_env();
    start_log(config.as_ref().map_or("warn", |config| &config.log_filter));
    #[cfg(target_os = "linux")]
    if let Err(error) = closed {
        tracing::warn!(%error, "sessions may see files that whoever started the agent had open");
    }
    let ended = match config {
        Ok(config) => serve(config),
        Err(error) => {
            tracing::error!("{error}");
            return ExitCode::from(UNUSABLE);
        }
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "the agent ended");
            ExitCode::from(if matches!(error, AgentError::Control(ControlError::Superseded)) { SUPERSEDED } else { UNUSABLE })
        }
    }
}

fn start_log(filter: &str) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
}

/// Two workers: one can encrypt while the other writes, and an idle agent stays small.
fn serve(config: Config) -> Result<(), AgentError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(until_told(config)),
        Err(error) => {
            tracing::error!(%error, "no threads for the agent");
            Ok(())
        }
    }
}

/// The first signal ends the agent in order, the second at once.
async fn until_told(config: Config) -> Result<(), AgentError> {
    let stop = Stop::default();
    let told = stop.clone();
    let listen = async move {
        let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
            return std::future::pending().await;
        };
        for token in [told.soon, told.now] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            token.cancel();
        }
        std::future::pending().await
    };
    tokio::select! {
        ended = berth_agent::run(config, stop) => ended,
        () = listen => Ok(()),
    }
}
