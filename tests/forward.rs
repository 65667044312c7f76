//! `berth port-forward` and `berth ping`.

use crate::harness::{Berth, eventually};
use nix::unistd::Pid;
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    process::Stdio,
    time::{Duration, Instant},
};

#[test]
fn a_local_port_reaches_a_port_in_the_workspace() {
    let berth = Berth::with_workspace();
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    let inside = service.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in service.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut bytes = Vec::new();
                stream.read_to_end(&mut bytes).unwrap();
                bytes.reverse();
                stream.write_all(&bytes).unwrap();
            });
        }
    });
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mapping = format!("{free}:{inside}");
    let mut forward =
        berth.berth(&["port-forward", "dev", "--tcp", &mapping]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    for text in ["first", "second"] {
        let mut stream = eventually("the forwarded port", || TcpStream::connect(("127.0.0.1", free)).ok());
        stream.write_all(text.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut back = String::new();
        stream.read_to_string(&mut back).unwrap();
        assert_eq!(back, text.chars().rev().collect::<String>());
    }
    forward.kill().unwrap();
    forward.wait().unwrap();
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
