//! Apps: the way of a sign-in to an app's host, and what a browser gets to see there.

use super::fixture::{AGENT_ENDPOINT, Answer, CLIENT_ENDPOINT, RELAY_ENDPOINT, World, up};
use berth_domain::{AgentId, Role, SessionToken};
use berth_store::{JobId, UserChange};
use berth_wire::tunnel::Target;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

const NONCE: &str = "0123456789abcdef0123456789abcdef";

/// A world with ada's workspace `dev`, whose agent is there; her session.
async fn world() -> (World, String, Value) {
    let world = World::new().await;
    let admin = world.user("root", &[Role::Owner]).await;
    let ada = world.user("ada", &[]).await;
    let (template, _) = world.template(&admin, "linux", json!([])).await;
    let workspace = world.workspace(&ada, &template, "dev").await;
    let (agent, token) = (AgentId(Uuid::new_v4()), Uuid::new_v4().to_string());
    let mut finish = up(agent, &token);
    finish["resources"][0]["agents"][0]["apps"] = json!([
        { "id": Uuid::new_v4(), "slug": "code", "url": "http://localhost:1", "subdomain": true, "share": "owner" },
        { "id": Uuid::new_v4(), "slug": "team", "url": "http://localhost:2/?a=b", "subdomain": true, "share": "authenticated" },
        { "id": Uuid::new_v4(), "slug": "open", "url": "http://localhost:3/sub", "share": "public" },
        { "id": Uuid::new_v4(), "slug": "docs", "url": "https://example.com", "external": true, "share": "public" },
    ]);
    world.run(JobId::Build(workspace["latest_build"]["id"].as_str().unwrap().parse().unwrap()), finish).await;
    world.connect(agent, &token).await;
    (world, ada, workspace)
}

/// What a relay hears that asks for a browser.
async fn ask(world: &World, app: &str, more: Value) -> Value {
    let mut body = json!({ "app": app, "endpoint_id": RELAY_ENDPOINT });
    body.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
    world.nobody().post("/api/v2/applications/admission", body).await.is(200)
}

fn state(nonce: &str) -> String {
    hex::encode(Sha256::digest(nonce))
}

fn location(answer: &Answer) -> &str {
    assert_eq!(answer.status, 303, "{answer:?}");
    answer.headers["location"].to_str().unwrap()
}

/// The hop of somebody who is signed in: the ticket.
async fn hop(world: &World, session: &str, app: &str) -> String {
    let path = format!(
        "/api/v2/applications/auth-redirect?redirect_uri=https%3A%2F%2F{app}.apps.example.com%2Fa%3Fb%3Dc&state={}",
        state(NONCE)
    );
    let answer = world.by(session).get(&path).await;
    let ticket = location(&answer).strip_prefix(&format!("https://{app}.apps.example.com/a?b=c&berth_app_ticket="));
    ticket.unwrap_or_else(|| panic!("{answer:?}")).to_owned()
}

/// The cookie that a hop ends with.
async fn enter(world: &World, session: &str, app: &str) -> String {
    let ticket = hop(world, session, app).await;
    let entered = ask(world, app, json!({ "entry": { "ticket": ticket, "nonce": NONCE } })).await;
    entered["session"].as_str().unwrap_or_else(|| panic!("{entered}")).to_owned()
}

async fn kind(world: &World, app: &str, cookie: &str) -> String {
    let more = if cookie.is_empty() { json!({}) } else { json!({ "session": cookie }) };
    ask(world, app, more).await["view"]["kind"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_sign_in_gets_to_one_host_once_and_opens_one_port() {
    let (world, ada, _) = world().await;
    let app = "code--main--dev--ada";
    assert_eq!(kind(&world, app, "").await, "sign_in");
    let ticket = hop(&world, &ada, app).await;
    let entry = |ticket: &str, nonce: &str| json!({ "entry": { "ticket": ticket, "nonce": nonce } });
    for (app, ticket, nonce) in
        [(app, ticket.as_str(), "another browser's"), ("team--main--dev--ada", ticket.as_str(), NONCE), (app, "garbage", NONCE)]
    {
        let refused = ask(&world, app, entry(ticket, nonce)).await;
        assert_eq!((refused["view"]["kind"].as_str(), refused.get("session")), (Some("sign_in"), None), "{refused}");
    }
    let many = (0..50).map(|_| ask(&world, app, entry(&ticket, NONCE)));
    let entered: Vec<_> =
        futures_util::future::join_all(many).await.into_iter().filter(|answer| answer.get("session").is_some()).collect();
    assert_eq!(entered.len(), 1, "it is good once");

    let opened = &entered[0]["view"];
    assert_eq!((opened["kind"].as_str(), opened["port"].as_u64(), opened["root"].as_str()), (Some("open"), Some(1), Some("/")));
    let key = world.app.signing.verifying();
    let claims = key.agent(opened["ticket"]["ticket"].as_str().unwrap()).unwrap();
    assert_eq!(
        (claims.eid.as_str(), claims.agent.as_str(), claims.only),
        (RELAY_ENDPOINT, AGENT_ENDPOINT, Some(Target::Tcp { port: 1 }))
    );
    assert_eq!(claims.name, "ada");

    let cookie = entered[0]["session"].as_str().unwrap();
    assert_eq!(kind(&world, app, cookie).await, "open");
    assert_eq!(kind(&world, "code--dev--ada", cookie).await, "sign_in", "another host of the same app");
    assert_eq!(kind(&world, app, &ticket).await, "sign_in", "a ticket is no cookie");
    assert_eq!(kind(&world, app, &ada).await, "sign_in", "nor is a session");
}

#[tokio::test]
async fn signing_out_ends_apps_and_so_does_a_suspension() {
    let (world, ada, _) = world().await;
    let app = "code--main--dev--ada";
    let cookie = enter(&world, &ada, app).await;
    assert_eq!(kind(&world, app, &cookie).await, "open");
    world.by(&ada).post("/api/v2/users/logout", json!({})).await.is(200);
    assert_eq!(kind(&world, app, &cookie).await, "sign_in");

    let bob = world.user("bob", &[]).await;
    let cookie = enter(&world, &bob, "team--main--dev--ada").await;
    assert_eq!(kind(&world, "team--main--dev--ada", &cookie).await, "open");
    let session = SessionToken::parse(&bob).unwrap();
    let (_, user) = world.store().session_and_user(session.id).await.unwrap().unwrap();
    let change = UserChange { suspended: Some(true), ..UserChange::default() };
    world.store().update_user(user.id, change, world.now()).await.unwrap();
    assert_eq!(kind(&world, "team--main--dev--ada", &cookie).await, "sign_in");
}

#[tokio::test]
async fn a_cookie_is_renewed_in_its_second_half() {
    let (world, ada, _) = world().await;
    let app = "code--main--dev--ada";
    let cookie = enter(&world, &ada, app).await;
    assert_eq!(ask(&world, app, json!({ "session": cookie })).await.get("session"), None);
    world.pass(31 * 60);
    let renewed = ask(&world, app, json!({ "session": cookie })).await;
    let fresh = renewed["session"].as_str().unwrap();
    let key = world.app.signing.verifying();
    assert!(key.app(fresh).unwrap().exp > key.app(&cookie).unwrap().exp);
}

#[tokio::test]
async fn each_sees_what_is_shared_with_them_and_nobody_learns_what_else_there_is() {
    let (world, ada, _) = world().await;
    let (bob, root) = (world.user("bob", &[]).await, world.user("olga", &[Role::Owner]).await);
    let table = [
        // app, nobody, bob, an owner of the deployment, ada
        ("code", ["sign_in", "missing", "missing", "open"]),
        ("team", ["sign_in", "open", "open", "open"]),
        ("open", ["open", "open", "open", "open"]),
        ("docs", ["unserved", "unserved", "unserved", "unserved"]),
        ("8080", ["sign_in", "missing", "missing", "open"]),
        ("none", ["sign_in", "missing", "missing", "missing"]),
    ];
    for (slug, wanted) in table {
        let app = format!("{slug}--main--dev--ada");
        let mut seen = vec![kind(&world, &app, "").await];
        for session in [&bob, &root, &ada] {
            let cookie = enter(&world, session, &app).await;
            seen.push(kind(&world, &app, &cookie).await);
        }
        assert_eq!(seen, wanted, "{app}");
    }
    // The short form, where there is one agent; and what does not exist.
    let cookie = enter(&world, &ada, "code--dev--ada").await;
    assert_eq!(kind(&world, "code--dev--ada", &cookie).await, "open");
    for none in ["code--other--dev--ada", "code--main--other--ada", "code--main--dev--nobody"] {
        let cookie = enter(&world, &bob, none).await;
        assert_eq!(
            (kind(&world, none, "").await, kind(&world, none, &cookie).await),
            ("sign_in".into(), "missing".into()),
            "{none}"
        );
    }
    let opened = ask(&world, "team--dev--ada", json!({ "session": enter(&world, &bob, "team--dev--ada").await })).await;
    assert_eq!(opened["view"]["root"], "/?a=b");
}

#[tokio::test]
async fn only_a_relay_may_ask_and_only_apps_are_gone_back_to() {
    let (world, ada, _) = world().await;
    for stranger in [CLIENT_ENDPOINT, AGENT_ENDPOINT] {
        let body = json!({ "app": "open--main--dev--ada", "endpoint_id": stranger });
        world.nobody().post("/api/v2/applications/admission", body).await.refused(403);
    }
    let body = json!({ "app": "open", "endpoint_id": RELAY_ENDPOINT });
    world.nobody().post("/api/v2/applications/admission", body).await.refused(400);
    let redirect = |to: &str, state: &str| format!("/api/v2/applications/auth-redirect?redirect_uri={to}&state={state}");
    for foreign in [
        "https%3A%2F%2Fevil.example%2F",
        "https%3A%2F%2Fweb--dev--ada.apps.example.com%40evil.example",
        "%2F%2Fevil",
        "javascript:alert(1)",
    ] {
        world.by(&ada).get(&redirect(foreign, &state(NONCE))).await.refused(400);
    }
    let good = "https%3A%2F%2Fweb--dev--ada.apps.example.com%2F";
    world.by(&ada).get(&redirect(good, "")).await.refused(400);
    world.by(&ada).get(&redirect(good, &"Z".repeat(64))).await.refused(400);
    // Somebody who is not signed in does that first, and comes back here.
    let answer = world.nobody().get(&redirect(good, &state(NONCE))).await;
    let back =
        location(&answer).strip_prefix("/login?redirect=/api/v2/applications/auth-redirect%3Fredirect_uri%3Dhttps%253A%252F%252F");
    assert!(back.is_some_and(|back| !back.contains('&')), "{answer:?}");
    assert_eq!(world.by(&ada).get("/api/v2/applications/host").await.is(200)["host"], "*.apps.example.com");
    let none = World::with(|config| config.apps_url = None).await;
    let eve = none.user("eve", &[]).await;
    none.by(&eve).get(&redirect(good, &state(NONCE))).await.refused(404);
    assert_eq!(none.by(&eve).get("/api/v2/applications/host").await.is(200)["host"], "");
}

#[tokio::test]
async fn a_stopped_workspace_is_started_by_who_may_and_never_by_looking() {
    let (world, ada, workspace) = world().await;
    let app = "code--main--dev--ada";
    let (bob, aud) = (world.user("bob", &[]).await, world.user("aud", &[Role::Auditor]).await);
    let (ada_cookie, bob_cookie, aud_cookie) =
        (enter(&world, &ada, app).await, enter(&world, &bob, app).await, enter(&world, &aud, app).await);
    let builds = format!("/api/v2/workspaces/{}/builds", workspace["id"].as_str().unwrap());
    let stop = world.by(&ada).post(&builds, json!({ "transition": "stop" })).await.is(201);
    world.run(JobId::Build(stop["id"].as_str().unwrap().parse().unwrap()), json!({ "outcome": { "kind": "succeeded" } })).await;
    let queued = world.queue.0.lock().unwrap().len();

    let seen = ask(&world, app, json!({ "session": ada_cookie })).await;
    assert_eq!(
        seen["view"],
        json!({ "kind": "away", "workspace": "ada/dev", "what": "is stopped", "coming": false, "may_start": true })
    );
    assert_eq!(ask(&world, app, json!({ "session": aud_cookie })).await["view"]["may_start"], false);
    assert_eq!((kind(&world, app, &bob_cookie).await, kind(&world, app, "").await), ("missing".into(), "sign_in".into()));
    assert_eq!(world.queue.0.lock().unwrap().len(), queued, "looking starts nothing");

    let start =
        async |cookie: &str| world.nobody().post("/api/v2/applications/start", json!({ "app": app, "session": cookie })).await;
    start("garbage").await.refused(401);
    start(&ada).await.refused(401);
    start(&bob_cookie).await.refused(404);
    start(&aud_cookie).await.refused(403);
    assert_eq!(world.queue.0.lock().unwrap().len(), queued);
    start(&ada_cookie).await.is(201);
    assert_eq!(world.queue.0.lock().unwrap().len(), queued + 1);
    start(&ada_cookie).await.refused(409);
    let seen = ask(&world, app, json!({ "session": ada_cookie })).await;
    assert_eq!(seen["view"]["what"], "is starting: build 3 waits for a runner");
    assert_eq!((seen["view"]["coming"].as_bool(), seen["view"]["may_start"].as_bool()), (Some(true), Some(false)));
}

#[tokio::test]
async fn an_agent_that_is_away_is_waited_for() {
    let (world, ada, _) = world().await;
    let app = "code--main--dev--ada";
    let cookie = enter(&world, &ada, app).await;
    let there: Vec<AgentId> = world.relay.0.lock().unwrap().drain().map(|((agent, _), _)| agent).collect();
    assert_eq!(there.len(), 1);
    let seen = ask(&world, app, json!({ "session": cookie })).await;
    assert_eq!(seen["view"]["what"], "is started, and its agent has yet to connect");
    assert_eq!(seen["view"]["coming"], true);
}
