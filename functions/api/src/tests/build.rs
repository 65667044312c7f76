//! Builds: one at a time, canceled, with history, state and logs.

use super::fixture::World;
use berth_domain::Role;
use berth_store::JobId;
use serde_json::{Value, json};

struct Dev {
    world: World,
    admin: String,
    ada: String,
    template: String,
    id: String,
}

async fn dev(parameters: Value) -> Dev {
    let world = World::new().await;
    let (admin, ada) = (world.user("root", &[Role::Owner]).await, world.user("ada", &[]).await);
    let (template, _) = world.template(&admin, "linux", parameters).await;
    let workspace = world.workspace(&ada, &template, "dev").await;
    world.up(&workspace).await;
    let id = workspace["id"].as_str().unwrap().to_owned();
    Dev { world, admin, ada, template, id }
}

impl Dev {
    fn path(&self) -> String {
        format!("/api/v2/workspaces/{}", self.id)
    }

    async fn build(&self, body: Value) -> super::fixture::Answer {
        self.world.by(&self.ada).post(&format!("{}/builds", self.path()), body).await
    }

    async fn status(&self) -> Value {
        self.world.by(&self.ada).get(&self.path()).await.is(200)["latest_build"]["status"].clone()
    }
}

fn job(build: &Value) -> JobId {
    JobId::Build(build["id"].as_str().unwrap().parse().unwrap())
}

#[tokio::test]
async fn a_workspace_stops_starts_and_is_deleted() {
    let dev = dev(json!([])).await;
    let stop = dev.build(json!({ "transition": "stop", "reason": "cli" })).await.is(201);
    assert_eq!((&stop["build_number"], &stop["status"], &stop["reason"]), (&json!(2), &json!("pending"), &json!("cli")));
    let busy = dev.build(json!({ "transition": "start" })).await.is(409);
    assert_eq!(busy["message"], "build 2 of the workspace has not ended: wait for it, or cancel it");
    assert_eq!(busy["detail"], format!("the active build is {}", stop["id"].as_str().unwrap()));
    let (session, claimed) = dev.world.claim(job(&stop)).await;
    assert_eq!(
        (&claimed["job"]["kind"], &claimed["job"]["transition"], &claimed["job"]["build_number"]),
        (&json!("build"), &json!("stop"), &json!(2))
    );
    assert_eq!(claimed["job"]["access_url"], "https://berth.example.com/");
    assert_eq!(dev.status().await, "stopping");
    let finish = format!("/api/v2/runner/jobs/{}/finish", job(&stop).uuid());
    dev.world.by(&session).post(&finish, json!({ "outcome": { "kind": "succeeded" } })).await.is(204);
    assert_eq!(dev.status().await, "stopped");

    let start = dev.build(json!({ "transition": "start" })).await.is(201);
    dev.world.run(job(&start), json!({ "outcome": { "kind": "failed", "error": "no such image" } })).await;
    let shown = dev.world.by(&dev.ada).get(&dev.path()).await.is(200);
    assert_eq!(
        (&shown["latest_build"]["status"], &shown["latest_build"]["job"]["error"]),
        (&json!("failed"), &json!("no such image"))
    );

    let gone = dev.build(json!({ "transition": "delete" })).await.is(201);
    dev.world.run(job(&gone), json!({ "outcome": { "kind": "succeeded" } })).await;
    dev.world.by(&dev.ada).get("/api/v2/users/me/workspace/dev").await.refused(404);
    dev.build(json!({ "transition": "start" })).await.refused(404);
    let shown = dev.world.by(&dev.ada).get(&dev.path()).await.is(200);
    assert_eq!(shown["latest_build"]["status"], "deleted");
    dev.world.workspace(&dev.ada, &dev.template, "dev").await;

    let history = dev.world.by(&dev.ada).get(&format!("{}/builds", dev.path())).await.is(200);
    let history: Vec<_> = history.as_array().unwrap().iter().map(|build| build["transition"].as_str().unwrap()).collect();
    assert_eq!(history, ["delete", "start", "stop", "start"]);
}

#[tokio::test]
async fn a_build_is_found_by_its_number() {
    let dev = dev(json!([])).await;
    let one = dev.world.by(&dev.ada).get("/api/v2/users/me/workspace/dev/builds/1").await.is(200);
    assert_eq!((&one["transition"], &one["workspace_name"]), (&json!("start"), &json!("dev")));
    assert_eq!(dev.world.by(&dev.ada).get(&format!("/api/v2/workspacebuilds/{}", one["id"].as_str().unwrap())).await.is(200), one);
    dev.world.by(&dev.ada).get("/api/v2/users/me/workspace/dev/builds/2").await.refused(404);
    dev.world.by(&dev.ada).get("/api/v2/users/me/workspace/dev/builds/x").await.refused(404);
}

#[tokio::test]
async fn a_waiting_build_is_canceled_at_once_and_a_running_one_by_heartbeat() {
    let dev = dev(json!([])).await;
    let stop = dev.build(json!({ "transition": "stop" })).await.is(201);
    let cancel = format!("/api/v2/workspacebuilds/{}/cancel", job(&stop).uuid());
    dev.world.by(&dev.ada).patch(&cancel, json!({})).await.is(200);
    assert_eq!(dev.status().await, "canceled");
    dev.world.by(&dev.ada).patch(&cancel, json!({})).await.refused(409);

    let stop = dev.build(json!({ "transition": "stop" })).await.is(201);
    let (session, _) = dev.world.claim(job(&stop)).await;
    let heartbeat = format!("/api/v2/runner/jobs/{}/heartbeat", job(&stop).uuid());
    assert_eq!(dev.world.by(&session).post(&heartbeat, json!({})).await.is(200)["cancel"], false);
    dev.world.by(&dev.ada).patch(&format!("/api/v2/workspacebuilds/{}/cancel", job(&stop).uuid()), json!({})).await.is(200);
    assert_eq!(dev.status().await, "canceling");
    assert_eq!(dev.world.by(&session).post(&heartbeat, json!({})).await.is(200)["cancel"], true);
    let finish = format!("/api/v2/runner/jobs/{}/finish", job(&stop).uuid());
    dev.world.by(&session).post(&finish, json!({ "outcome": { "kind": "canceled" } })).await.is(204);
    assert_eq!(dev.status().await, "canceled");
}

#[tokio::test]
async fn answers_are_kept_and_the_immutable_ones_stay() {
    let asks = json!([
        { "name": "region", "type": "string", "default": "us", "mutable": false },
        { "name": "cpus", "type": "number", "default": "2", "mutable": true },
    ]);
    let dev = dev(asks.clone()).await;
    let value = |name: &str, value: &str| json!([{ "name": name, "value": value }]);
    let refused = dev.build(json!({ "transition": "start", "rich_parameter_values": value("region", "eu") })).await.is(400);
    assert_eq!(
        refused["validations"][0],
        json!({ "field": "region", "detail": "parameter \"region\" cannot change after the first build" })
    );
    let build = dev.build(json!({ "transition": "start", "rich_parameter_values": value("cpus", "4") })).await.is(201);
    let path = format!("/api/v2/workspacebuilds/{}/parameters", job(&build).uuid());
    assert_eq!(
        dev.world.by(&dev.ada).get(&path).await.is(200),
        json!([{ "name": "region", "value": "us" }, { "name": "cpus", "value": "4" }])
    );
    dev.world.run(job(&build), json!({ "outcome": { "kind": "succeeded" } })).await;

    let more = json!([asks[0], asks[1], { "name": "disk", "type": "string" }]);
    let newer = dev.world.version(&dev.admin, Some(&dev.template), more).await;
    let missing = dev.build(json!({ "transition": "start", "template_version_id": newer })).await.is(400);
    assert_eq!(missing["validations"][0]["field"], "disk");
    dev.build(json!({ "transition": "stop" })).await.is(201);
}

#[tokio::test]
async fn what_only_managers_may_and_what_nobody_may() {
    let dev = dev(json!([])).await;
    assert_eq!(dev.build(json!({ "transition": "stop", "orphan": true })).await.is(400)["validations"][0]["field"], "orphan");
    dev.build(json!({ "transition": "delete", "orphan": true })).await.refused(403);
    dev.build(json!({ "transition": "stop", "log_level": "debug" })).await.refused(403);
    assert_eq!(
        dev.build(json!({ "transition": "stop", "log_level": "loud" })).await.is(400)["validations"][0]["field"],
        "log_level"
    );
    assert_eq!(dev.build(json!({ "transition": "explode" })).await.is(400)["validations"][0]["field"], "transition");
    let (_, foreign) = dev.world.template(&dev.admin, "other", json!([])).await;
    let refused = dev.build(json!({ "transition": "start", "template_version_id": foreign })).await.is(400);
    assert_eq!(refused["validations"][0]["field"], "template_version_id");
    let orphaned = dev
        .world
        .by(&dev.admin)
        .post(&format!("{}/builds", dev.path()), json!({ "transition": "delete", "orphan": true }))
        .await
        .is(201);
    let (_, claimed) = dev.world.claim(job(&orphaned)).await;
    assert_eq!(claimed["job"]["orphan"], true);
}

#[tokio::test]
async fn a_log_is_read_after_a_line_and_the_state_by_those_who_build() {
    let dev = dev(json!([])).await;
    let stop = dev.build(json!({ "transition": "stop" })).await.is(201);
    let (session, _) = dev.world.claim(job(&stop)).await;
    let runner = format!("/api/v2/runner/jobs/{}", job(&stop).uuid());
    let line = |text: &str| json!({ "created_at": "2026-08-01T00:00:00Z", "source": "provisioner", "level": "info", "stage": "Applying", "output": text });
    dev.world.by(&session).post(&format!("{runner}/logs"), json!([line("one"), line("two"), line("three")])).await.is(204);
    let long = "ä".repeat(8 * 1024);
    dev.world.by(&session).post(&format!("{runner}/logs"), json!([line(&long)])).await.is(204);
    let logs = format!("/api/v2/workspacebuilds/{}/logs", job(&stop).uuid());
    let all = dev.world.by(&dev.ada).get(&logs).await.is(200);
    let ids: Vec<_> = all.as_array().unwrap().iter().map(|line| line["id"].as_u64().unwrap()).collect();
    assert_eq!(ids, [1, 2, 3, 4]);
    assert_eq!(
        (&all[0]["output"], &all[0]["log_source"], &all[0]["stage"]),
        (&json!("one"), &json!("provisioner"), &json!("Applying"))
    );
    assert!(all[3]["output"].as_str().unwrap().len() <= 8 * 1024, "a long line is cut");
    let after = dev.world.by(&dev.ada).get(&format!("{logs}?after=1&limit=1")).await.is(200);
    assert_eq!((after.as_array().unwrap().len(), &after[0]["output"]), (1, &json!("two")));
    assert_eq!(dev.world.by(&dev.ada).get(&format!("{logs}?after=-1")).await.is(200).as_array().unwrap().len(), 4);
    let flood: Vec<_> = (0..1001).map(|_| line("x")).collect();
    dev.world.by(&session).post(&format!("{runner}/logs"), json!(flood)).await.refused(413);

    assert_eq!(dev.world.by(&session).get(&format!("{runner}/state")).await.status, 204);
    dev.world.by(&session).put(&format!("{runner}/state"), r#"{"serial":1}"#).await.is(204);
    assert_eq!(dev.world.by(&session).get(&format!("{runner}/state")).await.is(200), json!({ "serial": 1 }));
    let state = format!("/api/v2/workspacebuilds/{}/state", job(&stop).uuid());
    assert_eq!(dev.world.by(&dev.ada).get(&state).await.is(200), json!({ "serial": 1 }));
    let auditor = dev.world.user("aud", &[Role::Auditor]).await;
    dev.world.by(&auditor).get(&dev.path()).await.is(200);
    dev.world.by(&auditor).get(&state).await.refused(403);
}
