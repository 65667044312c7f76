//! The sweep's surroundings on AWS: the queue is SQS, and the relay is a service of ECS. Their clients are made at first use: most sweeps
//! find nothing to do.

use crate::{Announce, Power, PowerError, RelayService};
use aws_sdk_ecs::error::DisplayErrorContext;
use berth_aws::Aws;
use berth_domain::Priority;
use berth_store::JobId;
use berth_wire::message::Message;
use std::sync::OnceLock;

/// The queue to the dispatcher.
#[derive(Debug, Clone)]
pub struct Queue {
    aws: Aws,
    client: OnceLock<aws_sdk_sqs::Client>,
    url: String,
}

impl Queue {
    /// Makes no request.
    #[must_use]
    pub const fn new(aws: Aws, url: String) -> Self {
        Self { aws, client: OnceLock::new(), url }
    }

    fn client(&self) -> &aws_sdk_sqs::Client {
        self.client.get_or_init(|| aws_sdk_sqs::Client::new(&self.aws.service("SQS")))
    }
}

impl Announce for Queue {
    /// There is one lane: each task runs on its own machine, so nobody waits for anybody.
    async fn announce(&self, job: JobId, _: Priority) {
        let message = Message { job: job.to_string() };
        let body = serde_json::to_string(&message).unwrap_or_default();
        if let Err(error) = self.client().send_message().queue_url(&self.url).message_body(body).send().await {
            tracing::warn!(%job, error = %DisplayErrorContext(&error), "cannot announce the job; the next sweep does");
        }
    }
}

/// The relay's service; none when the relay never sleeps.
#[derive(Debug, Clone)]
pub struct Service {
    aws: Aws,
    client: OnceLock<aws_sdk_ecs::Client>,
    relay: Option<RelayService>,
}

impl Service {
    /// Makes no request.
    #[must_use]
    pub const fn new(aws: Aws, relay: Option<RelayService>) -> Self {
        Self { aws, client: OnceLock::new(), relay }
    }

    fn client(&self) -> &aws_sdk_ecs::Client {
        self.client.get_or_init(|| aws_sdk_ecs::Client::new(&self.aws.service("ECS")))
    }
}

impl Power for Service {
    async fn set(&self, on: bool) -> Result<(), PowerError> {
        let Some(relay) = &self.relay else { return Ok(()) };
        let update = self.client().update_service().cluster(&relay.cluster).service(&relay.service).desired_count(i32::from(on));
        update.send().await.map_err(|error| PowerError { on, cause: DisplayErrorContext(&error).to_string() })?;
        Ok(())
    }
}
