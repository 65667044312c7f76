//! The queue on AWS: SQS. On one machine it is in the server's memory.

use crate::Announce;
use aws_sdk_sqs::{Client, error::DisplayErrorContext};
use berth_aws::Aws;
use berth_domain::Priority;
use berth_store::JobId;
use berth_wire::message::Message;
use futures_util::future::BoxFuture;
use std::sync::OnceLock;

/// The queue to the dispatcher. Its client is made at first use: few requests announce something, and each start would pay for it.
#[derive(Debug, Clone)]
pub struct Queue {
    aws: Aws,
    client: OnceLock<Client>,
    url: String,
}

impl Queue {
    /// Makes no request.
    #[must_use]
    pub const fn new(aws: Aws, url: String) -> Self {
        Self { aws, client: OnceLock::new(), url }
    }

    fn client(&self) -> &Client {
        self.client.get_or_init(|| Client::new(&self.aws.service("SQS")))
    }

    async fn send(&self, job: JobId) {
        let message = Message { job: job.to_string() };
        let body = serde_json::to_string(&message).unwrap_or_default();
        if let Err(error) = self.client().send_message().queue_url(&self.url).message_body(body).send().await {
            tracing::warn!(%job, error = %DisplayErrorContext(&error), "cannot announce the job; the sweep does within a minute");
        }
    }
}

impl Announce for Queue {
    /// There is one lane: each task runs on its own machine, so nobody waits for anybody. A function is frozen once it has answered, so
    /// this waits for the queue.
    fn announce(&self, job: JobId, _: Priority) -> BoxFuture<'_, ()> {
        Box::pin(self.send(job))
    }
}
