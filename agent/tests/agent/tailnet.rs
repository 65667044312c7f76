//! Clients that reach the agent through the relay.

use std::fs;
use std::process::{Output, Stdio};

use berth_net::{Peer, TunnelStream, splice, write_datagram};
use berth_wire::domain::Lifecycle;
use berth_wire::ticket::SigningKey;
use berth_wire::tunnel::{Target, Terminal, TerminalInput};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use crate::plane::{PATIENCE, Plane, eventually, terminate};

/// A loopback port whose connections go to `target` at the other end.
async fn door(peer: &Peer, target: Target) -> (u16, AbortOnDropHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let peer = peer.clone();
    let serve = async move {
        let mut streams = JoinSet::new();
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            socket.set_nodelay(true).unwrap();
            let tunnel = peer.open(target.clone()).await.unwrap();
            streams.spawn(async move { splice(tunnel, &mut socket).await });
        }
    };
    (port, AbortOnDropHandle::new(tokio::task::spawn(serve)))
}

async fn ssh(port: u16, line: &str) -> Output {
    let mut command = Command::new("ssh");
    command.args([
        "-F/dev/null",
        "-oStrictHostKeyChecking=no",
        "-oUserKnownHostsFile=/dev/null",
        "-oLogLevel=ERROR",
        "-oIdentityFile=none",
    ]);
    command.args(["-p", &port.to_string(), "me@127.0.0.1", line]).stdin(Stdio::null()).kill_on_drop(true);
    tokio::time::timeout(PATIENCE, command.output()).await.expect("ssh ended").unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ssh_and_ports_work_through_the_relay() {
    let plane = Plane::start(vec![], &[]).await;
    let agent = plane.agent();
    plane.until(Lifecycle::Ready).await;
    let (tailnet, ticket) = plane.client().await;
    let peer = tailnet.connect(&ticket).await.unwrap();
    peer.admitted().await.unwrap();
    let (port, _door) = door(&peer, Target::Ssh).await;
    let output = ssh(port, "echo $CODER_WORKSPACE_NAME; exit 5").await;
    assert_eq!((output.stdout.as_slice(), output.status.code()), (b"dev\n".as_slice(), Some(5)), "{output:?}");
    let output = ssh(port, "head -c 20000000 /dev/zero").await;
    assert_eq!(output.stdout.len(), 20_000_000);

    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut stream = peer.open(Target::Tcp { port: service.local_addr().unwrap().port() }).await.unwrap();
    stream.write_all(b"ping").await.unwrap();
    let (mut socket, _) = service.accept().await.unwrap();
    let mut found = [0; 4];
    socket.read_exact(&mut found).await.unwrap();
    assert_eq!(&found, b"ping");
    drop(service);
    let mut nothing = peer.open(Target::Tcp { port: 1 }).await.unwrap();
    assert_eq!(nothing.read_u8().await.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);

    // A session that runs when the agent is told to end hears how its command ended.
    let running = tokio::task::spawn(async move { ssh(port, "echo > running; exec sleep 1000").await });
    eventually("the command runs", || plane.home.path().join("running").exists()).await;
    assert_eq!(terminate(agent).await, Some(0));
    let output = running.await.unwrap();
    assert_eq!(output.status.code(), Some(255), "{output:?}");
    tailnet.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_agent_comes_back_after_the_server_and_the_relay_restarted() {
    let mut plane = Plane::start(vec![], &[]).await;
    let agent = plane.agent();
    plane.until(Lifecycle::Ready).await;
    let (tailnet, ticket) = plane.client().await;
    tailnet.connect(&ticket).await.unwrap().admitted().await.unwrap();
    let before = plane.heard.lock().unwrap().hellos.len();
    tailnet.close().await;
    plane.restart().await;
    eventually("the agent said hello again", || plane.heard.lock().unwrap().hellos.len() > before).await;
    let (tailnet, ticket) = plane.client().await;
    let peer = tailnet.connect(&ticket).await.unwrap();
    peer.admitted().await.unwrap();
    let (port, _door) = door(&peer, Target::Ssh).await;
    assert_eq!(ssh(port, "echo back").await.stdout, b"back\n");
    assert_eq!(plane.states(), [Lifecycle::Ready], "the scripts of the start did not run again");
    tailnet.close().await;
    assert_eq!(terminate(agent).await, Some(0));
}

/// A terminal of this id, as its viewer has it.
async fn terminal(peer: &Peer, id: u128) -> TunnelStream {
    let terminal = Terminal { id: Uuid::from_u128(id), columns: 80, rows: 24, command: None };
    peer.open(Target::Terminal(terminal)).await.unwrap()
}

async fn types(terminal: &mut TunnelStream, keys: &str) {
    write_datagram(terminal, &TerminalInput::Keys(keys.as_bytes()).encode()).await.unwrap();
}

/// Reads until these words have come.
async fn sees(terminal: &mut TunnelStream, words: &str) {
    let (mut seen, mut buffer) = (String::new(), [0; 1024]);
    while !seen.contains(words) {
        let read = tokio::time::timeout(PATIENCE, terminal.read(&mut buffer)).await;
        let count = read.unwrap_or_else(|_| panic!("only {seen:?} came")).unwrap();
        assert!(count > 0, "the terminal ended after {seen:?}");
        seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_outlives_its_connection_and_the_relay_and_ends_when_its_user_may_not_stay() {
    let mut plane = Plane::start(vec![], &[]).await;
    let agent = plane.agent_with(&[("BERTH_AGENT_RECHECK_SECONDS", "1")]);
    plane.until(Lifecycle::Ready).await;
    let (ada, eve) = (Uuid::from_u128(11), Uuid::from_u128(12));
    let at_home = Guest::arrive(&plane, ada, &plane.key).await;
    let mut first = terminal(&at_home.peer, 1).await;
    types(&mut first, "echo $$ > shell; kept=on; echo first=$((6*7))\r").await;
    sees(&mut first, "first=42").await;
    drop((first, at_home));

    let before = plane.heard.lock().unwrap().hellos.len();
    plane.restart().await;
    eventually("the agent said hello again", || plane.heard.lock().unwrap().hellos.len() > before).await;
    let back = Guest::arrive(&plane, ada, &plane.key).await;
    let mut again = terminal(&back.peer, 1).await;
    types(&mut again, "echo second=$kept$((6*8))\r").await;
    sees(&mut again, "second=on48").await;

    let stranger = Guest::arrive(&plane, eve, &plane.key).await;
    let refused = terminal(&stranger.peer, 1).await.read_u8().await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused, "{refused}");
    let mut own = terminal(&stranger.peer, 2).await;
    types(&mut own, "echo own=$((6*9))\r").await;
    sees(&mut own, "own=54").await;

    // Nobody looks at it when its user is shut out; it ends all the same.
    drop((again, back));
    let shell = std::path::PathBuf::from(format!("/proc/{}", fs::read_to_string(plane.home.path().join("shell")).unwrap().trim()));
    assert!(shell.exists());
    plane.heard.lock().unwrap().unwelcome = vec![ada];
    eventually("the shell of who may not stay has ended", || !shell.exists()).await;
    assert!(stranger.peer.is_connected());
    assert_eq!(terminate(agent).await, Some(0));
}

/// A user at the agent.
struct Guest {
    peer: Peer,
    _tailnet: berth_net::Tailnet,
}

impl Guest {
    async fn arrive(plane: &Plane, user: Uuid, key: &SigningKey) -> Guest {
        let (tailnet, ticket) = plane.client_of(user, key).await;
        let peer = tailnet.connect(&ticket).await.unwrap();
        peer.admitted().await.unwrap();
        Guest { peer, _tailnet: tailnet }
    }

    /// Waits until it was shown out; the words that it heard.
    async fn shown_out(&self) -> String {
        tokio::time::timeout(PATIENCE, self.peer.closed()).await.expect("the connection ended")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_stay_is_shown_out_and_an_absent_control_plane_ends_nothing() {
    let plane = Plane::start(vec![], &[]).await;
    let agent = plane.agent_with(&[("BERTH_AGENT_RECHECK_SECONDS", "1")]);
    plane.until(Lifecycle::Ready).await;
    let heard = || plane.heard.lock().unwrap();
    let (ada, eve) = (Uuid::from_u128(11), Uuid::from_u128(12));
    // Nobody is here, so nobody is asked about; that the agent does ask, the rest shows.
    assert!(heard().asked.is_empty());
    let (at_home, guest) = (Guest::arrive(&plane, ada, &plane.key).await, Guest::arrive(&plane, eve, &plane.key).await);
    heard().is_away = true;
    let before = heard().asked.len();
    eventually("the agent asks about both and goes on asking", || heard().asked.len() >= before + 6).await;
    assert!(at_home.peer.is_connected() && guest.peer.is_connected(), "no answer is no reason");

    heard().unwelcome = vec![eve];
    heard().is_away = false;
    assert_eq!(guest.shown_out().await, "you may not enter the workspace any more");
    at_home.peer.ping().await.unwrap();
    let error = guest.peer.open(Target::Ssh).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied, "{error}");

    // The operator withdraws the key: whoever came by it has to come again, by the new one.
    let rotated = SigningKey::new([8; 32]);
    heard().rotated = Some(rotated.clone());
    assert_eq!(at_home.shown_out().await, "you may not enter the workspace any more");
    let back = async {
        loop {
            let (tailnet, ticket) = plane.client_of(ada, &rotated).await;
            let peer = tailnet.connect(&ticket).await.unwrap();
            if peer.admitted().await.is_ok() {
                return (tailnet, peer);
            }
            tailnet.close().await;
        }
    };
    let (_tailnet, peer) = tokio::time::timeout(PATIENCE, back).await.expect("the agent heard of the new key");
    let asked = heard().asked.len();
    eventually("the agent asks about who came back", || heard().asked.len() > asked + 1).await;
    assert!(peer.is_connected());
    assert_eq!(terminate(agent).await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_agent_is_small_and_silent() {
    let plane = Plane::start(vec![], &[]).await;
    let agent = plane.agent_with(&[("BERTH_AGENT_RECHECK_SECONDS", "1")]);
    plane.until(Lifecycle::Ready).await;
    let (tailnet, ticket) = plane.client().await;
    tailnet.connect(&ticket).await.unwrap().admitted().await.unwrap();
    tailnet.close().await;
    let pid = agent.id().unwrap();
    let cpu = || {
        fs::read_to_string(format!("/proc/{pid}/stat"))
            .unwrap()
            .split(' ')
            .skip(13)
            .take(2)
            .map(|ticks| ticks.parse::<u64>().unwrap())
            .sum::<u64>()
    };
    let count = || {
        let heard = plane.heard.lock().unwrap();
        (heard.hellos.len(), heard.asked.len())
    };
    let (before, ticks) = (count(), cpu());
    // Silence can only be heard by waiting.
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    assert_eq!(count(), before);
    assert!(cpu() - ticks <= 5, "{} ticks of CPU in five idle seconds", cpu() - ticks);
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let resident: u64 =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap().trim().trim_end_matches(" kB").parse().unwrap();
    assert!(resident < 60_000, "{resident} kB without optimization");
    assert_eq!(terminate(agent).await, Some(0));
}
