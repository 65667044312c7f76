//! The connector and the credentials against real sockets, that answer as AWS does or do not.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use aws_credential_types::provider::ProvideCredentials;
use aws_smithy_runtime_api::client::{orchestrator::HttpRequest, result::ConnectorError};
use aws_smithy_types::body::SdkBody;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use super::*;

/// What a server does with a connection when it has read a request.
#[derive(Clone, Copy)]
enum Manner {
    Answers(&'static str),
    /// Answers once; the connection is closed when the next request comes.
    AnswersOnce,
    Closes,
    IsSilent,
}

/// A server on loopback; how many connections it has taken.
struct Server {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    _task: JoinSet<()>,
}

impl Server {
    async fn start(manner: Manner, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, connections) = (listener.local_addr().unwrap(), Arc::<AtomicUsize>::default());
        let (mut task, counted) = (JoinSet::new(), Arc::clone(&connections));
        task.spawn(async move {
            let mut open = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                counted.fetch_add(1, Ordering::SeqCst);
                let tls = tls.clone();
                open.spawn(async move {
                    match tls {
                        None => behave(manner, stream).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                behave(manner, stream).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, connections, _task: task }
    }

    fn url(&self, scheme: &str) -> String {
        format!("{scheme}://localhost:{}/", self.address.port())
    }
}

async fn behave(manner: Manner, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut buffer = vec![0; 4096];
    let mut answered = false;
    while let Ok(1..) = stream.read(&mut buffer).await {
        let body = match manner {
            Manner::Answers(body) => body,
            Manner::AnswersOnce if !answered => "once",
            Manner::AnswersOnce | Manner::Closes => return,
            Manner::IsSilent => continue,
        };
        answered = true;
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
}

fn environment<'a>(values: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
    let values: BTreeMap<_, _> = values.iter().copied().collect();
    move |name| values.get(name).map(|value| (*value).to_owned())
}

fn refused(values: &[(&str, &str)]) -> String {
    Aws::from_env(environment(values)).unwrap_err().to_string()
}

async fn get(connector: &Connector, url: &str, limit: Option<Duration>) -> Result<String, ConnectorError> {
    let request = http::Request::get(url).body(SdkBody::empty()).unwrap();
    let answer = connector.send(HttpRequest::try_from(request).unwrap(), limit).await?;
    let body = http_body_util::BodyExt::collect(answer.into_body()).await.unwrap();
    Ok(String::from_utf8(body.to_bytes().to_vec()).unwrap())
}

#[test]
fn what_is_missing_or_wrong_in_the_environment_is_named() {
    let keys = [("AWS_REGION", "eu-central-1"), ("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "s3cret")];
    assert_eq!(refused(&[]), "AWS_REGION is not set");
    assert_eq!(refused(&[("AWS_REGION", "")]), "AWS_REGION is not set");
    assert!(refused(&keys[..1]).contains("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"));
    assert_eq!(refused(&keys[..2]), "AWS_SECRET_ACCESS_KEY is not set");
    let with = |more| refused(&[keys[0], keys[1], keys[2], more]);
    assert!(with(("AWS_ENDPOINT_URL_S3", "bucket.local")).starts_with("AWS_ENDPOINT_URL_S3=bucket.local is not an address"));
    assert!(with(("AWS_CA_BUNDLE", "/nowhere/ca.pem")).starts_with("AWS_CA_BUNDLE=/nowhere/ca.pem: "));
    let full = |url| refused(&[keys[0], ("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)]);
    for far in ["http://example.com/keys", "http://10.0.0.1/keys", "ftp://127.0.0.1/", "nonsense"] {
        assert!(full(far).contains("it must be https, or http on this machine"), "{far}");
    }
    let aws = Aws::from_env(environment(&keys)).unwrap();
    assert!(!format!("{aws:?} {:?}", aws.service("S3")).contains("s3cret"));
}

#[test]
fn a_service_is_where_its_own_variable_says_then_where_the_common_one_does() {
    let keys = [("AWS_REGION", "eu-central-1"), ("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "secret")];
    let (all, s3) = (("AWS_ENDPOINT_URL", "http://localhost:1"), ("AWS_ENDPOINT_URL_S3", "http://localhost:2"));
    let aws = Aws::from_env(environment(&[keys[0], keys[1], keys[2], all, s3])).unwrap();
    assert_eq!(aws.service("S3").endpoint_url(), Some("http://localhost:2"));
    assert_eq!(aws.service("SQS").endpoint_url(), Some("http://localhost:1"));
    let read_timeout = |service| aws.service(service).timeout_config().unwrap().read_timeout();
    assert_eq!((read_timeout("S3"), read_timeout("DYNAMODB")), (Some(S3_READ_TIMEOUT), Some(READ_TIMEOUT)));
    let aws = Aws::from_env(environment(&keys)).unwrap();
    assert_eq!((aws.service("S3").endpoint_url(), aws.is_elsewhere("S3")), (None, false));
}

#[tokio::test]
async fn a_connection_is_used_again_and_what_breaks_is_told_apart() {
    let connector = Connector::new(None).unwrap();
    let good = Server::start(Manner::Answers("hello"), None).await;
    for _ in 0..3 {
        assert_eq!(get(&connector, &good.url("http"), None).await.unwrap(), "hello");
    }
    assert_eq!(good.connections.load(Ordering::SeqCst), 1);

    let closes = Server::start(Manner::Closes, None).await;
    assert!(get(&connector, &closes.url("http"), None).await.unwrap_err().is_io());
    let once = Server::start(Manner::AnswersOnce, None).await;
    assert_eq!(get(&connector, &once.url("http"), None).await.unwrap(), "once");
    assert!(get(&connector, &once.url("http"), None).await.unwrap_err().is_io(), "the SDK asks again then");
    let silent = Server::start(Manner::IsSilent, None).await;
    assert!(get(&connector, &silent.url("http"), Some(Duration::from_millis(50))).await.unwrap_err().is_timeout());

    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = get(&connector, &format!("http://localhost:{}/", gone.port()), None).await.unwrap_err();
    assert!(error.is_io());
}

/// A certificate of localhost that signs itself, as a file and as a server's.
fn certificate(file: &Path) -> TlsAcceptor {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(file, made.cert.pem()).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![CertificateDer::from(made.cert.der().to_vec())], key);
    TlsAcceptor::from(Arc::new(config.unwrap()))
}

#[tokio::test]
async fn a_certificate_is_believed_only_if_a_root_says_so() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("ca.pem");
    let server = Server::start(Manner::Answers("sealed"), Some(certificate(&file))).await;
    let (ours, mozillas) = (Connector::new(Some(&file)).unwrap(), Connector::new(None).unwrap());
    assert_eq!(get(&ours, &server.url("https"), None).await.unwrap(), "sealed");
    let error = get(&mozillas, &server.url("https"), None).await.unwrap_err();
    assert!(format!("{error:?}").contains("UnknownIssuer"), "{error:?}");
    std::fs::write(&file, "no certificate").unwrap();
    assert!(Connector::new(Some(&file)).unwrap_err().to_string().ends_with("it holds no certificate"));
}

#[tokio::test]
async fn a_fargate_task_asks_the_agent_beside_it_and_shows_the_answer_to_nobody() {
    let keys =
        r#"{"AccessKeyId":"id","SecretAccessKey":"s3cret","Token":"t0ken","Expiration":"2030-01-01T00:00:00Z","RoleArn":"r"}"#;
    let agent = Server::start(Manner::Answers(keys), None).await;
    let url = agent.url("http");
    let values = [("AWS_REGION", "eu-central-1"), ("AWS_CONTAINER_CREDENTIALS_FULL_URI", url.as_str())];
    let aws = Aws::from_env(environment(&values)).unwrap();
    let found = aws.credentials.provide_credentials().await.unwrap();
    assert_eq!((found.access_key_id(), found.secret_access_key(), found.session_token()), ("id", "s3cret", Some("t0ken")));
    assert_eq!(found.expiry(), Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_893_456_000)));
    assert!(!format!("{aws:?} {found:?}").contains("s3cret"));

    let broken = Server::start(Manner::Answers(r#"{"AccessKeyId":"s3cret""#), None).await;
    let url = broken.url("http");
    let values = [("AWS_REGION", "eu-central-1"), ("AWS_CONTAINER_CREDENTIALS_FULL_URI", url.as_str())];
    let error = Aws::from_env(environment(&values)).unwrap().credentials.provide_credentials().await.unwrap_err();
    let text = format!("{error:?}");
    assert!(text.contains("cannot be read") && !text.contains("s3cret"), "{text}");
}
