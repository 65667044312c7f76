//! berth-sweep: what a lost message or a dead task left is repaired.

use super::{Deployment, ecs::Ecs, message};
use berth_domain::{JobStatus, TaskId, Timestamp, TokenHash};
use berth_store::{Offer, RelayState};
use jiff::SignedDuration;
use serde_json::json;
use uuid::Uuid;

fn ago(seconds: i64) -> Timestamp {
    Timestamp::now() - SignedDuration::from_secs(seconds)
}

/// What EventBridge sends on a schedule.
fn tick() -> serde_json::Value {
    json!({ "version": "0", "detail-type": "Scheduled Event", "source": "aws.events", "detail": {} })
}

#[tokio::test]
async fn a_lost_message_is_sent_again_and_a_fresh_one_is_not() {
    let Some(deployment) = Deployment::new().await else { return };
    let sweep = deployment.function("berth-sweep").await;
    let (lost, _fresh) = (deployment.waiting(31).await, deployment.waiting(0).await);
    sweep.invoke(tick()).await.unwrap();
    assert_eq!(deployment.messages().await, [message(lost)]);
}

#[tokio::test]
async fn a_job_whose_event_was_lost_fails_by_its_lease() {
    let Some(deployment) = Deployment::new().await else { return };
    let sweep = deployment.function("berth-sweep").await;
    let (job, task) = (deployment.waiting(70).await, TaskId(Uuid::new_v4()));
    let offer = Offer { task, hash: TokenHash::of("token"), ends: ago(0) };
    deployment.store.offer(job, offer, ago(65)).await.unwrap();
    deployment.store.claim(job, "token", task, TokenHash::of("s"), ago(65)).await.unwrap();
    sweep.invoke(tick()).await.unwrap();
    let ended = deployment.store.job(job).await.unwrap().unwrap().job;
    assert_eq!((ended.status, ended.error.as_str()), (JobStatus::Failed, "the runner was lost: no sign of life for 60 s"));
}

#[tokio::test]
async fn a_relay_that_nobody_needs_is_stopped_and_an_idle_deployment_is_left_alone() {
    let (Some(deployment), ecs) = (Deployment::new().await, Ecs::start().await) else { return };
    let deployment = deployment.with("AWS_ENDPOINT_URL_ECS", &ecs.url).with("BERTH_RELAY_SERVICE", "relay");
    let sweep = deployment.function("berth-sweep").await;
    sweep.invoke(tick()).await.unwrap();
    assert_eq!(ecs.asked(), []);

    let seen = deployment.store.need_relay(ago(700)).await.unwrap();
    let seen = deployment.store.relay_becomes(seen, RelayState::Awake, ago(700)).await.unwrap().unwrap();
    sweep.invoke(tick()).await.unwrap();
    assert_eq!(deployment.store.relay().await.unwrap().unwrap().state, RelayState::Drowsy);
    assert_eq!(ecs.asked(), [], "the second look, a minute later, decides");
    let drowsy = deployment.store.relay().await.unwrap().unwrap();
    assert_ne!(drowsy, seen);
    deployment.store.relay_becomes(drowsy, RelayState::Drowsy, ago(61)).await.unwrap().unwrap();
    sweep.invoke(tick()).await.unwrap();
    let stop = json!({ "cluster": "berth", "service": "relay", "desiredCount": 0 });
    assert_eq!(ecs.asked(), [("UpdateService".to_owned(), stop)]);
    assert_eq!(deployment.store.relay().await.unwrap(), None);
}
