//! A relay in the wrong hands: it records everything, answers to its own keys, and sends packets to whom it likes.

use super::{Agent, PATIENCE, World};
use berth_net::{Identity, Peer, Tailnet, TailnetConfig};
use berth_wire::{
    agent::{Relay, Ticket},
    domain::Secret,
    ticket::{RelayRole, SigningKey},
    tunnel::Target,
};
use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};
use uuid::Uuid;

/// What nobody but the two ends may see.
const CANARY: &[u8] = b"the-canary-that-sings-in-clear-text-only";

/// Two endpoint ids, the one to be taken for the other.
type Swap = ([u8; 32], [u8; 32]);

/// Every byte that passes at a relay, and the endpoint ids that it exchanges for others on the way there and back.
#[derive(Debug, Clone, Default)]
struct Tap {
    seen: Arc<Mutex<Vec<u8>>>,
    swap: Option<Swap>,
}

impl Tap {
    /// Listens before the relay at `relay`; gives the address to reach it through us.
    async fn before(self, relay: SocketAddr, tasks: &mut JoinSet<()>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (near, _) = listener.accept().await.unwrap();
                let (tap, far) = (self.clone(), TcpStream::connect(relay).await.unwrap());
                connections.spawn(async move {
                    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                    let there = tap.pass(near_in, far_out, |(from, to)| (from, to));
                    let back = tap.pass(far_in, near_out, |(from, to)| (to, from));
                    let _ended: (io::Result<()>, io::Result<()>) = tokio::join!(there, back);
                });
            }
        });
        address
    }

    /// One direction: the head of the upgrade as it is, then frames, whose mask is taken off for us to read and put on again.
    async fn pass(
        &self,
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
        way: fn(Swap) -> Swap,
    ) -> io::Result<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(from.read_u8().await?);
        }
        self.record(&head);
        to.write_all(&head).await?;
        loop {
            let (frame, mask, mut payload) = frame(&mut from).await?;
            let cover = |bytes: &mut [u8]| bytes.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
            cover(&mut payload);
            self.record(&payload);
            if let Some((old, new)) = self.swap.map(way)
                && let Some(at) = payload.windows(32).position(|window| window == old)
            {
                payload[at..at + 32].copy_from_slice(&new);
            }
            cover(&mut payload);
            to.write_all(&[frame, payload].concat()).await?;
        }
    }

    fn record(&self, bytes: &[u8]) {
        self.seen.lock().unwrap().extend_from_slice(bytes);
    }

    fn saw(&self, bytes: &[u8]) -> bool {
        self.seen.lock().unwrap().windows(bytes.len()).any(|window| window == bytes)
    }
}

/// A WebSocket frame (RFC 6455, section 5.2): its header, its mask, all zeros when it has none, and its payload.
async fn frame(from: &mut (impl AsyncRead + Unpin)) -> io::Result<(Vec<u8>, [u8; 4], Vec<u8>)> {
    let mut header = vec![0; 2];
    from.read_exact(&mut header).await?;
    let extended = match header[1] & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    header.resize(2 + extended, 0);
    from.read_exact(&mut header[2..]).await?;
    let long = header[2..].iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
    let length = if extended == 0 { usize::from(header[1] & 0x7f) } else { long };
    let mut mask = [0; 4];
    if header[1] & 0x80 != 0 {
        from.read_exact(&mut mask).await?;
        header.extend_from_slice(&mask);
    }
    let mut payload = vec![0; length];
    from.read_exact(&mut payload).await?;
    Ok((header, mask, payload))
}

fn key_of(endpoint_id: &str) -> [u8; 32] {
    *endpoint_id.parse::<iroh::EndpointId>().unwrap().as_bytes()
}

/// Binds an endpoint at the relay behind the tap.
async fn bind(identity: Identity, relay: Relay, accept: bool) -> Tailnet {
    Tailnet::bind(TailnetConfig { identity, relay, direct: false, accept }).await.unwrap()
}

fn at(address: SocketAddr, relay: Relay) -> Relay {
    Relay { url: format!("http://{address}"), ..relay }
}

/// An agent and a client at the relay behind the tap, which have not met.
async fn two(world: &World, address: SocketAddr) -> (Agent, Tailnet, Ticket) {
    let (identity, subject) = (Identity::generate(), Uuid::new_v4());
    let relay = at(address, world.pass(&identity, RelayRole::Agent, subject));
    let agent = world.agent_at(identity, relay, subject).await;
    let identity = Identity::generate();
    let relay = at(address, world.pass(&identity, RelayRole::Client, Uuid::new_v4()));
    let client = bind(identity, relay, false).await;
    let ticket = world.ticket(&client, &agent);
    let ticket = Ticket { relay: at(address, ticket.relay), ..ticket };
    (agent, client, ticket)
}

async fn refusal(peer: &Peer) -> io::ErrorKind {
    let mut stream = match peer.open(Target::Ssh).await {
        Ok(stream) => stream,
        Err(error) => return error.kind(),
    };
    timeout(PATIENCE, stream.read_u8()).await.unwrap().unwrap_err().kind()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_records_everything_learns_who_and_how_much_and_nothing_else() {
    let (world, tap, mut tasks) = (World::start().await, Tap::default(), JoinSet::new());
    let address = tap.clone().before(world.address, &mut tasks).await;
    let (agent, client, ticket) = two(&world, address).await;
    let peer = client.connect(&ticket).await.unwrap();
    let song = CANARY.repeat(10_000);
    let (mut reader, mut writer) = tokio::io::split(peer.open(Target::Ssh).await.unwrap());
    let mut heard = vec![0; song.len()];
    let (sang, listened) = tokio::join!(writer.write_all(&song), timeout(PATIENCE, reader.read_exact(&mut heard)));
    sang.unwrap();
    listened.unwrap().unwrap();
    assert!(heard == song, "the song came back");
    assert!(!peer.path().unwrap().direct, "and it went by the relay");

    // That the tap works at all: it has what a relay must know, and as many bytes as went by, twice there and twice back.
    assert!(tap.saw(ticket.relay.token.expose().as_bytes()) && tap.saw(&key_of(&ticket.agent_endpoint_id)));
    let bytes = tap.seen.lock().unwrap().len();
    assert!(bytes > 4 * song.len(), "{bytes}");
    // All tickets begin alike, the relay's own too; their signatures do not.
    for secret in [CANARY, ticket.ticket.expose().rsplit('.').next().unwrap().as_bytes()] {
        assert!(!tap.saw(secret));
        assert!(!tap.saw(&secret[..12]), "not even a part of it");
    }
    client.close().await;
    agent.tailnet.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_owns_a_relay_enters_nothing_with_what_passed_there_or_leaked_elsewhere() {
    let world = World::start().await;
    let (agent, client, stolen) = two(&world, world.address).await;
    let mallory = Identity::generate();
    let thief = SigningKey::new([66; 32]);
    // The relay lets in whom it likes: it has a pass of the real key here, which is as good.
    let relay = world.pass(&mallory, RelayRole::Client, Uuid::new_v4());
    let tailnet = bind(mallory.clone(), relay, false).await;
    let soon = super::in_seconds(60);
    let own = thief.agent(&mallory.endpoint_id(), &stolen.agent_endpoint_id, (Uuid::nil(), "ada"), soon).unwrap();
    let tickets: [(&str, &Secret); 3] = [
        ("a ticket of somebody else's", &stolen.ticket),
        ("somebody's admission to the relay", &stolen.relay.token),
        ("a ticket it signed itself", &own),
    ];
    for (what, ticket) in tickets {
        let shown = Ticket { ticket: ticket.clone(), relay: world.with_token(stolen.relay.token.clone()), ..stolen.clone() };
        let shown = Ticket { relay: world.pass(&mallory, RelayRole::Client, Uuid::nil()), ..shown };
        let peer = tailnet.connect(&shown).await.unwrap();
        assert_eq!(refusal(&peer).await, io::ErrorKind::PermissionDenied, "{what}");
    }
    // At a relay of ours, its own key is not let in with somebody else's pass.
    let denied = bind(mallory, stolen.relay.clone(), false).await;
    let error = denied.online(PATIENCE).await.unwrap_err();
    assert!(error.to_string().contains("belongs to another endpoint"), "{error}");
    // The one whose ticket it is gets in, so it was good all along.
    client.connect(&stolen).await.unwrap().admitted().await.unwrap();
    for tailnet in [denied, tailnet, client, agent.tailnet] {
        tailnet.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_sends_the_packets_elsewhere_is_taken_for_nobody() {
    let (world, mut tasks) = (World::start().await, JoinSet::new());
    let mallory = world.agent(false).await;
    let agent = world.agent(false).await;
    let ids = [&agent, &mallory].map(|one| key_of(&one.tailnet.endpoint_id()));
    // The client asks for the agent and gets Mallory; her answers come under the agent's name.
    let tap = Tap { swap: Some((ids[0], ids[1])), ..Tap::default() };
    let address = tap.clone().before(world.address, &mut tasks).await;
    let client = world.client(false).await;
    let honest = world.ticket(&client, &agent);
    client.close().await;
    let identity = Identity::generate();
    let relay = at(address, world.pass(&identity, RelayRole::Client, Uuid::new_v4()));
    let misled = bind(identity, relay.clone(), false).await;
    misled.online(PATIENCE).await.unwrap();
    let to = |agent: &Agent| Ticket { relay: relay.clone(), ..world.ticket(&misled, agent) };
    // That packets do arrive there: who asks for Mallory by her own name reaches her.
    let tap_less = world.client(false).await;
    tap_less.connect(&world.ticket(&tap_less, &mallory)).await.unwrap().admitted().await.unwrap();
    let connected = timeout(PATIENCE * 2, misled.connect(&to(&agent))).await.unwrap();
    assert!(connected.is_err(), "Mallory was taken for {}", honest.agent_endpoint_id);
    assert!(tap.saw(&ids[1]), "she did answer");
    for tailnet in [misled, tap_less, agent.tailnet, mallory.tailnet] {
        tailnet.close().await;
    }
}
