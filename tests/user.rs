//! Signing in and out, and tokens.

use crate::harness::{Berth, PASSWORD};
use std::{fs, os::unix::fs::PermissionsExt};

#[test]
fn the_first_user_is_made_once_and_signs_in_again_with_the_password() {
    let berth = Berth::signed_in();
    assert_eq!(berth.json(&["whoami"])["username"], "ada");
    for file in ["config/url", "config/session"] {
        assert_eq!(fs::metadata(berth.home().join(file)).unwrap().permissions().mode() & 0o777, 0o600, "{file}");
    }
    berth.ok(&["logout", "--yes"]);
    assert!(berth.fails(&["whoami"]).contains("berth login"));

    let url = berth.url.clone();
    let login = |password: &str| {
        let mut command = berth.berth(&["login", &url, "--first-user-username", "eve", "--first-user-email", "ada@example.com"]);
        command.env("BERTH_FIRST_USER_PASSWORD", password).output().unwrap()
    };
    let refused = login("wrong password");
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("error: "));
    assert!(login(PASSWORD).status.success());
    assert_eq!(berth.json(&["whoami"])["username"], "ada", "a second first user must not be made");
}

#[test]
fn a_wrong_token_is_refused_with_what_to_do_next() {
    let berth = Berth::signed_in();
    let wrong = format!("{}-{}", "0".repeat(32), "0".repeat(32));
    let answer = berth.berth(&["list"]).env("CODER_SESSION_TOKEN", wrong).output().unwrap();
    let text = String::from_utf8_lossy(&answer.stderr);
    assert_eq!(answer.status.code(), Some(1));
    assert!(text.contains("error: ") && text.contains("hint: ") && text.contains("berth login"), "{text}");
}

#[test]
fn an_api_token_works_until_it_is_removed() {
    let berth = Berth::signed_in();
    let token = berth.ok(&["tokens", "create", "--name", "ci"]).trim().to_owned();
    let list = || berth.berth(&["list"]).env("BERTH_SESSION_TOKEN", &token).status().unwrap().success();
    assert!(list());
    let tokens = berth.json(&["tokens", "list"]);
    let id = tokens.as_array().unwrap().iter().find(|one| one["token_name"] == "ci").unwrap()["id"].as_str().unwrap().to_owned();
    assert!(!tokens.to_string().contains(token.split('-').nth(1).unwrap()), "a list must not hold a secret");
    berth.ok(&["tokens", "remove", &id]);
    assert!(!list());
}

#[test]
fn an_unreachable_server_is_named() {
    let mut berth = Berth::signed_in();
    berth.kill_server();
    let text = berth.fails(&["list"]);
    assert!(text.contains("cannot reach") && text.contains("127.0.0.1") && text.contains("hint: "), "{text}");
}
