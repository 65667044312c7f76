//! The tailnet on real networks: a server, a developer and a workspace on machines of their own (network namespaces), with firewalls, NAT,
//! proxies and cables between them. Needs root; says loudly what it skips without.

mod front;
mod internet;
mod relays;
mod transfer;

use crate::harness::{Berth, Places, eventually, repository, template};
use internet::{Internet, Machine};
use serde_json::Value;
use std::{fs, process::Stdio, time::Duration};
use transfer::Transfer;

/// Where the server listens unless something stands before it.
const PORT: u16 = 7090;

/// Three machines, with a running workspace `dev` on the third.
struct World {
    // Ends first: its processes are on the machines.
    berth: Berth,
    server: Machine,
    client: Machine,
    agent: Machine,
    internet: Internet,
}

/// What is special about a world.
#[derive(Default)]
struct Wishes<'a> {
    /// The server's access URL, when something stands before it.
    access_url: Option<String>,
    /// More options of the server.
    options: &'a [&'a str],
    /// More environment of everybody.
    environment: &'a [(&'a str, &'a str)],
}

impl World {
    /// On an open internet.
    fn start() -> Option<Self> {
        let internet = Internet::lay()?;
        let machines = ["server", "client", "agent"].map(|name| internet.machine(name));
        Some(Self::on(internet, machines, Wishes::default()))
    }

    fn on(internet: Internet, [server, client, agent]: [Machine; 3], wishes: Wishes<'_>) -> Self {
        let access_url = wishes.access_url.unwrap_or_else(|| format!("http://{}:{PORT}/", server.address));
        let options = [&["--address", "0.0.0.0", "--access-url", &access_url], wishes.options].concat();
        let places = Places { server: server.namespace.clone(), person: client.namespace.clone() };
        let berth = Berth::start_within(places, (PORT, &options), wishes.environment).sign_in();
        let main = fs::read_to_string(repository().join("templates/local/main.tf")).unwrap();
        let here = r#"["sh", "-c", coder_agent.main.init_script]"#;
        let there = format!(r#"["ip", "netns", "exec", "{}", "sh", "-c", coder_agent.main.init_script]"#, agent.namespace);
        let home = "    HOME              = berth_directory.home.path\n";
        assert!(main.contains(here) && main.contains(home), "the template has changed");
        let more: String = wishes.environment.iter().map(|(name, value)| format!("    {name} = \"{value}\"\n")).collect();
        let directory = template(&berth, "template", &main.replace(here, &there).replace(home, &(home.to_owned() + &more)));
        berth.ok(&["templates", "push", "local", "--directory", &directory, "--yes"]);
        berth.ok(&["create", "dev", "--template", "local", "--yes"]);
        Self { berth, server, client, agent, internet }
    }

    /// One round trip: whether it was direct, and by which address or relay.
    fn ping(&self, flags: &[&str]) -> (bool, String) {
        let pongs = self.berth.json(&[flags, &["ping", "dev", "-n", "1"]].concat());
        way(pongs.as_array().unwrap().last().unwrap())
    }

    /// Pings until the way is a direct one.
    fn becomes_direct(&self) {
        eventually("a direct path is found", || {
            let pongs = self.berth.json(&["ping", "dev", "-n", "4"]);
            way(pongs.as_array().unwrap().last().unwrap()).0.then_some(())
        });
    }

    /// Looks for a direct path for a few seconds, in which others find theirs.
    fn stays_relayed(&self) {
        let pongs = self.berth.json(&["ping", "dev", "-n", "12"]);
        assert!(pongs.as_array().unwrap().iter().all(|pong| !way(pong).0), "{pongs}");
    }
}

fn way(pong: &Value) -> (bool, String) {
    (pong["direct"].as_bool().unwrap(), pong["via"].as_str().unwrap().to_owned())
}

#[test]
fn a_transfer_survives_whatever_becomes_of_its_network() {
    let Some(world) = World::start() else { return };
    let (internet, client) = (&world.internet, &world.client);
    world.becomes_direct();
    let transfer = Transfer::start(&world.berth, "");
    transfer.goes(internet, true, "directly");
    client.block_udp(true);
    transfer.goes(internet, false, "by the relay, now that a firewall lets no UDP pass");
    client.block_udp(false);
    transfer.goes(internet, true, "directly again");
    client.change_address();
    transfer.goes(internet, true, "from another address");
    client.plug(false);
    // Longer than a path lives without an answer, shorter than anybody's patience.
    std::thread::sleep(Duration::from_secs(8));
    client.plug(true);
    transfer.goes_on("after eight seconds without a cable");
    transfer.goes(internet, true, "as before");
    transfer.end();
}

#[test]
fn a_transfer_by_the_relay_moves_to_a_direct_path_when_one_opens() {
    let Some(world) = World::start() else { return };
    world.agent.block_udp(true);
    assert!(!world.ping(&[]).0);
    let transfer = Transfer::start(&world.berth, "");
    transfer.goes(&world.internet, false, "by the relay, since no UDP passes");
    world.agent.block_udp(false);
    transfer.goes(&world.internet, true, "directly, now that it may");
    transfer.end();
}

#[test]
fn who_may_not_go_direct_sends_no_packet_but_to_the_relay() {
    let Some(world) = World::start() else { return };
    world.becomes_direct();
    world.client.count_udp();
    world.becomes_direct();
    assert!(world.client.udp_sent() > 0, "the counter counts");
    // The process in the background that may go direct holds its connection; it must not be counted.
    world.berth.ok(&["mux", "stop"]);
    eventually("the end of its packets", || {
        let sent = world.client.udp_sent();
        std::thread::sleep(std::time::Duration::from_secs(1));
        (world.client.udp_sent() == sent).then_some(())
    });
    let before = world.client.udp_sent();
    let relayed = ["--disable-direct-connections"];
    let (direct, via) = world.ping(&relayed);
    assert!(!direct && via.contains(&world.server.address), "{via}");
    let transfer = Transfer::start(&world.berth, "--disable-direct-connections");
    transfer.goes(&world.internet, false, "by the relay, as was asked for");
    transfer.end();
    assert_eq!(world.client.udp_sent(), before);
}

#[test]
fn a_person_who_may_not_stay_is_out_within_the_minute_and_an_absent_server_puts_nobody_out() {
    let Some(mut world) = World::start() else { return };
    world.becomes_direct();
    let mut session = world.berth.program("ssh");
    session.args(["-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]);
    session.args(["-o", "ProxyCommand=berth ssh --stdio dev", "me@dev", "while echo beat; do sleep 0.2; done"]);
    let mut session = session.stdout(Stdio::piped()).spawn().unwrap();
    let mut beats = std::io::BufRead::lines(std::io::BufReader::new(session.stdout.take().unwrap()));
    let mut beat = move || beats.next().map(|line| line.unwrap());
    assert_eq!(beat().as_deref(), Some("beat"));

    // The server is away for longer than the agent waits between two questions.
    world.berth.kill_server();
    for _ in 0..35 * 5 {
        assert_eq!(beat().as_deref(), Some("beat"), "a direct session needs no server");
    }
    let me = world.suspend();
    world.berth.start_server();
    let back = std::time::Instant::now();
    while beat().is_some() {
        assert!(back.elapsed() < Duration::from_secs(60), "{me} is still there");
    }
    eprintln!("{me} was out {:?} after the server was back", back.elapsed());
    assert_ne!(eventually("the end of ssh", || session.try_wait().unwrap()).code(), Some(0));
}

impl World {
    /// Suspends the person, in the table of the server that does not run; gives the name.
    fn suspend(&self) -> String {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let store = berth_store::Store::open_local(&self.berth.data()).await.unwrap();
            let user = store.users().await.unwrap().into_iter().next().unwrap();
            let change = berth_store::UserChange { suspended: Some(true), ..Default::default() };
            store.update_user(user.id, change, jiff::Timestamp::now()).await.unwrap();
            user.username.to_string()
        })
    }
}
