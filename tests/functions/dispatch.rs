//! berth-dispatch: messages become tasks.

use super::{Deployment, batch, ecs::Ecs, failures, logged, message, tls::Doorman};
use berth_domain::JobStatus;
use berth_store::RelayState;
use serde_json::{Value, json};

#[tokio::test]
async fn a_message_becomes_one_task_however_often_it_comes() {
    let Some(deployment) = Deployment::new().await else { return };
    let job = deployment.waiting(0).await;
    let dispatch = deployment.function("berth-dispatch").await;
    let message = message(job);
    for bodies in [&[message.as_str()][..], &[message.as_str(), message.as_str()]] {
        assert_eq!(failures(&dispatch.invoke(batch(bodies)).await.unwrap()), [""; 0]);
    }
    let tasks = deployment.tasks(job);
    let [task] = &tasks[..] else { panic!("{tasks:?}") };
    let given = task["overrides"]["containerOverrides"][0].clone();
    assert_eq!(given["name"], "runner");
    let variables = given["environment"].as_array().unwrap();
    let value = |name: &str| variables.iter().find(|variable| variable["name"] == name).unwrap()["value"].as_str().unwrap();
    assert_eq!(value("BERTH_API_URL"), "https://berth.example.com");
    assert_eq!(value("BERTH_JOB_ID"), job.uuid().to_string());
    let (token, task) = (value("BERTH_JOB_TOKEN"), value("BERTH_TASK_ID").parse().unwrap());
    let session = berth_domain::TokenHash::of("s");
    deployment.store.claim(job, token, task, session, berth_domain::Timestamp::now()).await.unwrap();
}

#[tokio::test]
async fn a_poison_message_fails_alone() {
    let Some(deployment) = Deployment::new().await else { return };
    let job = deployment.waiting(0).await;
    let dispatch = deployment.function("berth-dispatch").await;
    let good = message(job);
    let unknown = r#"{"job":"build-00000000000040008000000000000001"}"#;
    let bodies =
        ["", "{}", "not json", r#"{"job":"build-"}"#, r#"{"job":"pizza-00000000000040008000000000000001"}"#, &good, unknown];
    let answer = dispatch.invoke(batch(&bodies)).await.unwrap();
    assert_eq!(failures(&answer), ["m0", "m1", "m2", "m3", "m4"], "an unknown job is no poison: it may have been forgotten");
    assert_eq!(deployment.tasks(job).len(), 1);
    logged(&dispatch, |line| line["message.id"] == "m3" && line["level"] == "ERROR").await;
}

#[tokio::test]
async fn a_batch_is_whole_again_when_the_table_is_away() {
    let Some(deployment) = Deployment::new().await else { return };
    let (deployment, doorman) = Doorman::before_table(deployment).await;
    let job = deployment.waiting(0).await;
    let dispatch = deployment.function("berth-dispatch").await;
    drop(doorman); // Nobody comes to the table any more.
    let answer = dispatch.invoke(batch(&[&message(job)])).await.unwrap();
    assert_eq!(failures(&answer), ["m0"]);
}

#[tokio::test]
async fn what_passes_is_tried_again_and_the_build_log_says_why() {
    let (Some(deployment), ecs) = (Deployment::new().await, Ecs::start().await) else { return };
    let deployment = deployment.with("AWS_ENDPOINT_URL_ECS", &ecs.url);
    let job = deployment.waiting(0).await;
    let dispatch = deployment.function("berth-dispatch").await;
    let refused = async |told: &str| {
        assert_eq!(failures(&dispatch.invoke(batch(&[&message(job)])).await.unwrap()), [""; 0], "the sweep announces it again");
        let logs = deployment.store.logs(job, 0, 100).await.unwrap();
        assert_eq!(logs.last().unwrap().output, format!("{told}; it is tried again"));
        assert_eq!(deployment.store.job(job).await.unwrap().unwrap().job.status, JobStatus::Pending);
    };
    ecs.fails("RESOURCE:MEMORY");
    refused("AWS has no memory left for a runner").await;
    ecs.fails("Capacity is unavailable at this time. Please try again later or in a different availability zone");
    refused("AWS has no Fargate capacity for a runner now").await;
    ecs.refuses(400, "ThrottlingException", "Rate exceeded");
    refused("AWS cannot start a runner now (ThrottlingException)").await;
    ecs.refuses(500, "ServerException", "");
    refused("AWS cannot start a runner now (ServerException)").await;
    ecs.has_room();
    dispatch.invoke(batch(&[&message(job)])).await.unwrap();

    let runs: Vec<_> =
        ecs.asked().into_iter().filter(|(operation, _)| operation == "RunTask").map(|(_, request)| request).collect();
    let tokens = |runs: &[Value]| runs.iter().map(|run| run["clientToken"].to_string()).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(tokens(&runs).len(), 5, "one token per offer, the same in all attempts of the SDK: {runs:?}");
    assert!(runs.len() > 5, "the SDK tries again what passes by itself");
    let last = runs.last().unwrap();
    assert_eq!(last["startedBy"], job.to_string());
    assert_eq!(last["capacityProviderStrategy"], json!([{ "capacityProvider": "FARGATE", "weight": 1, "base": 0 }]));
    assert_eq!(last["networkConfiguration"]["awsvpcConfiguration"]["assignPublicIp"], "ENABLED");
}

#[tokio::test]
async fn what_an_operator_must_change_fails_the_job_at_once() {
    let (Some(deployment), ecs) = (Deployment::new().await, Ecs::start().await) else { return };
    let deployment = deployment.with("AWS_ENDPOINT_URL_ECS", &ecs.url);
    let dispatch = deployment.function("berth-dispatch").await;
    for (code, message_of_ecs, told) in [
        (
            "AccessDeniedException",
            "User: arn:aws:sts::1:assumed-role/r is not authorized to perform: ecs:RunTask on resource: x",
            "Berth may not start runners: its role lacks the permission ecs:RunTask",
        ),
        ("ClusterNotFoundException", "Cluster not found.", "the cluster that runners start in does not exist"),
        ("ClientException", "TaskDefinition not found.", "the task definition of runners cannot be used: TaskDefinition not found"),
    ] {
        let job = deployment.waiting(0).await;
        ecs.refuses(400, code, message_of_ecs);
        assert_eq!(failures(&dispatch.invoke(batch(&[&message(job)])).await.unwrap()), [""; 0]);
        let ended = deployment.store.job(job).await.unwrap().unwrap().job;
        assert_eq!((ended.status, ended.error.as_str()), (JobStatus::Failed, told));
        logged(&dispatch, |line| line["code"] == code && line["hint"].is_string()).await;
    }
}

#[tokio::test]
async fn a_relay_that_sleeps_is_woken_before_the_runner_and_once() {
    let (Some(deployment), ecs) = (Deployment::new().await, Ecs::start().await) else { return };
    let deployment = deployment.with("AWS_ENDPOINT_URL_ECS", &ecs.url).with("BERTH_RELAY_SERVICE", "relay");
    let dispatch = deployment.function("berth-dispatch").await;
    for _ in 0..2 {
        let job = deployment.waiting(0).await;
        dispatch.invoke(batch(&[&message(job)])).await.unwrap();
    }
    let asked = ecs.asked();
    let operations: Vec<_> = asked.iter().map(|(operation, _)| operation.as_str()).collect();
    assert_eq!(operations, ["UpdateService", "RunTask", "RunTask"]);
    assert_eq!(asked[0].1, json!({ "cluster": "berth", "service": "relay", "desiredCount": 1 }));
    assert_eq!(deployment.store.relay().await.unwrap().unwrap().state, RelayState::Awake);
}
