//! Streams over a network in memory that can be cut: the driver, the registry and the dialling, by the clock of the test.

use super::super::{Dial, DialError, Ended, HELD_BYTES_MAX, Phase, RESUMABLES_MAX, Reason, Resumable, Resumables};
use crate::{credit::lock, session::Grant};
use berth_wire::{
    ticket::AgentClaims,
    tunnel::{Service, Target},
};
use std::{
    io,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, ReadHalf, WriteHalf, duplex},
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep},
};
use uuid::Uuid;

const HOUR: Duration = Duration::from_secs(3600);

/// A network with an agent at its other end.
struct Network {
    resumables: Resumables,
    begun: mpsc::UnboundedSender<Resumable>,
    /// Carries the connections. Whoever takes a task away breaks its connection.
    lines: Mutex<JoinSet<()>>,
    /// How often everything broke.
    resets: Arc<AtomicUsize>,
    /// Whether it carries anything. While not, bytes are lost and nobody is told.
    carries: watch::Sender<bool>,
    user: Mutex<Uuid>,
}

/// One end of a connection: ends in order, unless the network broke it.
struct Line {
    stream: DuplexStream,
    resets: Arc<AtomicUsize>,
    made_at: usize,
    refused: Arc<AtomicBool>,
}

impl AsyncRead for Line {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if buffer.filled().len() > before {
            return Poll::Ready(Ok(()));
        }
        Poll::Ready(match (self.refused.load(SeqCst), self.resets.load(SeqCst) == self.made_at) {
            (true, _) => Err(io::ErrorKind::NotFound.into()),
            (false, true) => Ok(()),
            (false, false) => Err(io::ErrorKind::ConnectionReset.into()),
        })
    }
}

impl AsyncWrite for Line {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Network {
    fn new(limit: Duration) -> (Arc<Self>, mpsc::UnboundedReceiver<Resumable>) {
        let (begun, streams) = mpsc::unbounded_channel();
        let network = Self {
            resumables: Resumables::with_limit(limit),
            begun,
            lines: Mutex::default(),
            resets: Arc::default(),
            carries: watch::Sender::new(true),
            user: Mutex::new(Uuid::from_u128(1)),
        };
        (Arc::new(network), streams)
    }

    /// A stream and the agent's end of it.
    async fn stream(self: &Arc<Self>, streams: &mut mpsc::UnboundedReceiver<Resumable>) -> (Resumable, Resumable) {
        let client = Resumable::open(Arc::clone(self), Service::Ssh);
        let agent = streams.recv().await.unwrap();
        let mut phase = client.phase();
        phase.wait_for(|phase| *phase == Phase::Connected).await.unwrap();
        // Until the agent has heard that the client knows how to come back.
        sleep(Duration::from_millis(10)).await;
        (client, agent)
    }

    /// All connections break, and both ends hear of it.
    fn reset(&self) {
        self.resets.fetch_add(1, SeqCst);
        *lock(&self.lines) = JoinSet::new();
    }

    fn connection(&self) -> (Line, Line, DuplexStream, DuplexStream) {
        let ((near, near_inner), (far, far_inner)) = (duplex(64 * 1024), duplex(64 * 1024));
        let line =
            |stream| Line { stream, resets: Arc::clone(&self.resets), made_at: self.resets.load(SeqCst), refused: Arc::default() };
        (line(near), line(far), near_inner, far_inner)
    }

    /// Moves bytes while the network carries them; when it stops to, for ever nothing: the cable was pulled.
    fn carry(&self, near: DuplexStream, far: DuplexStream) {
        let mut carries = self.carries.subscribe();
        lock(&self.lines).spawn(async move {
            let ((near_from, near_to), (far_from, far_to)) = (tokio::io::split(near), tokio::io::split(far));
            let mut moving = pin!(async { tokio::join!(carry_one_way(near_from, far_to), carry_one_way(far_from, near_to)) });
            tokio::select! {
                biased;
                _ = carries.wait_for(|carries| !carries) => {}
                _ = &mut moving => return,
            }
            // Neither end hears that the other is not there.
            std::future::pending().await
        });
    }
}

/// 16 KiB in a millisecond.
async fn carry_one_way(mut from: ReadHalf<DuplexStream>, mut to: WriteHalf<DuplexStream>) -> io::Result<()> {
    let mut buffer = [0; 16 * 1024];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return to.shutdown().await;
        }
        sleep(Duration::from_millis(1)).await;
        to.write_all(&buffer[..count]).await?;
    }
}

impl Dial for Network {
    type Stream = Line;

    async fn dial(&self, target: Target) -> Result<Line, DialError> {
        if !*self.carries.borrow() {
            return Err(DialError::Away("no route".to_owned()));
        }
        let (near, far, near_inner, far_inner) = self.connection();
        match target {
            Target::Resume { id, received } => {
                if !self.resumables.resume(&id, received, far) {
                    near.refused.store(true, SeqCst);
                    return Ok(near);
                }
            }
            _ => {
                let claims = AgentClaims {
                    eid: String::new(),
                    agent: String::new(),
                    sub: *lock(&self.user),
                    name: String::new(),
                    only: None,
                    iss: String::new(),
                    aud: String::new(),
                    exp: 0,
                };
                let begun = self
                    .resumables
                    .begin(Arc::new(Grant { claims, key_id: String::new() }), far)
                    .ok_or_else(|| DialError::Away("full".to_owned()))?;
                self.begun.send(begun).ok();
            }
        }
        self.carry(near_inner, far_inner);
        Ok(near)
    }

    async fn improved(&self) {
        self.carries.subscribe().changed().await.ok();
    }
}

async fn ended(stream: &watch::Receiver<Phase>) -> Ended {
    match &*stream.clone().wait_for(|phase| matches!(phase, Phase::Ended(_))).await.unwrap() {
        Phase::Ended(ended) => ended.clone(),
        other => panic!("{other:?}"),
    }
}

/// Waits until the agent has forgotten all streams.
async fn forgotten(network: &Network) {
    while network.resumables.count() > 0 {
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(network.resumables.held_bytes(), 0);
}

fn pattern(count: usize) -> Vec<u8> {
    (0..count).map(|at| u8::try_from((at.wrapping_mul(0x9E37_79B9) >> 13) & 0xff).unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn bytes_come_back_exactly_over_connections_that_break_all_the_time() {
    let (network, mut streams) = Network::new(HOUR);
    let (client, agent) = network.stream(&mut streams).await;
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let (mut from, mut to) = tokio::io::split(agent);
        tokio::io::copy(&mut from, &mut to).await.unwrap();
        to.shutdown().await.unwrap();
    });
    let breaking = Arc::clone(&network);
    let mut breaker = JoinSet::new();
    breaker.spawn(async move {
        for round in 0_u64.. {
            sleep(Duration::from_millis(50 + round * 37 % 100)).await;
            breaking.reset();
        }
    });
    let bytes = pattern(12 * 1024 * 1024);
    let phase = client.phase();
    let (mut from, mut to) = tokio::io::split(client);
    let sent = bytes.clone();
    tasks.spawn(async move {
        to.write_all(&sent).await.unwrap();
        to.shutdown().await.unwrap();
    });
    let mut back = Vec::new();
    from.read_to_end(&mut back).await.unwrap();
    assert!(back == bytes, "{} of {} bytes", back.len(), bytes.len());
    assert!(network.resets.load(SeqCst) > 5, "it broke often enough: {:?}", network.resets);
    drop(breaker);
    while tasks.join_next().await.is_some() {}
    assert_eq!(ended(&phase).await, Ended::Closed(Reason::Done));
    forgotten(&network).await;
}

#[tokio::test(start_paused = true)]
async fn a_minute_without_network_is_noticed_said_and_survived() {
    let (network, mut streams) = Network::new(HOUR);
    let (mut client, mut agent) = network.stream(&mut streams).await;
    let mut phase = client.phase();
    client.write_all(b"before").await.unwrap();
    agent.read_exact(&mut [0; 6]).await.unwrap();
    network.carries.send_replace(false);
    let cut = Instant::now();
    client.write_all(b"typed into the void").await.unwrap();
    agent.write_all(b"printed into the void").await.unwrap();
    phase.wait_for(|phase| matches!(phase, Phase::Away { .. })).await.unwrap();
    assert!(cut.elapsed() <= Duration::from_secs(6), "{:?}", cut.elapsed());
    sleep(Duration::from_secs(60)).await;
    network.carries.send_replace(true);
    let mended = Instant::now();
    phase.wait_for(|phase| !matches!(phase, Phase::Away { .. })).await.unwrap();
    assert_eq!(*phase.borrow(), Phase::Connected);
    assert!(mended.elapsed() < Duration::from_millis(100), "at once, when the network is back: {:?}", mended.elapsed());
    let (mut typed, mut printed) = ([0; 19], [0; 21]);
    agent.read_exact(&mut typed).await.unwrap();
    client.read_exact(&mut printed).await.unwrap();
    assert_eq!((&typed, &printed), (b"typed into the void", b"printed into the void"));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_only_listens_notices_too() {
    let (network, mut streams) = Network::new(HOUR);
    let (mut client, mut agent) = network.stream(&mut streams).await;
    let mut phase = client.phase();
    agent.write_all(b"a line").await.unwrap();
    client.read_exact(&mut [0; 6]).await.unwrap();
    sleep(Duration::from_secs(30)).await;
    network.carries.send_replace(false);
    let cut = Instant::now();
    phase.wait_for(|phase| matches!(phase, Phase::Away { .. })).await.unwrap();
    assert!(cut.elapsed() < Duration::from_secs(25), "{:?}", cut.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_is_away_for_too_long_is_over_at_both_ends() {
    let (network, mut streams) = Network::new(HOUR);
    let (mut client, mut agent) = network.stream(&mut streams).await;
    let phase = client.phase();
    network.carries.send_replace(false);
    network.reset();
    let error = client.read(&mut [0; 1]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert_eq!(ended(&phase).await, Ended::Expired(HOUR));
    assert!(agent.read(&mut [0; 1]).await.is_err());
    forgotten(&network).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_whose_stream_the_agent_forgot_learns_it_at_once() {
    let (network, mut streams) = Network::new(HOUR);
    let (mut client, agent) = network.stream(&mut streams).await;
    let phase = client.phase();
    network.carries.send_replace(false);
    network.reset();
    phase.clone().wait_for(|phase| matches!(phase, Phase::Away { .. })).await.unwrap();
    network.resumables.end(Reason::Stopped).await;
    drop(agent);
    forgotten(&network).await;
    network.carries.send_replace(true);
    assert!(client.read(&mut [0; 1]).await.is_err());
    assert_eq!(ended(&phase).await, Ended::Gone);
}

#[tokio::test(start_paused = true)]
async fn a_stopped_workspace_says_so_after_its_last_bytes_and_a_revoked_user_is_out_at_once() {
    let (network, mut streams) = Network::new(HOUR);
    let (mut ada, mut ada_agent) = network.stream(&mut streams).await;
    *lock(&network.user) = Uuid::from_u128(2);
    let (mut bob, mut bob_agent) = network.stream(&mut streams).await;
    assert_eq!(network.resumables.revoke(Uuid::from_u128(2)), 1);
    assert_eq!(bob.read(&mut [0; 1]).await.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    assert!(bob_agent.write_all(b"no").await.is_err() || bob_agent.read(&mut [0; 1]).await.is_err());
    ada_agent.write_all(b"last words").await.unwrap();
    network.resumables.end(Reason::Stopped).await;
    let mut words = String::new();
    ada.read_to_string(&mut words).await.unwrap();
    assert_eq!(words, "last words");
    assert_eq!(ended(&ada.phase()).await, Ended::Closed(Reason::Stopped));
    forgotten(&network).await;
}

#[tokio::test(start_paused = true)]
async fn writers_wait_when_the_other_end_is_away_and_memory_stays_bounded() {
    let (network, mut streams) = Network::new(HOUR);
    let (mut client, mut agent) = network.stream(&mut streams).await;
    network.carries.send_replace(false);
    network.reset();
    let bytes = pattern(6 * 1024 * 1024);
    let mut printing = JoinSet::new();
    let printed = bytes.clone();
    printing.spawn(async move {
        agent.write_all(&printed).await.unwrap();
        agent
    });
    sleep(Duration::from_secs(60)).await;
    assert!(printing.try_join_next().is_none());
    assert_eq!(network.resumables.held_bytes(), 4 * 1024 * 1024);
    network.carries.send_replace(true);
    let mut back = vec![0; bytes.len()];
    client.read_exact(&mut back).await.unwrap();
    assert!(back == bytes);
    drop(printing.join_next().await);
    drop(client);
    forgotten(&network).await;
}

#[tokio::test(start_paused = true)]
async fn all_streams_together_keep_no_more_than_the_budget() {
    let (network, mut streams) = Network::new(HOUR);
    let mut writers = JoinSet::new();
    let mut clients = Vec::new();
    for _ in 0..40 {
        let (client, mut agent) = network.stream(&mut streams).await;
        clients.push(client);
        writers.spawn(async move { agent.write_all(&vec![7; 5 * 1024 * 1024]).await });
    }
    network.carries.send_replace(false);
    network.reset();
    sleep(Duration::from_secs(60)).await;
    let held = network.resumables.held_bytes();
    assert!((HELD_BYTES_MAX..HELD_BYTES_MAX + 8 * 1024 * 1024).contains(&held), "{held}");
}

#[tokio::test(start_paused = true)]
async fn half_an_end_is_no_end_and_a_break_is_told_as_one() {
    let (network, mut streams) = Network::new(HOUR);
    let (mut client, mut agent) = network.stream(&mut streams).await;
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    let mut question = String::new();
    agent.read_to_string(&mut question).await.unwrap();
    network.reset();
    sleep(Duration::from_secs(1)).await;
    agent.write_all(b"answer").await.unwrap();
    drop(agent);
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert_eq!((question.as_str(), answer.as_str()), ("question", "answer"));
    forgotten(&network).await;

    let (mut client, agent) = network.stream(&mut streams).await;
    agent.abort();
    assert_eq!(client.read(&mut [0; 1]).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    let (client, mut agent) = network.stream(&mut streams).await;
    client.close().await;
    assert_eq!(agent.read(&mut [0; 1]).await.unwrap(), 0);
    drop(agent);
    forgotten(&network).await;
}

#[tokio::test(start_paused = true)]
async fn the_stream_that_is_away_for_the_longest_makes_room() {
    let (network, mut streams) = Network::new(HOUR);
    let first = network.stream(&mut streams).await;
    let phase = first.0.phase();
    network.carries.send_replace(false);
    network.reset();
    sleep(Duration::from_secs(10)).await;
    // Those that are connected are not touched: the next one is refused only when all are.
    let others = Arc::new(network.another());
    let mut kept = Vec::new();
    for _ in 1..=RESUMABLES_MAX {
        kept.push(others.stream(&mut streams).await);
    }
    assert_eq!(network.resumables.count(), RESUMABLES_MAX);
    network.carries.send_replace(true);
    assert_eq!(ended(&phase).await, Ended::Gone);
    let refused = Resumable::open(Arc::clone(&others), Service::Ssh);
    assert!(matches!(ended(&refused.phase()).await, Ended::Refused(..)));
}

impl Network {
    /// Another way to the same agent.
    fn another(&self) -> Self {
        Self {
            resumables: self.resumables.clone(),
            begun: self.begun.clone(),
            lines: Mutex::default(),
            resets: Arc::default(),
            carries: watch::Sender::new(true),
            user: Mutex::new(*lock(&self.user)),
        }
    }
}
