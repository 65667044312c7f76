//! A workspace on AWS: the starter template `aws-linux`, the real AWS provider, moto for AWS.
//!
//! No agent connects, since there is no machine: the stories follow the builds and look at what AWS has.

use crate::{
    harness::{eventually, repository},
    moto::Aws,
};
use berth_domain::{JobStatus, ParameterValue, Transition};
use berth_wire::{
    build::{Build, CreateBuild},
    workspace::CreateWorkspace,
};
use serde_json::{Value, json};
use std::time::Duration;
use uuid::Uuid;

/// Longer than a build takes in the AWS provider's waiters on a busy machine; a story waits for the build's end, never for this.
const BUILD_PATIENCE: Duration = Duration::from_secs(300);

impl Aws {
    /// Pushes a starter template under its own name.
    async fn push(&self, starter: &str) {
        let directory = repository().join("templates").join(starter).to_string_lossy().into_owned();
        let mut push = self.berth.berth(&["templates", "push", starter, "--directory", &directory, "--yes"]);
        let pushed = tokio::task::spawn_blocking(move || push.output().unwrap()).await.unwrap();
        assert!(pushed.status.success(), "{}\n{}", String::from_utf8_lossy(&pushed.stderr), self.berth.server_log());
    }

    /// Creates the workspace `dev` and follows its first build.
    async fn create(&self, template: &str) -> Build {
        let client = self.berth.client();
        let template_id = Some(client.template_by_name(template).await.unwrap().id);
        let workspace = CreateWorkspace { template_id, name: "dev".to_owned(), ..CreateWorkspace::default() };
        let workspace = client.create_workspace("me", &workspace).await.unwrap();
        self.follow(workspace.latest_build.id).await
    }

    /// Builds `dev` and follows the build.
    async fn build(&self, transition: Transition, changed: &[(&str, &str)]) -> Build {
        let client = self.berth.client();
        let workspace = client.workspace_by_name("me", "dev").await.unwrap();
        let value = |&(name, value): &(&str, &str)| ParameterValue { name: name.to_owned(), value: value.to_owned() };
        let mut build = CreateBuild::new(transition);
        build.rich_parameter_values = changed.iter().map(value).collect();
        self.follow(client.create_build(workspace.id, &build).await.unwrap().id).await
    }

    /// Waits for the build's end, which must be a good one.
    async fn follow(&self, id: Uuid) -> Build {
        let client = self.berth.client();
        let mut log = client.build_logs_follow(id, 0).await.unwrap();
        let mut lines = Vec::new();
        let read = async {
            while let Some(line) = log.next().await {
                lines.push(line.unwrap().output);
            }
        };
        tokio::time::timeout(BUILD_PATIENCE, read).await.expect("the build ends");
        let build = client.build(id).await.unwrap();
        assert_eq!(build.job.status, JobStatus::Succeeded, "{}\n{}", build.job.error, lines.join("\n"));
        build
    }

    /// The machine that carries the workspace's name; null when there is none or it is terminated.
    fn machine(&self) -> Value {
        let filters = json!([
            { "Name": "tag:Name", "Values": ["berth-ada-dev"] },
            { "Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"] },
        ]);
        first(&self.moto.call("ec2", "describe_instances", &json!({ "Filters": filters })), "/Reservations/0/Instances/0")
    }

    fn home(&self) -> Value {
        let filters = json!([{ "Name": "tag:Name", "Values": ["berth-ada-dev-home"] }]);
        first(&self.moto.call("ec2", "describe_volumes", &json!({ "Filters": filters })), "/Volumes/0")
    }

    fn security_groups(&self) -> Value {
        let named = json!({ "Filters": [{ "Name": "tag:Name", "Values": ["berth-ada-dev"] }] });
        first(&self.moto.call("ec2", "describe_security_groups", &named), "/SecurityGroups")
    }

    fn user_data(&self, machine: &Value) -> String {
        let arguments = json!({ "InstanceId": machine["InstanceId"], "Attribute": "userData" });
        self.moto.call("ec2", "describe_instance_attribute", &arguments)["UserData"]["Value"].as_str().unwrap().to_owned()
    }
}

/// What stands at a place in an answer; null when nothing does.
fn first(answer: &Value, place: &str) -> Value {
    answer.pointer(place).cloned().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_on_ec2_is_created_stopped_started_resized_and_deleted() {
    let Some(aws) = Aws::start() else { return };
    aws.push("aws-linux").await;

    let created = aws.create("aws-linux").await;
    let (machine, home) = (aws.machine(), aws.home());
    assert_eq!((&machine["State"]["Name"], &machine["InstanceType"]), (&json!("running"), &json!("t3.medium")), "{machine}");
    assert_eq!(machine["MetadataOptions"]["HttpTokens"], "required");
    assert!(home["Encrypted"] == true && home["Size"] == 30, "{home}");
    assert_eq!(home["Attachments"][0]["InstanceId"], machine["InstanceId"], "{home}");
    let groups = aws.security_groups();
    assert_eq!(groups[0]["IpPermissions"], json!([]), "nothing may come in");
    for resource in [&machine, &home, &groups[0]] {
        let tags = resource["Tags"].as_array().unwrap();
        let tag = json!({ "Key": "berth:workspace", "Value": created.workspace_id.to_string() });
        assert!(tags.contains(&tag), "everything is found by its workspace's id: {resource}");
    }
    let started_with = aws.user_data(&machine);
    assert!(!created.resources.is_empty());

    aws.build(Transition::Stop, &[]).await;
    let stopped = aws.machine();
    assert_eq!((&stopped["State"]["Name"], &stopped["InstanceId"]), (&json!("stopped"), &machine["InstanceId"]), "{stopped}");
    assert_ne!(aws.user_data(&machine), started_with, "a stopped machine turns itself off when somebody starts it");
    assert_eq!(aws.home()["VolumeId"], home["VolumeId"], "the home volume survives a stop");

    let changed = [("instance_type", "t3.small"), ("home_size", "40")];
    aws.build(Transition::Start, &changed).await;
    let resized = aws.machine();
    assert_eq!((&resized["State"]["Name"], &resized["InstanceType"]), (&json!("running"), &json!("t3.small")), "{resized}");
    assert_eq!(resized["InstanceId"], machine["InstanceId"], "another type is a change in place");
    assert_eq!(aws.user_data(&machine), started_with);
    let grown = aws.home();
    assert_eq!((&grown["VolumeId"], &grown["Size"]), (&home["VolumeId"], &json!(40)), "{grown}");

    aws.build(Transition::Delete, &[]).await;
    eventually("the machine's end", || aws.machine().is_null().then_some(()));
    let volumes = aws.moto.call("ec2", "describe_volumes", &json!({}));
    assert_eq!(volumes["Volumes"], json!([]), "no disk is left");
    assert_eq!(aws.security_groups(), json!([]));
}
