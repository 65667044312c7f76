use super::*;
use berth_wire::runner::VolumeMonitor;
use serde_json::{Value, json};

const AGENT: &str = "11111111-1111-4111-8111-111111111111";
const OTHER: &str = "22222222-2222-4222-8222-222222222222";

fn instance(attributes: Value, dependencies: &[&str]) -> Value {
    json!({"schema_version": 1, "attributes": attributes, "dependencies": dependencies})
}

fn resource(kind: &str, name: &str, instances: Vec<Value>) -> Value {
    json!({"mode": "managed", "type": kind, "name": name, "provider": "provider[\"registry.terraform.io/coder/coder\"]", "instances": instances})
}

fn state(resources: Vec<Value>) -> Vec<u8> {
    json!({"version": 4, "serial": 1, "lineage": "l", "resources": resources}).to_string().into_bytes()
}

fn agent(name: &str, id: &str) -> Value {
    resource(
        "coder_agent",
        name,
        vec![instance(
            json!({"id": id, "token": "t0ken", "auth": "token", "os": "linux", "arch": "amd64",
        "dir": "/home", "env": {"A": "1"}, "startup_script": "echo hi", "connection_timeout": 60, "startup_script_behavior": "blocking",
        "display_apps": [{"vscode": false, "vscode_insiders": false, "web_terminal": true, "port_forwarding_helper": false, "ssh_helper": true}],
        "metadata": [{"key": "cpu", "script": "top", "interval": 10, "timeout": 1, "display_name": null}],
        "resources_monitoring": [{"memory": [{"enabled": true, "threshold": 80}], "volume": [
            {"path": "/off", "enabled": false, "threshold": 10}, {"path": "/home", "enabled": true, "threshold": 90}]}]}),
            &[],
        )],
    )
}

#[test]
fn an_agent_belongs_to_the_nearest_resource_that_depends_on_it() {
    let state = state(vec![
        resource("docker_volume", "home", vec![instance(json!({"id": "v"}), &[])]),
        agent("main", AGENT),
        resource("docker_container", "workspace", vec![instance(json!({"id": "c"}), &["coder_agent.main", "docker_volume.home"])]),
        // Depends on the agent too, but only through the container; and its address comes first.
        resource(
            "aws_route53_record",
            "name",
            vec![instance(json!({"id": "r"}), &["coder_agent.main", "docker_container.workspace"])],
        ),
    ]);
    let reading = read(&state).unwrap();
    let agents: Vec<_> = reading.resources.iter().map(|resource| (resource.kind.as_str(), resource.agents.len())).collect();
    assert_eq!(agents, [("aws_route53_record", 0), ("docker_container", 1), ("docker_volume", 0)]);
    let agent = &reading.resources[1].agents[0];
    assert_eq!((agent.name.as_str(), agent.id.to_string().as_str(), agent.connection_timeout_seconds), ("main", AGENT, 60));
    assert_eq!(agent.token.as_ref().unwrap().expose(), "t0ken");
    assert_eq!(agent.display_apps, ["web_terminal", "ssh_helper"]);
    assert_eq!(agent.metadata[0].display_name, "cpu");
    let home = VolumeMonitor { path: "/home".to_owned(), threshold: 90 };
    assert_eq!(
        (agent.monitors.memory, agent.monitors.volumes.as_slice()),
        (Some(80), [home].as_slice()),
        "what is off is left out"
    );
    let script = &agent.scripts[0];
    assert!(script.run_on_start && script.start_blocks_login && script.script == "echo hi");
    assert_eq!(read(&state).unwrap().resources[1].agents[0].scripts[0].id, script.id, "the id stays");
    assert!(reading.warnings.is_empty());
}

#[test]
fn an_agent_that_no_resource_uses_is_left_out_with_a_warning() {
    let reading =
        read(&state(vec![agent("main", AGENT), resource("docker_volume", "home", vec![instance(json!({"id": "v"}), &[])])]))
            .unwrap();
    assert!(reading.resources[0].agents.is_empty());
    assert_eq!(reading.warnings, ["no resource uses agent \"main\": it is not part of the workspace"]);
}

#[test]
fn module_instances_keep_their_own_agents() {
    let in_module = |key: &str, id: &str, kind: &str, dependencies: &[&str]| {
        let name = if kind == "coder_agent" { key } else { "vm" };
        let mut resource = resource(kind, name, vec![instance(json!({"id": id}), dependencies)]);
        resource["module"] = json!(format!("module.dev[\"{key}\"]"));
        resource
    };
    let state = state(vec![
        in_module("a", AGENT, "coder_agent", &[]),
        in_module("b", OTHER, "coder_agent", &[]),
        in_module("a", "1", "aws_instance", &["module.dev.coder_agent.a", "module.dev.coder_agent.b"]),
        in_module("b", "2", "aws_instance", &["module.dev.coder_agent.a", "module.dev.coder_agent.b"]),
    ]);
    let reading = read(&state).unwrap();
    let names: Vec<_> = reading.resources.iter().map(|resource| resource.agents[0].name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
}

#[test]
fn names_must_be_usable_and_unique() {
    let holder = |dependencies: &[&str]| resource("null_resource", "n", vec![instance(json!({"id": "n"}), dependencies)]);
    let bad = read(&state(vec![agent("my_agent", AGENT), holder(&["coder_agent.my_agent"])])).unwrap_err();
    assert!(matches!(bad, ResourceError::AgentName { .. }));
    let twice =
        read(&state(vec![agent("dev", AGENT), agent("Dev", OTHER), holder(&["coder_agent.dev", "coder_agent.Dev"])])).unwrap_err();
    assert!(matches!(twice, ResourceError::AgentTwice(_)), "{twice}");
    let app =
        |name: &str| resource("coder_app", name, vec![instance(json!({"id": OTHER, "agent_id": AGENT, "slug": "code"}), &[])]);
    let slug = read(&state(vec![agent("dev", AGENT), app("a"), app("b"), holder(&["coder_agent.dev"])])).unwrap_err();
    assert_eq!(slug, ResourceError::SlugTwice("code".to_owned()));
}

#[test]
fn environment_variables_are_merged_in_the_order_of_addresses() {
    let env = |name: &str, value: &str, strategy: &str| {
        resource(
            "coder_env",
            name,
            vec![instance(json!({"id": OTHER, "agent_id": AGENT, "name": "A", "value": value, "merge_strategy": strategy}), &[])],
        )
    };
    let holder = resource("null_resource", "n", vec![instance(json!({"id": "n"}), &["coder_agent.main"])]);
    let merged = |envs: Vec<Value>| read(&state([vec![agent("main", AGENT), holder.clone()], envs].concat()));
    let reading = merged(vec![env("b", "3", "prepend"), env("a", "2", "append")]).unwrap();
    assert_eq!(reading.resources[0].agents[0].env["A"], "3:1:2");
    let error = merged(vec![env("a", "2", "error")]).unwrap_err().to_string();
    assert_eq!(error, "coder_env.a: the environment variable A is already set");
}

#[test]
fn metadata_describes_the_resource_it_names_and_hides_what_is_sensitive() {
    let metadata = instance(
        json!({"id": OTHER, "resource_id": "c", "icon": "/i.svg", "daily_cost": 7, "hide": true, "item": [
        {"key": "size", "value": "big", "sensitive": false, "is_null": false},
        {"key": "password", "value": "hush", "sensitive": true, "is_null": false},
        {"key": "none", "value": "", "sensitive": false, "is_null": true}]}),
        &["docker_volume.home", "docker_container.c"],
    );
    let state = state(vec![
        resource("docker_volume", "home", vec![instance(json!({"id": "v"}), &[])]),
        resource("docker_container", "c", vec![instance(json!({"id": "c"}), &["docker_volume.home"])]),
        resource("coder_metadata", "m", vec![metadata]),
    ]);
    let reading = read(&state).unwrap();
    let container = &reading.resources[0];
    assert_eq!((container.hide, container.icon.as_str(), container.daily_cost), (true, "/i.svg", 7));
    let items: Vec<_> = container.metadata.iter().map(|item| (item.key.as_str(), item.value.as_str())).collect();
    assert_eq!(items, [("size", "big"), ("password", "")]);
}

#[test]
fn what_is_no_state_is_refused_and_an_empty_one_is_empty() {
    assert!(matches!(read(b"{"), Err(ResourceError::State(_))));
    assert!(matches!(read(br#"{"version": 3}"#), Err(ResourceError::State(_))));
    assert!(State::parse(&state(vec![])).unwrap().is_empty());
    let mut data = resource("coder_workspace", "me", vec![instance(json!({"id": "x"}), &[])]);
    data["mode"] = json!("data");
    assert!(State::parse(&state(vec![data])).unwrap().is_empty(), "data sources are nothing to destroy");
}

#[test]
fn an_instance_identity_agent_gets_its_machines_id() {
    let mut identified = agent("main", AGENT);
    identified["instances"][0]["attributes"]["auth"] = json!("aws-instance-identity");
    let machine = resource(
        "aws_instance",
        "dev",
        vec![instance(json!({"id": "i-123", "arn": "arn:aws:ec2:r:1:instance/i-123"}), &["coder_agent.main"])],
    );
    let reading = read(&state(vec![identified, machine])).unwrap();
    let agent = &reading.resources[0].agents[0];
    assert_eq!((agent.instance_id.as_str(), agent.token.is_none()), ("i-123", true));
    assert_eq!(agent.instance_arn, "arn:aws:ec2:r:1:instance/i-123");
}
