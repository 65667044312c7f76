//! What each action costs at the table: requests, which are time, and units, which are money.

use super::fixture::{CLIENT_ENDPOINT, World, archive, up};
use berth_domain::{AgentId, Role};
use berth_store::{JobId, Meter};
use http::Method;
use serde_json::{Value, json};
use std::fmt::Write;
use uuid::Uuid;

/// The table, a line per action.
struct Costs {
    world: World,
    before: Meter,
    lines: String,
}

impl Costs {
    fn begin(&mut self) {
        self.before = self.world.store().meter();
    }

    fn end(&mut self, action: &str) {
        let Meter { reads, writes, half_read_units, write_units } = self.world.store().meter() - self.before;
        let units = half_read_units as f64 / 2.0;
        writeln!(self.lines, "{action:<36}{reads:>6}{units:>8.1}{writes:>8}{write_units:>7}").unwrap();
    }

    async fn of(&mut self, action: &str, token: &str, (method, path, body): (Method, &str, Value)) -> Value {
        self.begin();
        let caller = if token.is_empty() { self.world.nobody() } else { self.world.by(token) };
        let answer = caller.send(method, path, body.to_string().into()).await;
        self.end(action);
        assert!(answer.status.is_success(), "{action}: {answer:?}");
        serde_json::from_slice(&answer.bytes).unwrap_or_default()
    }
}

fn id(value: &Value) -> String {
    value["id"].as_str().unwrap().to_owned()
}

/// A build's life by its runner, who pushes states of these serials.
async fn build(costs: &mut Costs, build: &str, states: &[u64], finish: Value) {
    let job = JobId::Build(build.parse().unwrap());
    costs.begin();
    let (runner, _) = costs.world.claim(job).await;
    costs.end("  offer and claim");
    let path = |verb: &str| format!("/api/v2/runner/jobs/{build}/{verb}");
    let line = |output: &str| json!({ "created_at": "2026-06-01T12:00:00Z", "source": "provisioner", "level": "info", "stage": "Applying", "output": output });
    costs.of("  archive", &runner, (Method::GET, &path("archive"), Value::Null)).await;
    costs.of("  newest state", &runner, (Method::GET, &path("state"), Value::Null)).await;
    costs.of("  heartbeat", &runner, (Method::POST, &path("heartbeat"), json!({}))).await;
    let lines: Vec<_> = (0..50).map(|number| line(&format!("coder_agent.main: still creating, {number} s"))).collect();
    costs.of("  50 lines of log", &runner, (Method::POST, &path("logs"), json!(lines))).await;
    for state in states {
        let state = json!({ "version": 4, "serial": state, "lineage": "l" });
        costs.of("  state", &runner, (Method::PUT, &path("state"), state)).await;
    }
    costs.of("  finish", &runner, (Method::POST, &path("finish"), finish)).await;
}

#[tokio::test]
async fn the_price_list() {
    let world = World::new().await;
    let root = world.user("root", &[Role::Owner]).await;
    let before = world.store().meter();
    let mut costs = Costs { world, before, lines: String::new() };
    let password = json!({ "email": "ada@example.com", "username": "ada", "password": "correct horse" });
    costs.world.by(&root).post("/api/v2/users", password.clone()).await.is(201);
    let login = (Method::POST, "/api/v2/users/login", password);
    let ada = costs.of("sign in", "", login).await["session_token"].as_str().unwrap().to_owned();

    costs.begin();
    let file = costs.world.by(&root).upload(archive(&[("main.tf", "terraform {}")])).await.is(201);
    costs.end("upload an archive");
    // A name of our own: made ones differ in length, and so by chance in units.
    let body = json!({ "name": "one", "file_id": file["hash"], "storage_method": "file", "provisioner": "terraform" });
    let versions = "/api/v2/organizations/default/templateversions";
    let version = id(&costs.of("push a version", &root, (Method::POST, versions, body)).await);
    costs.begin();
    let imported = json!({ "outcome": { "kind": "succeeded" }, "imported": { "parameters": [] } });
    costs.world.run(JobId::Import(version.parse().unwrap()), imported).await;
    costs.end("  offer, claim, finish");
    let body = json!({ "name": "linux", "template_version_id": version });
    let template = id(&costs.of("make a template", &root, (Method::POST, "/api/v2/organizations/default/templates", body)).await);

    let body = json!({ "template_id": template, "name": "dev" });
    let dev = costs.of("create a workspace", &ada, (Method::POST, "/api/v2/users/me/workspaces", body)).await;
    let (agent, token) = (AgentId(Uuid::from_u128(1)), Uuid::from_u128(2).to_string());
    build(&mut costs, &id(&dev["latest_build"]), &[1, 2], up(agent, &token)).await;

    let hello = json!({ "endpoint_id": super::fixture::AGENT_ENDPOINT, "version": "v0.1.0", "expanded_directory": "/home/ada" });
    let manifest = "/api/v2/workspaceagents/me/manifest";
    costs.of("an agent says hello", &token, (Method::POST, manifest, hello.clone())).await;
    costs.of("an agent says hello again", &token, (Method::POST, manifest, hello)).await;
    costs.world.connect(agent, &token).await;
    let ticket = format!("/api/v2/workspaceagents/{agent}/ticket");
    costs.of("a ticket to connect", &ada, (Method::POST, &ticket, json!({ "endpoint_id": CLIENT_ENDPOINT }))).await;
    let me = costs.of("who I am", &ada, (Method::GET, "/api/v2/users/me", Value::Null)).await;
    let sessions = (Method::POST, "/api/v2/workspaceagents/me/sessions", json!({ "users": [me["id"]] }));
    costs.of("an agent asks who may stay", &token, sessions).await;
    let path = format!("/api/v2/workspaces/{}", id(&dev));
    costs.of("a minute of use", &ada, (Method::POST, &format!("{path}/usage"), json!({}))).await;
    costs.of("show a workspace", &ada, (Method::GET, &path, Value::Null)).await;
    costs.of("list 1 workspace", &ada, (Method::GET, "/api/v2/workspaces", Value::Null)).await;
    let logs = format!("/api/v2/workspacebuilds/{}/logs", id(&dev["latest_build"]));
    costs.of("a build's log", &ada, (Method::GET, &logs, Value::Null)).await;

    let builds = format!("{path}/builds");
    let stop = costs.of("stop", &ada, (Method::POST, &builds, json!({ "transition": "stop" }))).await;
    build(&mut costs, &id(&stop), &[3], json!({ "outcome": { "kind": "succeeded" } })).await;
    let start = costs.of("start", &ada, (Method::POST, &builds, json!({ "transition": "start" }))).await;
    let again = up(AgentId(Uuid::from_u128(3)), &Uuid::from_u128(4).to_string());
    costs.begin();
    costs.world.run(JobId::Build(id(&start).parse().unwrap()), again).await;
    costs.end("  offer, claim, finish");
    let delete = costs.of("delete", &ada, (Method::POST, &builds, json!({ "transition": "delete" }))).await;
    costs.begin();
    costs.world.run(JobId::Build(id(&delete).parse().unwrap()), json!({ "outcome": { "kind": "succeeded" } })).await;
    costs.end("  offer, claim, finish");
    for number in 0..100 {
        costs.world.workspace(&root, &template, &format!("dev-{number}")).await;
    }
    costs.of("list 100 workspaces", &root, (Method::GET, "/api/v2/workspaces?limit=100", Value::Null)).await;
    let head = format!("{:<36}{:>6}{:>8}{:>8}{:>7}\n", "", "reads", "units", "writes", "units");
    insta::assert_snapshot!(head + &costs.lines);
}
