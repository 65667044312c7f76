//! Logs: one JSON object a line on standard output, as Lambda's JSON format wants them, with the request's id while one is handled.
//!
//! <https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-logformat.html>

use crate::StartError;
use tracing_subscriber::{filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

/// What is logged unless `BERTH_LOG` says otherwise.
const DEFAULT: &str = "info";

/// `BERTH_LOG` is no filter.
#[derive(Debug, thiserror::Error)]
#[error("the environment variable BERTH_LOG is not a filter such as `info` or `info,berth_api=debug`")]
struct NotAFilter(#[source] tracing_subscriber::filter::ParseError);

/// Starts logging. `Targets` and not `EnvFilter`: building the latter's regular expressions costs more than the rest of the start.
///
/// # Errors
/// When the filter is none; logging has started then, so that it can be told.
pub(crate) fn start(filter: Option<&str>) -> Result<(), StartError> {
    let parsed = filter.unwrap_or(DEFAULT).parse::<Targets>();
    let (targets, outcome) = match parsed {
        Ok(targets) => (targets, Ok(())),
        Err(error) => (Targets::new().with_default(tracing::Level::INFO), Err(NotAFilter(error).into())),
    };
    let lines = tracing_subscriber::fmt::layer().json().flatten_event(true).with_span_list(false);
    tracing_subscriber::registry().with(targets).with(lines).init();
    outcome
}
