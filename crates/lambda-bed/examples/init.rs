//! How many instructions functions execute until they first ask for an event, counted by callgrind: `init PROGRAM...`.
//!
//! Instructions and not time, since machines are shared and noisy. The table and the bucket are stand-ins behind TLS, so that the handshakes
//! of a real start are in the figure; they answer to AWS's own names, in a mount namespace whose `/etc/hosts` says that those are here,
//! since the SDK does more to find AWS's address than one that it was given. That takes root. Prints a line per program: its name and the count.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::disallowed_methods)]

use axum::{Router, response::IntoResponse, routing::any};
use berth_lambda_bed::{Function, Program};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use std::{path::Path, sync::Arc};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

/// Where the SDK looks for the table and the bucket.
const NAMES: [&str; 3] =
    ["dynamodb.eu-central-1.amazonaws.com", "berth-blobs.s3.eu-central-1.amazonaws.com", "s3.eu-central-1.amazonaws.com"];

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut servers = JoinSet::new();
    let place = tempfile::tempdir().unwrap();
    let bundle = stand_in(&mut servers, place.path()).await;
    let hosts = place.path().join("hosts");
    std::fs::write(&hosts, format!("127.0.0.1 localhost {}\n", NAMES.join(" "))).unwrap();
    for path in std::env::args().skip(1) {
        let program = program(&path, place.path(), &bundle);
        let function = Function::start(&program).await.unwrap_or_else(|error| panic!("{path}: {error}"));
        let pid = function.id().await.and_then(|pid| i32::try_from(pid).ok()).unwrap();
        kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
        function.ended().await.unwrap();
        let text = function.text();
        let count = text.lines().find_map(|line| line.split_once("Collected : ")).unwrap_or_else(|| panic!("{path}: {text}")).1;
        println!("{} {count}", Path::new(&path).file_name().unwrap().to_string_lossy());
    }
}

fn program(path: &str, place: &Path, bundle: &str) -> Program {
    let name = Path::new(path).file_name().unwrap().to_string_lossy().into_owned();
    // Where to keep the profiles, for who wants to see what the instructions are spent on.
    let profiles = std::env::var("BERTH_PROFILES").unwrap_or_else(|_| place.to_string_lossy().into_owned());
    let hosts = place.join("hosts").to_string_lossy().into_owned();
    let within = ["--mount", "sh", "-c", r#"mount --bind "$0" /etc/hosts && exec "$@""#, &hosts, "valgrind", "--tool=callgrind"];
    let callgrind = [format!("--callgrind-out-file={profiles}/{name}.callgrind"), path.to_owned()];
    let arguments = within.into_iter().map(str::to_owned).chain(callgrind).collect();
    let environment = [
        ("AWS_REGION", "eu-central-1"),
        ("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
        ("AWS_SESSION_TOKEN", "token"),
        ("AWS_CA_BUNDLE", bundle),
        ("BERTH_TABLE", "berth"),
        ("BERTH_BUCKET", "berth-blobs"),
        ("BERTH_ACCESS_URL", "https://berth.example.com"),
        ("BERTH_RELAY_URL", "https://relay.berth.example.com"),
        ("BERTH_ORIGIN_SECRETS", "secret"),
        ("BERTH_QUEUE_URL", "https://sqs.eu-central-1.amazonaws.com/111122223333/jobs"),
        ("BERTH_CLUSTER", "berth"),
        ("BERTH_TASK_DEFINITION", "berth-runner"),
        ("BERTH_SUBNETS", "subnet-1,subnet-2"),
        ("BERTH_SECURITY_GROUPS", "sg-1"),
        ("BERTH_ASSIGN_PUBLIC_IP", "ENABLED"),
    ];
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    Program { path: "unshare".into(), arguments, environment }
}

/// A table without rows and a bucket with the deployment's keys, behind TLS; the certificate to trust.
async fn stand_in(servers: &mut JoinSet<()>, place: &Path) -> String {
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let behind = plain.local_addr().unwrap();
    let keys = format!(r#"{{"ticket":"{0}","host_key":"{0}"}}"#, "07".repeat(32));
    let router = Router::new().fallback(any(move |method: http::Method| {
        let body = if method == http::Method::GET { keys.clone() } else { "{}".to_owned() };
        async move { ([("content-type", "application/x-amz-json-1.0")], body).into_response() }
    }));
    servers.spawn(async move { axum::serve(plain, router).await.unwrap() });

    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(NAMES.map(str::to_owned)).unwrap();
    let bundle = place.join("roots.pem");
    std::fs::write(&bundle, cert.pem()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
    let acceptor =
        TlsAcceptor::from(Arc::new(config.with_no_client_auth().with_single_cert(vec![cert.der().clone()], key).unwrap()));
    let listener = TcpListener::bind("127.0.0.1:443").await.expect("port 443 of loopback is free, and ours to take");
    servers.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            connections.spawn(async move {
                let Ok(mut outer) = acceptor.accept(socket).await else { return };
                let mut inner = TcpStream::connect(behind).await.unwrap();
                let _ended = copy_bidirectional(&mut outer, &mut inner).await;
            });
        }
    });
    bundle.to_string_lossy().into_owned()
}
