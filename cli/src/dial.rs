//! Dialling an agent with an endpoint of this process's own, again and again for as long as a resumable stream lives.

use crate::connection::through;
use berth_client::{Client, ClientError};
use berth_net::{Dial, DialError, Health, Identity, Peer, Tailnet, TunnelStream};
use berth_wire::{agent::Ticket, tunnel::Target};
use std::{
    sync::{Mutex as Plain, PoisonError},
    time::Duration,
};
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};
use uuid::Uuid;

/// A connection that answers within this time is used again.
const ANSWER_WITHIN: Duration = Duration::from_millis(1500);
/// A connection younger than this is used again unasked.
const YOUNG: Duration = Duration::from_secs(3);
/// How long an attempt to connect may take: the packets of a longer one come ever more rarely.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How long the deployment may take to say what became of the agent.
pub(crate) const ASK_WITHIN: Duration = Duration::from_secs(3);
/// After so many attempts in vain the endpoint is replaced, and again after as many more.
const ATTEMPTS_PER_ENDPOINT: u32 = 4;

/// Who introduces this process to an agent.
#[derive(Debug, Clone)]
pub struct Introducer {
    /// The deployment.
    pub client: Client,
    /// The agent.
    pub agent: Uuid,
    /// The only relay to go by, if the person insists on one.
    pub relay: Option<String>,
}

/// This process's own way to an agent.
#[derive(Debug)]
pub struct OwnEndpoint {
    tailnet: Tailnet,
    introducer: Introducer,
    /// Held while one dials: those who come meanwhile use what it finds.
    way: Mutex<Way>,
    /// The connection that was made last, for those who only look.
    peer: Plain<Peer>,
}

#[derive(Debug)]
struct Way {
    ticket: Ticket,
    peer: Peer,
    made: Instant,
    /// How many attempts have been in vain since.
    failures: u32,
}

impl OwnEndpoint {
    /// Goes on from a connection that was just made to an agent. The introducer is asked only when the agent or the relay cannot be reached.
    #[must_use]
    pub fn new(tailnet: Tailnet, introducer: Introducer, (ticket, peer): (Ticket, Peer)) -> Self {
        let way = Way { ticket, peer: peer.clone(), made: Instant::now(), failures: 0 };
        Self { tailnet, introducer, way: Mutex::new(way), peer: Plain::new(peer) }
    }

    /// Says good-bye to the other side. Ends within the time that [`Tailnet::close`] takes.
    pub async fn close(&self) {
        self.peer().close();
        self.tailnet.close().await;
    }

    /// The connection that was made last.
    #[must_use]
    pub fn peer(&self) -> Peer {
        self.peer.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes another connection, on which `target` is resumed.
    async fn reconnect(&self, way: &mut Way, target: Target) -> Result<TunnelStream, DialError> {
        self.prepare(way).await?;
        way.failures += 1;
        let made = timeout(CONNECT_WITHIN, self.tailnet.resume(&way.ticket, target)).await;
        let (peer, stream) = match made {
            Ok(made) => made.map_err(|error| self.unreachable(&error.to_string()))?,
            Err(_) => return Err(self.unreachable("the agent does not answer")),
        };
        (way.peer, way.made, way.failures) = (peer.clone(), Instant::now(), 0);
        *self.peer.lock().unwrap_or_else(PoisonError::into_inner) = peer;
        Ok(stream)
    }

    /// Does what an attempt in vain calls for.
    async fn prepare(&self, way: &mut Way) -> Result<(), DialError> {
        let is_denied = matches!(&*self.tailnet.health().borrow(), Health::Denied { .. });
        if is_denied || way.failures > 0 {
            self.renew(way, is_denied).await?;
        }
        if way.failures > 0 && way.failures.is_multiple_of(ATTEMPTS_PER_ENDPOINT) {
            tracing::info!("the endpoint is replaced");
            self.tailnet.begin_anew().await.map_err(|error| DialError::Away(error.to_string()))?;
        }
        Ok(())
    }

    /// Gets another ticket for the same key, and with it the relay that the agent is at now. When the deployment does not answer, the old one
    /// may still do, unless the relay refuses us.
    async fn renew(&self, way: &mut Way, is_denied: bool) -> Result<(), DialError> {
        let Introducer { client, agent, relay } = &self.introducer;
        match timeout(ASK_WITHIN, client.ticket(*agent, &self.tailnet.endpoint_id())).await {
            Ok(Ok(ticket)) => {
                let ticket = through(relay.as_deref(), ticket).map_err(|failure| DialError::Over(failure.to_string()))?;
                self.take(way, ticket).await
            }
            Ok(Err(error)) if is_denied || error.is_not_found() || error.is_forbidden() => Err(over(&error)),
            Ok(Err(error)) if error.is_conflict() => self.ask().await,
            Err(_) if is_denied => Err(DialError::Away("the deployment does not answer".to_owned())),
            _ => Ok(()),
        }
    }

    async fn take(&self, way: &mut Way, ticket: Ticket) -> Result<(), DialError> {
        if ticket.relay.url != way.ticket.relay.url {
            return self.follow(way).await;
        }
        self.tailnet.update_relay(ticket.relay.clone()).await.map_err(|error| DialError::Away(error.to_string()))?;
        way.ticket = ticket;
        Ok(())
    }

    /// Goes to the relay that the agent is at now, with another key and a ticket for that.
    async fn follow(&self, way: &mut Way) -> Result<(), DialError> {
        let (Introducer { client, agent, relay }, identity) = (&self.introducer, Identity::generate());
        let Ok(asked) = timeout(ASK_WITHIN, client.ticket(*agent, &identity.endpoint_id())).await else { return Ok(()) };
        let ticket = through(relay.as_deref(), asked.map_err(|error| over(&error))?);
        let ticket = ticket.map_err(|failure| DialError::Over(failure.to_string()))?;
        tracing::info!(relay.url = ticket.relay.url, "the agent is at another relay");
        let moved = self.tailnet.move_to(identity, ticket.relay.clone()).await;
        moved.map_err(|error| DialError::Away(error.to_string()))?;
        way.ticket = ticket;
        Ok(())
    }

    /// Asks the deployment what became of an agent that is not connected. When it does not answer, nothing is known.
    async fn ask(&self) -> Result<(), DialError> {
        match timeout(ASK_WITHIN, self.introducer.client.agent(self.introducer.agent)).await {
            Ok(Err(error)) if error.is_not_found() || error.is_forbidden() => Err(over(&error)),
            _ => Ok(()),
        }
    }

    fn unreachable(&self, otherwise: &str) -> DialError {
        match &*self.tailnet.health().borrow() {
            Health::Disconnected { reason, .. } => DialError::Away(format!("cannot reach the relay: {reason}")),
            _ => DialError::Away(otherwise.to_owned()),
        }
    }
}

/// Whether what the deployment says is the end, or may change.
pub(crate) fn over(error: &ClientError) -> DialError {
    if error.is_not_found() {
        return DialError::Over("the workspace was stopped, or built anew".to_owned());
    }
    if error.is_forbidden() || error.is_unauthorized() {
        return DialError::Over(format!("you may not enter the workspace any more: {error}"));
    }
    DialError::Away(error.to_string())
}

impl Dial for OwnEndpoint {
    type Stream = TunnelStream;

    async fn dial(&self, target: Target) -> Result<TunnelStream, DialError> {
        let mut way = self.way.lock().await;
        let is_new = !matches!(target, Target::Resume { .. });
        if is_new || is_alive(&way).await {
            match way.peer.open(target.clone()).await {
                Ok(stream) => return Ok(stream),
                Err(error) if is_new => return Err(DialError::Away(error.to_string())),
                Err(_) => {}
            }
        }
        self.reconnect(&mut way, target).await
    }

    async fn improved(&self) {
        self.tailnet.improved().await;
    }
}

/// Whether the connection at hand still carries something.
async fn is_alive(way: &Way) -> bool {
    way.made.elapsed() < YOUNG && way.peer.is_connected() || way.peer.answers(ANSWER_WITHIN).await
}
