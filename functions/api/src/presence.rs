//! Who is at the relay, on AWS: the relay is another process and is asked over HTTP. On one machine the API looks into its memory.

use crate::{Attendance, Clock, Presence, Seat};
use berth_aws::Aws;
use berth_domain::{AgentId, Timestamp};
use berth_wire::{
    presence::{AskedAgent, PRESENCE_AGENTS_MAX, PRESENCE_PATH, PRESENCE_TICKET_SECONDS, PresenceAnswer, PresenceRequest},
    ticket::{SigningKey, TicketError},
};
use futures_util::future::{BoxFuture, join_all};
use jiff::SignedDuration;
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// How long an answer waits for the relay. Longer than any relay needs, shorter than a person notices.
const PATIENCE: Duration = Duration::from_millis(300);

/// The relays are asked who they are at most once in this time, however many strangers say that they are one.
const ASK_AGAIN: SignedDuration = SignedDuration::from_secs(1);

/// The relays, asked with a ticket that says we are the API.
#[derive(Debug, Clone)]
pub struct RelayPresence {
    aws: Aws,
    /// As clients and agents know them.
    urls: Vec<String>,
    signing: SigningKey,
    clock: Clock,
    /// The keys of the relays' own ends, as far as they were told. One that a restart made old opens nothing: nobody has its secret half.
    known: Arc<Mutex<BTreeSet<String>>>,
    /// When they were last asked for it. Held while asking, so that a crowd of strangers makes one question.
    asked: Arc<tokio::sync::Mutex<Option<Timestamp>>>,
}

/// Why the relay did not say who is there.
#[derive(Debug, thiserror::Error)]
enum Silence {
    #[error("cannot sign the question")]
    Ticket(#[from] TicketError),
    #[error("the relay did not answer within {} ms", PATIENCE.as_millis())]
    Late,
    #[error("the relay cannot be asked")]
    Request(#[from] berth_aws::PostError),
    #[error("the relay answered {0}")]
    Status(u16),
    #[error("the relay's answer is not understood")]
    Answer(#[from] serde_json::Error),
}

impl RelayPresence {
    /// Makes no request.
    #[must_use]
    pub fn new(aws: Aws, relay_urls: &[String], signing: SigningKey, clock: Clock) -> Self {
        Self { aws, urls: relay_urls.to_vec(), signing, clock, known: Arc::default(), asked: Arc::default() }
    }

    async fn ask(&self, relay_url: &str, agents: &[(AgentId, &str)]) -> Result<PresenceAnswer, Silence> {
        let ticket = self.signing.presence(self.clock.now() + SignedDuration::from_secs(PRESENCE_TICKET_SECONDS))?;
        let asked = |&(agent, endpoint): &(AgentId, &str)| AskedAgent { id: agent.0, endpoint_id: endpoint.to_owned() };
        let body = serde_json::to_string(&PresenceRequest { agents: agents.iter().map(asked).collect() })?;
        let url = format!("{}{PRESENCE_PATH}", relay_url.trim_end_matches('/'));
        let answer = tokio::time::timeout(PATIENCE, self.aws.post_json(&url, ticket.expose(), body)).await;
        let (status, body) = answer.map_err(|_| Silence::Late)??;
        if status != 200 {
            return Err(Silence::Status(status));
        }
        Ok(serde_json::from_slice(&body)?)
    }

    async fn all(&self, agents: &[(AgentId, &str)]) -> Attendance {
        let mut seen = Attendance::default();
        let questions = self.urls.iter().flat_map(|url| agents.chunks(PRESENCE_AGENTS_MAX).map(move |some| (url, some)));
        let asked = questions.map(async |(url, some)| (url, self.ask(url, some).await));
        for (url, answer) in join_all(asked).await {
            match answer {
                Ok(answer) => answer.connected.into_iter().for_each(|one| seen.note(AgentId(one.id), Seat::new(one.since, url))),
                Err(silence) => {
                    tracing::warn!(error = %berth_lambda::causes(&silence), url, "nobody there is shown as connected");
                    seen.is_incomplete = true;
                }
            }
        }
        seen
    }

    /// Asks only about one that is not known.
    async fn knows(&self, endpoint_id: &str) -> bool {
        if self.lock().contains(endpoint_id) {
            return true;
        }
        let (mut asked, now) = (self.asked.lock().await, self.clock.now());
        // Somebody may have asked while we waited.
        if self.lock().contains(endpoint_id) {
            return true;
        }
        if asked.is_some_and(|last| now.duration_since(last) < ASK_AGAIN) {
            return false;
        }
        *asked = Some(now);
        for answer in join_all(self.urls.iter().map(|url| self.ask(url, &[]))).await {
            match answer {
                Ok(answer) => drop(answer.endpoint_id.map(|own| self.lock().insert(own))),
                Err(silence) => tracing::warn!(error = %berth_lambda::causes(&silence), "a relay does not say who it is"),
            }
        }
        self.lock().contains(endpoint_id)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Presence for RelayPresence {
    fn connected<'a>(&'a self, agents: &'a [(AgentId, &'a str)]) -> BoxFuture<'a, Attendance> {
        Box::pin(self.all(agents))
    }

    fn is_relay<'a>(&'a self, endpoint_id: &'a str) -> BoxFuture<'a, bool> {
        Box::pin(self.knows(endpoint_id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    fn presence(relay_urls: &[String]) -> RelayPresence {
        let read = |name: &str| match name {
            "AWS_REGION" => Some("eu-central-1".to_owned()),
            "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" => Some("none".to_owned()),
            _ => None,
        };
        RelayPresence::new(Aws::from_env(read).unwrap(), relay_urls, SigningKey::new([7; 32]), Clock::system())
    }

    #[tokio::test]
    async fn a_relay_that_is_away_or_silent_connects_nobody_and_holds_nobody_up_and_is_told_from_an_empty_one() {
        let agents = [(AgentId(uuid::Uuid::nil()), "a")];
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let away = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let urls = [&silent, &away].map(|listener| format!("http://{}", listener.local_addr().unwrap()));
        drop(away);
        for url in urls {
            let relay = presence(&[url]);
            let asked = tokio::time::timeout(PATIENCE * 10, relay.connected(&agents)).await;
            assert_eq!(asked.expect("it waits for ever"), Attendance { is_incomplete: true, ..Attendance::default() });
            assert!(!relay.is_relay(&"a".repeat(64)).await);
        }
    }
}
