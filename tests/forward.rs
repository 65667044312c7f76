//! `berth port-forward` and `berth ping`.

use crate::harness::{Berth, eventually};
use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::Stdio,
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
