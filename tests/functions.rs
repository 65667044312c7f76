//! The functions, each as the real program under Lambda's Runtime API: a table that other processes reach, moto for SQS, ECS and S3, and
//! an ECS of our own where AWS refuses, which moto never does.

mod api;
mod dispatch;
mod ecs;
mod reap;
mod start;
mod sweep;
mod tls;

use crate::{
    harness::{PATIENCE, binaries},
    moto::Moto,
};
use aws_sdk_sqs::Client as Sqs;
use berth_aws::Aws;
use berth_domain::{FileId, Timestamp, UserId, VersionId};
use berth_lambda_bed::{Function, Program, url_event};
use berth_store::{Imported, Job, JobId, Store, Version};
use jiff::SignedDuration;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
};
use tokio::net::TcpListener;
use uuid::Uuid;

const ORIGIN_SECRET: &str = "origin-secret";
const BUCKET: &str = "berth-blobs";
const CLUSTER: &str = "berth";

/// One moto for all stories, with what a deployment's template would have made. It ends with this process.
static CLOUD: LazyLock<Option<Cloud>> = LazyLock::new(Cloud::start);

struct Cloud {
    moto: Moto,
    subnet: String,
    group: String,
}

impl Cloud {
    fn start() -> Option<Self> {
        let moto = Moto::start()?;
        let first = |operation: &str, list: &str, id: &str| {
            moto.call("ec2", operation, &json!({}))[list][0][id].as_str().unwrap().to_owned()
        };
        let subnet = first("describe_subnets", "Subnets", "SubnetId");
        let group = first("describe_security_groups", "SecurityGroups", "GroupId");
        let region = json!({ "LocationConstraint": "eu-central-1" });
        moto.call("s3", "create_bucket", &json!({ "Bucket": BUCKET, "CreateBucketConfiguration": region }));
        moto.call("ecs", "create_cluster", &json!({ "clusterName": CLUSTER }));
        let container = json!({ "name": "runner", "image": "berth-runner", "memory": 512, "essential": true });
        let definition = json!({
            "family": "berth-runner", "networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"], "cpu": "256", "memory": "512",
            "containerDefinitions": [container],
        });
        moto.call("ecs", "register_task_definition", &definition);
        Some(Self { moto, subnet, group })
    }
}

/// A deployment: its own table and queue, and the environment that its functions get.
struct Deployment {
    cloud: &'static Cloud,
    store: Store,
    sqs: Sqs,
    queue_url: String,
    environment: BTreeMap<String, String>,
}

impl Deployment {
    /// `None`, said loudly, when moto is not installed.
    async fn new() -> Option<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let cloud = CLOUD.as_ref()?;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let table = format!("http://{}", listener.local_addr().unwrap());
        let store = Store::memory_served(listener).await.unwrap();
        let mut environment: BTreeMap<_, _> =
            cloud.moto.environment().into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let aws = Aws::from_env(|name| environment.get(name).cloned()).unwrap();
        let sqs = Sqs::new(&aws.service("SQS"));
        let queue = format!("jobs-{}", MADE.fetch_add(1, Ordering::Relaxed));
        let queue_url = sqs.create_queue().queue_name(queue).send().await.unwrap().queue_url.unwrap();
        let more = [
            ("AWS_ENDPOINT_URL_DYNAMODB", table.as_str()),
            ("BERTH_TABLE", "berth"),
            ("BERTH_BUCKET", BUCKET),
            ("BERTH_LOG", "info"),
            ("BERTH_ACCESS_URL", "https://berth.example.com"),
            ("BERTH_RELAY_URL", "https://relay.berth.example.com"),
            ("BERTH_ORIGIN_SECRETS", ORIGIN_SECRET),
            ("BERTH_QUEUE_URL", queue_url.as_str()),
            ("BERTH_CLUSTER", CLUSTER),
            ("BERTH_TASK_DEFINITION", "berth-runner"),
            ("BERTH_SUBNETS", cloud.subnet.as_str()),
            ("BERTH_SECURITY_GROUPS", cloud.group.as_str()),
            ("BERTH_ASSIGN_PUBLIC_IP", "ENABLED"),
        ];
        environment.extend(more.map(|(name, value)| (name.to_owned(), value.to_owned())));
        Some(Self { cloud, store, sqs, queue_url, environment })
    }

    /// The same with another environment.
    fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    fn program(&self, name: &str) -> Program {
        let path = binaries().join(name);
        assert!(path.is_file(), "{name} is not built; run `cargo xtask test`, which builds it first");
        Program { path, arguments: Vec::new(), environment: self.environment.clone().into_iter().collect() }
    }

    /// A running function.
    async fn function(&self, name: &str) -> Function {
        Function::start(&self.program(name)).await.unwrap()
    }

    /// A version whose import waits since `age` seconds.
    async fn waiting(&self, age: i64) -> JobId {
        let at = Timestamp::now() - SignedDuration::from_secs(age);
        let id = VersionId(Uuid::new_v4());
        let version = Version {
            id,
            template: None,
            name: id.to_string(),
            message: String::new(),
            file: FileId(Uuid::new_v4()),
            created_by: UserId(Uuid::new_v4()),
            created_by_name: "ada".parse().unwrap(),
            created_at: at,
            updated_at: at,
            variables: BTreeMap::new(),
            job: Job::queued(at),
            archived: false,
            imported: Imported::default(),
        };
        self.store.create_version(&version).await.unwrap();
        JobId::Import(id)
    }

    /// The bodies of the messages that wait in the queue, which are taken out of it.
    async fn messages(&self) -> Vec<String> {
        let mut bodies = Vec::new();
        loop {
            let request = self.sqs.receive_message().queue_url(&self.queue_url).max_number_of_messages(10);
            let Some(messages) = request.send().await.unwrap().messages else { return bodies };
            for message in messages {
                let receipt = message.receipt_handle.unwrap();
                self.sqs.delete_message().queue_url(&self.queue_url).receipt_handle(receipt).send().await.unwrap();
                bodies.push(message.body.unwrap());
            }
        }
    }

    /// The tasks that ECS started for a job, as it describes them.
    fn tasks(&self, job: JobId) -> Vec<Value> {
        let call = |operation: &str, arguments: Value| self.cloud.moto.call("ecs", operation, &arguments);
        let arns = call("list_tasks", json!({ "cluster": CLUSTER }))["taskArns"].clone();
        if arns.as_array().is_none_or(Vec::is_empty) {
            return Vec::new();
        }
        let tasks = call("describe_tasks", json!({ "cluster": CLUSTER, "tasks": arns }))["tasks"].clone();
        tasks.as_array().unwrap().iter().filter(|task| task["startedBy"] == job.to_string()).cloned().collect()
    }
}

/// The event by which Lambda hands messages of a queue over: ids `m0`, `m1`, ...
fn batch(bodies: &[&str]) -> Value {
    let record = |(number, body): (usize, &&str)| {
        json!({
            "messageId": format!("m{number}"), "receiptHandle": "AQEB", "body": body, "md5OfBody": "d41d8cd98f00b204e9800998ecf8427e",
            "attributes": { "ApproximateReceiveCount": "1", "SentTimestamp": "1780315200000" }, "messageAttributes": {},
            "eventSource": "aws:sqs", "eventSourceARN": "arn:aws:sqs:eu-central-1:111122223333:jobs", "awsRegion": "eu-central-1",
        })
    };
    json!({ "Records": bodies.iter().enumerate().map(record).collect::<Vec<_>>() })
}

/// The ids of the messages that are to come again.
fn failures(answer: &Value) -> Vec<&str> {
    let failures = answer["batchItemFailures"].as_array().unwrap_or_else(|| panic!("{answer}"));
    failures.iter().map(|failure| failure["itemIdentifier"].as_str().unwrap()).collect()
}

fn message(job: JobId) -> String {
    json!({ "job": job.to_string() }).to_string()
}

/// Waits until a function has logged such a line: what it writes before it answers may be read a moment after.
async fn logged(function: &Function, what: impl Fn(&Value) -> bool) {
    let there = async {
        while !function.log().iter().any(&what) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, there).await.unwrap_or_else(|_| panic!("{}", function.text()));
}

/// An API that answers through its Function URL, asked by whoever holds `token`.
struct Url<'a> {
    api: &'a Function,
    token: String,
}

impl Url<'_> {
    /// The status, and the body as JSON or as text.
    async fn ask(&self, method: &str, path: &str, body: impl AsRef<[u8]>) -> (i64, Value) {
        let headers = [("x-berth-origin", ORIGIN_SECRET), ("coder-session-token", self.token.as_str())];
        let answer = self.api.invoke(url_event(method, path, &headers, body.as_ref())).await.unwrap();
        let text = answer["body"].as_str().unwrap_or_default();
        (answer["statusCode"].as_i64().unwrap(), serde_json::from_str(text).unwrap_or_else(|_| text.into()))
    }

    async fn json(&self, method: &str, path: &str, body: Value) -> (i64, Value) {
        self.ask(method, path, body.to_string()).await
    }
}
