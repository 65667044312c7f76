//! The sweep's surroundings on AWS: the queue is SQS, and the relay is a service of ECS.

use crate::{Announce, Power, PowerError, RelayService};
use aws_sdk_ecs::error::DisplayErrorContext;
use berth_domain::Priority;
use berth_store::JobId;
use berth_wire::message::Message;

/// The queue to the dispatcher.
#[derive(Debug, Clone)]
pub struct Queue {
    sqs: aws_sdk_sqs::Client,
    url: String,
}

impl Queue {
    /// Makes no request.
    #[must_use]
    pub const fn new(sqs: aws_sdk_sqs::Client, url: String) -> Self {
        Self { sqs, url }
    }
}

impl Announce for Queue {
    /// There is one lane: each task runs on its own machine, so nobody waits for anybody.
    async fn announce(&self, job: JobId, _: Priority) {
        let message = Message { job: job.to_string() };
        let body = serde_json::to_string(&message).unwrap_or_default();
        if let Err(error) = self.sqs.send_message().queue_url(&self.url).message_body(body).send().await {
            tracing::warn!(%job, error = %DisplayErrorContext(&error), "cannot announce the job; the next sweep does");
        }
    }
}

/// The relay's service; none when the relay never sleeps.
#[derive(Debug, Clone)]
pub struct Service {
    ecs: aws_sdk_ecs::Client,
    relay: Option<RelayService>,
}

impl Service {
    /// Makes no request.
    #[must_use]
    pub const fn new(ecs: aws_sdk_ecs::Client, relay: Option<RelayService>) -> Self {
        Self { ecs, relay }
    }
}

impl Power for Service {
    async fn set(&self, on: bool) -> Result<(), PowerError> {
        let Some(relay) = &self.relay else { return Ok(()) };
        let update = self.ecs.update_service().cluster(&relay.cluster).service(&relay.service).desired_count(i32::from(on));
        update.send().await.map_err(|error| PowerError { on, cause: DisplayErrorContext(&error).to_string() })?;
        Ok(())
    }
}
