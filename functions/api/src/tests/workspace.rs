//! Workspaces: create, find, list, schedule; what others see of them.

use super::fixture::World;
use berth_domain::Role;
use berth_store::JobId;
use serde_json::{Value, json};

const MINE: &str = "/api/v2/users/me/workspaces";

fn asks() -> Value {
    json!([
        { "name": "region", "type": "string", "mutable": false, "options": [{ "name": "US", "value": "us" }, { "name": "EU", "value": "eu" }] },
        { "name": "cpus", "type": "number", "default": "2", "mutable": true, "rule": { "min": 1, "max": 8 } },
    ])
}

#[tokio::test]
async fn a_workspace_is_made_built_and_found_by_all_its_names() {
    let world = World::new().await;
    let (admin, ada) = (world.user("root", &[Role::Owner]).await, world.user("ada", &[]).await);
    let (template, version) = world.template(&admin, "linux", asks()).await;
    let body = json!({ "template_id": template, "name": "Dev", "rich_parameter_values": [{ "name": "region", "value": "eu" }] });
    let made = world.by(&ada).post(MINE, body.clone()).await.is(201);
    let build = &made["latest_build"];
    assert_eq!(
        (&made["name"], &made["owner_name"], &build["status"], &build["build_number"]),
        (&json!("Dev"), &json!("ada"), &json!("pending"), &json!(1))
    );
    assert_eq!((&build["template_version_id"], &made["outdated"]), (&json!(version), &json!(false)));
    let job = JobId::Build(build["id"].as_str().unwrap().parse().unwrap());
    assert_eq!(world.queue.0.lock().unwrap().last(), Some(&job));
    let taken = world.by(&ada).post(MINE, body).await.is(409);
    assert_eq!(taken["validations"][0]["field"], "name");

    let (agent, _) = world.up(&made).await;
    let id = made["id"].as_str().unwrap();
    let shown = world.by(&ada).get(&format!("/api/v2/workspaces/{id}")).await.is(200);
    let seen = &shown["latest_build"]["resources"][0]["agents"][0];
    assert_eq!(
        (&shown["latest_build"]["status"], &seen["id"], &seen["status"], &seen["lifecycle_state"]),
        (&json!("running"), &json!(agent), &json!("connecting"), &json!("created"))
    );
    assert_eq!(seen["apps"][0]["subdomain_name"], "code--main--Dev--ada");
    assert!(!shown.to_string().contains("canary"), "no environment, no script text");
    assert_eq!(world.by(&ada).get("/api/v2/users/me/workspace/dev").await.is(200)["id"], json!(id));
    assert_eq!(world.by(&ada).get("/api/v2/users/ADA/workspace/DEV").await.is(200)["id"], json!(id));
    let build_path = format!("/api/v2/workspacebuilds/{}", job.uuid());
    assert_eq!(
        world.by(&ada).get(&format!("{build_path}/parameters")).await.is(200),
        json!([{ "name": "region", "value": "eu" }, { "name": "cpus", "value": "2" }])
    );
    assert_eq!(world.by(&ada).get(&format!("{build_path}/resources")).await.is(200)[0]["name"], "dev");
    assert_eq!(world.by(&ada).get(&build_path).await.is(200)["daily_cost"], 3);

    world.version(&admin, Some(&template), json!([])).await;
    let newer = world.version(&admin, Some(&template), asks()).await;
    world.by(&admin).patch(&format!("/api/v2/templates/{template}/versions"), json!({ "id": newer })).await.is(200);
    let shown = world.by(&ada).get(&format!("/api/v2/workspaces/{id}")).await.is(200);
    assert_eq!((&shown["outdated"], &shown["template_active_version_id"]), (&json!(true), &json!(newer)));
}

#[tokio::test]
async fn a_bad_request_names_every_field() {
    let world = World::new().await;
    let admin = world.user("root", &[Role::Owner]).await;
    let (template, version) = world.template(&admin, "linux", asks()).await;
    let value = |name: &str, value: &str| json!({ "name": name, "value": value });
    let good = value("region", "us");
    let nothing = "00000000-0000-4000-8000-000000000000";
    for (body, fields) in [
        (json!({ "template_id": template, "name": "a_b", "rich_parameter_values": [good] }), vec!["name"]),
        (json!({ "template_id": template, "name": "new", "rich_parameter_values": [good] }), vec!["name"]),
        (json!({ "template_id": template, "name": "x".repeat(33), "rich_parameter_values": [good] }), vec!["name"]),
        (json!({ "template_id": template }), vec!["name"]),
        (json!({ "name": "dev" }), vec!["template_id"]),
        (json!({ "name": "dev", "template_id": nothing }), vec!["template_id"]),
        (json!({ "name": "dev", "template_version_id": nothing }), vec!["template_version_id"]),
        (json!({ "name": "dev", "template_id": template, "template_version_id": version }), vec!["template_version_id"]),
        (json!({ "name": "dev", "template_id": template }), vec!["region"]),
        (
            json!({ "name": "dev", "template_id": template, "rich_parameter_values": [value("region", "mars"), value("cpus", "9"), value("what", "1")] }),
            vec!["what", "region", "cpus"],
        ),
        (json!({ "name": "dev", "template_id": template, "rich_parameter_values": [good], "ttl_ms": 5 }), vec!["ttl_ms"]),
        (
            json!({ "name": "dev", "template_id": template, "rich_parameter_values": [good], "autostart_schedule": "daily" }),
            vec!["autostart_schedule"],
        ),
        (
            json!({ "name": "dev", "template_id": template, "rich_parameter_values": [good], "autostart_schedule": "CRON_TZ=Mars/Base 0 9 * * 1-5" }),
            vec!["autostart_schedule"],
        ),
    ] {
        let answer = world.by(&admin).post(MINE, body.clone()).await.is(400);
        let refused: Vec<_> = answer["validations"].as_array().unwrap().iter().map(|one| one["field"].as_str().unwrap()).collect();
        assert_eq!(refused, fields, "{body}");
    }
    assert_eq!(world.by(&admin).get("/api/v2/workspaces").await.is(200)["count"], 0);
}

#[tokio::test]
async fn a_list_shows_what_one_may_see_and_the_query_wants() {
    let world = World::new().await;
    let admin = world.user("root", &[Role::Owner]).await;
    let (ada, bob) = (world.user("ada", &[]).await, world.user("bob", &[]).await);
    let (linux, _) = world.template(&admin, "linux", json!([])).await;
    let (gpu, _) = world.template(&admin, "gpu", json!([])).await;
    let dev = world.workspace(&ada, &linux, "dev").await;
    world.workspace(&ada, &gpu, "train").await;
    world.workspace(&bob, &linux, "dev").await;
    world.up(&dev).await;
    let names = async |token: &str, query: &str| {
        let list = world.by(token).get(&format!("/api/v2/workspaces?{query}")).await.is(200);
        let name = |one: &Value| format!("{}/{}", one["owner_name"].as_str().unwrap(), one["name"].as_str().unwrap());
        (list["workspaces"].as_array().unwrap().iter().map(name).collect::<Vec<_>>().join(" "), list["count"].as_u64().unwrap())
    };
    assert_eq!(names(&ada, "").await, ("ada/dev ada/train".into(), 2));
    assert_eq!(names(&admin, "").await, ("ada/dev ada/train bob/dev".into(), 3));
    assert_eq!(names(&bob, "q=owner:ada").await, (String::new(), 0));
    assert_eq!(names(&admin, "q=owner:me").await, (String::new(), 0));
    assert_eq!(names(&admin, "q=owner:ada+template:linux").await, ("ada/dev".into(), 1));
    assert_eq!(names(&ada, "q=status:running").await, ("ada/dev".into(), 1));
    assert_eq!(names(&ada, "q=tra").await, ("ada/train".into(), 1));
    assert_eq!(names(&admin, "q=ada%2Fdev").await, ("ada/dev".into(), 1));
    assert_eq!(names(&admin, "limit=1&offset=1").await, ("ada/train".into(), 3));
    let refused = world.by(&ada).get("/api/v2/workspaces?q=colour:red").await.is(400);
    assert_eq!(refused["validations"][0]["field"], "q");
}

#[tokio::test]
async fn another_persons_workspace_looks_like_none() {
    let world = World::new().await;
    let admin = world.user("root", &[Role::Owner]).await;
    let (ada, bob) = (world.user("ada", &[]).await, world.user("bob", &[]).await);
    let (template, _) = world.template(&admin, "linux", json!([])).await;
    let dev = world.workspace(&ada, &template, "dev").await;
    let there = world.by(&bob).get(&format!("/api/v2/workspaces/{}", dev["id"].as_str().unwrap())).await;
    let nowhere = world.by(&bob).get("/api/v2/workspaces/00000000-0000-4000-8000-000000000000").await;
    assert_eq!((there.status, &there.bytes), (nowhere.status, &nowhere.bytes));
    let there = world.by(&bob).get("/api/v2/users/ada/workspace/dev").await;
    for path in ["ada/workspace/none", "nobody/workspace/dev", "no..body/workspace/dev"] {
        let nowhere = world.by(&bob).get(&format!("/api/v2/users/{path}")).await;
        assert_eq!((there.status, &there.bytes), (nowhere.status, &nowhere.bytes));
    }
    let for_ada = world.by(&bob).post("/api/v2/users/ada/workspaces", json!({ "template_id": template, "name": "x" })).await;
    let for_none = world.by(&bob).post("/api/v2/users/nobody/workspaces", json!({ "template_id": template, "name": "x" })).await;
    assert_eq!((for_ada.status.as_u16(), &for_ada.bytes), (404, &for_none.bytes));
    let made = world
        .by(&admin)
        .post("/api/v2/organizations/default/members/ada/workspaces", json!({ "template_id": template, "name": "gift" }))
        .await
        .is(201);
    assert_eq!((&made["owner_name"], &made["latest_build"]["initiator_name"]), (&json!("ada"), &json!("root")));
}

#[tokio::test]
async fn a_schedule_is_set_and_taken_away_and_use_is_noted_seldom() {
    let world = World::new().await;
    let admin = world.user("root", &[Role::Owner]).await;
    let (template, _) = world.template(&admin, "linux", json!([])).await;
    let dev = world.workspace(&admin, &template, "dev").await;
    let path = format!("/api/v2/workspaces/{}", dev["id"].as_str().unwrap());
    let put = async |what: &str, body: Value| world.by(&admin).put(&format!("{path}/{what}"), body.to_string()).await;
    put("autostart", json!({ "schedule": "CRON_TZ=Europe/Berlin 30 9 * * 1-5" })).await.is(204);
    put("ttl", json!({ "ttl_ms": 3_600_000 })).await.is(204);
    let shown = world.by(&admin).get(&path).await.is(200);
    assert_eq!((&shown["autostart_schedule"], &shown["ttl_ms"]), (&json!("CRON_TZ=Europe/Berlin 30 9 * * 1-5"), &json!(3_600_000)));
    put("autostart", json!({ "schedule": null })).await.is(204);
    put("ttl", json!({ "ttl_ms": 0 })).await.is(204);
    assert_eq!(put("ttl", json!({ "ttl_ms": 1 })).await.is(400)["validations"][0]["field"], "ttl_ms");
    let shown = world.by(&admin).get(&path).await.is(200);
    assert_eq!((&shown["autostart_schedule"], &shown["ttl_ms"]), (&Value::Null, &Value::Null));

    world.pass(3600);
    world.by(&admin).post(&format!("{path}/usage"), json!({})).await.is(204);
    let before = world.store().meter();
    world.by(&admin).post(&format!("{path}/usage"), json!({})).await.is(204);
    assert_eq!((world.store().meter() - before).writes, 0, "a minute's use is one write");
}

#[tokio::test]
async fn showing_a_workspace_and_a_list_costs_two_and_three_requests() {
    let world = World::new().await;
    let admin = world.user("root", &[Role::Owner]).await;
    let (template, _) = world.template(&admin, "linux", json!([])).await;
    let dev = world.workspace(&admin, &template, "dev").await;
    world.up(&dev).await;
    let path = format!("/api/v2/workspaces/{}", dev["id"].as_str().unwrap());
    world.by(&admin).get(&path).await.is(200);
    let before = world.store().meter();
    world.by(&admin).get(&path).await.is(200);
    let cost = world.store().meter() - before;
    assert_eq!((cost.requests(), cost.writes), (2, 0), "who asks, and the workspace with its agents");
    let before = world.store().meter();
    world.by(&admin).get("/api/v2/workspaces?q=owner:me").await.is(200);
    let cost = world.store().meter() - before;
    assert_eq!((cost.requests(), cost.writes), (3, 0), "who asks, the list, the agents of its page");
}

#[tokio::test]
async fn a_workspace_is_stopped_when_its_template_or_its_owner_says() {
    let world = World::new().await;
    let (admin, ada) = (world.user("root", &[Role::Owner]).await, world.user("ada", &[]).await);
    let (template, _) = world.template(&admin, "linux", json!([])).await;
    let limits = json!({ "default_ttl_ms": 3_600_000, "max_ttl_ms": 7_200_000 });
    world.by(&admin).patch(&format!("/api/v2/templates/{template}"), limits).await.is(200);
    let made = world.workspace(&ada, &template, "dev").await;
    assert_eq!((&made["latest_build"]["deadline"], &made["ttl_ms"]), (&Value::Null, &Value::Null));
    let path = format!("/api/v2/workspaces/{}", made["id"].as_str().unwrap());
    let extend = |seconds: i64| json!({ "deadline": world.now() + jiff::SignedDuration::from_secs(seconds) }).to_string();
    let stopped = world.by(&ada).put(&format!("{path}/extend"), extend(60)).await.refused(409);
    assert_eq!(stopped, "the workspace does not run: there is no stop to put off");
    world.up(&made).await;
    let deadlines = async || {
        let build = world.by(&ada).get(&path).await.is(200)["latest_build"].clone();
        let at = |field: &str| {
            build[field].as_str().map(|text| text.parse::<jiff::Timestamp>().unwrap().duration_since(world.now()).as_secs())
        };
        (at("deadline"), at("max_deadline"))
    };
    assert_eq!(deadlines().await, (Some(3600), Some(7200)));
    world.by(&ada).put(&format!("{path}/extend"), extend(5400)).await.is(200);
    assert_eq!(deadlines().await, (Some(5400), Some(7200)));
    let beyond = world.by(&ada).put(&format!("{path}/extend"), extend(9000)).await.refused(400);
    assert!(beyond.starts_with("deadline: the template lets it run until "), "{beyond}");
    world.by(&ada).put(&format!("{path}/extend"), extend(-1)).await.refused(400);
    world.by(&ada).put(&format!("{path}/ttl"), json!({ "ttl_ms": null }).to_string()).await.is(204);
    assert_eq!(deadlines().await, (Some(7200), Some(7200)), "the owner's never is the template's maximum");
}

#[tokio::test]
async fn a_workspace_is_renamed_by_its_owner() {
    let world = World::new().await;
    let (admin, ada) = (world.user("root", &[Role::Owner]).await, world.user("ada", &[]).await);
    let (template, _) = world.template(&admin, "linux", json!([])).await;
    let (dev, other) = (world.workspace(&ada, &template, "dev").await, world.workspace(&ada, &template, "other").await);
    world.up(&other).await;
    let path = |of: &Value| format!("/api/v2/workspaces/{}", of["id"].as_str().unwrap());
    let name = |name: &str| json!({ "name": name });
    let busy = world.by(&ada).patch(&path(&dev), name("work")).await.refused(409);
    assert_eq!(busy, "build 1 of the workspace has not ended: wait for it, or cancel it");
    world.up(&dev).await;
    let taken = world.by(&ada).patch(&path(&dev), name("Other")).await.is(409);
    assert_eq!(taken["validations"][0]["field"], "name");
    world.by(&ada).patch(&path(&dev), name("a_b")).await.refused(400);
    world.by(&ada).patch(&path(&dev), name("work")).await.is(204);
    assert_eq!(world.by(&ada).get("/api/v2/users/me/workspace/work").await.is(200)["id"], dev["id"]);
    world.by(&ada).get("/api/v2/users/me/workspace/dev").await.refused(404);
}

#[tokio::test]
async fn use_puts_off_the_stop_at_most_once_a_minute() {
    let world = World::new().await;
    let (admin, ada) = (world.user("root", &[Role::Owner]).await, world.user("ada", &[]).await);
    let (template, _) = world.template(&admin, "linux", json!([])).await;
    let limits = json!({ "default_ttl_ms": 3_600_000, "activity_bump_ms": 3_600_000 });
    world.by(&admin).patch(&format!("/api/v2/templates/{template}"), limits).await.is(200);
    let made = world.workspace(&ada, &template, "dev").await;
    let (agent, token) = world.up(&made).await;
    world.connect(agent, &token).await;
    let path = format!("/api/v2/workspaces/{}", made["id"].as_str().unwrap());
    let left = async || {
        let shown = world.by(&ada).get(&path).await.is(200)["latest_build"]["deadline"].clone();
        shown.as_str().unwrap().parse::<jiff::Timestamp>().unwrap().duration_since(world.now()).as_secs()
    };
    assert_eq!(left().await, 3600);
    world.pass(600);
    let ticket = format!("/api/v2/workspaceagents/{agent}/ticket");
    let endpoint = json!({ "endpoint_id": super::fixture::CLIENT_ENDPOINT });
    world.by(&ada).post(&ticket, endpoint.clone()).await.is(200);
    assert_eq!(left().await, 3600, "to connect is to use");
    world.pass(30);
    let before = world.store().meter();
    world.by(&ada).post(&ticket, endpoint).await.is(200);
    assert_eq!((world.store().meter() - before).writes, 0);
    world.pass(60);
    world.by(&ada).post(&format!("{path}/usage"), json!({})).await.is(204);
    assert_eq!(left().await, 3600);
}
