//! Naming workspaces, listing them, asking for new ones.

use crate::{
    Person,
    deployment::{Deployment, Story},
};
use serde_json::json;

fn story() -> Story {
    Story { has_users: true, job: ("succeeded", ""), workspace: "stopped", parameters: json!([]), ..Story::default() }
}

#[test]
fn a_bad_name_is_refused_before_anything_is_asked() {
    let person = Person::new();
    for verb in ["show", "start", "stop", "restart", "update", "delete", "logs", "cancel", "ssh", "ping", "create"] {
        let seen = person.types(&format!("{verb} a_b"));
        assert_eq!(seen.code, 2, "{verb}: {seen:?}");
        assert!(
            seen.stderr.starts_with("error: \"a_b\" is not the name of a workspace\nhint: a name has letters"),
            "{}",
            seen.stderr
        );
    }
}

#[test]
fn an_unknown_workspace_says_what_to_do_and_ssh_fails_as_ssh_does() {
    let deployment = Deployment::tell(story());
    let person = Person::new().signed_in(&deployment.url);
    let expected = "error: workspace \"dvv\" does not exist\nhint: `berth list` shows yours, `berth create dvv` makes it\n";
    for (line, code) in [("show dvv", 1), ("ssh dvv -- true", 255), ("ssh --stdio dvv.berth", 255), ("ping dvv", 1)] {
        let seen = person.types(line);
        assert_eq!((seen.code, seen.stdout.as_str(), seen.stderr.as_str()), (code, "", expected), "{line}");
    }
}

#[test]
fn a_list_is_a_table_for_people_and_an_array_for_programs() {
    let deployment = Deployment::tell(story());
    let person = Person::new().signed_in(&deployment.url);
    let table = person.types("list").stdout;
    let words: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(words[0], ["WORKSPACE", "TEMPLATE", "STATUS", "BUILT", "NOTE"]);
    assert_eq!(words[1][..3], ["dev", "linux", "stopped"]);
    let list: serde_json::Value = serde_json::from_str(&person.types("list -o json").stdout).unwrap();
    assert_eq!(list[0]["name"], "dev");
}

#[test]
fn a_stopped_workspace_stays_stopped_when_asked_to() {
    let deployment = Deployment::tell(story());
    let person = Person::new().signed_in(&deployment.url);
    let seen = person.types("ssh --disable-autostart dev -- true");
    assert_eq!((seen.code, seen.stderr.as_str()), (255, "error: dev is stopped\nhint: `berth start dev` starts it\n"));
    assert!(deployment.heard().is_empty());
}

#[test]
fn a_missing_parameter_is_an_error_that_names_the_flag() {
    let parameter = json!([{"name": "cpu", "display_name": "", "description": "", "description_plaintext": "", "type": "number", "form_type": "",
        "mutable": true, "default_value": "", "icon": "", "options": [], "required": true, "ephemeral": false, "validation_min": 2}]);
    let deployment = Deployment::tell(Story { parameters: parameter, workspace: "running", ..story() });
    let person = Person::new().signed_in(&deployment.url);
    let seen = person.types("create dev -t linux -y");
    assert_eq!((seen.code, seen.stderr.as_str()), (2, "error: parameter \"cpu\" needs a value\nhint: --parameter cpu=2\n"));
    assert!(deployment.heard().is_empty());
    let seen = person.types("create dev -t linux -y --parameter cpu=4");
    assert_eq!(seen.code, 0, "{seen:?}");
    assert_eq!(deployment.heard()[0], r#"create [{"name":"cpu","value":"4"}]"#);
}

#[test]
fn an_unknown_template_says_so() {
    let deployment = Deployment::tell(story());
    let person = Person::new().signed_in(&deployment.url);
    let seen = person.types("create dev -t windows");
    assert_eq!(
        (seen.code, seen.stderr.as_str()),
        (1, "error: template \"windows\" does not exist\nhint: `berth templates list` shows them\n")
    );
}

#[test]
fn a_delete_without_a_yes_deletes_nothing() {
    let deployment = Deployment::tell(story());
    let person = Person::new().signed_in(&deployment.url);
    let seen = person.types("delete dev");
    assert_eq!(
        (seen.code, seen.stderr.as_str()),
        (2, "error: this needs a yes, and there is no terminal to ask on\nhint: add --yes\n")
    );
    assert!(deployment.heard().is_empty());
}

#[test]
fn an_agent_that_never_came_says_where_to_look() {
    let deployment = Deployment::tell(Story { workspace: "running", agent: "timeout", ..story() });
    let person = Person::new().signed_in(&deployment.url);
    let seen = person.types("ssh dev -- true");
    let expected = "error: agent main of dev did not connect within 120 seconds\nhint: read https://help.example/agents, and `berth logs dev`\n";
    assert_eq!((seen.code, seen.stderr.as_str()), (255, expected));
    let seen = person.types("ssh dev.gpu -- true");
    assert_eq!((seen.code, seen.stderr.as_str()), (255, "error: dev has no agent \"gpu\"\nhint: it has dev.main\n"));
}
