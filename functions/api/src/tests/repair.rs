//! Repairs: who may ask for what to be removed or adopted.

use super::fixture::World;
use berth_domain::Role;
use berth_store::JobId;
use serde_json::{Value, json};

struct Dev {
    world: World,
    root: String,
    ada: String,
    path: String,
}

/// Ada's workspace, which runs.
async fn dev() -> Dev {
    let world = World::new().await;
    let (root, ada) = (world.user("root", &[Role::Owner]).await, world.user("ada", &[]).await);
    let (template, _) = world.template(&root, "linux", json!([])).await;
    let workspace = world.workspace(&ada, &template, "dev").await;
    world.up(&workspace).await;
    let path = format!("/api/v2/workspaces/{}", workspace["id"].as_str().unwrap());
    Dev { world, root, ada, path }
}

impl Dev {
    async fn repair(&self, body: Value) -> Value {
        self.world.by(&self.ada).post(&format!("{}/repairs", self.path), body).await.is(201)
    }

    /// Ends a repair that found an instance; the repair as ada then sees it.
    async fn look(&self) -> Value {
        let repair = self.repair(json!({})).await;
        let id = repair["id"].as_str().unwrap();
        let found = json!([{ "type": "aws_instance", "id": "i-1", "what": "arn", "addresses": ["aws_instance.dev"] }]);
        let finish = json!({ "outcome": { "kind": "succeeded" }, "found": found });
        self.world.run(JobId::Repair(id.parse().unwrap()), finish).await;
        self.world.by(&self.ada).get(&format!("/api/v2/repairs/{id}")).await.is(200)
    }
}

#[tokio::test]
async fn a_runner_gets_the_workspace_as_for_a_start_and_what_it_found_is_shown() {
    let dev = dev().await;
    let repair = dev.repair(json!({})).await;
    let id = repair["id"].as_str().unwrap();
    let busy = dev.world.by(&dev.ada).post(&format!("{}/builds", dev.path), json!({ "transition": "stop" })).await.refused(409);
    assert_eq!(busy, "a repair of the workspace has not ended: wait for it, or cancel it");
    let (session, claimed) = dev.world.claim(JobId::Repair(id.parse().unwrap())).await;
    assert_eq!((&claimed["job"]["kind"], &claimed["job"]["build"]["transition"]), (&json!("repair"), &json!("start")));
    assert!(dev.world.by(&session).get(&format!("/api/v2/runner/jobs/{id}/archive")).await.status.is_success());
    dev.world
        .by(&session)
        .put(&format!("/api/v2/runner/jobs/{id}/state"), r#"{"version":4,"serial":1,"lineage":"l"}"#)
        .await
        .refused(404);
    dev.world.by(&dev.ada).patch(&format!("/api/v2/repairs/{id}/cancel"), json!({})).await.is(200);
    let finish = json!({ "outcome": { "kind": "canceled" } });
    dev.world.by(&session).post(&format!("/api/v2/runner/jobs/{id}/finish"), finish).await.is(204);
    let done = dev.look().await;
    assert_eq!((&done["job"]["status"], &done["found"][0]["id"]), (&json!("succeeded"), &json!("i-1")));
}

#[tokio::test]
async fn a_member_names_only_what_the_last_repair_found() {
    let dev = dev().await;
    let (repairs, builds) = (format!("{}/repairs", dev.path), format!("{}/builds", dev.path));
    let stray = |id: &str| json!({ "delete": [{ "type": "aws_instance", "id": id }] });
    let start = |to: &str, id: &str| json!({ "transition": "start", "imports": [{ "to": to, "id": id }] });
    let ada = || dev.world.by(&dev.ada);
    ada().post(&repairs, stray("i-1")).await.refused(400);
    ada().post(&builds, start("aws_instance.dev", "i-1")).await.refused(400);
    dev.look().await;
    let refused = ada().post(&repairs, stray("i-somebody-else")).await.refused(400);
    assert_eq!(refused, "delete: i-somebody-else was not found by the workspace's last repair");
    dev.world.by(&dev.root).post(&repairs, stray("i-somebody-else")).await.refused(400);
    ada().post(&builds, start("aws_instance.dev", "i-somebody-else")).await.refused(400);
    ada().post(&builds, start("aws_ebs_volume.dev", "i-1")).await.refused(400);
    ada().post(&builds, start("aws_instance.dev\n}\nresource", "i-1")).await.refused(400);
    ada().post(&builds, json!({ "transition": "stop", "imports": [{ "to": "aws_instance.dev", "id": "i-1" }] })).await.refused(400);

    let build = ada().post(&builds, start("aws_instance.dev", "i-1")).await.is(201);
    let job = JobId::Build(build["id"].as_str().unwrap().parse().unwrap());
    let (session, claimed) = dev.world.claim(job).await;
    assert_eq!(claimed["job"]["imports"], json!([{ "to": "aws_instance.dev", "id": "i-1" }]));
    let finish = format!("/api/v2/runner/jobs/{}/finish", job.uuid());
    dev.world.by(&session).post(&finish, json!({ "outcome": { "kind": "succeeded" } })).await.is(204);
    let any = dev.world.by(&dev.root).post(&builds, start("aws_instance.dev", "i-any")).await.is(201);
    let job = JobId::Build(any["id"].as_str().unwrap().parse().unwrap());
    dev.world.run(job, json!({ "outcome": { "kind": "succeeded" } })).await;
    ada().post(&repairs, stray("i-1")).await.is(201);
}
