//! `berth-runner`: works on one job and ends. Its configuration comes from the environment, see [`berth_runner::Config`].

use std::process::ExitCode;

use berth_runner::{Config, Ended, RunnerError, terraform::guard};
use tracing_subscriber::EnvFilter;

/// The exit code of a runner whose lease another task has: not a failure, and not a success either.
const LEASE_LOST: u8 = 3;
/// What a shell answers when a program cannot be executed.
const CANNOT_EXECUTE: u8 = 126;

fn main() -> ExitCode {
    berth_runner::hide();
    if std::env::args_os().nth(1).is_some_and(|verb| verb == guard::VERB) {
        return match guard::run(std::env::args_os().skip(2)) {
            Ok(code) => ExitCode::from(code),
            Err(error) => {
                // The runner reads this as Terraform's last words.
                tracing_subscriber::fmt().without_time().with_target(false).with_writer(std::io::stderr).with_ansi(false).init();
                tracing::error!("cannot run terraform: {error}");
                ExitCode::from(CANNOT_EXECUTE)
            }
        };
    }
    let filter = EnvFilter::try_from_env("BERTH_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    let config = match Config::from_env() {
        Ok(config) => config,
        Err(error) => {
            tracing::error!(%error, "the runner is not configured");
            return ExitCode::from(2);
        }
    };
    match run(config) {
        Ok(Ended::Reported) => ExitCode::SUCCESS,
        Ok(Ended::LeaseLost) => ExitCode::from(LEASE_LOST),
        Err(error) => {
            tracing::error!(error = %error, "the runner failed");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn run(config: Config) -> Result<Ended, RunnerError> {
    berth_runner::run(config).await
}
