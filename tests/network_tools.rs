//! What looks at the way, and what copies over it: `ping`, `speedtest`, `netcheck`, `support bundle`, `cp`, `rsync`, `open`.

use crate::{
    harness::{Berth, finish},
    terminal::Terminal,
};
use std::{fs, os::unix::fs::PermissionsExt};

#[test]
fn the_way_is_measured_and_looked_at() {
    let berth = Berth::with_workspace();
    let speeds = berth.json(&["speedtest", "dev", "--time", "1"]);
    for (speed, way) in speeds.as_array().unwrap().iter().zip(["down", "up"]) {
        assert_eq!(speed["direction"], way);
        let rate = speed["megabits_per_second"].as_f64().unwrap();
        assert!(rate > 1.0 && speed["bytes"].as_u64().unwrap() > 100_000, "{speed}");
    }
    let pongs = berth.json(&["ping", "dev", "-n", "3", "--wait", "10ms"]);
    let pongs = pongs.as_array().unwrap();
    assert!(pongs.len() == 3 && pongs.iter().all(|pong| pong["milliseconds"].as_f64().is_some()), "{pongs:?}");

    let report = berth.json(&["netcheck"]);
    assert_eq!(report["healthy"], true, "{report}");
    let verdict = |check: &str| {
        let findings = report["findings"].as_array().unwrap();
        findings.iter().find(|finding| finding["check"] == check).map(|finding| finding["verdict"].as_str().unwrap().to_owned())
    };
    assert_eq!(verdict("api").as_deref(), Some("ok"), "{report}");
    assert_eq!(verdict("relay").as_deref(), Some("ok"), "{report}");
    assert_eq!(verdict("udp4").as_deref(), Some("skip"), "a relay without TLS: {report}");
    let proxied = finish(berth.berth(&["netcheck"]).env("HTTPS_PROXY", "http://ada:pr0xy-word@proxy.example:3128"));
    assert!(proxied.stdout.contains("http://proxy.example:3128") && !proxied.stdout.contains("pr0xy-word"), "{proxied:?}");
    let away = berth.fails(&["netcheck", "http://127.0.0.1:9"]);
    assert!(away.contains("checks failed"), "{away}");
}

#[test]
fn a_support_bundle_tells_much_and_no_secret() {
    let berth = Berth::with_workspace();
    berth.ok(&["config-ssh", "--yes"]);
    berth.ok(&["ssh", "dev", "--", "true"]);
    let session = fs::read_to_string(berth.home().join("config/session")).unwrap().trim().to_owned();
    // One secret on each way into the bundle: the session, a token in the environment, a proxy's password, and a log that we keep.
    let log = berth.home().join(".local/state/berth/mux.log");
    let planted = format!("{}\nAuthorization: Bearer canary-in-a-log and {session}\n", fs::read_to_string(&log).unwrap());
    fs::write(&log, planted).unwrap();
    let file = berth.home().join("bundle.zip");
    let mut bundle = berth.berth(&["support", "bundle", "dev", "-O", &file.to_string_lossy()]);
    bundle.env("CODER_SESSION_TOKEN", &session).env("HTTPS_PROXY", "http://ada:canary-of-proxy@proxy.example:3128");
    let answer = finish(bundle.env("NO_PROXY", "*").env("BERTH_FIRST_USER_PASSWORD", "canary-password"));
    assert_eq!(answer.code, Some(0), "{answer:?}");
    assert!(answer.stderr.contains("workspace.json") && answer.stderr.contains("read it"), "{answer:?}");
    let bytes = fs::read(&file).unwrap();
    assert!(bytes.starts_with(b"PK"));
    // It is not packed: what is in it can be read.
    let text = String::from_utf8_lossy(&bytes);
    for name in ["berth.json", "doctor.json", "netcheck.json", "mux.json", "mux.log", "ssh_config", "workspace.json", "build.log"] {
        assert!(text.contains(name), "{name}");
    }
    assert!(text.contains("latest_build") && text.contains("proxy.example:3128"));
    for secret in [session.as_str(), "canary-in-a-log", "canary-of-proxy", "canary-password"] {
        assert!(!text.contains(secret), "{secret} is in the bundle");
    }
    assert!(berth.fails(&["support", "bundle", "-O", &file.to_string_lossy()]).contains("exists already"));
}

#[test]
fn files_are_copied_both_ways_by_the_stock_programs() {
    let berth = Berth::with_workspace();
    let bytes: Vec<u8> = (0..200_000_u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let tree = berth.home().join("tree with space");
    fs::create_dir_all(tree.join("in")).unwrap();
    fs::write(tree.join("in/file"), &bytes).unwrap();
    // No `config-ssh` before: they need none.
    berth.ok(&["cp", "--quiet", &tree.to_string_lossy(), "dev:copied"]);
    berth.ok(&["cp", "--quiet", "ada/dev:copied/in/file", "back"]);
    assert!(fs::read(berth.home().join("back")).unwrap() == bytes);
    berth.ok(&["rsync", "-a", &format!("{}/", tree.display()), "dev:synced"]);
    assert_eq!(berth.ok(&["rsync", "-ai", &format!("{}/", tree.display()), "dev:synced"]), "", "there is nothing left to do");
    berth.ok(&["scp", "-q", "dev:synced/in/file", "again"]);
    assert!(fs::read(berth.home().join("again")).unwrap() == bytes);
    assert!(berth.fails(&["cp", "a", "b"]).contains("no path names a workspace"));
    let missing = berth.run(&["cp", "--quiet", "dev:nothing-there", "."]);
    assert!(missing.code != Some(0) && missing.stderr.contains("nothing-there"), "{missing:?}");
}

#[test]
fn an_editor_is_started_where_it_is_installed_and_else_its_link_is_shown() {
    let berth = Berth::with_workspace();
    assert!(berth.fails(&["open", "vscode", "dev"]).contains("berth config-ssh"));
    berth.ok(&["config-ssh", "--yes"]);
    assert_eq!(berth.ok(&["open", "cursor", "dev", "/src"]), "cursor://vscode-remote/ssh-remote+dev.berth/src\n");
    let opening = berth.json(&["open", "zed", "dev", "/src", "--print"]);
    assert_eq!((opening["link"].as_str(), opening["opened"].as_bool()), (Some("zed://ssh/dev.berth/src"), Some(false)));
    let programs = berth.home().join("bin");
    fs::create_dir(&programs).unwrap();
    fs::write(programs.join("code"), "#!/bin/sh\necho \"$@\" > \"$HOME/opened\"\n").unwrap();
    fs::set_permissions(programs.join("code"), fs::Permissions::from_mode(0o755)).unwrap();
    let mut open = berth.berth(&["open", "vscode", "dev", "/src"]);
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    assert_eq!(finish(open.env("PATH", path)).code, Some(0));
    assert_eq!(fs::read_to_string(berth.home().join("opened")).unwrap(), "--remote ssh-remote+dev.berth /src\n");
}

#[test]
fn a_terminal_session_has_the_escapes_of_openssh() {
    let berth = Berth::with_workspace();
    let terminal = Terminal::start(&berth, &["ssh", "dev"]);
    terminal.types(&["echo ready=$((40+2))", "Enter"]).shows("ready=42");
    terminal.types(&["Enter", "~", "?"]).shows("Supported escape sequences");
    terminal.types(&["Enter", "echo a~.b", "Enter"]).shows("a~.b");
    terminal.types(&["Enter", "~", "."]).shows("Connection ended.").shows("code=255");
}

#[test]
fn a_configuration_that_cannot_be_written_gets_its_line_by_hand() {
    let berth = Berth::signed_in();
    let ssh = berth.home().join(".ssh");
    fs::create_dir(&ssh).unwrap();
    // Odd, and legal: a Match first, line ends of Windows, and no end of the last line.
    let odd = "Match all\r\n  ForwardX11 no\r\nHost mine\r\n  User me";
    fs::write(ssh.join("config"), odd).unwrap();
    berth.ok(&["config-ssh", "--yes", "--wait", "yes", "--ssh-host-prefix", "b-"]);
    let shown = finish(berth.ssh_client("ssh").args(["-G", "dev.berth"])).stdout;
    assert!(shown.contains("--stdio --wait=yes --hostname-suffix berth"), "{shown}");
    assert!(finish(berth.ssh_client("ssh").args(["-G", "b-ada--dev"])).stdout.contains("--ssh-host-prefix b-"));
    assert!(finish(berth.ssh_client("ssh").args(["-G", "mine"])).stdout.contains("user me"));
    berth.ok(&["config-ssh", "--remove", "--yes"]);
    assert_eq!(fs::read_to_string(ssh.join("config")).unwrap(), odd);
    // A directory that is none cannot be written to, whoever we are.
    let nowhere = berth.home().join("file");
    fs::write(&nowhere, "").unwrap();
    let failed = berth.fails(&["config-ssh", "--yes", "--ssh-config-file", &nowhere.join("config").to_string_lossy()]);
    assert!(failed.contains("Include \"") || failed.contains("cannot read"), "{failed}");
}
