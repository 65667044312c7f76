use super::*;
use serde_json::json;

const VERSION: Uuid = Uuid::from_u128(7);

fn resource(kind: &str, name: &str, values: Value) -> Value {
    json!({"address": format!("{kind}.{name}"), "mode": "managed", "type": kind, "name": name, "values": values, "sensitive_values": {}})
}

fn agent(name: &str) -> Value {
    resource(
        "coder_agent",
        name,
        json!({"os": "linux", "arch": "amd64", "auth": "token", "env": {"SECRET": "canary"}, "startup_script": "canary"}),
    )
}

fn plan(resources: &[Value], configuration: Value) -> Value {
    json!({"planned_values": {"root_module": {"resources": resources}}, "configuration": {"root_module": configuration}})
}

fn edges(pairs: &[(&str, &str)]) -> Graph {
    let line = |(from, to): &(&str, &str)| format!("\t\t\"[root] {from} (expand)\" -> \"[root] {to} (expand)\"\n");
    Graph::parse(&format!("digraph {{\n{}}}\n", pairs.iter().map(line).collect::<String>()))
}

#[test]
fn an_agent_is_placed_through_locals_and_its_apps_by_the_graph() {
    let resources = [
        agent("main"),
        resource("coder_app", "code", json!({"slug": "code", "share": "owner"})),
        resource("aws_instance", "vm", json!({"instance_type": "t3.small"})),
        resource("aws_eip", "ip", json!({})),
        resource("coder_metadata", "about", json!({"daily_cost": 7, "item": []})),
    ];
    let graph = edges(&[
        ("local.user_data", "coder_agent.main"),
        ("aws_instance.vm", "local.user_data"),
        ("aws_eip.ip", "aws_instance.vm"),
        ("coder_app.code", "coder_agent.main"),
        ("coder_metadata.about", "aws_instance.vm"),
    ]);
    let reading = read(&plan(&resources, json!({})), &graph, VERSION).unwrap();
    let [ip, vm] = reading.resources.as_slice() else { panic!("{reading:?}") };
    assert_eq!((ip.agents.len(), vm.agents.len(), vm.daily_cost), (0, 1, 7));
    let agent = &vm.agents[0];
    assert_eq!((agent.apps[0].slug.as_str(), agent.token.as_ref(), agent.instance_id.as_str()), ("code", None, ""));
    assert_eq!(agent.scripts.len(), 1);
    assert!(!format!("{reading:?}").contains("canary"));
    let again = read(&plan(&resources, json!({})), &graph, VERSION).unwrap();
    assert_eq!(again.resources[1].agents[0].id, agent.id, "an import that runs twice finds the same ids");
}

#[test]
fn what_an_attribute_names_wins_over_what_is_near() {
    let app = |name: &str| resource("coder_app", name, json!({"slug": name, "share": "owner"}));
    let resources = [
        agent("a"),
        agent("b"),
        app("of-b"),
        resource("aws_instance", "one", json!({})),
        resource("aws_instance", "two", json!({})),
    ];
    let graph = edges(&[
        ("aws_instance.one", "coder_agent.a"),
        ("aws_instance.two", "coder_agent.b"),
        ("coder_app.of-b", "coder_agent.a"),
        ("coder_app.of-b", "coder_agent.b"),
    ]);
    let expressions = json!({"agent_id": {"references": ["coder_agent.b[0].id", "coder_agent.b[0]", "coder_agent.b"]}});
    let configuration = json!({"resources": [{"address": "coder_app.of-b", "expressions": expressions}]});
    let reading = read(&plan(&resources, configuration), &graph, VERSION).unwrap();
    let apps: Vec<_> = reading.resources.iter().map(|resource| resource.agents[0].apps.len()).collect();
    assert_eq!(apps, [0, 1]);
}

#[test]
fn each_instance_of_a_module_keeps_its_own() {
    let in_module = |key: &str, kind: &str, values: Value| {
        let mut resource = resource(kind, "x", values);
        resource["address"] = json!(format!("module.dev[\"{key}\"].{kind}.x"));
        resource
    };
    let child = |key: &str| {
        json!({"address": format!("module.dev[\"{key}\"]"), "resources": [
            in_module(key, "coder_app", json!({"slug": key, "share": "owner"})),
            in_module(key, "docker_container", json!({})),
            {"address": "a", "mode": "data", "type": "coder_workspace", "name": "me", "values": {}},
        ]})
    };
    let mut plan = json!({"planned_values": {"root_module": {"child_modules": [child("one"), child("two")]}}});
    for (index, name) in ["one", "two"].into_iter().enumerate() {
        let mut agent = agent(&format!("agent-{name}"));
        agent["name"] = json!(format!("agent-{name}"));
        plan["planned_values"]["root_module"]["child_modules"][index]["resources"].as_array_mut().unwrap().push(agent);
    }
    let graph = edges(&[
        ("module.dev.docker_container.x", "module.dev.coder_agent.agent-one"),
        ("module.dev.docker_container.x", "module.dev.coder_agent.agent-two"),
        ("module.dev.coder_app.x", "module.dev.coder_agent.agent-one"),
        ("module.dev.coder_app.x", "module.dev.coder_agent.agent-two"),
    ]);
    let reading = read(&plan, &graph, VERSION).unwrap();
    let placed: Vec<_> = reading
        .resources
        .iter()
        .map(|resource| (resource.agents[0].name.as_str(), resource.agents[0].apps[0].slug.as_str()))
        .collect();
    assert_eq!(placed, [("agent-one", "one"), ("agent-two", "two")]);
}

#[test]
fn sensitive_values_are_taken_out_wherever_they_are() {
    let mut values = json!({"a": "canary", "b": {"c": "canary", "d": "plain"}, "e": [{"f": "canary"}, {"f": "plain"}]});
    redact(&mut values, &json!({"a": true, "b": {"c": true}, "e": [{"f": true}, {}]}));
    assert_eq!(values, json!({"a": null, "b": {"c": null, "d": "plain"}, "e": [{"f": null}, {"f": "plain"}]}));
}

#[test]
fn the_graph_reads_names_with_quotes_in_them() {
    let graph =
        Graph::parse("  \"[root] coder_agent.a (expand)\" -> \"[root] provider[\\\"registry.terraform.io/coder/coder\\\"]\"\n");
    assert_eq!(
        graph.dependencies("coder_agent.a").into_iter().collect::<Vec<_>>(),
        ["provider[\"registry.terraform.io/coder/coder\"]"]
    );
}
