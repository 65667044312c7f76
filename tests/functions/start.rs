//! How a function starts and ends, whichever it is.

use super::Deployment;
use berth_lambda_bed::{Function, Program, StartError};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use std::path::Path;

const FUNCTIONS: [&str; 4] = ["berth-api", "berth-dispatch", "berth-reap", "berth-sweep"];

/// The one error line of a function that did not start.
async fn complaint(program: &Program) -> String {
    let Err(StartError::Ended { status, log }) = Function::start(program).await else { panic!("it started") };
    assert_eq!(status.code(), Some(1), "{log}");
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let errors: Vec<_> = lines.iter().filter(|line| line["level"] == "ERROR").collect();
    let [line] = &errors[..] else { panic!("{log}") };
    assert_eq!(line["message"], "the function cannot go on");
    line["error"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn what_is_missing_at_the_start_is_named_in_one_line() {
    let Some(deployment) = Deployment::new().await else { return };
    for (function, variable) in FUNCTIONS.iter().flat_map(|function| {
        let own: &[&str] = match *function {
            "berth-api" => &["BERTH_ACCESS_URL", "BERTH_RELAY_URL", "BERTH_QUEUE_URL"],
            "berth-dispatch" => {
                &["BERTH_ACCESS_URL", "BERTH_CLUSTER", "BERTH_TASK_DEFINITION", "BERTH_SUBNETS", "BERTH_SECURITY_GROUPS"]
            }
            "berth-sweep" => &["BERTH_QUEUE_URL"],
            _ => &[],
        };
        ["BERTH_TABLE", "BERTH_BUCKET", "AWS_REGION"].iter().chain(own).map(move |variable| (*function, *variable))
    }) {
        let mut program = deployment.program(function);
        program.environment.retain(|(name, _)| name != variable);
        let told = complaint(&program).await;
        assert!(told.contains(variable), "{function} without {variable}: {told}");
    }
}

#[tokio::test]
async fn a_table_that_does_not_answer_is_told_before_the_first_event() {
    let Some(deployment) = Deployment::new().await else { return };
    let nowhere = deployment.with("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:9");
    let told = complaint(&nowhere.program("berth-reap")).await;
    assert!(told.contains("the table did not answer"), "{told}");
    let other = Deployment::new().await.unwrap().with("BERTH_TABLE", "another");
    let told = complaint(&other.program("berth-reap")).await;
    assert!(told.contains("ResourceNotFoundException"), "{told}");
}

#[tokio::test]
async fn a_filter_that_is_none_is_told() {
    let Some(deployment) = Deployment::new().await else { return };
    let told = complaint(&deployment.with("BERTH_LOG", "loud=very").program("berth-sweep")).await;
    assert!(told.contains("BERTH_LOG"), "{told}");
}

#[tokio::test]
async fn a_function_answers_by_the_name_bootstrap_and_ends_when_it_is_told_to() {
    let Some(deployment) = Deployment::new().await else { return };
    let place = tempfile::tempdir().unwrap();
    for name in FUNCTIONS {
        let mut program = deployment.program(name);
        let bootstrap = place.path().join("bootstrap");
        let _none = std::fs::remove_file(&bootstrap);
        std::os::unix::fs::symlink(Path::new(&program.path), &bootstrap).unwrap();
        program.path = bootstrap;
        let function = Function::start(&program).await.unwrap();
        let pid = Pid::from_raw(i32::try_from(function.id().await.unwrap()).unwrap());
        kill(pid, Signal::SIGTERM).unwrap();
        assert_eq!(function.ended().await.unwrap().code(), Some(0), "{name}: {}", function.text());
    }
}
