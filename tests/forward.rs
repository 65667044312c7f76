//! `berth port-forward` and `berth ping`.

use crate::harness::{Berth, eventually};
use nix::unistd::Pid;
use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::unix::net::{UnixListener, UnixStream},
    process::{Child, Stdio},
    time::{Duration, Instant},
};

/// A forward that runs until this is dropped; what it says is in a file.
struct Forward {
    child: Child,
    said: std::path::PathBuf,
}

impl Forward {
    fn start(berth: &Berth, arguments: &[&str]) -> Self {
        let said = berth.home().join("forward.log");
        let arguments = [&["port-forward", "dev"], arguments].concat();
        let child = berth.berth(&arguments).stdout(Stdio::null()).stderr(File::create(&said).unwrap()).spawn().unwrap();
        let forward = Self { child, said };
        forward.says("Ctrl-C ends it.");
        forward
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.said).unwrap()
    }

    /// Waits until it says this; gives the line.
    fn says(&self, text: &str) -> String {
        eventually(&format!("{text:?} in what it says"), || self.said().lines().find(|line| line.contains(text)).map(str::to_owned))
    }

    /// Where it listens, from the line that holds this.
    fn address(&self, text: &str) -> SocketAddr {
        let line = self.says(text);
        line.split(' ').find_map(|word| word.parse().ok()).unwrap_or_else(|| panic!("{line}"))
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the forward said ---\n{}", self.said());
        }
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Answers each connection with its bytes, backwards.
fn backwards(mut stream: impl Read + Write) {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes.reverse();
    stream.write_all(&bytes).unwrap();
}

/// A TCP service of that kind; its port.
fn service() -> u16 {
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = service.local_addr().unwrap().port();
    std::thread::spawn(move || service.incoming().for_each(|stream| drop(std::thread::spawn(move || backwards(stream.unwrap())))));
    port
}

fn ask_tcp(address: SocketAddr, text: &str) -> String {
    let mut stream = eventually("a connection", || TcpStream::connect(address).ok());
    stream.write_all(text.as_bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut back = String::new();
    stream.read_to_string(&mut back).unwrap();
    back
}

#[test]
fn many_ports_of_all_kinds_are_forwarded_at_once_and_survive_the_multiplexer() {
    let berth = Berth::with_workspace();
    let (one, other) = (service(), service());
    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
    let udp = datagrams.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        loop {
            let (length, from) = datagrams.recv_from(&mut buffer).unwrap();
            buffer[..length].reverse();
            datagrams.send_to(&buffer[..length], from).unwrap();
        }
    });
    let socket = berth.home().join("service.sock");
    let unix = UnixListener::bind(&socket).unwrap();
    std::thread::spawn(move || unix.incoming().for_each(|stream| backwards(stream.unwrap())));
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();

    let tcp = format!("0:{one},0:{other},{}:{one}", taken.local_addr().unwrap().port());
    let (udp_text, unix_text) = (format!("0:{udp}"), format!("here.sock:{}", socket.display()));
    let forward = Forward::start(&berth, &["--tcp", &tcp, "--udp", &udp_text, "--unix", &unix_text]);
    forward.says("address already in use");
    let (one, other) = (forward.address(&format!("is port {one} in")), forward.address(&format!("is port {other} in")));
    assert_eq!(ask_tcp(one, "one"), "eno");
    assert_eq!(ask_tcp(other, "other"), "rehto");

    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect(forward.address("udp port")).unwrap();
    client.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut buffer = [0; 2048];
    // As with any UDP, a lost question is asked again.
    let length = eventually("an answer", || client.send(&[1, 2, 3]).and_then(|_| client.recv(&mut buffer)).ok());
    assert_eq!(buffer[..length], [3, 2, 1]);

    let mut stream = UnixStream::connect(berth.home().join("here.sock")).unwrap();
    stream.write_all(b"socket").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut back = String::new();
    stream.read_to_string(&mut back).unwrap();
    assert_eq!(back, "tekcos");

    let status = berth.json(&["mux", "status"]);
    let pid = status[0]["pid"].as_i64().unwrap().try_into().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
    assert_eq!(ask_tcp(one, "again"), "niaga", "{}", forward.said());
}

#[test]
fn a_port_and_a_socket_of_the_workspace_lead_here() {
    let berth = Berth::with_workspace();
    let here = service();
    let there = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let socket = berth.data().join("there.sock");
    let (port, path) = (format!("{}:{here}", there.port()), format!("{}:localhost:{here}", socket.display()));
    let forward = Forward::start(&berth, &["-R", &port, "-R", &path]);
    forward.says(&format!("port {} in the workspace is localhost:{here} here", there.port()));
    assert_eq!(ask_tcp(there, "from there"), "ereht morf");
    let mut stream = UnixStream::connect(&socket).unwrap();
    stream.write_all(b"ab").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut back = String::new();
    stream.read_to_string(&mut back).unwrap();
    assert_eq!(back, "ba");
    drop(forward);

    let answer = berth.run(&["ssh", "dev", "-R", &format!("0:{here}"), "--", "true"]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    assert!(answer.stderr.contains(&format!("in the workspace is localhost:{here} here")), "{answer:?}");
}

#[test]
fn nothing_at_the_other_end_is_said_once() {
    let berth = Berth::with_workspace();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let forward = Forward::start(&berth, &["--tcp", &format!("0:{nobody}")]);
    let address = forward.address("here is");
    for _ in 0..3 {
        // It is refused there: here the connection ends without a byte.
        let mut stream = TcpStream::connect(address).unwrap();
        let _broken = stream.read_to_end(&mut Vec::new());
    }
    forward.says("nothing answers there");
    assert_eq!(forward.said().matches("nothing answers there").count(), 1, "{}", forward.said());
    drop(forward);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let listener = TcpListener::bind(("127.0.0.1", taken)).unwrap();
    assert!(berth.fails(&["port-forward", "dev", "--tcp", &format!("{taken}:80")]).contains("address already in use"));
    drop(listener);
}

/// The defect of noq-proto 1.4.0 (see `crates/net/src/credit.rs`) on a forwarded port. In full, with a minute's pause: `BERTH_TEST_FULL=1`.
#[test]
fn a_client_that_stops_reading_stops_its_own_connection_and_costs_no_memory() {
    let pause = Duration::from_secs(if std::env::var_os("BERTH_TEST_FULL").is_some() { 60 } else { 8 });
    let berth = Berth::with_workspace();
    // One line per write: the small pieces that the defect was about.
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    let inside = service.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in service.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                stream.set_nodelay(true).unwrap();
                for number in 0_u64.. {
                    if writeln!(stream, "{number:059}").is_err() {
                        return;
                    }
                }
            });
        }
    });
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mapping = format!("{free}:{inside}");
    let mut forward =
        berth.berth(&["port-forward", "dev", "--tcp", &mapping]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let connect = || {
        let stream = eventually("the forwarded port", || TcpStream::connect(("127.0.0.1", free)).ok());
        BufReader::new(stream).lines().map(Result::unwrap).map(|line| line.parse::<u64>().unwrap()).zip(0..)
    };
    let mut paused = connect();
    assert_eq!(paused.next().unwrap(), (0, 0));
    let processes = || [berth.agents(), berth.processes("port-forward")].concat();
    let resident = |pid: &Pid| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    let before: Vec<_> = processes().iter().map(|pid| (*pid, resident(pid))).collect();
    assert!(before.len() >= 2, "the agent and the forward run: {before:?}");
    let began = Instant::now();
    while began.elapsed() < pause {
        // Others on the same connection go on.
        let mut other = connect();
        assert!(other.by_ref().take(20_000).all(|(line, wanted)| line == wanted));
    }
    for (pid, kilobytes) in before {
        let grown = resident(&pid).saturating_sub(kilobytes);
        assert!(grown < 48 * 1024, "process {pid} grew by {grown} kB while one reader paused");
    }
    // Well past what was on its way.
    assert!(paused.by_ref().take(400_000).all(|(line, wanted)| line == wanted));
    forward.kill().unwrap();
    forward.wait().unwrap();
}

#[test]
fn ping_says_how_far_and_by_which_path() {
    let berth = Berth::with_workspace();
    let text = berth.ok(&["ping", "dev", "-n", "3"]);
    assert!(text.contains("ms"), "{text}");
    let direct = berth.json(&["ping", "dev", "-n", "20"]);
    assert!(direct.to_string().contains("direct"), "on one machine the path becomes direct: {direct}");
}

#[test]
fn a_deployment_may_forbid_direct_connections() {
    let berth = Berth::with_workspace_on(Berth::start_with(&["--disable-direct-connections"], &[]).sign_in());
    let relayed = berth.ok(&["ping", "dev", "-n", "20"]);
    assert!(relayed.contains("relay") && !relayed.contains("direct"), "{relayed}");
    assert_eq!(berth.ok(&["ssh", "dev", "--", "echo by the relay"]), "by the relay\n");
}
