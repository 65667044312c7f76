//! berth-reap: ended tasks end their jobs.

use super::Deployment;
use berth_domain::{JobStatus, TaskId, Timestamp, TokenHash};
use berth_store::{JobId, Offer};
use jiff::SignedDuration;
use serde_json::{Value, json};
use uuid::Uuid;

/// ECS's event about a runner's task.
fn event(job: JobId, task: TaskId, last_status: &str, runner: Value) -> Value {
    let environment = [("BERTH_JOB_ID", job.uuid().to_string()), ("BERTH_TASK_ID", task.to_string())]
        .map(|(name, value)| json!({ "name": name, "value": value }));
    json!({
        "version": "0", "id": Uuid::new_v4(), "detail-type": "ECS Task State Change", "source": "aws.ecs",
        "account": "111122223333", "time": "2026-06-01T12:00:00Z", "region": "eu-central-1", "resources": [],
        "detail": {
            "clusterArn": "arn:aws:ecs:eu-central-1:111122223333:cluster/berth", "lastStatus": last_status, "desiredStatus": "STOPPED",
            "launchType": "FARGATE", "group": "family:berth-runner", "startedBy": job.to_string(), "version": 5,
            "stopCode": "EssentialContainerExited", "stoppedReason": "Essential container in task exited", "containers": [runner],
            "overrides": { "containerOverrides": [{ "name": "runner", "environment": environment }] },
        },
    })
}

fn killed() -> Value {
    json!({ "name": "runner", "lastStatus": "STOPPED", "exitCode": 137, "reason": "OutOfMemoryError: Container killed due to memory usage" })
}

impl Deployment {
    /// A job that a task works on.
    async fn running(&self) -> (JobId, TaskId) {
        let (job, task, now) = (self.waiting(0).await, TaskId(Uuid::new_v4()), Timestamp::now());
        let offer = Offer { task, hash: TokenHash::of("token"), ends: now + SignedDuration::from_secs(60) };
        self.store.offer(job, offer, now).await.unwrap();
        self.store.claim(job, "token", task, TokenHash::of("s"), now).await.unwrap();
        (job, task)
    }
}

#[tokio::test]
async fn a_task_that_is_killed_fails_its_job_and_says_why_once() {
    let Some(deployment) = Deployment::new().await else { return };
    let reap = deployment.function("berth-reap").await;
    let (job, task) = deployment.running().await;
    for _ in 0..2 {
        reap.invoke(event(job, task, "STOPPED", killed())).await.unwrap();
    }
    let ended = deployment.store.job(job).await.unwrap().unwrap().job;
    assert_eq!(ended.status, JobStatus::Failed);
    assert!(ended.error.starts_with("the runner was killed: out of memory"), "{}", ended.error);
    let said = deployment.store.logs(job, 0, 10).await.unwrap().into_iter().filter(|line| line.output == ended.error).count();
    assert_eq!(said, 1, "the event came twice");
}

#[tokio::test]
async fn events_late_out_of_order_and_foreign_change_nothing() {
    let Some(deployment) = Deployment::new().await else { return };
    let reap = deployment.function("berth-reap").await;
    let (job, task) = deployment.running().await;
    let status = async || deployment.store.job(job).await.unwrap().unwrap().job.status;
    let another = TaskId(Uuid::new_v4());
    for harmless in [
        event(job, task, "RUNNING", json!({ "name": "runner" })),
        event(job, another, "STOPPED", killed()), // An earlier task of the same job.
        event("build-00000000000040008000000000000001".parse().unwrap(), task, "STOPPED", killed()),
        json!({ "source": "aws.ecs", "detail": { "lastStatus": "STOPPED", "startedBy": "ecs-svc/1234567890123456789" } }),
        json!({ "source": "aws.s3", "detail": {} }),
        json!({}),
    ] {
        reap.invoke(harmless).await.unwrap();
        assert_eq!(status().await, JobStatus::Running);
    }
    reap.invoke(event(job, task, "STOPPED", killed())).await.unwrap();
    assert_eq!(status().await, JobStatus::Failed);
    reap.invoke(event(job, task, "RUNNING", json!({ "name": "runner" }))).await.unwrap();
    assert_eq!(status().await, JobStatus::Failed);
}
