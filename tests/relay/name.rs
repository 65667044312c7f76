//! The relay's public side: its certificate from a real certificate authority (pebble), its DNS records in Route 53, its bucket in S3 and
//! its address from EC2 (moto), and how one relay follows another.

use super::{RelayProcess, free_port};
use crate::{
    harness::{Berth, eventually, finish, has},
    moto::Moto,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::{Value, json};
use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tempfile::TempDir;

const HOST: &str = "relay.berth.test";
const APPS: &str = "*.apps.berth.test";

/// A program that ends with this value.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// A name server that answers what Route 53 holds: moto keeps records and serves none. Ends with this value.
struct Bridge {
    ends: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
    _server: Program,
}

impl Bridge {
    /// `challtestsrv` answers on `dns`; what it answers is set from `zone` again and again.
    fn start(zone: (String, String), dns: u16) -> Self {
        let management = free_port();
        let mut server = Command::new("pebble-challtestsrv");
        server.args(["-dns01", &format!("127.0.0.1:{dns}"), "-management", &format!("127.0.0.1:{management}")]);
        server.args(["-http01", "", "-https01", "", "-tlsalpn01", ""]).stdout(Stdio::null()).stderr(Stdio::null());
        let server = Program(server.spawn().unwrap());
        let ends = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&ends);
        let thread = std::thread::spawn(move || {
            let mut told = HashSet::new();
            while !ended.load(Ordering::Relaxed) {
                for (name, text) in texts(&zone) {
                    // What is told twice is answered twice.
                    if !told.insert((name.clone(), text.clone())) {
                        continue;
                    }
                    let body = json!({ "host": name, "value": text }).to_string();
                    curl(&["-d", &body, &format!("http://127.0.0.1:{management}/set-txt")]);
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        Self { ends, thread: Some(thread), _server: server }
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        let _ended = self.thread.take().unwrap().join();
    }
}

fn curl(arguments: &[&str]) -> String {
    let mut curl = Command::new("curl");
    finish(curl.args(["-s", "--noproxy", "*", "-m", "20"]).args(arguments)).stdout
}

/// By this moto knows which service is meant; it checks no signatures.
fn authorization(service: &str) -> String {
    format!("Authorization: AWS4-HMAC-SHA256 Credential=testing/20260101/{service}/aws4_request, SignedHeaders=host, Signature=0")
}

/// The records of a zone as Route 53 tells them, by its own API.
fn records((moto, zone): &(String, String)) -> String {
    curl(&["-H", &authorization("us-east-1/route53"), &format!("{moto}/2013-04-01/hostedzone/{zone}/rrset")])
}

/// The records of one type: name and value.
fn values(zone: &(String, String), kind: &str) -> Vec<(String, String)> {
    let text = records(zone);
    let between = |text: &str, tag: &str| Some(text.split_once(&format!("<{tag}>"))?.1.split_once("</")?.0.to_owned());
    let sets = text.split("<ResourceRecordSet>").skip(1).filter(|set| between(set, "Type").as_deref() == Some(kind));
    sets.filter_map(|set| Some((between(set, "Name")?.replace("\\052", "*"), between(set, "Value")?))).collect()
}

fn texts(zone: &(String, String)) -> Vec<(String, String)> {
    let unquoted = |text: String| text.replace("&quot;", "").replace('"', "");
    values(zone, "TXT").into_iter().map(|(name, text)| (name, unquoted(text))).collect()
}

/// A certificate authority, AWS, and an API; none when pebble or moto are not installed, which is said loudly.
struct World {
    berth: Berth,
    moto: Moto,
    url: String,
    zone: String,
    subnet: String,
    authority: Option<Program>,
    ports: Ports,
    place: TempDir,
}

#[derive(Clone, Copy)]
struct Ports {
    acme: u16,
    management: u16,
    dns: u16,
}

impl World {
    fn start() -> Option<Self> {
        if !has("pebble") {
            eprintln!("SKIPPED: pebble is not installed, so no certificate is ordered; `cargo xtask test` installs it");
            return None;
        }
        let moto = Moto::start()?;
        let url = moto.environment().iter().find(|(name, _)| *name == "AWS_ENDPOINT_URL").unwrap().1.to_owned();
        let zone = moto.call("route53", "create_hosted_zone", &json!({ "Name": "berth.test", "CallerReference": "1" }));
        let zone = zone["HostedZone"]["Id"].as_str().unwrap().trim_start_matches("/hostedzone/").to_owned();
        let place = json!({ "LocationConstraint": "eu-central-1" });
        moto.call("s3", "create_bucket", &json!({ "Bucket": "blobs", "CreateBucketConfiguration": place }));
        let network = moto.call("ec2", "create_vpc", &json!({ "CidrBlock": "10.0.0.0/16" }))["Vpc"]["VpcId"].clone();
        let subnet = moto.call("ec2", "create_subnet", &json!({ "VpcId": network, "CidrBlock": "10.0.0.0/24" }));
        let subnet = subnet["Subnet"]["SubnetId"].as_str().unwrap().to_owned();
        let ports = Ports { acme: free_port(), management: free_port(), dns: free_port() };
        let (berth, place) = (Berth::start(), tempfile::tempdir().unwrap());
        let mut world = Self { berth, moto, url, zone, subnet, authority: None, ports, place };
        world.authority = Some(world.start_authority());
        Some(world)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// Starts pebble behind a certificate of an authority that the relay is told to trust.
    fn start_authority(&self) -> Program {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "whom the story trusts");
        let root = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let own = CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &root).unwrap();
        fs::write(self.path("root.pem"), root.pem()).unwrap();
        fs::write(self.path("own.pem"), own.pem()).unwrap();
        fs::write(self.path("own.key"), key.serialize_pem()).unwrap();
        let config = json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{}", self.ports.acme),
            "managementListenAddress": format!("127.0.0.1:{}", self.ports.management),
            "certificate": self.path("own.pem"), "privateKey": self.path("own.key"),
            "httpPort": 1, "tlsPort": 1, "ocspResponderURL": "", "externalAccountBindingRequired": false,
        } });
        fs::write(self.path("pebble.json"), config.to_string()).unwrap();
        let log = fs::File::create(self.path("pebble.log")).unwrap();
        let mut pebble = Command::new("pebble");
        pebble.arg("-config").arg(self.path("pebble.json")).args(["-dnsserver", &format!("127.0.0.1:{}", self.ports.dns)]);
        pebble.env("PEBBLE_VA_NOSLEEP", "1").stdout(log.try_clone().unwrap()).stderr(log);
        let program = Program(pebble.spawn().unwrap());
        let directory = format!("https://localhost:{}/dir", self.ports.acme);
        let root = self.path("root.pem").to_string_lossy().into_owned();
        eventually("pebble answers", || curl(&["--cacert", &root, &directory]).contains("newOrder").then_some(()));
        // Whom the clients of the relay trust: what pebble issues with.
        let issuer = curl(&["--cacert", &root, &format!("https://localhost:{}/roots/0", self.ports.management)]);
        fs::write(self.path("issuer.pem"), issuer).unwrap();
        program
    }

    /// Answers DNS from Route 53's records.
    fn bridge(&self) -> Bridge {
        Bridge::start(self.zone(), self.ports.dns)
    }

    fn zone(&self) -> (String, String) {
        (self.url.clone(), self.zone.clone())
    }

    /// How many certificates the authority has issued.
    fn issued(&self) -> usize {
        self.authority_log().matches("Issued certificate serial").count()
    }

    fn authority_log(&self) -> String {
        fs::read_to_string(self.path("pebble.log")).unwrap()
    }

    /// A network interface with a public address, as Fargate gives to a task.
    fn task(&self) -> Task {
        let interface =
            self.moto.call("ec2", "create_network_interface", &json!({ "SubnetId": self.subnet }))["NetworkInterface"].clone();
        let address = self.moto.call("ec2", "allocate_address", &json!({ "Domain": "vpc" }));
        let join = json!({ "AllocationId": address["AllocationId"], "NetworkInterfaceId": interface["NetworkInterfaceId"] });
        self.moto.call("ec2", "associate_address", &join);
        let metadata = json!({ "Networks": [{
            "NetworkMode": "awsvpc", "IPv4Addresses": [interface["PrivateIpAddress"]], "MACAddress": interface["MacAddress"],
        }] });
        Task { address: address["PublicIp"].as_str().unwrap().to_owned(), metadata: Metadata::start(&metadata) }
    }

    /// Starts a relay as this task.
    fn relay(&self, name: &str, task: &Task, port: u16) -> RelayProcess {
        // moto gives public addresses of the loopback network.
        let (listen, discovery) = (format!("0.0.0.0:{port}"), free_port().to_string());
        let (directory, root) =
            (format!("https://localhost:{}/dir", self.ports.acme), self.path("root.pem").to_string_lossy().into_owned());
        let mut environment = self.moto.environment();
        environment.extend([
            ("BERTH_ACCESS_URL", self.berth.url.as_str()),
            ("BERTH_LISTEN", &listen),
            ("BERTH_DISCOVERY_PORT", &discovery),
            ("BERTH_RELAY_HOST", HOST),
            ("BERTH_APPS_DOMAIN", APPS.trim_start_matches("*.")),
            ("BERTH_ZONE_ID", &self.zone),
            ("BERTH_BUCKET", "blobs"),
            ("BERTH_DNS_TTL", "1"),
            ("BERTH_ACME_DIRECTORY", &directory),
            ("BERTH_ACME_CONTACT", "ops@example.com"),
            ("ECS_CONTAINER_METADATA_URI_V4", &task.metadata.url),
            ("SSL_CERT_FILE", &root),
        ]);
        RelayProcess::start(&self.path(name), &environment)
    }

    /// An object of the relay's, if there is one.
    fn object(&self, name: &str) -> Option<Value> {
        let text = curl(&["-f", "-H", &authorization("eu-central-1/s3"), &format!("{}/blobs/relay/{name}", self.url)]);
        serde_json::from_str(&text).ok()
    }

    /// What a client that trusts the authority is told at `/healthz` under this name; empty when the handshake fails.
    fn ask(&self, host: &str, port: u16) -> String {
        let issuer = self.path("issuer.pem").to_string_lossy().into_owned();
        let resolve = format!("{host}:{port}:127.0.0.1");
        curl(&["--cacert", &issuer, "--resolve", &resolve, "-w", " %{http_code}", &format!("https://{host}:{port}/healthz")])
    }
}

/// A task and the world's name for it.
struct Task {
    address: String,
    metadata: Metadata,
}

/// ECS's task metadata endpoint for one task.
struct Metadata {
    url: String,
    _runtime: tokio::runtime::Runtime,
}

impl Metadata {
    fn start(answer: &Value) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}/v4/1", listener.local_addr().unwrap());
        let text = answer.to_string();
        let answer = axum::routing::get(move || std::future::ready(([("content-type", "application/json")], text)));
        runtime.spawn(async move { axum::serve(listener, axum::Router::new().route("/v4/1", answer)).await });
        Self { url, _runtime: runtime }
    }
}

/// A certificate of nobody's for the relay's names, two thirds through its life, as `relay/certificate` keeps it.
fn ageing_certificate() -> Value {
    let mut params = CertificateParams::new([HOST.to_owned(), APPS.to_owned()]).unwrap();
    let day = Duration::from_secs(24 * 60 * 60);
    let now = std::time::SystemTime::now();
    (params.not_before, params.not_after) = ((now - 70 * day).into(), (now + 20 * day).into());
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    json!({ "names": [HOST, APPS], "chain": certificate.pem(), "key": key.serialize_pem() })
}

fn put(world: &World, name: &str, value: &Value) {
    world.moto.call("s3", "put_object", &json!({ "Bucket": "blobs", "Key": format!("relay/{name}"), "Body": value.to_string() }));
}

fn points_to(world: &World, address: &str) {
    let led = |name: &str| (format!("{name}."), address.to_owned());
    eventually("the names lead to the relay", || {
        let mut found = values(&world.zone(), "A");
        found.sort();
        (found == [led(APPS), led(HOST)]).then_some(())
    });
}

#[test]
fn a_relay_gets_its_certificate_and_its_name_by_itself_and_the_next_one_takes_over_both() {
    let Some(world) = World::start() else { return };
    let (_bridge, first, port) = (world.bridge(), world.task(), free_port());
    let mut relay = world.relay("first.log", &first, port);
    relay.ready();
    points_to(&world, &first.address);
    let told = world.ask(HOST, port);
    assert!(told.contains("\"ready\":true") && told.ends_with(" 200"), "{told}");
    // The wildcard is good for every app's host; the relay does not answer to it yet.
    assert!(world.ask("8080--dev--ada.apps.berth.test", port).ends_with(" 421"));
    assert_eq!(world.ask("apps.berth.test", port), " 000");
    assert!(texts(&world.zone()).is_empty(), "the proofs are gone");
    assert_eq!((world.issued(), world.object("leader").unwrap()["epoch"].clone()), (1, json!(1)));

    // A rollout: the next one has the certificate at once, and takes the name; the one before serves on.
    let (second, other) = (world.task(), free_port());
    let mut next = world.relay("second.log", &second, other);
    let took = next.ready();
    eprintln!("a relay with a kept certificate is ready after {took:?}, of which it waits one second for resolvers");
    points_to(&world, &second.address);
    assert!(world.ask(HOST, port).ends_with(" 200") && world.ask(HOST, other).ends_with(" 200"));
    assert_eq!((world.issued(), world.object("leader").unwrap()["epoch"].clone()), (1, json!(2)));
    relay.logged("another relay leads");

    // The rollout fails: whoever is left leads again, and the next attempt takes over as the first did.
    next.child.kill().unwrap();
    points_to(&world, &first.address);
    assert_eq!(world.object("leader").unwrap()["epoch"], 3);
    let (third, other) = (world.task(), free_port());
    let mut next = world.relay("third.log", &third, other);
    next.ready();
    points_to(&world, &third.address);
    assert_eq!(relay.stop(), Some(0));
    points_to(&world, &third.address);
    assert_eq!(next.stop(), Some(0));
    points_to(&world, &third.address);
    assert_eq!(world.issued(), 1);
}

#[test]
fn a_certificate_in_its_last_third_is_used_at_once_and_renewed() {
    let Some(world) = World::start() else { return };
    put(&world, "certificate", &ageing_certificate());
    let (task, port) = (world.task(), free_port());
    // Nobody answers the authority's questions yet: a renewal that fails takes nothing down.
    let mut relay = world.relay("relay.log", &task, port);
    relay.ready();
    relay.logged("the certificate was not renewed; the one in use stays");
    let insecure = format!("{HOST}:{port}:127.0.0.1");
    assert!(curl(&["-k", "--resolve", &insecure, &format!("https://{HOST}:{port}/healthz")]).contains("\"ready\":true"));
    let failures = world.object("certificate-failures").unwrap();
    assert_eq!(failures["count"], 1);
    assert!(failures["reason"].as_str().unwrap().contains("the certificate authority at https://localhost:"), "{failures}");
    // A relay that is started anew does not ask the authority again before its time.
    assert_eq!(relay.stop(), Some(0));
    let orders = |world: &World| world.authority_log().matches("POST /order-plz").count();
    let before = orders(&world);
    let mut relay = world.relay("relay.log", &task, port);
    relay.ready();
    assert_eq!(orders(&world), before);
    assert_eq!(relay.stop(), Some(0));
    // When it is, it does.
    put(&world, "certificate-failures", &json!({ "count": 1, "next": "2026-01-01T00:00:00Z", "reason": "" }));
    let _bridge = world.bridge();
    let mut relay = world.relay("relay.log", &task, port);
    relay.ready();
    eventually("the new certificate is shown", || world.ask(HOST, port).ends_with(" 200").then_some(()));
    assert_eq!(world.issued(), 1);
    assert_eq!(world.object("certificate-failures").unwrap()["count"], 0);
    drop(relay);
    assert!(Path::new(&world.path("relay.log")).exists());
}
