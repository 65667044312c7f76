//! Following builds: a stream that breaks, a build that fails, a person who leaves.

use crate::{
    Person,
    deployment::{Deployment, Story},
    seen,
};
use serde_json::json;
use std::{
    process::Command,
    time::{Duration, Instant},
};

fn story() -> Story {
    Story { has_users: true, job: ("succeeded", ""), workspace: "running", parameters: json!([]), ..Story::default() }
}

#[test]
fn a_log_stream_that_breaks_is_opened_again_where_it_stopped() {
    let deployment = Deployment::tell(Story { breaks: true, job: ("running", ""), endless: true, ..story() });
    let person = Person::new().signed_in(&deployment.url);
    let child = person.command(&["logs", "dev", "-f"]).spawn().unwrap();
    until(|| deployment.heard().iter().any(|heard| heard == "following"));
    interrupt(child.id());
    let seen = seen(child.wait_with_output().unwrap());
    // What is missed meanwhile is asked for plainly, then the stream goes on behind it.
    assert_eq!(deployment.heard(), ["logs after 0", "logs after 2", "logs after 3", "following"]);
    assert_eq!(seen.stdout, "==> Initializing Terraform\n    line 1 red\n    line 2 red\n==> Applying\n    line 3 red\n");
    assert_eq!(seen.code, 130);
}

#[test]
fn leaving_during_create_says_that_the_build_goes_on() {
    let deployment = Deployment::tell(Story { job: ("running", ""), endless: true, ..story() });
    let person = Person::new().signed_in(&deployment.url);
    let child = person.command(&["create", "dev", "-t", "linux", "-y"]).spawn().unwrap();
    until(|| deployment.heard().iter().any(|heard| heard == "following"));
    interrupt(child.id());
    let seen = seen(child.wait_with_output().unwrap());
    assert_eq!(seen.code, 130);
    let expected = "\nbuild 1 of dev goes on without you\nhint: `berth logs dev -f` follows it, `berth cancel dev` ends it\n";
    assert!(seen.stderr.ends_with(expected), "{}", seen.stderr);
}

#[test]
fn a_build_that_fails_ends_with_its_reason_and_no_escape_reaches_the_terminal() {
    let deployment = Deployment::tell(Story { job: ("failed", "terraform ended with 1"), workspace: "failed", ..story() });
    let person = Person::new().signed_in(&deployment.url);
    let seen = person.types("start dev --reason vscode_connection");
    assert_eq!(seen.code, 1);
    assert_eq!(deployment.heard()[0], "build start because vscode_connection");
    let expected = "error: the start of dev failed: terraform ended with 1\nhint: `berth logs dev` shows all of it, `berth start dev` tries again\n";
    assert!(seen.stderr.ends_with(expected), "{}", seen.stderr);
    assert!(seen.stderr.contains("    line 3 red\n") && !seen.stderr.contains('\u{1b}'), "{}", seen.stderr);
    let seen = person.types("ssh dev -- true");
    assert_eq!(seen.code, 255);
    assert!(seen.stderr.starts_with("error: the latest start of dev failed: terraform ended with 1\nhint: "), "{}", seen.stderr);
}

#[test]
fn a_log_is_data() {
    let deployment = Deployment::tell(story());
    let person = Person::new().signed_in(&deployment.url);
    let log: serde_json::Value = serde_json::from_str(&person.types("logs dev -o json").stdout).unwrap();
    assert_eq!(log.as_array().unwrap().len(), 3);
    let seen = person.types("logs dev -n 7");
    assert_eq!((seen.code, seen.stderr.as_str()), (1, "error: dev has no build 7\nhint: its builds are 1 to 1\n"));
}

fn interrupt(process: u32) {
    assert!(Command::new("kill").args(["-INT", &process.to_string()]).status().unwrap().success());
}

fn until(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "it did not happen in time");
        std::thread::yield_now();
    }
}
