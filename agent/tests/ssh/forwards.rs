//! Forwards in both directions, over TCP and Unix sockets.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_util::task::AbortOnDropHandle;

use crate::bench::{Bench, PATIENCE, eventually, finish, stderr, stdout};

/// A service that reads to the end of its input and then answers: it needs both halves of the stream to close on their own.
async fn measuring_service() -> (u16, AbortOnDropHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serve = async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            measure(stream).await;
        }
    };
    (port, AbortOnDropHandle::new(tokio::task::spawn(serve)))
}

async fn measure(mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin) {
    let mut found = Vec::new();
    stream.read_to_end(&mut found).await.unwrap();
    stream.write_all(format!("{} bytes\n", found.len()).as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
}

async fn ask(mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin, bytes: usize) -> String {
    let exchange = async {
        stream.write_all(&vec![b'x'; bytes]).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    tokio::time::timeout(PATIENCE, exchange).await.expect("the service answered")
}

async fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn a_local_forward_carries_half_closed_streams() {
    let bench = Bench::start().await;
    let (service, _serving) = measuring_service().await;
    let port = free_port().await;
    let _client = bench.ssh(&["-N", &format!("-L{port}:127.0.0.1:{service}"), "me@127.0.0.1"]).spawn().unwrap();
    let mut stream = None;
    for _ in 0..500 {
        if let Ok(connected) = TcpStream::connect(("127.0.0.1", port)).await {
            stream = Some(connected);
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(ask(stream.expect("the client listens"), 3_000_000).await, "3000000 bytes\n");
    let more = (0..20).map(|i| async move { ask(TcpStream::connect(("127.0.0.1", port)).await.unwrap(), i * 1000).await });
    let answers = futures_util::future::join_all(more).await;
    assert!(answers.iter().enumerate().all(|(i, answer)| *answer == format!("{} bytes\n", i * 1000)), "{answers:?}");
}

#[tokio::test]
async fn standard_streams_can_be_a_forward() {
    let bench = Bench::start().await;
    let (service, _serving) = measuring_service().await;
    let mut child = bench.ssh(&["-W", &format!("127.0.0.1:{service}"), "me@127.0.0.1"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"12345").await.unwrap();
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.unwrap().unwrap();
    assert_eq!(stdout(&output), "5 bytes\n");
    let refused = finish(bench.ssh(&["-W", &format!("127.0.0.1:{}", free_port().await), "me@127.0.0.1"])).await;
    assert!(!refused.status.success());
    assert!(stderr(&refused).contains("forwarding failed"), "{}", stderr(&refused));
}

#[tokio::test]
async fn a_remote_forward_gets_a_free_port_and_says_which() {
    let bench = Bench::start().await;
    let (service, _serving) = measuring_service().await;
    let mut child = bench.ssh(&["-oLogLevel=INFO", "-N", &format!("-R0:127.0.0.1:{service}"), "me@127.0.0.1"]).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let port: u16 = loop {
        let line = lines.next_line().await.unwrap().expect("the client says which port");
        if let Some(port) = line.strip_prefix("Allocated port ").and_then(|rest| rest.split(' ').next()) {
            break port.parse().unwrap();
        }
    };
    assert_eq!(ask(TcpStream::connect(("127.0.0.1", port)).await.unwrap(), 100_000).await, "100000 bytes\n");
    child.kill().await.unwrap();
    for _ in 0..500 {
        if TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the port still listens after its client");
}

#[tokio::test]
async fn sockets_are_forwarded_both_ways_and_a_stale_one_is_replaced() {
    let bench = Bench::start().await;
    let at = |name: &str| bench.home.path().join(name);
    let listener = UnixListener::bind(at("service")).unwrap();
    let _serving = AbortOnDropHandle::new(tokio::task::spawn(async move {
        loop {
            measure(listener.accept().await.unwrap().0).await;
        }
    }));
    drop(UnixListener::bind(at("remote")).unwrap());
    let path = |name: &str| at(name).display().to_string();
    let local = format!("-L{}:{}", path("local"), path("service"));
    let remote = format!("-R{}:{}", path("remote"), path("service"));
    let mut client = bench.ssh(&["-N", &local, &remote, "me@127.0.0.1"]).spawn().unwrap();
    assert_eq!(ask(connect(&at("local")).await, 10).await, "10 bytes\n");
    assert_eq!(ask(connect(&at("remote")).await, 20).await, "20 bytes\n");
    client.kill().await.unwrap();
    eventually("the socket is gone with its client", || !at("remote").exists()).await;
}

async fn connect(path: &Path) -> UnixStream {
    for _ in 0..500 {
        if let Ok(stream) = UnixStream::connect(path).await {
            return stream;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("nothing listens on {}", path.display());
}

#[tokio::test]
async fn the_clients_agent_answers_in_the_session() {
    let bench = Bench::start().await;
    let socket = bench.home.path().join("agent");
    let listener = UnixListener::bind(&socket).unwrap();
    let _serving = AbortOnDropHandle::new(tokio::task::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::task::spawn(answer_without_keys(stream));
        }
    }));
    let identity = format!("-oIdentityAgent={}", socket.display());
    let mut command = bench.ssh(&[&identity, "-A", "me@127.0.0.1", "stat -c %a $(dirname $SSH_AUTH_SOCK); ssh-add -l"]);
    command.env("SSH_AUTH_SOCK", &socket);
    let output = finish(command).await;
    assert_eq!(stdout(&output), "700\nThe agent has no identities.\n", "{}", stderr(&output));
    assert_eq!(output.status.code(), Some(1));
}

/// An agent that has no keys: a request to list them (11) is answered with an empty list (12), any other with a failure (5).
async fn answer_without_keys(mut stream: UnixStream) -> std::io::Result<()> {
    loop {
        let length = stream.read_u32().await?;
        let mut request = vec![0; usize::try_from(length).unwrap()];
        stream.read_exact(&mut request).await?;
        let answer: &[u8] = if request[0] == 11 { &[0, 0, 0, 5, 12, 0, 0, 0, 0] } else { &[0, 0, 0, 1, 5] };
        stream.write_all(answer).await?;
    }
}

#[tokio::test]
async fn a_consumer_that_stopped_holds_its_own_channel_only() {
    let bench = Bench::start().await;
    let socket = bench.home.path().join("master");
    let path = format!("-oControlPath={}", socket.display());
    let _master = bench.ssh(&["-N", "-oControlMaster=yes", &path, "me@127.0.0.1"]).spawn().unwrap();
    eventually("the master listens", || socket.exists()).await;

    // A forwarded port that is not read, and a command that does not read its input until it is told.
    let stopped = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (inside, outside) = (stopped.local_addr().unwrap().port(), free_port().await);
    let forward = format!("{outside}:127.0.0.1:{inside}");
    assert!(finish(bench.ssh(&[&path, "-Oforward", "-L", &forward, "me@127.0.0.1"])).await.status.success());
    let flood = TcpStream::connect(("127.0.0.1", outside)).await.unwrap();
    let (mut unread, _) = stopped.accept().await.unwrap();
    let sent = Arc::new(AtomicUsize::new(0));
    let flooding = AbortOnDropHandle::new(tokio::task::spawn(pour(Arc::clone(&sent), 40 << 20, flood)));
    let waiting = "touch waits; while ! test -e go; do sleep 0.05; done; sha256sum";
    let mut reader = bench.ssh(&[&path, "me@127.0.0.1", waiting]).stdin(Stdio::piped()).spawn().unwrap();
    let input: Vec<u8> = (0..6u32 << 20).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let hash = hex::encode(Sha256::digest(&input));
    let mut stdin = reader.stdin.take().unwrap();
    let feeding = tokio::task::spawn(async move { stdin.write_all(&input).await });

    eventually("the client may send no more", || sent.load(Ordering::Relaxed) > 4 << 20).await;
    settled(&sent).await;
    assert!(sent.load(Ordering::Relaxed) < 40 << 20, "the flood stops where its reader does");
    for count in 0..20 {
        assert_eq!(stdout(&finish(bench.ssh(&[&path, "me@127.0.0.1", &format!("echo {count}")])).await), format!("{count}\n"));
    }
    let upload = bench.ssh(&[&path, "me@127.0.0.1", "wc -c"]).stdin(Stdio::piped()).spawn().unwrap();
    assert_eq!(stdout(&feed(upload, vec![b'x'; 1 << 20]).await).trim(), "1048576", "a new channel has a window of its own");

    std::fs::write(bench.home.path().join("go"), "").unwrap();
    feeding.await.unwrap().unwrap();
    let output = tokio::time::timeout(PATIENCE, reader.wait_with_output()).await.expect("it read all").unwrap();
    assert!(stdout(&output).starts_with(&hash), "nothing was lost");
    let mut found = Vec::new();
    tokio::time::timeout(PATIENCE, unread.read_to_end(&mut found)).await.expect("the flood came through").unwrap();
    assert_eq!(found.len(), sent.load(Ordering::Relaxed));
    drop(flooding);
}

/// Writes `bytes` bytes and counts those that were taken.
async fn pour(sent: Arc<AtomicUsize>, bytes: usize, mut stream: TcpStream) {
    let chunk = vec![b'y'; 1 << 16];
    while sent.load(Ordering::Relaxed) < bytes {
        let count = stream.write(&chunk).await.unwrap();
        sent.fetch_add(count, Ordering::Relaxed);
    }
    stream.shutdown().await.unwrap();
}

/// Waits until a count has not changed for a while.
async fn settled(count: &AtomicUsize) {
    let mut last = usize::MAX;
    while std::mem::replace(&mut last, count.load(Ordering::Relaxed)) != last {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    }
}

async fn feed(mut child: tokio::process::Child, input: Vec<u8>) -> std::process::Output {
    let mut stdin = child.stdin.take().unwrap();
    let feeding = async move { stdin.write_all(&input).await.unwrap() };
    let (output, ()) =
        tokio::time::timeout(PATIENCE, async { tokio::join!(child.wait_with_output(), feeding) }).await.expect("it ended");
    output.unwrap()
}
