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
    let whole = json!({ "version": 4, "serial": 1, "lineage": "l" });
    dev.world.by(&session).put(&format!("{runner}/state"), whole.to_string()).await.is(204);
    assert_eq!(dev.world.by(&session).get(&format!("{runner}/state")).await.is(200), whole);
    let state = format!("/api/v2/workspacebuilds/{}/state", job(&stop).uuid());
    assert_eq!(dev.world.by(&dev.ada).get(&state).await.is(200), whole);
    let auditor = dev.world.user("aud", &[Role::Auditor]).await;
    dev.world.by(&auditor).get(&dev.path()).await.is(200);
    dev.world.by(&auditor).get(&state).await.refused(403);
}

#[tokio::test]
async fn where_the_time_went_is_told_in_coders_words() {
    let dev = dev(json!([])).await;
    let start = dev.build(json!({ "transition": "start" })).await.is(201);
    let (session, claimed) = dev.world.claim(job(&start)).await;
    assert_eq!((&claimed["job"]["timeout_ms"], &claimed["job"]["silence_ms"]), (&json!(7_200_000), &json!(1_200_000)));
    let timing = json!({ "started_at": "2026-08-01T00:00:00Z", "ended_at": "2026-08-01T00:00:07Z", "stage": "apply", "source": "aws",
        "action": "create", "resource": "aws_instance.vm" });
    let agent = berth_domain::AgentId(uuid::Uuid::new_v4());
    let mut finish = super::fixture::up(agent, "timed-agent");
    finish["timings"] = json!([timing]);
    dev.world.by(&session).post(&format!("/api/v2/runner/jobs/{}/finish", job(&start).uuid()), finish).await.is(204);
    dev.world.pass(3);
    dev.world.connect(agent, "timed-agent").await;
    let timings = dev.world.by(&dev.ada).get(&format!("/api/v2/workspacebuilds/{}/timings", job(&start).uuid())).await.is(200);
    let mut expected = timing;
    expected["job_id"] = start["id"].clone();
    assert_eq!(timings["provisioner_timings"], json!([expected]));
    let connection = &timings["agent_connection_timings"][0];
    assert_eq!((&connection["stage"], &connection["workspace_agent_name"]), (&json!("connect"), &json!("main")));
    assert_eq!(timings["agent_script_timings"], json!([]), "its scripts have not ended");
    let first = dev.world.by(&dev.ada).get("/api/v2/users/me/workspace/dev/builds/1").await.is(200);
    let timings = dev.world.by(&dev.ada).get(&format!("/api/v2/workspacebuilds/{}/timings", job(&first).uuid())).await.is(200);
    assert_eq!(timings, json!({ "provisioner_timings": [], "agent_script_timings": [], "agent_connection_timings": [] }));
}

#[tokio::test]
async fn a_list_of_builds_goes_on_after_one_and_begins_at_a_time() {
    let dev = dev(json!([])).await;
    let mut builds = Vec::new();
    for transition in ["stop", "start", "stop"] {
        dev.world.pass(60);
        let build = dev.build(json!({ "transition": transition })).await.is(201);
        dev.world.run(job(&build), json!({ "outcome": { "kind": "succeeded" } })).await;
        builds.push(build);
    }
    let numbers = async |query: &str| {
        let listed = dev.world.by(&dev.ada).get(&format!("{}/builds?{query}", dev.path())).await.is(200);
        listed.as_array().unwrap().iter().map(|build| build["build_number"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(numbers("").await, [4, 3, 2, 1]);
    assert_eq!(numbers(&format!("after_id={}&limit=2", builds[2]["id"].as_str().unwrap())).await, [3, 2]);
    assert_eq!(numbers(&format!("since={}", builds[0]["created_at"].as_str().unwrap())).await, [4, 3]);
    assert_eq!(numbers(&format!("after_id={}", uuid::Uuid::nil())).await, [0; 0]);
}

#[tokio::test]
async fn a_template_can_keep_cancels_to_those_who_tidy_up() {
    let dev = dev(json!([])).await;
    let stop = dev.build(json!({ "transition": "stop" })).await.is(201);
    let template = format!("/api/v2/templates/{}", dev.template);
    dev.world.by(&dev.admin).patch(&template, json!({ "allow_user_cancel_workspace_jobs": false })).await.is(200);
    let cancel = format!("/api/v2/workspacebuilds/{}/cancel", job(&stop).uuid());
    let refused = dev.world.by(&dev.ada).patch(&cancel, json!({})).await.refused(403);
    assert_eq!(refused, "template linux does not let people cancel builds: ask a template admin, or wait");
    dev.world.by(&dev.admin).patch(&cancel, json!({})).await.is(200);
}

#[tokio::test]
async fn a_gate_stands_where_the_template_wants_one_and_something_changed() {
    let dev = dev(json!([{ "name": "cpus", "type": "number", "default": "2", "mutable": true }])).await;
    let template = format!("/api/v2/templates/{}", dev.template);
    dev.world.by(&dev.admin).patch(&template, json!({ "replacement_consent": true, "daily_cost_max": 50 })).await.is(200);
    let gate = async |body: Value, finish: Value| {
        let build = dev.build(body).await.is(201);
        let (session, claimed) = dev.world.claim(job(&build)).await;
        dev.world.by(&session).post(&format!("/api/v2/runner/jobs/{}/finish", job(&build).uuid()), finish).await.is(204);
        claimed["job"]["gate"].clone()
    };
    let well = json!({ "outcome": { "kind": "succeeded" } });
    let refused = json!({ "outcome": { "kind": "refused", "error": "aws_instance.vm would be replaced", "code": "REPLACEMENT_NEEDS_CONSENT" } });
    let cpus = |count: &str| json!([{ "name": "cpus", "value": count }]);
    assert_eq!(gate(json!({ "transition": "start" }), well.clone()).await, Value::Null, "nothing changed");
    let changed = json!({ "transition": "start", "rich_parameter_values": cpus("4") });
    assert_eq!(gate(changed, refused).await, json!({ "keep": true, "daily_cost_max": 50 }));
    let shown = dev.world.by(&dev.ada).get(&dev.path()).await.is(200);
    let job = &shown["latest_build"]["job"];
    assert_eq!(
        (&job["status"], &job["error"], &job["error_code"]),
        (&json!("failed"), &json!("aws_instance.vm would be replaced"), &json!("REPLACEMENT_NEEDS_CONSENT"))
    );
    assert!(job["worker_id"].is_string());
    let consented = json!({ "transition": "start", "rich_parameter_values": cpus("4"), "allow_replace": true });
    assert_eq!(
        gate(consented, well.clone()).await,
        json!({ "keep": false, "daily_cost_max": 50 }),
        "the last build failed: look again"
    );
    assert_eq!(gate(json!({ "transition": "stop" }), well).await, Value::Null);
}

#[tokio::test]
async fn a_workspace_that_follows_its_template_starts_with_the_active_version() {
    let dev = dev(json!([])).await;
    let newer = dev.world.version(&dev.admin, Some(&dev.template), json!([])).await;
    dev.world.by(&dev.admin).patch(&format!("/api/v2/templates/{}/versions", dev.template), json!({ "id": newer })).await.is(200);
    let version = async |body: Value| {
        let build = dev.build(body).await.is(201);
        dev.world.run(job(&build), json!({ "outcome": { "kind": "succeeded" } })).await;
        build["template_version_id"].clone()
    };
    assert_ne!(version(json!({ "transition": "start" })).await, json!(newer));
    let follow = |policy: &str| json!({ "automatic_updates": policy });
    dev.world.by(&dev.ada).put(&format!("{}/autoupdates", dev.path()), follow("always").to_string()).await.is(204);
    dev.world.by(&dev.ada).put(&format!("{}/autoupdates", dev.path()), follow("sometimes").to_string()).await.refused(400);
    let shown = dev.world.by(&dev.ada).get(&dev.path()).await.is(200);
    assert_eq!((&shown["automatic_updates"], &shown["outdated"]), (&json!("always"), &json!(true)));
    assert_ne!(version(json!({ "transition": "stop" })).await, json!(newer), "a stop goes by what is there");
    assert_eq!(version(json!({ "transition": "start" })).await, json!(newer));

    let body = json!({ "template_id": dev.template, "name": "two", "automatic_updates": "always" });
    let made = dev.world.by(&dev.ada).post("/api/v2/users/me/workspaces", body).await.is(201);
    assert_eq!(made["automatic_updates"], "always");
}
