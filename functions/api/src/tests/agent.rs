//! Agents: hello, lifecycle, logs, and the ticket that introduces a client.

use super::fixture::{AGENT_ENDPOINT, CLIENT_ENDPOINT, RELAY, World};
use crate::Seat;
use berth_domain::{AgentId, Role};
use berth_store::{JobId, UserChange};
use serde_json::{Value, json};
use std::sync::atomic::Ordering;

struct Up {
    world: World,
    admin: String,
    ada: String,
    workspace: Value,
    agent: AgentId,
    token: String,
}

async fn up() -> Up {
    up_in(World::new().await).await
}

async fn up_in(world: World) -> Up {
    let (admin, ada) = (world.user("root", &[Role::Owner]).await, world.user("ada", &[]).await);
    let (template, _) = world.template(&admin, "linux", json!([])).await;
    let workspace = world.workspace(&ada, &template, "dev").await;
    let (agent, token) = world.up(&workspace).await;
    Up { world, admin, ada, workspace, agent, token }
}

impl Up {
    fn path(&self) -> String {
        format!("/api/v2/workspaceagents/{}", self.agent)
    }

    async fn seen(&self) -> Value {
        self.world.by(&self.ada).get(&self.path()).await.is(200)
    }

    async fn ticket(&self, by: &str) -> super::fixture::Answer {
        self.world.by(by).post(&format!("{}/ticket", self.path()), json!({ "endpoint_id": CLIENT_ENDPOINT })).await
    }
}

#[tokio::test]
async fn an_agent_says_hello_and_is_seen_as_it_comes_and_goes() {
    let up = up().await;
    assert_eq!(up.seen().await["status"], "connecting");
    let manifest = up.world.connect(up.agent, &up.token).await;
    assert_eq!(
        (&manifest["agent_name"], &manifest["workspace_name"], &manifest["owner_name"]),
        (&json!("main"), &json!("dev"), &json!("ada"))
    );
    assert_eq!((&manifest["env"]["SECRET"], &manifest["scripts"][0]["script"]), (&json!("canary"), &json!("echo canary")));
    assert_eq!(
        (&manifest["access_url"], &manifest["relay"]["url"]),
        (&json!("https://berth.example.com/"), &json!("https://relay.example.com"))
    );
    let seen = up.seen().await;
    assert_eq!(
        (&seen["status"], &seen["expanded_directory"], &seen["version"]),
        (&json!("connected"), &json!("/home/ada"), &json!("v0.1.0"))
    );

    let before = up.world.store().meter();
    up.world.connect(up.agent, &up.token).await;
    assert_eq!((up.world.store().meter() - before).writes, 0, "the same hello writes nothing");

    let report = |state: &str, second: u8| json!({ "state": state, "changed_at": format!("2026-08-01T00:00:0{second}Z") });
    let me = "/api/v2/workspaceagents/me";
    up.world.by(&up.token).patch(&format!("{me}/lifecycle"), report("starting", 1)).await.is(204);
    up.world.by(&up.token).patch(&format!("{me}/lifecycle"), report("ready", 2)).await.is(204);
    up.world.by(&up.token).patch(&format!("{me}/lifecycle"), report("starting", 1)).await.is(204);
    let seen = up.seen().await;
    assert_eq!(
        (&seen["lifecycle_state"], &seen["started_at"], &seen["ready_at"]),
        (&json!("ready"), &json!("2026-08-01T00:00:01Z"), &json!("2026-08-01T00:00:02Z"))
    );

    up.world.relay.0.lock().unwrap().clear();
    assert_eq!(up.seen().await["status"], "connecting", "a moment after hello it is on its way");
    up.world.pass(20);
    let seen = up.seen().await;
    assert_eq!(
        (&seen["status"], &seen["health"]),
        (&json!("disconnected"), &json!({ "healthy": false, "reason": "agent has lost connection" }))
    );
    let shown = up.world.by(&up.ada).get("/api/v2/users/me/workspace/dev").await.is(200);
    assert_eq!(shown["health"], json!({ "healthy": false, "failing_agents": [up.agent] }));

    up.world.relay.1.store(true, Ordering::Relaxed);
    let seen = up.seen().await;
    let reason = "a relay does not answer: it is not known whether the agent is connected";
    assert_eq!((&seen["status"], &seen["health"]), (&json!("disconnected"), &json!({ "healthy": false, "reason": reason })));
}

#[tokio::test]
async fn a_ticket_names_the_relay_first_that_the_agent_is_at() {
    let other = "https://other.example.com/";
    let world = World::with(|config| config.relay_urls.push(other.to_owned())).await;
    let up = up_in(world).await;
    let manifest = up.world.connect(up.agent, &up.token).await;
    assert_eq!((&manifest["relay"]["url"], &manifest["relay"]["others"]), (&json!(RELAY), &json!([other])));
    let relay = up.ticket(&up.ada).await.is(200)["relay"].clone();
    assert_eq!((&relay["url"], &relay["others"]), (&json!(RELAY), &json!([other])));
    let moved = Seat::new(up.world.now(), other);
    up.world.relay.0.lock().unwrap().insert((up.agent, AGENT_ENDPOINT.to_owned()), moved);
    let relay = up.ticket(&up.ada).await.is(200)["relay"].clone();
    assert_eq!((&relay["url"], &relay["others"]), (&json!(other), &json!([RELAY])));
}

#[tokio::test]
async fn an_agent_that_never_comes_is_given_up_after_its_templates_time() {
    let up = up().await;
    up.world.pass(119);
    assert_eq!(up.seen().await["status"], "connecting");
    up.world.pass(2);
    assert_eq!(up.seen().await["status"], "timeout");
}

#[tokio::test]
async fn agent_logs_are_kept_in_order() {
    let up = up().await;
    let me = "/api/v2/workspaceagents/me/logs";
    let line = |text: &str| json!({ "created_at": "2026-08-01T00:00:00Z", "level": "info", "output": text });
    let source = uuid::Uuid::new_v4();
    up.world.by(&up.token).patch(me, json!({ "log_source_id": source, "logs": [line("one"), line("two")] })).await.is(204);
    up.world.by(&up.token).patch(me, json!({ "log_source_id": source, "logs": [line("three")] })).await.is(204);
    up.world.by(&up.token).patch(me, json!({ "log_source_id": source, "logs": [] })).await.is(204);
    let logs = up.world.by(&up.ada).get(&format!("{}/logs?after=1", up.path())).await.is(200);
    assert_eq!(
        (&logs[0]["output"], &logs[1]["output"], &logs[1]["id"], &logs[1]["source_id"]),
        (&json!("two"), &json!("three"), &json!(3), &json!(source))
    );
    assert_eq!(up.seen().await["logs_length"], 3);
}

#[tokio::test]
async fn a_ticket_introduces_the_owner_and_nobody_else() {
    let up = up().await;
    let away = up.ticket(&up.ada).await.is(409);
    assert_eq!((&away["message"], &away["detail"]), (&json!("agent main is not connected"), &json!("connecting")));
    let manifest = up.world.connect(up.agent, &up.token).await;
    let ticket = up.ticket(&up.ada).await.is(200);
    assert_eq!(ticket["agent_endpoint_id"], AGENT_ENDPOINT);
    let key = up.world.app.signing.verifying();
    assert_eq!(manifest["ticket_key"], json!(key.public));
    let claims = key.agent(ticket["ticket"].as_str().unwrap()).unwrap();
    assert_eq!((claims.eid.as_str(), claims.agent.as_str(), claims.name.as_str()), (CLIENT_ENDPOINT, AGENT_ENDPOINT, "ada"));
    assert_eq!(key.relay(ticket["relay"]["token"].as_str().unwrap()).unwrap().eid, CLIENT_ENDPOINT);
    let admission = key.relay(manifest["relay"]["token"].as_str().unwrap()).unwrap();
    assert_eq!((admission.eid, admission.sub), (AGENT_ENDPOINT.to_owned(), up.agent.to_string()));
    let seed: [u8; 32] = hex::decode(manifest["ssh_host_key_seed"].as_str().unwrap()).unwrap().try_into().unwrap();
    assert_eq!(ticket["ssh_host_key"], crate::openssh::public_line(&berth_domain::Secret::new(seed)));

    up.ticket(&up.admin).await.refused(403);
    let bob = up.world.user("bob", &[]).await;
    up.ticket(&bob).await.refused(404);
    let upper =
        up.world.by(&up.ada).post(&format!("{}/ticket", up.path()), json!({ "endpoint_id": CLIENT_ENDPOINT.to_uppercase() })).await;
    assert_eq!(upper.is(400)["validations"][0]["field"], "endpoint_id");
}

#[tokio::test]
async fn a_ticket_for_a_terminal_opens_that_one_and_nothing_else() {
    let up = up().await;
    up.world.connect(up.agent, &up.token).await;
    let terminal = json!({ "id": uuid::Uuid::from_u128(7), "columns": 80, "rows": 24, "command": "htop" });
    let asked = json!({ "endpoint_id": CLIENT_ENDPOINT, "terminal": terminal });
    let ticket = up.world.by(&up.ada).post(&format!("{}/ticket", up.path()), asked).await.is(200);
    let claims = up.world.app.signing.verifying().agent(ticket["ticket"].as_str().unwrap()).unwrap();
    let only = serde_json::to_value(claims.only.unwrap()).unwrap();
    assert_eq!((&only["kind"], &only["id"], &only["command"]), (&json!("terminal"), &terminal["id"], &json!("htop")));
    // Whoever asks the API for the terminal itself is told where it is.
    let path = format!("{}/pty?reconnect={}", up.path(), uuid::Uuid::from_u128(7));
    up.world.by(&up.ada).get(&path).await.refused(426);
    up.world.by(&up.admin).get(&path).await.refused(403);
    up.world.by(&up.ada).get(&format!("{}/pty", up.path())).await.refused(400);
}

#[tokio::test]
async fn an_agent_hears_who_may_not_stay_and_nothing_is_written() {
    let up = up().await;
    let id = async |token: &str| up.world.by(token).get("/api/v2/users/me").await.is(200)["id"].clone();
    let bob = up.world.user("bob", &[]).await;
    let (ada, bob, admin) = (id(&up.ada).await, id(&bob).await, id(&up.admin).await);
    let unknown = json!(uuid::Uuid::nil());
    let sessions = "/api/v2/workspaceagents/me/sessions";
    let ask = async |users: &[&Value]| up.world.by(&up.token).post(sessions, json!({ "users": users })).await;
    let before = up.world.store().meter();
    let answer = ask(&[&ada, &bob, &admin, &unknown]).await.is(200);
    assert_eq!((up.world.store().meter() - before).writes, 0);
    assert_eq!(answer["ticket_key_id"], json!(up.world.app.signing.verifying().id));
    let ended = |answer: &Value, user: &Value| answer["end"].as_array().unwrap().contains(user);
    assert!(!ended(&answer, &ada) && [&bob, &admin, &unknown].iter().all(|user| ended(&answer, user)), "{answer}");

    let suspend = async |suspended| {
        let change = UserChange { suspended: Some(suspended), ..UserChange::default() };
        up.world.store().update_user(ada.as_str().unwrap().parse().unwrap(), change, up.world.now()).await.unwrap();
    };
    suspend(true).await;
    assert!(ended(&ask(&[&ada]).await.is(200), &ada), "a suspended owner has to go");
    suspend(false).await;
    assert!(!ended(&ask(&[&ada, &ada]).await.is(200), &ada));
    assert_eq!(ask(&[]).await.is(200)["end"], json!([]));
    let crowd: Vec<_> = (0..257).map(|number| json!(uuid::Uuid::from_u128(number))).collect();
    ask(&crowd.iter().collect::<Vec<_>>()).await.refused(413);
    up.world.by(&up.ada).post(sessions, json!({ "users": [ada] })).await.refused(401);
}

#[tokio::test]
async fn an_agent_that_claims_anothers_endpoint_introduces_nobody_to_it() {
    let up = up().await;
    up.world.connect(up.agent, &up.token).await;
    // Eve's own agent says that it is at Ada's agent's endpoint.
    let eve = up.world.user("eve", &[]).await;
    let workspace = up.world.workspace(&eve, up.workspace["template_id"].as_str().unwrap(), "dev").await;
    let (agent, token) = up.world.up(&workspace).await;
    let hello = json!({ "endpoint_id": AGENT_ENDPOINT, "version": "v0" });
    up.world.by(&token).post("/api/v2/workspaceagents/me/manifest", hello).await.is(200);
    let path = format!("/api/v2/workspaceagents/{agent}/ticket");
    up.world.by(&eve).post(&path, json!({ "endpoint_id": CLIENT_ENDPOINT })).await.refused(409);
}

#[tokio::test]
async fn a_token_is_good_for_the_newest_build_only() {
    let up = up().await;
    let hello = json!({ "endpoint_id": AGENT_ENDPOINT, "version": "v0" });
    let manifest = "/api/v2/workspaceagents/me/manifest";
    up.world.by("00000000-0000-4000-8000-000000000000").post(manifest, hello.clone()).await.refused(401);
    up.world.by(&up.ada).post(manifest, hello.clone()).await.refused(401);
    up.world.by(&up.token).get("/api/v2/users/me").await.refused(401);
    let bad = up.world.by(&up.token).post(manifest, json!({ "endpoint_id": "x", "version": "v0" })).await.is(400);
    assert_eq!(bad["validations"][0]["field"], "endpoint_id");

    let builds = format!("/api/v2/workspaces/{}/builds", up.workspace["id"].as_str().unwrap());
    let start = up.world.by(&up.ada).post(&builds, json!({ "transition": "start" })).await.is(201);
    up.world.by(&up.token).post(manifest, hello.clone()).await.is(200);
    up.world.up(&json!({ "latest_build": start })).await;
    assert_eq!(up.world.by(&up.token).post(manifest, hello.clone()).await.refused(403), "superseded");

    let stop = up.world.by(&up.ada).post(&builds, json!({ "transition": "stop" })).await.is(201);
    up.world.run(JobId::Build(stop["id"].as_str().unwrap().parse().unwrap()), json!({ "outcome": { "kind": "succeeded" } })).await;
    assert!(matches!(up.world.by(&up.token).post(manifest, hello).await.status.as_u16(), 401 | 403));
}

#[tokio::test]
async fn a_canceled_build_leaves_the_agent_as_it_was() {
    let up = up().await;
    up.world.connect(up.agent, &up.token).await;
    let builds = format!("/api/v2/workspaces/{}/builds", up.workspace["id"].as_str().unwrap());
    let stop = up.world.by(&up.ada).post(&builds, json!({ "transition": "stop" })).await.is(201);
    assert_eq!(up.seen().await["status"], "connected", "while the stop waits");
    let cancel = format!("/api/v2/workspacebuilds/{}/cancel", stop["id"].as_str().unwrap());
    up.world.by(&up.ada).patch(&cancel, json!({})).await.is(200);
    let shown = up.world.by(&up.ada).get("/api/v2/users/me/workspace/dev").await.is(200);
    let agent = &shown["latest_build"]["resources"][0]["agents"][0];
    assert_eq!((&shown["latest_build"]["status"], &agent["status"]), (&json!("canceled"), &json!("connected")));
    up.ticket(&up.ada).await.is(200);
}
