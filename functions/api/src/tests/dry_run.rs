//! Dry runs: who may ask for one and see it, what the runner is told, and what is left of it.

use super::fixture::{World, archive, up};
use berth_domain::{AgentId, Role};
use berth_store::JobId;
use serde_json::{Value, json};
use uuid::Uuid;

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_dry_run_is_the_first_start_of_a_workspace_that_is_never_there() {
    let world = World::new().await;
    let (admin, bob, eve) =
        (world.user("ada", &[Role::TemplateAdmin]).await, world.user("bob", &[]).await, world.user("eve", &[]).await);
    let size = json!([{ "name": "size", "type": "string", "default": "small", "mutable": true }]);
    let (_, version) = world.template(&admin, "linux", size).await;
    let path = format!("/api/v2/templateversions/{version}/dry-run");
    let wish = json!({ "workspace_name": "dev", "rich_parameter_values": [{ "name": "size", "value": "large" }] });
    let job = world.by(&bob).post(&path, wish).await.is(201);
    assert_eq!(job["status"], "pending");
    let id = text(&job["id"]);
    let one = |part: &str| format!("{path}/{id}{part}");
    assert_eq!(*world.queue.0.lock().unwrap().last().unwrap(), JobId::DryRun(id.parse().unwrap()));
    assert!(world.by(&bob).get(&one("/resources")).await.refused(400).contains("has not ended"));

    let (session, claimed) = world.claim(JobId::DryRun(id.parse().unwrap())).await;
    let told = &claimed["job"];
    assert_eq!(
        (&told["kind"], &told["workspace_name"], &told["transition"], &told["owner"]["username"], &told["parameters"][0]["value"]),
        (&json!("dry_run"), &json!("dev"), &json!("start"), &json!("bob"), &json!("large"))
    );
    let runner = |part: &str| format!("/api/v2/runner/jobs/{id}/{part}");
    assert_eq!(world.by(&session).get(&runner("archive")).await.bytes[..], archive(&[("main.tf", "terraform {}")])[..]);
    let state = world.by(&session).put(&runner("state"), "{}").await;
    assert!(state.status.is_client_error(), "there is no state to keep: {state:?}");
    world.by(&session).put(&runner("modules"), "tar").await.refused(409);
    let line =
        json!([{ "created_at": world.now(), "source": "provisioner", "level": "info", "stage": "Planning", "output": "Plan: 1" }]);
    world.by(&session).post(&runner("logs"), line).await.is(204);
    let finish = up(AgentId(Uuid::from_u128(9)), "token-canary");
    world.by(&session).post(&runner("finish"), finish).await.is(204);

    for person in [&bob, &admin] {
        assert_eq!(world.by(person).get(&one("")).await.is(200)["status"], "succeeded");
        assert_eq!(world.by(person).get(&one("/logs")).await.is(200)[0]["output"], "Plan: 1");
        let resources = world.by(person).get(&one("/resources")).await.is(200);
        assert_eq!((&resources[0]["type"], &resources[0]["agents"][0]["name"]), (&json!("berth_process"), &json!("main")));
        assert!(!resources.to_string().contains("canary"), "{resources}");
    }
    for part in ["", "/resources", "/logs"] {
        world.by(&eve).get(&one(part)).await.refused(404);
    }
    world.by(&eve).patch(&one("/cancel"), json!({})).await.refused(404);
    assert_eq!(world.by(&bob).get("/api/v2/workspaces").await.is(200)["count"], 0);
}

#[tokio::test]
async fn a_dry_run_is_refused_as_the_workspace_would_be() {
    let world = World::new().await;
    let (admin, bob) = (world.user("ada", &[Role::TemplateAdmin]).await, world.user("bob", &[]).await);
    let disk = json!([{ "name": "disk", "type": "number", "default": null, "mutable": true }]);
    let (template, version) = world.template(&admin, "linux", disk).await;
    let path = format!("/api/v2/templateversions/{version}/dry-run");
    assert_eq!(world.by(&bob).post(&path, json!({})).await.is(400)["validations"][0]["field"], "disk");
    let answers = json!([{ "name": "disk", "value": "10" }]);
    let named = json!({ "workspace_name": "a b", "rich_parameter_values": answers });
    assert_eq!(world.by(&bob).post(&path, named).await.is(400)["validations"][0]["field"], "workspace_name");
    let variables = json!({ "rich_parameter_values": answers, "user_variable_values": [{ "name": "region", "value": "eu" }] });
    world.by(&bob).post(&path, variables.clone()).await.refused(403);
    world.by(&admin).post(&path, variables).await.is(201);
    let unbound = world.version(&admin, None, json!([])).await;
    world.by(&bob).post(&format!("/api/v2/templateversions/{unbound}/dry-run"), json!({})).await.refused(404);
    let change = json!({ "deprecation_message": "use mac" });
    world.by(&admin).patch(&format!("/api/v2/templates/{template}"), change).await.is(200);
    let refused = world.by(&bob).post(&path, json!({ "rich_parameter_values": answers })).await.refused(400);
    assert_eq!(refused, "template linux is deprecated: use mac");
}

#[tokio::test]
async fn a_dry_run_is_canceled_while_it_waits() {
    let world = World::new().await;
    let admin = world.user("ada", &[Role::TemplateAdmin]).await;
    let (_, version) = world.template(&admin, "linux", json!([])).await;
    let path = format!("/api/v2/templateversions/{version}/dry-run");
    let id = text(&world.by(&admin).post(&path, json!({})).await.is(201)["id"]);
    world.by(&admin).patch(&format!("{path}/{id}/cancel"), json!({})).await.is(200);
    assert_eq!(world.by(&admin).get(&format!("{path}/{id}")).await.is(200)["status"], "canceled");
    assert_eq!(world.by(&admin).get(&format!("{path}/{id}/resources")).await.is(200), json!([]));
    world.by(&admin).patch(&format!("{path}/{id}/cancel"), json!({})).await.refused(409);
}
