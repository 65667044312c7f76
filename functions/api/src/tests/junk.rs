//! Junk in every place of every route: an answer in the envelope, never a 5xx, never a panic.

use super::fixture::World;
use crate::route::table;
use axum::body::Body;
use berth_domain::Role;
use serde_json::json;

const PATHS: [&str; 10] =
    ["@LONG@", "0", "%00", "%ff", "..%2f..%2fetc", "me", "00000000-0000-0000-0000-000000000000", "-1", "%F0%9F%92%A9", "a%0d%0ab"];
const QUERIES: [&str; 7] = [
    "",
    "?after=-9223372036854775808&limit=18446744073709551615",
    "?after=x",
    "?limit=-1&offset=-1",
    "?q=%22",
    "?q=owner:%00&follow=%ff",
    "?follow&after=99999999999999999999",
];

fn bodies() -> Vec<Vec<u8>> {
    let deep = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
    let huge = json!({
        "name": "x".repeat(100_000), "email": "x@y".repeat(10_000), "username": "\u{0}", "password": "p".repeat(100_000), "token": "", "task": "x",
        "ttl_ms": i64::MIN, "lifetime": i64::MIN, "file_id": "x", "outcome": { "kind": "succeeded" }, "transition": "start",
        "template_id": "00000000-0000-0000-0000-000000000000", "rich_parameter_values": [{ "name": "", "value": "" }],
        "schedule": "* * * * * *", "endpoint_id": "\u{1F4A9}", "version": "x".repeat(100_000), "state": "nowhere", "logs": [{}],
    });
    let negative = json!({ "lifetime": -1, "ttl_ms": -1, "name": "a", "schedule": "CRON_TZ= * * * * *", "old_password": "", "password": "12345678", "email": "a@b", "username": "a" });
    vec![
        vec![],
        b"null".to_vec(),
        b"[]".to_vec(),
        b"{}".to_vec(),
        b"\xff\xfe".to_vec(),
        b"1e999".to_vec(),
        deep,
        huge.to_string().into_bytes(),
        negative.to_string().into_bytes(),
    ]
}

#[tokio::test]
async fn junk_is_refused_in_the_envelope_everywhere() {
    let world = World::new().await;
    let session = world.user("ada", &[Role::Owner]).await;
    let ada = world.by(&session).post("/api/v2/users/me/keys/tokens", json!({})).await.is(201)["key"].as_str().unwrap().to_owned();
    let (template, _) = world.template(&ada, "linux", json!([])).await;
    let workspace = world.workspace(&ada, &template, "dev").await;
    let (_, agent) = world.up(&workspace).await;
    let other = world.workspace(&ada, &template, "other").await;
    let (runner, _) = world.claim(berth_store::JobId::Build(other["latest_build"]["id"].as_str().unwrap().parse().unwrap())).await;
    let callers = [ada, agent, runner, "x".repeat(10_000)];
    let bodies = bodies();
    for route in table() {
        for (number, junk) in PATHS.iter().enumerate() {
            let mut path = String::new();
            for part in route.path.split('/').skip(1) {
                path.push('/');
                path.push_str(if part.starts_with('{') { junk } else { part });
            }
            let mut path = path.replace("@LONG@", &"a".repeat(3_000)); // Longer than a key of the table may be.
            path.push_str(QUERIES[number % QUERIES.len()]);
            for (position, caller) in callers.iter().enumerate() {
                // All callers and paths; the bodies take turns, and where a body means nothing there is one.
                let turns = if route.method == http::Method::GET { 1 } else { 2 };
                for body in bodies.iter().cycle().skip(2 * (number + position)).take(turns).cloned() {
                    let answer = world.by(caller).send(route.method.clone(), &path, Body::from(body)).await;
                    let cell = || format!("{} {path}: {} {}", route.method, answer.status, String::from_utf8_lossy(&answer.bytes));
                    assert!(answer.status.as_u16() < 500, "{}", cell());
                    if answer.status.as_u16() >= 400 && answer.headers["content-type"] != "text/html; charset=utf-8" {
                        assert!(answer.json()["message"].is_string(), "{}", cell());
                    }
                }
            }
        }
    }
}
