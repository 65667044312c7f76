//! The queue on AWS: SQS. On one machine it is in the server's memory.

use crate::Announce;
use aws_sdk_sqs::{Client, error::DisplayErrorContext};
use berth_domain::Priority;
use berth_store::JobId;
use berth_wire::message::Message;
use futures_util::future::BoxFuture;

/// The queue to the dispatcher.
#[derive(Debug, Clone)]
pub struct Queue {
    sqs: Client,
    url: String,
}

impl Queue {
    /// Makes no request.
    #[must_use]
    pub const fn new(sqs: Client, url: String) -> Self {
        Self { sqs, url }
    }

    async fn send(&self, job: JobId) {
        let message = Message { job: job.to_string() };
        let body = serde_json::to_string(&message).unwrap_or_default();
        if let Err(error) = self.sqs.send_message().queue_url(&self.url).message_body(body).send().await {
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
