//! The signals that end a command: interrupted, terminated, terminal closed.

use crate::failure::{Failure, Outcome};
use std::{future::Future, io};
use tokio::signal::unix::{SignalKind, signal};

/// Waits for one of them and gives the exit code that stands for it.
///
/// # Errors
/// When the process cannot listen for signals.
pub async fn ended() -> io::Result<u8> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(tokio::select! {
        _ = interrupt.recv() => 130,
        _ = terminate.recv() => 143,
        _ = hangup.recv() => 129,
    })
}

/// Does the work unless a signal comes first; `farewell` then says what becomes of it.
///
/// # Errors
/// As the work; silent when a signal came.
pub async fn unless_ended<T>(work: impl Future<Output = Outcome<T>>, farewell: impl FnOnce()) -> Outcome<T> {
    tokio::select! {
        // The work first: what is followed inside it has its own farewell.
        biased;
        done = work => done,
        code = ended() => {
            let code = code.map_err(|error| Failure::new(format!("cannot listen for signals: {error}")))?;
            farewell();
            Err(Failure::silent(code))
        }
    }
}
