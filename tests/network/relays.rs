//! Several relays, and the one that helps two machines behind NATs to find each other.

use super::{PORT, Transfer, Wishes, World, front};
use crate::network::internet::{Internet, Machine, Nat};
use crate::{
    harness::{eventually, finish, has},
    moto::Moto,
    relay::RelayProcess,
};
use serde_json::json;
use std::time::Instant;
use tempfile::TempDir;

/// Where a relay without TLS listens, on its own machine only.
const INNER_PORT: u16 = 9000;

/// A `berth-relay` on a machine of its own, reached by HTTP on port 80.
struct Relay {
    process: RelayProcess,
    front: front::Program,
    url: String,
    _place: TempDir,
}

impl Relay {
    fn start(machine: &Machine, access_url: &str) -> Self {
        let place = tempfile::tempdir().unwrap();
        let listen = format!("127.0.0.1:{INNER_PORT}");
        let environment = [("BERTH_ACCESS_URL", access_url), ("BERTH_LISTEN", &listen), ("BERTH_TLS", "off")];
        let process = RelayProcess::start_at(Some(&machine.namespace), &place.path().join("relay.log"), &environment);
        let front = front::front(machine, (place.path(), "listen 80;"), INNER_PORT);
        Self { process, front, url: format!("http://{}/", machine.address), _place: place }
    }
}

#[test]
fn when_a_relay_fails_the_other_takes_over_and_direct_sessions_do_not_notice() {
    if !has("nginx") {
        return eprintln!("SKIPPED: nginx is not installed; `cargo xtask test` installs it");
    }
    let Some(internet) = Internet::lay() else { return };
    let [server, client, agent] = ["server", "client", "agent"].map(|name| internet.machine(name));
    let (one, two) = (internet.machine("one"), internet.machine("two"));
    let access_url = format!("http://{}:{PORT}/", server.address);
    let mut relays = [Relay::start(&one, &access_url), Relay::start(&two, &access_url)];
    let urls = relays.each_ref().map(|relay| relay.url.clone());
    let options = ["--relay-url", &urls.join(",")];
    let world = World::on(internet, [server, client, agent], Wishes { options: &options, ..Wishes::default() });
    let relayed = ["--disable-direct-connections"];
    let (_, home) = world.ping(&relayed);
    relays.sort_by_key(|relay| relay.url != home);
    let [first, second] = relays;
    assert_eq!(first.url, home, "the agent is at one of the two");

    // A person may insist on one of them, and is told which there are.
    assert_eq!(world.ping(&["--disable-direct-connections", "--relay", &first.url]), (false, first.url.clone()));
    let error = world.berth.fails(&["--relay", "http://198.51.100.1/", "ping", "dev"]);
    assert!(urls.iter().all(|url| error.contains(url)), "{error}");

    world.becomes_direct();
    let transfer = Transfer::start(&world.berth, "");
    transfer.goes(&world.internet, true, "directly");
    let failed = Instant::now();
    drop((first.process, first.front));
    let silence = transfer.goes(&world.internet, true, "while a relay fails");
    assert!(silence.as_secs() < 3, "{silence:?}");
    // By whoever never met it, and by whoever knew it at the one that is gone.
    for environment in [&[("BERTH_MUX", "off")][..], &[]] {
        found_at(&world, &second.url, environment);
    }
    eprintln!("the other relay had taken over after {:?}", failed.elapsed());
    transfer.goes(&world.internet, true, "with the other relay");
    transfer.end();
}

/// A client that may only be relayed finds the agent at this relay by itself.
fn found_at(world: &World, url: &str, environment: &[(&str, &str)]) {
    eventually("the agent is found at the other relay", || {
        let mut ping = world.berth.berth(&["--disable-direct-connections", "ping", "dev", "-n", "1", "-o", "json"]);
        let answer = finish(ping.envs(environment.iter().copied()));
        (answer.code == Some(0) && answer.stdout.contains(url)).then_some(())
    });
}

/// A server whose relay ends TLS itself and tells everybody's address over UDP, as on AWS.
struct Discovering {
    _relay: RelayProcess,
    _moto: Moto,
    place: TempDir,
}

impl Discovering {
    /// `None`, said loudly, where moto is not installed: the relay keeps its certificate in a bucket.
    fn start(server: &Machine) -> Option<Self> {
        let (moto, place) = (Moto::start_at(Some(&server.namespace))?, tempfile::tempdir().unwrap());
        let certificate = front::certificate(place.path(), &server.address);
        let region = json!({ "LocationConstraint": "eu-central-1" });
        moto.call("s3", "create_bucket", &json!({ "Bucket": "blobs", "CreateBucketConfiguration": region }));
        let read = |name: &str| std::fs::read_to_string(place.path().join(name)).unwrap();
        let names = [server.address.as_str(), "*.apps.berth.test"];
        let kept = json!({ "names": names, "chain": read("cert.pem"), "key": read("key.pem") }).to_string();
        moto.call("s3", "put_object", &json!({ "Bucket": "blobs", "Key": "relay/certificate", "Body": kept }));
        let access_url = format!("http://{}:{PORT}/", server.address);
        let mut environment = moto.environment();
        environment.extend([
            ("BERTH_ACCESS_URL", access_url.as_str()),
            ("BERTH_LISTEN", "0.0.0.0:443"),
            ("BERTH_RELAY_HOST", &server.address),
            ("BERTH_APPS_DOMAIN", "apps.berth.test"),
            ("BERTH_ZONE_ID", "none"),
            ("BERTH_BUCKET", "blobs"),
            ("SSL_CERT_FILE", &certificate),
        ]);
        let relay = RelayProcess::start_at(Some(&server.namespace), &place.path().join("relay.log"), &environment);
        drop(environment);
        relay.logged("the kept certificate is in use");
        Some(Self { _relay: relay, _moto: moto, place })
    }

    fn trusted(&self) -> String {
        self.place.path().join("cert.pem").to_string_lossy().into_owned()
    }
}

fn natted(client: Nat, agent: Nat) -> Option<(World, Discovering)> {
    let internet = Internet::lay()?;
    let server = internet.machine("server");
    let machines = [internet.behind("client", client), internet.behind("agent", agent)];
    let relay = Discovering::start(&server)?;
    let [client, agent] = machines;
    let url = format!("https://{}/", server.address);
    let (options, trusted) = (["--relay-url", &url], relay.trusted());
    let wishes = Wishes { options: &options, environment: &[("SSL_CERT_FILE", &trusted)], ..Wishes::default() };
    let world = World::on(internet, [server, client, agent], wishes);
    Some((world, relay))
}

#[test]
fn behind_ordinary_nats_a_direct_path_is_found_with_the_relays_help() {
    let Some((world, _relay)) = natted(Nat::PortPreserving, Nat::PortPreserving) else { return };
    let (_, via) = world.ping(&["--disable-direct-connections"]);
    assert!(via.starts_with("https://"), "{via}");
    world.becomes_direct();
    let transfer = Transfer::start(&world.berth, "");
    transfer.goes(&world.internet, true, "directly, through two NATs");
    world.client.block_udp(true);
    transfer.goes(&world.internet, false, "by the relay");
    transfer.end();
}

#[test]
fn behind_nats_that_take_another_port_each_time_the_relay_carries_everything() {
    let Some((world, _relay)) = natted(Nat::Random, Nat::Random) else { return };
    world.stays_relayed();
    let transfer = Transfer::start(&world.berth, "");
    transfer.goes(&world.internet, false, "by the relay");
    transfer.end();
}
