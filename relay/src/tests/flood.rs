//! Floods: people who connect and then say nothing, or one byte now and then, and a session that was there before them.

use super::{PATIENCE, World, until};
use crate::{Keys, RelayConfig, listen};
use berth_wire::{ticket::SigningKey, tunnel::Target};
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::{Instant, timeout},
};

/// How many connections a flood has. In full, five thousand: `BERTH_TEST_FULL=1`, with as many file descriptors.
fn many() -> usize {
    if std::env::vars_os().any(|(name, _)| name == "BERTH_TEST_FULL") { 5000 } else { 400 }
}

/// Opens a connection and never ends its request, a byte at a time, until it is hung up on.
async fn dawdle(address: SocketAddr) {
    let Ok(mut stream) = TcpStream::connect(address).await else { return };
    for byte in b"GET /hello HTTP/1.1\r\nHost: a\r\nX-Slow: ".iter().chain(std::iter::repeat(&b'x')) {
        if stream.write_all(&[*byte]).await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Opens a connection and says nothing.
async fn gape(address: SocketAddr) {
    let Ok(mut stream) = TcpStream::connect(address).await else { return };
    let _hung_up = stream.read(&mut [0; 1]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_for_something_is_let_in_before_those_who_do_not() {
    let mut config = RelayConfig::new(Keys::fixed(Vec::new()));
    config.connections_max = 20;
    // So much patience that nobody in the flood is hung up on for being slow.
    config.head_within = PATIENCE * 2;
    let world = World::with(listen(([127, 0, 0, 1], 0).into()).unwrap(), config);
    let mut flood = JoinSet::new();
    for _ in 0..40 {
        flood.spawn(gape(world.address));
        flood.spawn(dawdle(world.address));
    }
    for _ in 0..5 {
        let mut stream = TcpStream::connect(world.address).await.unwrap();
        stream.write_all(b"GET /hello HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("it is let in").unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_people_who_dawdle_leaves_sessions_alone_and_passes() {
    let key = SigningKey::new([7; 32]);
    let mut config = RelayConfig::new(Keys::fixed(vec![key.verifying()]));
    // Fewer places than the flood takes, and less patience, so that both show in a test's time.
    config.connections_max = u32::try_from(many() / 2).unwrap();
    config.head_within = Duration::from_secs(2);
    let listener = listen(([127, 0, 0, 1], 0).into()).unwrap();
    let world = World::with(listener, config);
    let agent = world.agent(false).await;
    let client = world.client(false).await;
    let peer = client.connect(&world.ticket(&client, &agent)).await.unwrap();
    let mut echo = peer.open(Target::Ssh).await.unwrap();

    let mut flood = JoinSet::new();
    for number in 0..many() {
        if number % 2 == 0 {
            flood.spawn(dawdle(world.address))
        } else {
            flood.spawn(gape(world.address))
        };
    }
    until("the flood takes every place", || flood.len() == many()).await;
    let (began, mut slowest) = (Instant::now(), Duration::ZERO);
    for number in 0_u64..200 {
        let sent = Instant::now();
        echo.write_u64(number).await.unwrap();
        assert_eq!(timeout(PATIENCE, echo.read_u64()).await.unwrap().unwrap(), number);
        slowest = slowest.max(sent.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(slowest < Duration::from_secs(1), "an echo took {slowest:?} in a flood of {} connections", many());
    // Everybody is hung up on, and then there are places again.
    timeout(PATIENCE, async { while flood.join_next().await.is_some() {} }).await.expect("the flood ends");
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    stream.write_all(b"GET /hello HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(peer.is_connected());
    println!("the slowest of 200 echoes took {slowest:?}; the flood was over after {:?}", began.elapsed());
    client.close().await;
    agent.tailnet.close().await;
}
