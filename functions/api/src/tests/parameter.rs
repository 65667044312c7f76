//! Answers to parameters: presets, what holds for one build only, what a newer version no longer allows, and limits.

use super::fixture::World;
use berth_domain::Role;
use berth_store::JobId;
use serde_json::{Value, json};

const LARGE: &str = "00000000-0000-4000-8000-00000000000a";
const MINE: &str = "/api/v2/users/me/workspaces";

fn asks() -> Value {
    json!([
        { "name": "region", "type": "string", "default": "us", "mutable": false },
        { "name": "cpus", "type": "number", "default": "2", "mutable": true, "rule": { "min": 1, "max": 8, "monotonic": "increasing" } },
        { "name": "debug", "type": "bool", "default": "false", "mutable": true, "ephemeral": true },
    ])
}

struct Story {
    world: World,
    admin: String,
    ada: String,
    template: String,
}

impl Story {
    /// A template with a preset that also answers what the template does not ask.
    async fn new() -> Self {
        let world = World::new().await;
        let (admin, ada) = (world.user("root", &[Role::Owner]).await, world.user("ada", &[]).await);
        let large = json!({ "id": LARGE, "name": "Large", "default": true, "description": "for builds", "prebuilds": 2,
            "parameters": [{ "name": "cpus", "value": "8" }, { "name": "gone", "value": "x" }] });
        let version = world.imported(&admin, None, json!({ "parameters": asks(), "presets": [large] })).await;
        let body = json!({ "name": "linux", "template_version_id": version });
        let template = world.by(&admin).post("/api/v2/organizations/default/templates", body).await.is(201);
        let template = template["id"].as_str().unwrap().to_owned();
        Self { world, admin, ada, template }
    }

    /// A workspace made with this more of the request.
    async fn made(&self, more: Value) -> Value {
        let mut body = json!({ "template_id": self.template, "name": "dev" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.world.by(&self.ada).post(MINE, body).await.is(201)
    }

    async fn build(&self, workspace: &Value, body: Value) -> super::fixture::Answer {
        self.world.by(&self.ada).post(&format!("/api/v2/workspaces/{}/builds", workspace["id"].as_str().unwrap()), body).await
    }

    async fn answers(&self, build: &Value) -> Vec<String> {
        let path = format!("/api/v2/workspacebuilds/{}/parameters", build["id"].as_str().unwrap());
        pairs(&self.world.by(&self.ada).get(&path).await.is(200))
    }

    /// Runs a build; what its runner was given as the values of the build before.
    async fn run(&self, build: &Value) -> Vec<String> {
        let job = job(build);
        let (session, claimed) = self.world.claim(job).await;
        let finish = format!("/api/v2/runner/jobs/{}/finish", job.uuid());
        self.world.by(&session).post(&finish, json!({ "outcome": { "kind": "succeeded" } })).await.is(204);
        pairs(&claimed["job"]["previous_parameters"])
    }
}

fn job(build: &Value) -> JobId {
    JobId::Build(build["id"].as_str().unwrap().parse().unwrap())
}

fn pairs(values: &Value) -> Vec<String> {
    let pair = |value: &Value| format!("{}={}", value["name"].as_str().unwrap(), value["value"].as_str().unwrap());
    values.as_array().unwrap().iter().map(pair).collect()
}

fn value(name: &str, value: &str) -> Value {
    json!({ "name": name, "value": value })
}

#[tokio::test]
async fn presets_are_listed_as_coder_does_and_win_over_what_is_given() {
    let story = Story::new().await;
    let version = story.world.by(&story.ada).get(&format!("/api/v2/templates/{}", story.template)).await.is(200);
    let path = format!("/api/v2/templateversions/{}/presets", version["active_version_id"].as_str().unwrap());
    let listed = story.world.by(&story.ada).get(&path).await.is(200);
    assert_eq!(
        listed,
        json!([{ "ID": LARGE, "Name": "Large", "Default": true, "DesiredPrebuildInstances": 2, "Description": "for builds", "Icon": "",
            "Parameters": [{ "Name": "cpus", "Value": "8" }, { "Name": "gone", "Value": "x" }] }])
    );
    let dev = story.made(json!({ "template_version_preset_id": LARGE, "rich_parameter_values": [value("cpus", "3")] })).await;
    assert_eq!(dev["latest_build"]["template_version_preset_id"], LARGE);
    assert_eq!(story.answers(&dev["latest_build"]).await, ["region=us", "cpus=8", "debug=false"]);
    story.run(&dev["latest_build"]).await;
    let unknown = json!({ "transition": "start", "template_version_preset_id": "00000000-0000-4000-8000-00000000000b" });
    let refused = story.build(&dev, unknown).await.is(400);
    assert_eq!(refused["validations"][0]["field"], "template_version_preset_id");
    let next = story.build(&dev, json!({ "transition": "start" })).await.is(201);
    assert_eq!(next["template_version_preset_id"], Value::Null, "a preset is a build's own");
    assert_eq!(story.answers(&next).await, ["region=us", "cpus=8", "debug=false"], "its answers stay");
}

#[tokio::test]
async fn an_ephemeral_answer_is_seen_once_and_gone_at_the_next_build() {
    let story = Story::new().await;
    let dev = story.made(json!({ "rich_parameter_values": [value("debug", "true")] })).await;
    assert_eq!(story.answers(&dev["latest_build"]).await, ["region=us", "cpus=2", "debug=true"]);
    assert!(story.run(&dev["latest_build"]).await.is_empty());
    for transition in ["stop", "start"] {
        let build = story.build(&dev, json!({ "transition": transition })).await.is(201);
        assert_eq!(story.answers(&build).await, ["region=us", "cpus=2", "debug=false"], "{transition}");
        assert_eq!(story.run(&build).await, ["region=us", "cpus=2"], "{transition}: no ephemeral value is a previous one");
    }
}

#[tokio::test]
async fn an_immutable_answer_is_refused_by_name_and_a_number_only_grows() {
    let story = Story::new().await;
    let dev = story.made(json!({ "rich_parameter_values": [value("cpus", "4")] })).await;
    story.run(&dev["latest_build"]).await;
    let body =
        json!({ "transition": "start", "rich_parameter_values": [value("region", "eu"), value("cpus", "3"), value("x", "1")] });
    let refused = story.build(&dev, body).await.is(400);
    let fields: Vec<_> = refused["validations"].as_array().unwrap().iter().map(|one| one["field"].as_str().unwrap()).collect();
    assert_eq!(fields, ["x", "region", "cpus"]);
    let detail = refused["validations"][2]["detail"].as_str().unwrap();
    assert!(detail.contains("must be equal to or greater than the previous value 4"), "{detail}");
}

#[tokio::test]
async fn a_newer_version_drops_what_it_does_not_ask_and_names_what_it_no_longer_allows() {
    let story = Story::new().await;
    let dev = story.made(json!({ "rich_parameter_values": [value("cpus", "4")] })).await;
    story.run(&dev["latest_build"]).await;
    let newer = json!([{ "name": "cpus", "type": "number", "mutable": false, "options": [{ "name": "Eight", "value": "8" }] }]);
    let newer = story.world.version(&story.admin, Some(&story.template), newer).await;
    let refused = story.build(&dev, json!({ "transition": "start", "template_version_id": newer })).await.is(400);
    assert_eq!(refused["message"], "parameter \"cpus\" needs another value than the one it has: \"4\" is not one of 8");
    let stop = story.build(&dev, json!({ "transition": "stop" })).await.is(201);
    story.run(&stop).await;
    let body = json!({ "transition": "start", "template_version_id": newer, "rich_parameter_values": [value("cpus", "8")] });
    let build = story.build(&dev, body).await.is(201);
    assert_eq!(story.answers(&build).await, ["cpus=8"]);
}

#[tokio::test]
async fn answers_have_limits() {
    let story = Story::new().await;
    let create = async |values: Vec<Value>| {
        let body = json!({ "template_id": story.template, "name": "dev", "rich_parameter_values": values });
        story.world.by(&story.ada).post(MINE, body).await.is(400)["validations"][0]["field"].clone()
    };
    assert_eq!(create((0..129).map(|index| value(&index.to_string(), "")).collect()).await, "rich_parameter_values");
    assert_eq!(create(vec![value("region", &"x".repeat(32 * 1024 + 1))]).await, "region");
    let many: Vec<_> = (0..4).map(|index| json!({ "name": format!("p{index}"), "type": "string" })).collect();
    let (template, _) = story.world.template(&story.admin, "many", json!(many)).await;
    let values: Vec<_> = (0..4).map(|index| value(&format!("p{index}"), &"x".repeat(32 * 1024))).collect();
    let body = json!({ "template_id": template, "name": "dev", "rich_parameter_values": values });
    assert_eq!(story.world.by(&story.ada).post(MINE, body).await.is(400)["validations"][0]["field"], "rich_parameter_values");
}
