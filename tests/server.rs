//! The server: restarts, ports, the data directory.

use crate::harness::{Berth, finish, repository};
use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
};

#[test]
fn everything_is_there_after_a_restart() {
    let mut berth = Berth::with_workspace();
    let before = berth.json(&["show", "dev"]);
    assert_eq!(berth.stop_server(), Some(0));
    berth.start_server();
    let after = berth.json(&["show", "dev"]);
    assert_eq!(before["id"], after["id"]);
    assert_eq!(berth.json(&["whoami"])["username"], "ada");
    assert_eq!(berth.ok(&["ssh", "dev", "--", "echo still here"]), "still here\n", "the agent comes back by itself");
}

#[test]
fn a_doctor_finds_a_server_on_this_machine_well() {
    let mut berth = Berth::start();
    let report = berth.json(&["doctor", &berth.url]);
    let verdicts: Vec<_> =
        report["findings"].as_array().unwrap().iter().map(|one| (one["check"].as_str(), one["verdict"].as_str())).collect();
    for (check, verdict) in
        [("api", "ok"), ("clock", "ok"), ("dns", "skip"), ("tls", "skip"), ("relay", "ok"), ("udp", "skip"), ("websocket", "ok")]
    {
        assert!(verdicts.contains(&(Some(check), Some(verdict))), "{check}: {report}");
    }
    berth.stop_server();
    let seen = berth.run(&["doctor", &berth.url]);
    assert!(seen.code == Some(1) && seen.stdout.contains("FAIL  api") && seen.stderr.contains("checks failed"), "{seen:?}");
}

#[test]
fn a_port_in_use_is_one_clear_error() {
    let berth = Berth::start();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let text = berth.fails(&["server", "--port", &port, "--data", &berth.home().join("other").to_string_lossy()]);
    assert!(text.contains(&port) && text.contains("in use") && text.contains("hint: "), "{text}");
}

#[test]
fn one_data_directory_serves_one_server() {
    let berth = Berth::start();
    let text = berth.fails(&["server", "--port", "0", "--data", &berth.data().to_string_lossy()]);
    assert!(text.contains("in use") || text.contains("another"), "{text}");
}

#[test]
fn a_full_disk_is_said_nothing_is_half_written_and_room_is_all_it_takes() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: mounting a small file system needs root");
        return;
    }
    let berth = Berth::with_workspace_on(Berth::on_small_disk("64m").sign_in());
    let ballast = berth.data().join("ballast");
    let full = finish(berth.program("dd").args(["if=/dev/zero", "bs=64k"]).arg(format!("of={}", ballast.display())));
    assert_ne!(full.code, Some(0), "the disk is full now: {full:?}");
    let text = berth.fails(&["create", "second", "--template", "local", "--yes"]);
    assert!(text.contains("full") || text.contains("space") || text.contains("storage"), "{text}");
    assert_eq!(berth.json(&["show", "dev"])["latest_build"]["status"], "running", "reading goes on");
    std::fs::remove_file(&ballast).unwrap();
    let again = berth.run(&["create", "second", "--template", "local", "--yes"]);
    if again.code != Some(0) {
        berth.ok(&["start", "second", "--yes"]);
    }
    assert_eq!(berth.ok(&["ssh", "second", "--", "echo room"]), "room\n");
    berth.ok(&["delete", "second", "--yes"]);
    berth.ok(&["delete", "dev", "--yes"]);
}

#[test]
fn a_server_on_a_full_disk_does_not_start() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: mounting a small file system needs root");
        return;
    }
    let mut berth = Berth::on_small_disk("1m");
    berth.kill_server();
    for key in ["ticket", "ssh-host"] {
        std::fs::remove_file(berth.data().join("keys").join(key)).unwrap();
    }
    let full = finish(berth.program("dd").args(["if=/dev/zero", "bs=4k"]).arg(format!("of={}/ballast", berth.data().display())));
    assert_ne!(full.code, Some(0), "the disk is full now: {full:?}");
    let text = berth.fails(&["server", "--port", "0", "--data", &berth.data().to_string_lossy()]);
    assert!(text.to_lowercase().contains("space") || text.contains("full"), "{text}");
}

#[test]
fn a_server_without_the_key_of_its_blobs_does_not_start_and_says_what_to_do() {
    let mut berth = Berth::with_template();
    berth.kill_server();
    let (key, aside) = (berth.data().join("keys/blob-1"), berth.home().join("aside"));
    std::fs::rename(&key, &aside).unwrap();
    let text = berth.fails(&["server", "--port", "0", "--data", &berth.data().to_string_lossy()]);
    assert!(text.contains("keys/blob-1") && text.contains("missing") && text.contains("hint: put the key file back"), "{text}");
    assert!(!key.exists(), "no other key takes its place");
    std::fs::rename(&aside, &key).unwrap();
    berth.start_server();
    berth.ok(&["create", "dev", "--template", "local", "--yes"]);
}

#[test]
fn a_server_without_terraform_says_so_when_a_template_is_pushed() {
    let berth = Berth::start_with(&["--terraform-releases-url", "http://127.0.0.1:9/"], &[("PATH", "/nonexistent")]).sign_in();
    let directory = crate::harness::template(&berth, "empty", "resource \"terraform_data\" \"nothing\" {}\n");
    let text = berth.fails(&["templates", "push", "empty", "--directory", &directory, "--yes"]);
    assert!(text.contains("terraform") && text.contains("PATH"), "{text}");
}

#[test]
fn a_web_page_of_another_site_cannot_drive_a_server_on_loopback() {
    let berth = Berth::start();
    let first = r#"{"email":"eve@example.com","username":"eve","password":"correct horse battery"}"#;
    let url = format!("{}api/v2/users/first", berth.url);
    let status = |header: &str| {
        let mut curl = berth.program("curl");
        curl.args([
            "-s",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "-X",
            "POST",
            "-H",
            "Content-Type: text/plain",
            "-H",
            header,
            "-d",
            first,
        ]);
        finish(curl.arg(&url)).stdout
    };
    assert_eq!(status("Origin: https://evil.example"), "403", "a form or fetch of another site");
    assert_eq!(status("Host: evil.example"), "421", "a name that was pointed at this machine");
    let again = finish(berth.program("curl").args(["-s", "-o", "/dev/null", "-w", "%{http_code}"]).arg(&url));
    assert_eq!(again.stdout, "404", "there is still no user");
}

#[test]
fn a_terraform_that_is_not_there_is_said_at_the_start() {
    let berth = Berth::start();
    let other = berth.home().join("other").to_string_lossy().into_owned();
    let text = berth.fails(&["server", "--port", "0", "--data", &other, "--terraform", "/nonexistent/terraform"]);
    assert!(text.contains("/nonexistent/terraform") && text.contains("hint: "), "{text}");
}

#[test]
fn a_log_is_shown_where_no_websocket_gets_through() {
    let berth = Berth::signed_in();
    let token = berth.ok(&["tokens", "create", "--name", "plain"]);
    let url = without_websockets(&berth.url);
    let through =
        |arguments: &[&str]| finish(berth.berth(arguments).env("BERTH_URL", &url).env("BERTH_SESSION_TOKEN", token.trim()));
    let directory = repository().join("templates/local");
    let pushed = through(&["templates", "push", "local", "--directory", &directory.to_string_lossy(), "--yes"]);
    assert_eq!(pushed.code, Some(0), "{pushed:?}");
    assert!(pushed.stderr.contains("Plan: 4 to add"), "{pushed:?}");
    let created = through(&["create", "dev", "--template", "local", "--yes"]);
    assert_eq!(created.code, Some(0), "{created:?}");
    assert_eq!(created.stderr.matches("Apply complete!").count(), 1, "{created:?}");
}

/// A proxy that passes on everything but websockets. Ends with the process.
fn without_websockets(url: &str) -> String {
    let server = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let own = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let server = server.clone();
            std::thread::spawn(move || pass_on(client, &server));
        }
    });
    own
}

/// One connection; what its first request is decides, as a client opens another one for a websocket.
fn pass_on(mut client: TcpStream, server: &str) {
    let mut from_client = BufReader::new(client.try_clone().unwrap());
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        match from_client.read_line(&mut head) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
    if head.to_ascii_lowercase().contains("upgrade: websocket") {
        let _gone = client.write_all(b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        return;
    }
    let mut to_server = TcpStream::connect(server).unwrap();
    to_server.write_all(head.as_bytes()).unwrap();
    let mut from_server = to_server.try_clone().unwrap();
    let back = std::thread::spawn(move || {
        let _ended = std::io::copy(&mut from_server, &mut client);
        let _gone = client.shutdown(std::net::Shutdown::Both);
    });
    let _ended = std::io::copy(&mut from_client, &mut to_server);
    let _gone = to_server.shutdown(std::net::Shutdown::Write);
    back.join().unwrap();
}
