//! Bodies larger than a Lambda takes, by way of the bucket: the API over the store on AWS (moto), behind what a Lambda lets through, and
//! our own client.

use crate::moto::Moto;
use axum::{Router, body::Body, extract::Request, middleware::Next, response::Response};
use berth_api::{Announce, ApiConfig, App, Attendance, Changes, Clock, InstanceKeys, Presence};
use berth_aws::Aws;
use berth_client::{Client, RunnerClient};
use berth_domain::{AgentId, Priority, Secret, TaskId, Timestamp, TokenHash};
use berth_store::{AwsStore, JobId, Offer, Store};
use berth_wire::{
    runner::{Claim, Finish, Outcome},
    ticket::SigningKey,
    user::{CreateFirstUser, Login},
    workspace::CreateWorkspace,
};
use serde_json::json;
use std::{
    collections::BTreeMap,
    future::{Future, ready},
    io::Cursor,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
};
use tokio::{net::TcpListener, task::JoinSet};
use uuid::Uuid;

/// What a request or an answer of Lambda may hold (AWS, "Lambda quotas"), of which a body that is not text takes a third more.
const LAMBDA_BYTES_MAX: usize = 6 * 1024 * 1024;
/// Larger than that.
const LARGE_BYTES: usize = 10 * 1024 * 1024;

/// Nobody listens to the queue, nobody is at the relay.
#[derive(Debug)]
struct Nobody;

impl Announce for Nobody {
    fn announce(&self, _: JobId, _: Priority) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(ready(()))
    }
}

impl Presence for Nobody {
    fn connected<'a>(&'a self, _: &'a [(AgentId, &'a str)]) -> Pin<Box<dyn Future<Output = Attendance> + Send + 'a>> {
        Box::pin(ready(Attendance::default()))
    }

    fn is_relay<'a>(&'a self, _: &'a str) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>> {
        Box::pin(ready(false))
    }
}

/// Lets through what Lambda lets through.
async fn lambda(request: Request, next: Next) -> Response {
    let refused = |status: u16| Response::builder().status(status).body(Body::from("{\"Message\":null}")).unwrap();
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, LAMBDA_BYTES_MAX / 4 * 3).await else { return refused(413) };
    let (parts, body) = next.run(Request::from_parts(parts, body.into())).await.into_parts();
    match axum::body::to_bytes(body, LAMBDA_BYTES_MAX / 4 * 3).await {
        Ok(body) => Response::from_parts(parts, body.into()),
        Err(_) => refused(502),
    }
}

async fn store(moto: &Moto) -> Store {
    let environment: BTreeMap<_, _> = moto.environment().into_iter().collect();
    let aws = Aws::from_env(|name| environment.get(name).map(|value| (*value).to_owned())).unwrap();
    let bucket = json!({
        "Bucket": "blobs", "CreateBucketConfiguration": { "LocationConstraint": environment["AWS_REGION"] },
    });
    moto.call("s3", "create_bucket", &bucket);
    let store = Store::open_aws(&aws, AwsStore { table: "berth".to_owned(), bucket: "blobs".to_owned(), kms_key: None });
    store.make_table().await.unwrap();
    store
}

/// The API; its address, and the task that serves it.
async fn serve(store: Store) -> (String, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let config = ApiConfig {
        access_url: url.clone(),
        relay_urls: vec![url.clone()],
        sockets_url: None,
        apps_url: None,
        binaries: None,
        disable_direct_connections: false,
        instance_keys: InstanceKeys::aws(),
    };
    let app = App {
        store,
        config,
        signing: SigningKey::new([7; 32]),
        host_key_secret: Secret::new([9; 32]),
        announce: Arc::new(Nobody),
        presence: Arc::new(Nobody),
        changes: Changes::default(),
        clock: Clock::system(),
        drain: tokio_util::sync::CancellationToken::new(),
    };
    let router: Router = berth_api::router(app).layer(axum::middleware::from_fn(lambda));
    let mut task = JoinSet::new();
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    task.spawn(async move { axum::serve(listener, service).await.unwrap() });
    (url, task)
}

async fn owner(url: &str) -> Client {
    let (nobody, password) = (Client::new(url, None).unwrap(), Secret::new(crate::harness::PASSWORD.to_owned()));
    let (email, username) = ("ada@example.com".to_owned(), "ada".to_owned());
    let first = CreateFirstUser { email: email.clone(), username, name: String::new(), password: password.clone() };
    nobody.create_first_user(&first).await.unwrap();
    let session = nobody.login(&Login { email, password }).await.unwrap().session_token;
    nobody.with_token(&session).unwrap()
}

/// Takes the job, as a task that the dispatcher launched.
async fn runner(store: &Store, url: &str, job: JobId) -> RunnerClient {
    let (task, token, now) = (TaskId(Uuid::new_v4()), Uuid::new_v4().to_string(), Timestamp::now());
    let ends = now + std::time::Duration::from_secs(900);
    store.offer(job, Offer { task, hash: TokenHash::of(&token), ends }, now).await.unwrap();
    let claim = Claim { token: Secret::new(token), task };
    RunnerClient::claim(&Client::new(url, None).unwrap(), job.uuid(), &claim).await.unwrap().0
}

fn succeeded() -> Finish {
    Finish { outcome: Outcome::Succeeded, resources: Vec::new(), imported: None, timings: Vec::new(), found: Vec::new() }
}

fn tar_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

fn large_state(serial: u64) -> bytes::Bytes {
    let long = "x".repeat(LARGE_BYTES);
    format!(r#"{{"version":4,"serial":{serial},"lineage":"l","outputs":{{"long":{{"value":"{long}"}}}},"resources":[]}}"#).into()
}

#[tokio::test]
async fn states_and_archives_larger_than_a_lambda_takes_go_by_the_bucket() {
    let Some(moto) = Moto::start() else { return };
    let store = store(&moto).await;
    let (url, _server) = serve(store.clone()).await;
    let ada = owner(&url).await;

    let archive = tar_of(&[("main.tf", b"terraform {}"), ("data.bin", &vec![7; LARGE_BYTES])]);
    let file = ada.upload_file(Cursor::new(archive.clone()), archive.len() as u64, |_| ()).await.unwrap().id;
    assert_eq!(ada.download_file(file).await.unwrap(), archive);

    let version = json!({ "file_id": file, "storage_method": "file", "provisioner": "terraform" });
    let version = ada.create_version(&serde_json::from_value(version).unwrap()).await.unwrap();
    let import = runner(&store, &url, JobId::Import(berth_domain::VersionId(version.id))).await;
    assert_eq!(import.archive().await.unwrap(), archive);
    import.put_modules(archive.clone().into()).await.unwrap();
    import.finish(&succeeded()).await.unwrap();

    let template = json!({ "name": "linux", "template_version_id": version.id });
    let template = ada.create_template(&serde_json::from_value(template).unwrap()).await.unwrap();
    let wish = CreateWorkspace { name: "dev".to_owned(), template_id: Some(template.id), ..CreateWorkspace::default() };
    let dev = ada.create_workspace("me", &wish).await.unwrap();
    let build = runner(&store, &url, JobId::Build(berth_domain::BuildId(dev.latest_build.id))).await;
    assert_eq!(build.modules().await.unwrap().unwrap(), archive);
    assert_eq!(build.state().await.unwrap(), None);
    build.put_state(large_state(1)).await.unwrap();
    assert_eq!(build.state().await.unwrap().unwrap(), large_state(1));
    build.finish(&succeeded()).await.unwrap();

    ada.push_state(dev.id, large_state(2)).await.unwrap();
    assert_eq!(ada.state(dev.id, 2).await.unwrap(), large_state(2));
    let refused = ada.push_state(dev.id, large_state(2)).await.unwrap_err().to_string();
    assert!(refused.contains("serial 2"), "a refusal is told as on a laptop: {refused}");
}
