//! The client's driver: gets connections, moves bytes, and dials again after a loss.

use super::{
    dial::{Dial, DialError, Pauses},
    machine::Ended,
    stream::{FAREWELL, Loss, Lost, Shared},
};
use berth_wire::tunnel::Service;
use std::{io, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep, timeout};

/// How long an attempt to get a connection may take.
const DIAL_WITHIN: Duration = Duration::from_secs(10);
/// How often a stream that nothing was received of is begun anew.
const BEGINNINGS_MAX: u32 = 3;
/// A connection that was lost sooner than this is not replaced at once.
const SHORT: Duration = Duration::from_secs(5);

/// Keeps a stream connected until it is over, or until its user's end was dropped and the agent had a moment to hear of it.
pub(super) async fn keep(shared: Arc<Shared>, dial: impl Dial, of: Service) {
    let keeper = Keeper { shared: &shared, dial, of };
    tokio::select! {
        () = keeper.keep() => {}
        () = farewell(&shared) => {}
    }
    shared.end(Ended::Vanished);
    shared.publish_end();
}

async fn farewell(shared: &Shared) {
    shared.dropped().await;
    if shared.away_since().is_none() {
        sleep(FAREWELL).await;
    }
}

struct Keeper<'a, D> {
    shared: &'a Shared,
    dial: D,
    of: Service,
}

impl<D: Dial> Keeper<'_, D> {
    async fn keep(&self) {
        let (mut held, mut pauses, mut beginnings) = (None, Pauses::new(), 0);
        loop {
            let (target, limit) = self.shared.wanted(&self.of);
            let resuming = limit.is_some();
            if let (Some(limit), Some(since)) = (limit, self.shared.away_since())
                && since.elapsed() > limit
            {
                return self.shared.end(Ended::Expired(limit));
            }
            let began = Instant::now();
            let reason = match timeout(DIAL_WITHIN, self.dial.dial(target)).await {
                Ok(Ok(stream)) => {
                    self.shared.attach(Box::new(stream), held.take(), resuming);
                    let Some(loss) = self.shared.run().await else { return };
                    beginnings += u32::from(!resuming);
                    if let Some(ended) = self.is_end(&loss, beginnings) {
                        return self.shared.end(ended);
                    }
                    held = loss.connection;
                    if loss.was_welcome {
                        pauses = Pauses::new();
                    }
                    self.shared.publish_away(loss.why.to_string());
                    if loss.was_welcome && began.elapsed() > SHORT {
                        continue;
                    }
                    loss.why.to_string()
                }
                Ok(Err(DialError::Away(reason))) if resuming => reason,
                Ok(Err(error)) => return self.shared.end(Ended::Refused(io::ErrorKind::NotConnected, error.to_string())),
                Err(_) => format!("no answer in {} seconds", DIAL_WITHIN.as_secs()),
            };
            self.shared.publish_away(reason);
            tokio::select! {
                () = sleep(pauses.next(rand::random_range(0.0..1.0))) => {}
                () = self.dial.improved() => {}
            }
        }
    }

    /// Whether the way a connection was lost says that the stream is over.
    fn is_end(&self, loss: &Loss, beginnings: u32) -> Option<Ended> {
        use io::ErrorKind as Kind;
        let is_new = self.shared.wanted(&self.of).1.is_none();
        match &loss.why {
            Lost::Error(error) if error.kind() == Kind::NotFound => Some(Ended::Gone),
            Lost::Error(error)
                if is_new && matches!(error.kind(), Kind::PermissionDenied | Kind::ConnectionRefused | Kind::Unsupported) =>
            {
                Some(Ended::Refused(error.kind(), error.to_string()))
            }
            // What was sent may have been acted on. An SSH connection that nothing came back from has done nothing yet.
            why if is_new && (self.of != Service::Ssh || beginnings >= BEGINNINGS_MAX) => {
                Some(Ended::Refused(Kind::ConnectionAborted, why.to_string()))
            }
            _ => None,
        }
    }
}
