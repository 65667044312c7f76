//! A batch of messages from the queue: each is dispatched, and those to deliver again are named.
//!
//! A message that is none of ours fails alone; the queue gives it again a few times and then puts it aside (the dead-letter queue), where
//! an alarm tells the operator.

use crate::{DispatchError, Dispatched, Launch, dispatch};
use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use berth_domain::Timestamp;
use berth_store::{JobId, JobIdError, Store};
use berth_wire::message::Message;
use futures_util::future::join_all;

/// Why a message is to be delivered again.
#[derive(Debug, thiserror::Error)]
enum Undone {
    #[error("the message has no body")]
    Empty,
    #[error("the message is not one of Berth's")]
    Foreign(#[from] serde_json::Error),
    #[error(transparent)]
    Job(#[from] JobIdError),
    #[error(transparent)]
    Dispatch(#[from] DispatchError),
}

/// Dispatches each message of a batch, all at once, as of `now`. Never fails: what failed is in the answer, by message.
pub async fn dispatch_batch(store: &Store, launcher: &impl Launch, event: SqsEvent, now: Timestamp) -> SqsBatchResponse {
    let each = event.records.into_iter().map(|message| one(store, launcher, message, now));
    let mut response = SqsBatchResponse::default();
    response.set_failures(join_all(each).await.into_iter().flatten());
    response
}

/// Dispatches one message; when it is to come again, says which it is.
async fn one(store: &Store, launcher: &impl Launch, message: SqsMessage, now: Timestamp) -> Option<String> {
    let id = message.message_id.clone().unwrap_or_default();
    match handled(store, launcher, message, now).await {
        Ok((job, Dispatched::Launched(task))) => tracing::info!(%job, %task, "a runner is launched"),
        Ok((job, Dispatched::Later(reason))) => tracing::warn!(%job, reason, "no runner now; the sweep announces the job again"),
        Ok((job, Dispatched::Failed(reason))) => tracing::error!(%job, reason, "no runner can be launched; the job failed"),
        Ok((job, outcome)) => tracing::info!(%job, ?outcome, "nothing to launch"),
        Err(undone) => {
            tracing::error!(message.id = id, error = %berth_lambda::causes(&undone), "a message is not handled; it comes again or is put aside");
            return Some(id);
        }
    }
    None
}

async fn handled(
    store: &Store,
    launcher: &impl Launch,
    message: SqsMessage,
    now: Timestamp,
) -> Result<(JobId, Dispatched), Undone> {
    let message: Message = serde_json::from_str(&message.body.ok_or(Undone::Empty)?)?;
    let job = message.job.parse()?;
    Ok((job, dispatch(store, launcher, job, now, rand::random()).await?))
}
