//! The server: restarts, ports, the data directory.

use crate::harness::{Answer, Berth};
use std::net::TcpListener;

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
fn a_full_disk_is_said_and_nothing_is_half_written() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: mounting a small file system needs root");
        return;
    }
    let berth = Berth::signed_in();
    let small = berth.home().join("small");
    std::fs::create_dir(&small).unwrap();
    let mount: Answer = berth.program("mount").args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"]).arg(&small).output().unwrap().into();
    assert_eq!(mount.code, Some(0), "{mount:?}");
    std::fs::write(small.join("ballast"), vec![0_u8; 2 * 1024 * 1024 - 64 * 1024]).unwrap();
    let full = berth.run(&["server", "--port", "0", "--data", &small.join("data").to_string_lossy()]);
    let _unmounted = berth.program("umount").arg("-l").arg(&small).status();
    assert_eq!(full.code, Some(1), "{full:?}");
    assert!(full.stderr.contains("error: "), "{full:?}");
    assert!(full.stderr.to_lowercase().contains("space") || full.stderr.contains("full"), "{full:?}");
}

#[test]
fn a_server_without_terraform_says_so_when_a_template_is_pushed() {
    let berth = Berth::start_with(&["--terraform-releases-url", "http://127.0.0.1:9/"], &[("PATH", "/nonexistent")]).sign_in();
    let directory = crate::harness::template(&berth, "empty", "resource \"terraform_data\" \"nothing\" {}\n");
    let text = berth.fails(&["templates", "push", "empty", "--directory", &directory, "--yes"]);
    assert!(text.contains("terraform") && text.contains("PATH"), "{text}");
}
