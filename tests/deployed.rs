//! The AWS shape: the stories of laptop mode on the deployed template, and what only AWS can do to it.
//!
//! `tests/aws/README.md` says what is real here and what is not.

use crate::{
    bed::{Bed, bed},
    build::{self, hanging_at, status},
    harness::{Berth, eventually, template},
    ssh, workspace,
};
use serde_json::{Value, json};
use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tokio::runtime::Runtime;

/// Longer than a task may take to claim its job, and than a lease.
const SWEPT_WITHIN: Duration = Duration::from_secs(240);
const BETWEEN_SWEEPS: Duration = Duration::from_secs(1);

/// Plays a story of somebody of its own, beside others.
fn shared(story: impl FnOnce(Berth, &'static Bed)) {
    let Some(bed) = bed() else { return };
    let _others = bed.shared();
    story(Berth::deployed(bed), bed);
}

/// Plays a story that makes the next task fail, whosever it is: alone.
fn alone(story: impl FnOnce(Berth, &'static Bed)) {
    let Some(bed) = bed() else { return };
    // What everybody uses is there before anything fails.
    let berth = Berth::deployed(bed).push_template();
    let _nobody_else = bed.alone();
    story(berth, bed);
}

/// Starts `berth create dev`, which goes on beside the story.
fn creating(berth: &Berth) -> Child {
    let mut create = berth.berth(&["create", "dev", "--template", "local", "--yes"]);
    create.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Waits for what a sweep does some minutes later. The schedule sweeps once in a minute, and here it is in a hurry.
fn swept_until(what: &str, bed: &Bed, condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < SWEPT_WITHIN, "{what} did not come within {SWEPT_WITHIN:?}\n{}", bed.logs());
        bed.ask("sweep", json!({}));
        std::thread::sleep(BETWEEN_SWEEPS);
    }
}

/// Waits for the build of `dev` that a child follows, which must go well.
fn succeeds(berth: &Berth, mut create: Child) {
    let ended = eventually("the build's end", || create.try_wait().unwrap());
    assert!(ended.success(), "{}\n{}", berth.run(&["logs", "dev"]).stdout, berth.server_log());
    assert_eq!(status(berth), "running");
}

fn error(berth: &Berth) -> String {
    berth.json(&["show", "dev"])["latest_build"]["job"]["error"].as_str().unwrap_or_default().to_owned()
}

/// A message as the API sends it.
fn message(job: &str) -> String {
    json!({ "job": format!("build-{}", job.replace('-', "")) }).to_string()
}

/// How many messages wait in a queue or are being handled.
fn waiting(bed: &Bed, queue: &str) -> u64 {
    let names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"];
    let said = bed.call("sqs", "get_queue_attributes", &json!({ "QueueUrl": bed.resource(queue), "AttributeNames": names }));
    names.iter().map(|name| said["Attributes"][name].as_str().unwrap().parse::<u64>().unwrap()).sum()
}

fn send(bed: &Bed, body: &str) {
    bed.call("sqs", "send_message", &json!({ "QueueUrl": bed.resource("Queue.Queue"), "MessageBody": body }));
}

#[test]
fn on_aws_a_workspace_is_created_listed_shown_and_deleted() {
    shared(|person, _| workspace::life(&Berth::with_workspace_on(person)));
}

#[test]
fn on_aws_start_stop_restart_keep_the_home_and_delete_leaves_nothing() {
    shared(|person, _| build::life(&Berth::with_workspace_on(person)));
}

#[test]
fn on_aws_berth_ssh_runs_a_command_with_its_output_and_exit_code() {
    shared(|person, _| ssh::commands(&Berth::with_workspace_on(person)));
}

#[test]
fn on_aws_berth_ssh_on_a_stopped_workspace_starts_it() {
    shared(|person, _| ssh::autostart(&Berth::with_workspace_on(person)));
}

#[test]
fn on_aws_stock_openssh_tools_work_after_config_ssh() {
    shared(|person, _| ssh::stock_tools(&Berth::with_workspace_on(person)));
}

#[test]
fn on_aws_a_build_can_be_followed_and_canceled() {
    shared(|person, _| Runtime::new().unwrap().block_on(build::cancel(hanging_at(person))));
}

#[test]
fn on_aws_a_killed_runner_fails_its_build_and_a_retry_continues_from_the_pushed_state() {
    shared(|person, _| build::killed_runner(hanging_at(person)));
}

#[test]
fn on_aws_a_closed_terminal_during_create_does_not_stop_the_build() {
    shared(|person, _| build::closed_terminal(hanging_at(person)));
}

#[test]
fn on_aws_a_failed_apply_shows_terraforms_reason_and_can_be_deleted() {
    shared(|person, _| build::failed_apply(&person));
}

#[test]
fn on_aws_a_template_and_a_state_that_no_lambda_takes_go_by_the_bucket() {
    shared(|berth, _| {
        let main =
            "data \"coder_workspace\" \"me\" {}\nresource \"terraform_data\" \"big\" { input = file(\"${path.module}/big\") }\n";
        let (directory, name) = (template(&berth, "big", main), berth.template_name("big"));
        let letter = |index: u32| char::from(b'a' + u8::try_from((index.wrapping_mul(2_654_435_761) >> 16) % 26).unwrap());
        let letters: String = (0..7_000_000).map(letter).collect();
        fs::write(Path::new(&directory).join("big"), &letters).unwrap();
        berth.ok(&["templates", "push", &name, "--directory", &directory, "--yes"]);
        berth.ok(&["create", "dev", "--template", &name, "--yes"]);
        let state = berth.ok(&["state", "pull", "dev"]);
        assert!(state.len() > 2 * letters.len() && state.contains(&letters), "{} bytes, twice what went in", state.len());
        berth.ok(&["delete", "dev", "--yes"]);
    });
}

#[test]
fn on_aws_a_message_that_comes_again_and_again_starts_one_task() {
    shared(|person, bed| {
        let (berth, create) = hanging_at(person);
        let job = berth.job();
        for _ in 0..5 {
            send(bed, &message(&job));
        }
        eventually("the queue's end", || (waiting(bed, "Queue.Queue") == 0).then_some(()));
        assert_eq!(bed.tasks(&job).len(), 1, "{:?}", bed.tasks(&job));
        fs::write(berth.home().join("go"), "").unwrap();
        succeeds(&berth, create);
        send(bed, &message(&job));
        eventually("the queue's end", || (waiting(bed, "Queue.Queue") == 0).then_some(()));
        assert_eq!(bed.tasks(&job).len(), 1, "a late one starts none either");
    });
}

#[test]
fn on_aws_a_poison_message_ends_with_the_dead_letters_and_holds_nobody_up() {
    alone(|berth, bed| {
        let queue = bed.resource("Queue.Queue");
        let visibility = |seconds: &str| {
            let attributes = json!({ "QueueUrl": queue, "Attributes": { "VisibilityTimeout": seconds } });
            bed.call("sqs", "set_queue_attributes", &attributes);
        };
        let named = json!({ "QueueUrl": queue, "AttributeNames": ["VisibilityTimeout"] });
        let before = bed.call("sqs", "get_queue_attributes", &named)["Attributes"]["VisibilityTimeout"].clone();
        let dead = waiting(bed, "Queue.DeadLetters");
        // Five receives, a second apart; as deployed they are minutes apart.
        visibility("1");
        send(bed, "not a job");
        send(bed, r#"{"job":"build-of-nothing"}"#);
        send(bed, &message("0190a6a0-0000-7000-8000-000000000001"));
        succeeds(&berth, creating(&berth));
        eventually("the dead letters", || (waiting(bed, "Queue.DeadLetters") == dead + 2).then_some(()));
        assert_eq!(waiting(bed, "Queue.Queue"), 0, "what names a job that is not there is no failure");
        visibility(before.as_str().unwrap());
    });
}

#[test]
fn on_aws_a_task_that_finds_no_room_is_tried_again_and_the_log_says_so() {
    alone(|berth, bed| {
        bed.ask("refuse", json!({ "reason": "RESOURCE:MEMORY" }));
        let create = creating(&berth);
        let said = eventually("the line in the log", || {
            let log = berth.run(&["logs", "dev"]).stdout;
            log.contains("tried again").then_some(log)
        });
        assert!(said.contains("memory"), "{said}");
        swept_until("the task", bed, || !bed.tasks(&berth.job()).is_empty());
        succeeds(&berth, create);
    });
}

#[test]
fn on_aws_a_permission_that_is_missing_fails_the_build_by_name() {
    alone(|berth, bed| {
        let message =
            "User: arn:aws:sts::000000000000:assumed-role/dispatch is not authorized to perform: ecs:RunTask on resource: *";
        bed.ask("refuse", json!({ "code": "AccessDeniedException", "message": message }));
        let text = berth.fails(&["create", "dev", "--template", "local", "--yes"]);
        assert!(text.contains("ecs:RunTask"), "{text}");
        assert_eq!(status(&berth), "failed");
        assert!(error(&berth).contains("ecs:RunTask"), "{}", error(&berth));
        berth.ok(&["start", "dev", "--yes"]);
        assert_eq!(status(&berth), "running");
    });
}

#[test]
fn on_aws_an_image_that_cannot_be_pulled_fails_the_build_with_the_reason() {
    alone(|berth, bed| {
        let reason = "CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref";
        bed.ask("start", json!({ "how": "fails", "reason": reason }));
        let text = berth.fails(&["create", "dev", "--template", "local", "--yes"]);
        assert!(text.contains("image"), "{text}");
        assert!(error(&berth).contains("image"), "{}", error(&berth));
        berth.ok(&["start", "dev", "--yes"]);
    });
}

#[test]
fn on_aws_a_task_that_never_starts_is_replaced() {
    let Some(bed) = bed() else { return };
    let berth = Berth::deployed(bed).push_template();
    let create = {
        let _nobody_else = bed.alone();
        bed.ask("start", json!({ "how": "never" }));
        let create = creating(&berth);
        let asked = || berth.run(&["show", "dev"]).code == Some(0) && bed.tasks(&berth.job()).len() == 1;
        eventually("the task", || asked().then_some(()));
        create
    };
    let _others = bed.shared();
    let job = berth.job();
    // It has two minutes to claim the job.
    swept_until("the second task", bed, || bed.tasks(&job).len() == 2);
    succeeds(&berth, create);
}

#[test]
fn on_aws_a_task_that_ecs_stops_hands_over_what_it_made() {
    shared(|person, bed| {
        let (berth, mut create) = hanging_at(person);
        let stop = json!({ "cluster": bed.resource("Runner.Cluster"), "task": bed.task(&berth.job()), "reason": "Spot" });
        bed.call("ecs", "stop_task", &stop);
        assert!(!create.wait().unwrap().success());
        assert!(error(&berth).contains("told to stop"), "{}", error(&berth));
        fs::write(berth.home().join("go"), "").unwrap();
        berth.ok(&["start", "dev", "--yes"]);
        let log = berth.ok(&["logs", "dev"]);
        assert!(!log.contains("terraform_data.first: Creating"), "the first resource is known from the pushed state: {log}");
    });
}

/// A runner that is killed with an event that tells of it only as said.
fn killed(person: Berth, bed: &Bed, event: &str) -> (Berth, String) {
    let (berth, mut create) = hanging_at(person);
    let job = berth.job();
    bed.ask("events", json!({ "job": job, "fault": event }));
    assert_eq!(bed.ask("kill", json!({ "job": job })), true);
    assert!(!create.wait().unwrap().success(), "berth create says that the build failed");
    (berth, job)
}

#[test]
fn on_aws_an_event_that_comes_twice_fails_the_build_once() {
    shared(|person, bed| {
        let (berth, _job) = killed(person, bed, "twice");
        let log = berth.ok(&["logs", "dev"]);
        assert_eq!(log.matches("the runner").count(), 1, "{log}");
        fs::write(berth.home().join("go"), "").unwrap();
        berth.ok(&["start", "dev", "--yes"]);
        assert_eq!(status(&berth), "running");
    });
}

#[test]
fn on_aws_an_event_that_is_lost_and_comes_after_the_next_build_began_hurts_nobody() {
    shared(|person, bed| {
        let (berth, mut create) = hanging_at(person);
        let job = berth.job();
        bed.ask("events", json!({ "job": job, "fault": "hold" }));
        assert_eq!(bed.ask("kill", json!({ "job": job })), true);
        swept_until("the lease's end", bed, || status(&berth) == "failed");
        assert!(!create.wait().unwrap().success());
        assert!(error(&berth).contains("no sign of life"), "{}", error(&berth));

        let start = berth.berth(&["start", "dev", "--yes"]).stderr(Stdio::null()).spawn().unwrap();
        eventually("the next runner", || (berth.job() != job && !berth.runners().is_empty()).then_some(()));
        assert_eq!(bed.ask("release", json!({ "job": job })), 1, "the event that was late");
        fs::write(berth.home().join("go"), "").unwrap();
        succeeds(&berth, start);
    });
}

#[test]
fn on_aws_a_relay_that_may_sleep_sleeps_and_wakes() {
    let Some(bed) = Bed::start("bed-sleeps.log", &["RelaySleeps=true"]) else { return };
    let bed: &'static Bed = Box::leak(Box::new(bed));
    let berth = Berth::with_workspace_on(Berth::deployed(bed));
    assert_eq!(berth.ok(&["ssh", "dev", "--", "echo up"]), "up\n");
    berth.ok(&["stop", "dev", "--yes"]);
    let relays = || {
        let tasks = bed.ask("tasks", json!({}));
        tasks["running"].as_array().unwrap().iter().filter(|task| task["container"] == "relay").count()
    };
    assert_eq!(relays(), 1);
    // Ten minutes and another one pass: its row is due.
    for _ in 0..2 {
        let row = json!({
            "TableName": bed.resource("Data.Table"),
            "Key": { "pk": { "S": "RELAY" }, "sk": { "S": "RELAY" } },
            "UpdateExpression": "SET gsi1sk = :due",
            "ExpressionAttributeValues": { ":due": { "S": "000000000000001#relay" } },
        });
        bed.call("dynamodb", "update_item", &row);
        bed.ask("sweep", json!({}));
    }
    eventually("the relay's sleep", || (relays() == 0).then_some(()));
    assert_eq!(berth.json(&["list"]).as_array().unwrap().len(), 1, "the API answers without it");

    berth.ok(&["start", "dev", "--yes"]);
    assert_eq!(berth.ok(&["ssh", "dev", "--", "echo awake"]), "awake\n");
    assert_eq!(relays(), 1);
}

#[test]
fn on_aws_what_terraform_runs_with_reaches_nothing_of_ours() {
    let Some(bed) = bed() else { return };
    let queue = bed.resource("Queue.Queue");
    let (table, bucket) = (bed.resource("Data.Table"), bed.resource("Data.Bucket"));
    let may = |service: &str, operation: &str, arguments: Value| {
        let role = bed.resource("Runner.TaskRole");
        bed.ask("may", json!({ "role": role, "service": service, "operation": operation, "arguments": arguments }))
    };
    for (service, operation, arguments) in [
        ("dynamodb", "scan", json!({ "TableName": table })),
        ("dynamodb", "get_item", json!({ "TableName": table, "Key": { "pk": { "S": "x" }, "sk": { "S": "x" } } })),
        ("s3", "list_objects_v2", json!({ "Bucket": bucket })),
        ("s3", "get_object", json!({ "Bucket": bucket, "Key": "keys/1" })),
        ("s3", "put_object", json!({ "Bucket": bucket, "Key": "states/x", "Body": "x" })),
        ("s3", "get_object", json!({ "Bucket": bed.resource("Data.WebBucket"), "Key": "releases/0.1.0/bin/berth-linux-amd64" })),
        ("sqs", "send_message", json!({ "QueueUrl": queue, "MessageBody": "x" })),
        ("sqs", "receive_message", json!({ "QueueUrl": queue })),
        ("ecs", "list_tasks", json!({ "cluster": bed.resource("Runner.Cluster") })),
        ("lambda", "get_function", json!({ "FunctionName": "berth-api" })),
        ("lambda", "invoke", json!({ "FunctionName": "berth-dispatch" })),
        ("logs", "filter_log_events", json!({ "logGroupName": bed.resource("Functions.ApiLogs") })),
        ("iam", "get_role", json!({ "RoleName": bed.resource("Functions.ApiRole") })),
    ] {
        let said = may(service, operation, arguments);
        let refused = said.as_str().is_some_and(|code| code.contains("AccessDenied"));
        assert!(refused, "{service} {operation}: {said}");
    }
}

#[test]
fn on_aws_only_the_distribution_reaches_the_functions() {
    let Some(bed) = bed() else { return };
    let url = bed.call("lambda", "get_function_url_config", &json!({ "FunctionName": "berth-api" }));
    let host = url["FunctionUrl"].as_str().unwrap().split('/').nth(2).unwrap().to_owned();
    let ask = |secret: &str| {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--output", "/dev/null", "--write-out", "%{http_code}", "--header", &format!("Host: {host}")]);
        curl.args(["--header", secret]).arg(format!("{}/api/v2/buildinfo", bed.cloud_url()));
        String::from_utf8(curl.output().unwrap().stdout).unwrap()
    };
    assert_eq!(ask("x-berth-origin: anOriginSecretOfTheBed0123456789abcd"), "200");
    for guess in ["x-berth-origin: anOriginSecretOfTheBed0123456789abce", "x-berth-origin;", "x-other: 1"] {
        assert_eq!(ask(guess), "403", "{guess}");
    }
}
