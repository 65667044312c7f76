//! Requests that nobody thought of, made by schemathesis from the document: as nobody, as a member, as an owner.
//!
//! What is held: no answer of 500 or above, no answer that the document does not foresee, and none without a token where one is needed.
//! By default a few requests per operation; `BERTH_FUZZ_EXAMPLES=200` makes it a longer night.

use super::Http;
use crate::harness::{Answer, Berth, PASSWORD, binaries};
use serde_json::json;
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// Pinned here and in `crates/xtask/src/test.rs`, which installs it.
const VERSION: &str = "4.32.5";

/// What is not asked: what has no end, and what would end the caller's own session.
const LEFT_OUT: &str = "watch|metadata_(events|socket)|user_logout|token_end|user_change_password";

fn schemathesis() -> Option<PathBuf> {
    let program = binaries().parent()?.join("schemathesis").join(VERSION).join("bin/schemathesis");
    program.is_file().then_some(program)
}

fn run(berth: &Berth, program: &Path, token: Option<&str>) -> Answer {
    let examples = std::env::var("BERTH_FUZZ_EXAMPLES").ok();
    let phases = if examples.is_some() { "coverage,fuzzing,stateful" } else { "fuzzing" };
    let mut command: Command = berth.program(&program.to_string_lossy());
    command.args(["run", &format!("{}api/v2/openapi.json", berth.url), "--url", &berth.url]);
    command.args(["--checks", "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"]);
    command.args(["--max-examples", examples.as_deref().unwrap_or("2"), "--phases", phases]);
    command.args(["--exclude-operation-id-regex", LEFT_OUT, "--seed", "20261127", "--no-shrink", "--continue-on-failure"]);
    command.args(["--suppress-health-check", "all", "--workers", "1", "--request-timeout", "10", "--warnings", "off"]);
    if let Some(token) = token {
        command.args(["-H", &format!("Coder-Session-Token: {token}")]);
    }
    // As long as it takes: a night's run is not a hanging one.
    command.output().unwrap().into()
}

#[test]
fn no_request_that_the_document_allows_breaks_the_server() {
    let Some(program) = schemathesis() else {
        eprintln!("skipped: schemathesis is not installed; `cargo xtask test` installs it");
        return;
    };
    let berth = Berth::with_template();
    let owner = Http::of(&berth);
    let member = json!({ "email": "bob@example.com", "username": "bob", "password": PASSWORD });
    assert_eq!(owner.post("/api/v2/users", &member).status, 201);
    let signed_in = Http::nobody(&berth).post("/api/v2/users/login", &json!({ "email": "bob@example.com", "password": PASSWORD }));
    let member = signed_in.read::<serde_json::Value>()["session_token"].as_str().unwrap().to_owned();
    for (who, token) in [("nobody", None), ("a member", Some(member.as_str())), ("an owner", Some(owner.token.as_str()))] {
        let answer = run(&berth, &program, token);
        assert_eq!(answer.code, Some(0), "as {who}:\n{}\n{}", answer.stdout, answer.stderr);
    }
    let log = berth.server_log();
    assert!(!log.contains("panicked"), "{log}");
    assert_eq!(owner.get("/api/v2/users/me").status, 200, "the server is well");
}
