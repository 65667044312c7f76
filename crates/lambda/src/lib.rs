//! What the mains of all functions share: how a process in AWS Lambda reads its environment, logs, starts, and ends.
//!
//! ```text
//! exec --environment, log--> init (config, clients, the table's connection) --> the runtime's loop: next, handle, answer --SIGTERM--> end
//!                                 '--an error: one log line that says what to do, exit status 1: Lambda tries again
//! ```
//! One thread: a function's environment handles one event at a time.

mod environment;
mod log;

use std::{error::Error, future::Future, process::ExitCode};
use tokio::signal::unix::{SignalKind, signal};

pub use environment::{Environment, EnvironmentError};

/// Why a function did not start, or its runtime ended: logged once, with its causes.
pub type StartError = Box<dyn Error + Send + Sync>;

/// Runs a function until Lambda ends it. `init` does what can be done before the first event, and gives the runtime's loop.
///
/// Lambda sends SIGTERM between events only (and only where an extension is registered), so nothing is cut off when it ends the loop:
/// <https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html#runtimes-lifecycle-shutdown>.
pub fn main<Init, Loop>(init: Init) -> ExitCode
where
    Init: AsyncFnOnce(Environment) -> Result<Loop, StartError>,
    Loop: Future<Output = Result<(), StartError>>,
{
    let environment = Environment::of_process();
    let outcome = log::start(environment.get("BERTH_LOG")).and_then(|()| {
        environment.needed("AWS_LAMBDA_RUNTIME_API").map_err(|_| NotInLambda)?;
        tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(run(init, environment))
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = %causes(&*error), "the function cannot go on");
            ExitCode::FAILURE
        }
    }
}

async fn run<Init, Loop>(init: Init, environment: Environment) -> Result<(), StartError>
where
    Init: AsyncFnOnce(Environment) -> Result<Loop, StartError>,
    Loop: Future<Output = Result<(), StartError>>,
{
    let mut terminate = signal(SignalKind::terminate())?;
    let serve = async { init(environment).await?.await };
    tokio::select! {
        outcome = serve => outcome,
        _ = terminate.recv() => {
            tracing::info!("told to end");
            Ok(())
        }
    }
}

/// Someone started the program by hand.
#[derive(Debug, thiserror::Error)]
#[error("AWS_LAMBDA_RUNTIME_API is missing: this program runs in AWS Lambda only; on one machine there is `berth server`")]
struct NotInLambda;

/// An error and its causes as one line, none of them twice.
#[must_use]
pub fn causes(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
        next = cause.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot open the table berth")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn an_error_is_told_with_its_causes_each_once() {
        assert_eq!(causes(&Outer(std::io::Error::other("no route"))), "cannot open the table berth: no route");
        assert_eq!(causes(&Outer(std::io::Error::other("the table berth"))), "cannot open the table berth");
    }
}
