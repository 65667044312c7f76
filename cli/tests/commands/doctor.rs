//! `berth doctor` against servers that are as ill as each story needs: real sockets, real certificates.

use crate::{Person, Seen};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer};
use serde_json::Value;
use std::{io, path::Path, sync::Arc};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    runtime::Runtime,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

/// What a server does.
#[derive(Clone)]
struct Illness {
    /// The header by which it tells the time.
    date: String,
    /// Its answer to a request for a socket, head and body.
    socket: String,
    /// The status of its health.
    health: &'static str,
    /// Its certificate; none for plain HTTP.
    tls: Option<Arc<ServerConfig>>,
}

impl Illness {
    /// None at all.
    fn none() -> Self {
        let socket = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n".to_owned();
        Self { date: now("0 seconds"), socket, health: "200 OK", tls: None }
    }
}

/// The time in so long as `date` understands it, as HTTP writes it.
fn now(shift: &str) -> String {
    let output = std::process::Command::new("date").args(["-u", "-d", shift, "+%a, %d %b %Y %H:%M:%S GMT"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A server; it ends when this is dropped.
struct Patient {
    url: String,
    _runtime: Runtime,
}

impl Patient {
    fn with(illness: Illness) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        let url = if illness.tls.is_some() { format!("https://localhost:{port}") } else { format!("http://127.0.0.1:{port}") };
        let own = url.clone();
        runtime.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (illness, own) = (illness.clone(), own.clone());
                connections.spawn(async move {
                    match &illness.tls {
                        // A client that refuses the certificate hangs up.
                        Some(tls) => match TlsAcceptor::from(Arc::clone(tls)).accept(stream).await {
                            Ok(stream) => answer(stream, &illness, &own).await,
                            Err(error) => Err(error),
                        },
                        None => answer(stream, &illness, &own).await,
                    }
                });
            }
        });
        Self { url, _runtime: runtime }
    }
}

/// One request, one answer.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, illness: &Illness, url: &str) -> io::Result<()> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).await? == 0 {
            return Ok(());
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head);
    let path = head.split(' ').nth(1).unwrap_or_default();
    let whole = |status: &str, body: &str| {
        let (date, length) = (&illness.date, body.len());
        format!("HTTP/1.1 {status}\r\nDate: {date}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
    };
    let text = match path {
        "/api/v2/buildinfo" => {
            let info =
                serde_json::json!({"version": "v2.99.0-devel+berth.9", "external_url": url, "product": "Berth", "relay_url": url});
            whole("200 OK", &info.to_string())
        }
        "/healthz" => whole(illness.health, "the keys are missing"),
        "/api/v2/relay/watch" if head.to_ascii_lowercase().contains("upgrade: websocket") => illness.socket.clone(),
        _ => whole("404 Not Found", ""),
    };
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await
}

/// An authority, and what it signs.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Writes its own certificate, for a client to trust.
    fn write(&self, path: &Path) {
        std::fs::write(path, self.0.pem()).unwrap();
    }

    /// A server's certificate for a name, until a year.
    fn sign(&self, name: &str, until: i32) -> Arc<ServerConfig> {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_after = date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        Arc::new(builder.with_single_cert(vec![certificate.der().clone()], key).unwrap())
    }
}

fn examine(person: &Person, url: &str, roots: Option<&Path>) -> (Seen, Value) {
    let mut command = person.command(&["doctor", url, "-o", "json"]);
    if let Some(roots) = roots {
        command.env("SSL_CERT_FILE", roots);
    }
    let seen = crate::seen(command.output().unwrap());
    let report = serde_json::from_str(&seen.stdout).unwrap_or_else(|error| panic!("{error}: {seen:?}"));
    (seen, report)
}

/// The one finding of a check.
fn of<'a>(report: &'a Value, check: &str) -> &'a Value {
    let found = report["findings"].as_array().unwrap().iter().find(|finding| finding["check"] == check);
    found.unwrap_or_else(|| panic!("no {check}: {report}"))
}

fn fails(report: &Value, check: &str, says: &str, hint: &str) {
    let found = of(report, check);
    assert_eq!(found["verdict"], "fail", "{found}");
    assert!(found["says"].as_str().unwrap().contains(says), "{says:?}: {found}");
    assert!(found["hint"].as_str().unwrap().contains(hint), "{hint:?}: {found}");
}

#[test]
fn a_server_on_this_machine_is_well_and_is_told_what_does_not_apply_to_it() {
    let patient = Patient::with(Illness::none());
    let seen = Person::new().types(&format!("doctor {}", patient.url));
    assert_eq!(seen.code, 0, "{seen:?}");
    let lines: Vec<_> = seen.stdout.lines().map(|line| line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")).collect();
    let expected = ["ok api", "ok clock", "skip dns", "skip tls", "skip apps", "ok relay", "skip udp", "ok websocket"];
    assert_eq!(lines, expected, "{}", seen.stdout);
}

#[test]
fn a_certificate_is_good_for_its_name_its_time_and_who_trusts_its_authority() {
    let (person, authority) = (Person::new(), Authority::new());
    let roots = person.home().join("roots.pem");
    authority.write(&roots);
    let with = |tls| Patient::with(Illness { tls: Some(tls), ..Illness::none() });

    let good = with(authority.sign("localhost", 2099));
    let (seen, report) = examine(&person, &good.url, Some(&roots));
    assert_eq!((seen.code, &of(&report, "tls")["verdict"]), (0, &"ok".into()), "{report}");
    assert_eq!(of(&report, "udp")["verdict"], "warn", "nobody answers there, and nothing depends on it: {report}");

    let (seen, report) = examine(&person, &good.url, None);
    assert_eq!(seen.code, 1);
    fails(&report, "tls", "an authority that this machine does not trust", "staging");

    let (_, report) = examine(&person, &with(authority.sign("berth.example.com", 2099)).url, Some(&roots));
    fails(&report, "tls", "for another name", "certificate must be for this name");

    let (_, report) = examine(&person, &with(authority.sign("localhost", 2020)).url, Some(&roots));
    fails(&report, "tls", "expired", "clock");
}

#[test]
fn where_nobody_listens_every_line_says_what_to_look_at() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (seen, report) = examine(&Person::new(), &format!("https://localhost:{}", closed.port()), None);
    assert_eq!((seen.code, report["healthy"].as_bool()), (1, Some(false)));
    fails(&report, "api", "refused", "the lines below");
    fails(&report, "tls", "no connection", "is TCP open");
    assert!(seen.stderr.contains("checks failed"), "{}", seen.stderr);
}

#[test]
fn a_clock_that_is_an_hour_off_fails_and_one_of_a_minute_is_worth_a_word() {
    let (seen, report) = examine(&Person::new(), &Patient::with(Illness { date: now("1 hour"), ..Illness::none() }).url, None);
    assert_eq!(seen.code, 1);
    fails(&report, "clock", "behind the server's", "timedatectl");
    let (seen, report) = examine(&Person::new(), &Patient::with(Illness { date: now("60 seconds"), ..Illness::none() }).url, None);
    assert_eq!((seen.code, &of(&report, "clock")["verdict"]), (0, &"warn".into()), "{report}");
}

#[test]
fn a_proxy_that_takes_the_upgrade_away_is_told_from_one_that_sends_it_elsewhere() {
    let taken = "HTTP/1.1 400 Bad Request\r\nContent-Length: 25\r\nConnection: close\r\n\r\nheader upgrade is missing".to_owned();
    let (seen, report) = examine(&Person::new(), &Patient::with(Illness { socket: taken, ..Illness::none() }).url, None);
    assert_eq!(seen.code, 1);
    fails(&report, "websocket", "takes the upgrade away", "Sec-WebSocket");
    let elsewhere = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned();
    let (_, report) = examine(&Person::new(), &Patient::with(Illness { socket: elsewhere, ..Illness::none() }).url, None);
    fails(&report, "websocket", "status 404", "CloudFront must send");
}

#[test]
fn a_relay_that_is_not_ready_says_why() {
    let patient = Patient::with(Illness { health: "503 Service Unavailable", ..Illness::none() });
    let (seen, report) = examine(&Person::new(), &patient.url, None);
    assert_eq!(seen.code, 1);
    fails(&report, "relay", "the keys are missing", "its log");
}

#[test]
fn without_a_url_it_examines_where_one_is_signed_in() {
    let patient = Patient::with(Illness::none());
    assert_eq!(Person::new().signed_in(&patient.url).types("doctor").code, 0);
    let seen = Person::new().types("doctor");
    assert_eq!((seen.code, seen.stderr.contains("not signed in to a deployment")), (1, true), "{seen:?}");
}
