//! Terraform states: whose they are, and what is taken.

use super::fixture::World;
use base64::{Engine, engine::general_purpose::STANDARD};
use berth_domain::Role;
use berth_store::JobId;
use serde_json::{Value, json};

fn state(serial: u64, note: &str) -> Value {
    json!({ "version": 4, "serial": serial, "lineage": "l", "outputs": { "note": { "value": note } } })
}

/// A world with ada's workspace, whose first build left one state; root's and ada's sessions, the workspace's and the build's path.
async fn world() -> (World, String, String, String, String) {
    let world = World::new().await;
    let (root, ada) = (world.user("root", &[Role::Owner]).await, world.user("ada", &[]).await);
    let (template, _) = world.template(&root, "linux", json!([])).await;
    let dev = world.workspace(&ada, &template, "dev").await;
    let build: berth_domain::BuildId = dev["latest_build"]["id"].as_str().unwrap().parse().unwrap();
    let (session, _) = world.claim(JobId::Build(build)).await;
    let runner = format!("/api/v2/runner/jobs/{build}");
    world.by(&session).put(&format!("{runner}/state"), state(1, "one").to_string()).await.is(204);
    let refused = world.by(&session).put(&format!("{runner}/state"), state(1, "again").to_string()).await.refused(400);
    assert!(refused.contains("serial 1"), "{refused}");
    world.by(&session).post(&format!("{runner}/finish"), json!({ "outcome": { "kind": "succeeded" } })).await.is(204);
    let path = format!("/api/v2/workspaces/{}", dev["id"].as_str().unwrap());
    (world, root, ada, path, format!("/api/v2/workspacebuilds/{build}"))
}

#[tokio::test]
async fn versions_are_listed_pulled_pushed_and_restored() {
    let (world, root, ada, path, _) = world().await;
    let states = format!("{path}/states");
    let listed = world.by(&ada).get(&states).await.is(200);
    let one = &listed[0];
    assert_eq!((listed.as_array().unwrap().len(), &one["number"], &one["serial"]), (1, &json!(1), &json!(1)));
    assert_eq!((&one["transition"], &one["origin"], &one["build_number"]), (&json!("start"), &json!("build"), &json!(1)));
    assert_eq!(world.by(&ada).get(&format!("{states}/1")).await.is(200), state(1, "one"));
    world.by(&ada).get(&format!("{states}/2")).await.refused(404);

    let stale = world.by(&root).post(&states, state(1, "two")).await.refused(409);
    assert!(stale.contains("serial 1, which is not above the newest one's 1"), "{stale}");
    let mut foreign = state(9, "two");
    foreign["lineage"] = json!("other");
    assert!(world.by(&root).post(&states, foreign).await.refused(409).contains("lineage other"));
    world.by(&root).post(&states, json!({})).await.refused(400);
    let pushed = world.by(&root).post(&states, state(5, "two")).await.is(201);
    assert_eq!((&pushed["number"], &pushed["origin"], &pushed["author"]), (&json!(2), &json!("push"), &json!("root")));

    let restored = world.by(&ada).post(&format!("{states}/1/restore"), json!({})).await.is(201);
    assert_eq!((&restored["number"], &restored["serial"], &restored["restored_from"]), (&json!(3), &json!(6), &json!(1)));
    assert_eq!(world.by(&ada).get(&format!("{states}/3")).await.is(200), state(6, "one"));

    world.by(&ada).post(&format!("{path}/builds"), json!({ "transition": "stop" })).await.is(201);
    let busy = world.by(&root).post(&states, state(9, "x")).await.refused(409);
    assert_eq!(busy, "build 2 of the workspace has not ended: wait for it, or cancel it");
}

#[tokio::test]
async fn coder_scripts_push_to_the_newest_build() {
    let (world, root, ada, path, build) = world().await;
    let put = |value: Value| json!({ "state": STANDARD.encode(value.to_string()) }).to_string();
    world.by(&ada).put(&format!("{build}/state"), put(state(2, "mine"))).await.refused(403);
    world.by(&root).put(&format!("{build}/state"), put(state(2, "two"))).await.is(204);
    assert_eq!(world.by(&ada).get(&format!("{build}/state")).await.is(200), state(2, "two"));
    world.by(&root).put(&format!("{build}/state"), json!({ "state": "%" }).to_string()).await.refused(400);
    let stop = world.by(&ada).post(&format!("{path}/builds"), json!({ "transition": "stop" })).await.is(201);
    world.run(JobId::Build(stop["id"].as_str().unwrap().parse().unwrap()), json!({ "outcome": { "kind": "succeeded" } })).await;
    let old = world.by(&root).put(&format!("{build}/state"), put(state(3, "x"))).await.refused(409);
    assert_eq!(old, "build 1 is not the newest: push the state to build 2");
}

#[tokio::test]
async fn a_state_larger_than_a_json_body_may_be_pushed_both_ways() {
    let (world, root, _, path, build) = world().await;
    let large = state(2, &"x".repeat(10_000_000));
    world.by(&root).post(&format!("{path}/states"), large).await.is(201);
    let larger = state(3, &"y".repeat(10_000_000));
    let body = json!({ "state": STANDARD.encode(larger.to_string()) });
    world.by(&root).put(&format!("{build}/state"), body.to_string()).await.is(204);
    assert_eq!(world.by(&root).get(&format!("{path}/states/3")).await.is(200), larger);
}
