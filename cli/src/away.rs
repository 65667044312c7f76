//! What a person hears while a resumable stream is without a connection, and when it is over.

use crate::{
    failure::{Failure, NO_CONNECTION},
    printer::Printer,
};
use berth_net::{Ended, Phase, Reason};
use std::time::Duration;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

/// An absence shorter than this is not worth a word.
const QUIET_FOR: Duration = Duration::from_secs(2);
/// How often the seconds are counted.
const TICK: Duration = Duration::from_secs(1);
/// How long the other end may take to hear that we end.
const FAREWELL: Duration = Duration::from_millis(400);

/// Tells how the stream fares, on a line of its own that is written over; never returns. For a terminal in raw mode, too.
pub async fn tell(mut phase: watch::Receiver<Phase>, printer: Printer) {
    loop {
        let Ok(since) = phase.wait_for(|phase| matches!(phase, Phase::Away { .. })).await.map(|phase| since(&phase)) else {
            return std::future::pending().await;
        };
        let is_back = phase.wait_for(|phase| !matches!(phase, Phase::Away { .. }));
        if timeout(QUIET_FOR.saturating_sub(since.elapsed()), is_back).await.is_ok() {
            continue;
        }
        printer.begin_status();
        while matches!(&*phase.borrow(), Phase::Away { .. }) {
            printer.status(format_args!("connection lost; trying again ({} s), Ctrl-C gives up", since.elapsed().as_secs()));
            tokio::select! {
                () = sleep(TICK) => {}
                _ = phase.changed() => {}
            }
        }
        let back = matches!(&*phase.borrow(), Phase::Connected);
        printer.end_status(back.then(|| format!("back after {} s", since.elapsed().as_secs())));
    }
}

fn since(phase: &Phase) -> Instant {
    match phase {
        Phase::Away { since, .. } => *since,
        _ => Instant::now(),
    }
}

/// Whether the stream is without a connection, so that what is typed goes nowhere.
#[must_use]
pub fn is_away(phase: &watch::Receiver<Phase>) -> bool {
    matches!(&*phase.borrow(), Phase::Away { .. })
}

/// Waits until the other end knows that the stream, which was dropped, is over. Not for long.
pub async fn farewell(mut phase: watch::Receiver<Phase>) {
    if !is_away(&phase) {
        timeout(FAREWELL, phase.wait_for(|phase| matches!(phase, Phase::Ended(_)))).await.ok();
    }
}

/// Why the stream ended, if that is more than its end: what to say, and what to do next.
#[must_use]
pub fn explain(phase: &watch::Receiver<Phase>, host: &str) -> Option<Failure> {
    let Phase::Ended(ended) = &*phase.borrow() else { return None };
    let again = format!("`berth ssh {host}` begins a new one");
    let (clause, hint) = match ended {
        Ended::Closed(Reason::Done | Reason::Broken) | Ended::Vanished => return None,
        Ended::Closed(Reason::Stopped) => (
            format!("the workspace of {host} stopped, or its agent was replaced"),
            format!("`berth ssh {host}` starts it if need be"),
        ),
        Ended::Closed(Reason::Revoked) => {
            (format!("you may not be in {host} any more"), "ask an owner of the deployment".to_owned())
        }
        Ended::Gone => (format!("the session in {host} is over: its agent restarted, or it was away for too long"), again),
        Ended::Expired(limit) => {
            (format!("the session in {host} is over: it was without a connection for {} hours", limit.as_secs() / 3600), again)
        }
        Ended::Refused(_, text) => (format!("cannot go on with the session in {host}: {text}"), again),
    };
    Some(Failure::new(clause).code(NO_CONNECTION).hint(hint))
}
