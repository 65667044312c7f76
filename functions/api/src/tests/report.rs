//! What agents report of their scripts and apps, and who gets to see it.

use super::fixture::{World, up};
use berth_domain::{AgentId, Role};
use berth_store::JobId;
use serde_json::{Value, json};
use uuid::Uuid;

const ME: &str = "/api/v2/workspaceagents/me";

struct Dev {
    world: World,
    ada: String,
    workspace: Value,
    agent: AgentId,
    token: String,
    /// Ids.
    start_script: Value,
    stop_script: Uuid,
    app: Uuid,
}

/// A workspace whose agent has a stop script and an app with a health check, beside a start script and an app without.
async fn dev() -> Dev {
    let world = World::new().await;
    let (admin, ada) = (world.user("root", &[Role::Owner]).await, world.user("ada", &[]).await);
    let (template, _) = world.template(&admin, "linux", json!([])).await;
    let workspace = world.workspace(&ada, &template, "dev").await;
    let (agent, token) = (AgentId(Uuid::new_v4()), Uuid::new_v4().to_string());
    let (stop_script, app) = (Uuid::new_v4(), Uuid::new_v4());
    let mut finish = up(agent, &token);
    let definition = &mut finish["resources"][0]["agents"][0];
    let start_script = definition["scripts"][0]["id"].clone();
    definition["scripts"].as_array_mut().unwrap().push(json!({
        "id": stop_script, "display_name": "Save", "script": "save", "run_on_stop": true, "timeout_seconds": 5,
    }));
    definition["apps"].as_array_mut().unwrap().push(json!({
        "id": app, "slug": "lab", "url": "http://localhost:2", "share": "owner",
        "healthcheck": { "url": "http://localhost:2/healthz", "interval": 5, "threshold": 6 },
    }));
    let build: JobId = JobId::Build(workspace["latest_build"]["id"].as_str().unwrap().parse().unwrap());
    world.run(build, finish).await;
    world.connect(agent, &token).await;
    Dev { world, ada, workspace, agent, token, start_script, stop_script, app }
}

impl Dev {
    async fn says(&self, what: &str, body: Value) -> super::fixture::Answer {
        self.world.by(&self.token).post(&format!("{ME}/{what}"), body).await
    }

    async fn shown(&self) -> Value {
        self.world.by(&self.ada).get(&format!("/api/v2/workspaceagents/{}", self.agent)).await.is(200)
    }

    async fn timings(&self) -> Value {
        let build = self.workspace["latest_build"]["id"].as_str().unwrap();
        let path = format!("/api/v2/workspacebuilds/{build}/timings");
        self.world.by(&self.ada).get(&path).await.is(200)["agent_script_timings"].clone()
    }

    async fn stop(&self) -> Value {
        let builds = format!("/api/v2/workspaces/{}/builds", self.workspace["id"].as_str().unwrap());
        self.world.by(&self.ada).post(&builds, json!({ "transition": "stop" })).await.is(201)
    }
}

fn run(script: &Value, stage: &str, (status, exit_code): (&str, i32)) -> Value {
    json!({ "script_id": script, "stage": stage, "status": status, "exit_code": exit_code,
        "started_at": "2026-08-01T00:00:01Z", "ended_at": "2026-08-01T00:00:03.5Z" })
}

#[tokio::test]
async fn how_a_script_ran_is_told_once_and_seen_among_the_builds_timings() {
    let dev = dev().await;
    let lifecycle = json!({ "state": "starting", "changed_at": "2026-08-01T00:00:00Z" });
    dev.world.by(&dev.token).patch(&format!("{ME}/lifecycle"), lifecycle).await.is(204);
    let failed = run(&dev.start_script, "start", ("exit_failure", 9));
    dev.says("script-completed", failed.clone()).await.is(204);
    let timing = json!({ "started_at": "2026-08-01T00:00:01Z", "ended_at": "2026-08-01T00:00:03.5Z", "stage": "start", "exit_code": 9,
        "status": "exit_failure", "display_name": "Start", "workspace_agent_id": dev.agent, "workspace_agent_name": "main" });
    assert_eq!(dev.timings().await, json!([timing]));

    let before = dev.world.store().meter();
    dev.says("script-completed", failed).await.is(204);
    dev.says("script-completed", run(&dev.start_script, "cron", ("ok", 0))).await.is(204);
    assert_eq!((dev.world.store().meter() - before).writes, 0, "neither a repeat nor a run on a schedule is written");
    dev.says("script-completed", run(&json!(Uuid::nil()), "start", ("ok", 0))).await.refused(400);

    dev.says("script-completed", run(&dev.start_script, "start", ("ok", 0))).await.is(204);
    let timings = dev.timings().await;
    assert_eq!((timings.as_array().unwrap().len(), &timings[0]["status"]), (1, &json!("ok")), "the newest run counts");
    let again = json!({ "state": "starting", "changed_at": "2026-08-01T01:00:00Z" });
    dev.world
        .by(&dev.token)
        .patch(&format!("{ME}/lifecycle"), json!({ "state": "ready", "changed_at": "2026-08-01T00:30:00Z" }))
        .await
        .is(204);
    dev.world.by(&dev.token).patch(&format!("{ME}/lifecycle"), again).await.is(204);
    assert_eq!(dev.timings().await, json!([]), "an agent that starts again has run nothing yet");
}

#[tokio::test]
async fn who_waits_for_a_stop_sees_what_the_stop_scripts_say_and_how_they_end() {
    let dev = dev().await;
    let line = |text: &str| json!({ "created_at": "2026-08-01T00:00:00Z", "level": "info", "output": text });
    let log = async |source: &Value, text: &str| {
        let body = json!({ "log_source_id": source, "logs": [line(text)] });
        dev.world.by(&dev.token).patch(&format!("{ME}/logs"), body).await.is(204);
    };
    let stop_script = json!(dev.stop_script);
    log(&stop_script, "before any stop").await;
    let stop = dev.stop().await;
    let job = JobId::Build(stop["id"].as_str().unwrap().parse().unwrap());
    dev.world.claim(job).await;
    let report = json!({ "state": "shutting_down", "changed_at": "2026-08-01T00:00:00Z" });
    dev.world.by(&dev.token).patch(&format!("{ME}/lifecycle"), report).await.is(204);
    log(&stop_script, "saving 3 files").await;
    log(&dev.start_script, "not of the stop").await;
    dev.says("script-completed", run(&stop_script, "stop", ("timed_out", 255))).await.is(204);

    let lines = dev.world.by(&dev.ada).get(&format!("/api/v2/workspacebuilds/{}/logs", job.uuid())).await.is(200);
    let of_stop = lines.as_array().unwrap().iter().filter(|line| line["stage"] == "Stop scripts");
    let told: Vec<_> = of_stop.map(|line| (line["log_level"].as_str().unwrap(), line["output"].as_str().unwrap())).collect();
    assert_eq!(
        told,
        [
            ("info", "main runs its stop script"),
            ("info", "saving 3 files"),
            ("warn", "main: Save was ended after 2.5 s: its limit is 5 s"),
        ]
    );
}

#[tokio::test]
async fn an_apps_health_is_what_its_agent_said_last_and_a_repeat_writes_nothing() {
    let dev = dev().await;
    let health = async || {
        let shown = dev.shown().await;
        shown["apps"].as_array().unwrap().iter().map(|app| app["health"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(health().await, ["disabled", "initializing"]);
    let says = async |word: &str| dev.says("app-health", json!({ "healths": { dev.app.to_string(): word } })).await;
    says("healthy").await.is(204);
    assert_eq!(health().await, ["disabled", "healthy"]);
    let before = dev.world.store().meter();
    says("healthy").await.is(204);
    dev.says("app-health", json!({ "healths": {} })).await.is(204);
    assert_eq!((dev.world.store().meter() - before).writes, 0);
    says("unhealthy").await.is(204);
    assert_eq!(health().await, ["disabled", "unhealthy"]);
    says("disabled").await.refused(400);
    says("splendid").await.refused(400);
    let unchecked = dev.shown().await["apps"][0]["id"].as_str().unwrap().to_owned();
    dev.says("app-health", json!({ "healths": { unchecked: "healthy" } })).await.refused(400);
    dev.says("app-health", json!({ "healths": { Uuid::nil().to_string(): "healthy" } })).await.refused(400);
    assert_eq!(health().await, ["disabled", "unhealthy"]);
}

#[tokio::test]
async fn the_manifest_names_the_apps_to_look_at_and_where_ports_are() {
    let dev = dev().await;
    let manifest = dev.world.connect(dev.agent, &dev.token).await;
    let healthcheck = json!({ "url": "http://localhost:2/healthz", "interval": 5, "threshold": 6 });
    assert_eq!(manifest["vs_code_port_proxy_uri"], "https://{{port}}--main--dev--ada.apps.example.com");
    assert_eq!(manifest["apps"], json!([{ "id": dev.app, "slug": "lab", "healthcheck": healthcheck }]));
}
