//! Streams between a client and an agent.

use super::{Agent, PATIENCE, World, in_seconds, until};
use berth_net::{Peer, Tailnet};
use berth_wire::{ticket::SigningKey, tunnel::Target};
use std::{io, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};
use uuid::Uuid;

/// 60 bytes: small enough that noq keeps each as a chunk of its own.
pub(super) const LINE: &[u8] = b"this is a short line as a program prints it, one of many...\n";

async fn joined(world: &World, direct: bool) -> (Agent, Tailnet, Peer) {
    let agent = world.agent(direct).await;
    let client = world.client(direct).await;
    let peer = client.connect(&world.ticket(&client, &agent)).await.unwrap();
    (agent, client, peer)
}

async fn echo(peer: &Peer, bytes: usize) {
    let stream = peer.open(Target::Ssh).await.unwrap();
    let (mut reader, mut writer) = tokio::io::split(stream);
    let sent: Vec<u8> = (0..bytes).map(|number| (number % 251) as u8).collect();
    let mut received = Vec::new();
    let (write, read) = tokio::join!(
        async {
            writer.write_all(&sent).await?;
            writer.shutdown().await
        },
        timeout(PATIENCE, reader.read_to_end(&mut received)),
    );
    write.unwrap();
    read.unwrap().unwrap();
    assert!(received == sent, "{} bytes of {}", received.len(), sent.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_go_through_the_relay_when_nothing_else_is_allowed() {
    let world = World::start().await;
    let (agent, client, peer) = joined(&world, false).await;
    peer.ping().await.unwrap();
    echo(&peer, 12 * 1024 * 1024).await;
    let path = peer.path().unwrap();
    assert!(!path.direct && path.relay_url.is_some(), "{path:?}");
    client.close().await;
    agent.tailnet.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_ends_on_one_machine_find_the_direct_path() {
    let world = World::start().await;
    let (agent, client, peer) = joined(&world, true).await;
    peer.ping().await.unwrap();
    let took = until("the path is direct", || peer.path().is_some_and(|path| path.direct)).await;
    assert!(took < Duration::from_secs(5), "{took:?}");
    echo(&peer, 12 * 1024 * 1024).await;
    let path = peer.path().unwrap();
    assert!(path.direct && path.remote_addr.is_some(), "{path:?}");
    // The relay may go now.
    world.stop().await;
    echo(&peer, 1024).await;
    client.close().await;
    agent.tailnet.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_and_a_refusal_reach_the_reader() {
    let world = World::start().await;
    let (agent, client, peer) = joined(&world, false).await;
    let mut text = String::new();
    peer.open(Target::Tcp { port: 8080 }).await.unwrap().read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "8080");
    let error = peer.open(Target::Tcp { port: 1 }).await.unwrap().read_to_string(&mut text).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "{error}");
    client.close().await;
    agent.tailnet.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_ticket_opens_nothing() {
    let world = World::start().await;
    let agent = world.agent(false).await;
    let client = world.client(false).await;
    let (me, it, ada) = (client.endpoint_id(), agent.tailnet.endpoint_id(), (Uuid::nil(), "ada"));
    let (soon, past) = (in_seconds(60), in_seconds(-60));
    let foreign = SigningKey::new([8; 32]);
    let tickets = [
        world.key.agent(&it, &it, ada, soon).unwrap(),
        world.key.agent(&me, &me, ada, soon).unwrap(),
        world.key.agent(&me, &it, ada, past).unwrap(),
        foreign.agent(&me, &it, ada, soon).unwrap(),
        world.key.relay(&me, berth_wire::ticket::RelayRole::Client, Uuid::nil(), soon).unwrap(),
    ];
    for ticket in tickets {
        let peer = client.connect(&world.ticket_of(&client, &agent, ticket)).await.unwrap();
        let mut stream = peer.open(Target::Ssh).await.unwrap();
        let error = timeout(PATIENCE, stream.read_u8()).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}");
        let error = timeout(PATIENCE, peer.admitted()).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}");
        assert_eq!(timeout(PATIENCE, peer.closed()).await.unwrap(), "the agent refused the ticket");
    }
    let peer = client.connect(&world.ticket(&client, &agent)).await.unwrap();
    peer.admitted().await.unwrap();
    client.close().await;
    agent.tailnet.close().await;
}

/// The defect of noq-proto 1.4.0: a reader that pauses while small writes arrive kills the whole connection after 2048 chunks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_reader_stops_the_writer_and_nothing_else() {
    let world = World::start().await;
    let (agent, client, peer) = joined(&world, false).await;
    let mut stream = peer.open(Target::Tcp { port: 2 }).await.unwrap();
    let mut line = [0; LINE.len()];
    stream.read_exact(&mut line).await.unwrap();
    // Paused: for long enough that 2048 lines have arrived many times over, and other streams go on.
    let paused = tokio::time::Instant::now();
    while paused.elapsed() < Duration::from_secs(4) {
        peer.ping().await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    echo(&peer, 1024 * 1024).await;
    // And on: all lines are whole, well past what was in flight during the pause.
    for _ in 0..6 * 1024 * 1024 / LINE.len() {
        timeout(PATIENCE, stream.read_exact(&mut line)).await.unwrap().unwrap();
        assert_eq!(line, LINE);
    }
    assert!(peer.is_connected());
    client.close().await;
    agent.tailnet.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_closes_is_noticed_at_once() {
    let world = World::start().await;
    let (agent, client, peer) = joined(&world, false).await;
    let mut stream = peer.open(Target::Ssh).await.unwrap();
    stream.write_all(b"x").await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'x');
    let (_, read) = tokio::join!(agent.tailnet.close(), timeout(Duration::from_secs(2), stream.read_u8()));
    assert!(read.unwrap().is_err());
    timeout(Duration::from_secs(2), peer.closed()).await.unwrap();
    client.close().await;
}
