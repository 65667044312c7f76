//! Workspaces as a developer sees them.

use crate::harness::Berth;

#[test]
fn a_workspace_is_created_listed_shown_and_deleted() {
    life(&Berth::with_workspace());
}

/// What a developer sees of the running workspace `dev`, to its end and anew.
pub(crate) fn life(berth: &Berth) {
    let owner = berth.json(&["whoami"])["username"].as_str().unwrap().to_owned();
    let list = berth.json(&["list"]);
    assert_eq!(list.as_array().unwrap().len(), 1);
    assert_eq!(list[0]["name"], "dev");
    assert_eq!(list[0]["latest_build"]["status"], "running");
    assert!(berth.ok(&["list"]).contains("dev"));
    let agent = &berth.json(&["show", "dev"])["latest_build"]["resources"];
    assert!(agent.to_string().contains("\"lifecycle_state\":\"ready\""), "{agent}");

    for (query, found) in [
        ("owner:me", 1),
        ("owner:me status:running template:local", 1),
        ("owner:me name:de", 1),
        ("owner:me status:stopped", 0),
        (&format!("{owner}/dev"), 1),
        ("owner:bob", 0),
    ] {
        assert_eq!(berth.json(&["list", "--search", query]).as_array().unwrap().len(), found, "{query}");
    }
    let text = berth.fails(&["list", "--search", "colour:red"]);
    assert!(text.contains("colour") && text.contains("owner, name, template, status"), "{text}");

    berth.ok(&["delete", "dev", "--yes"]);
    assert_eq!(berth.json(&["list"]).as_array().unwrap().len(), 0);
    assert!(berth.fails(&["show", "dev"]).contains("dev"));
    berth.ok(&["create", "dev", "--template", "local", "--yes"]);
}

#[test]
fn bad_names_and_unknown_things_are_one_line_each() {
    let berth = Berth::with_template();
    for (arguments, word) in [
        (&["create", "a_b", "--template", "local", "--yes"][..], "a_b"),
        (&["create", "dev", "--template", "nothing", "--yes"], "nothing"),
        (&["show", "nobody"], "nobody"),
        (&["ssh", "nobody", "--", "true"], "nobody"),
        (&["start", "../../etc", "--yes"], "etc"),
    ] {
        let text = berth.fails(arguments);
        assert!(text.contains(word), "{arguments:?}: {text}");
        assert!(text.lines().filter(|line| line.starts_with("error: ")).count() == 1, "{arguments:?}: {text}");
    }
    assert_eq!(berth.json(&["list"]).as_array().unwrap().len(), 0, "nothing is half-made");
    berth.ok(&["create", "dev", "--template", "local", "--yes"]);
    let twice = berth.fails(&["create", "DEV", "--template", "local", "--yes"]);
    assert!(twice.to_lowercase().contains("dev"), "{twice}");
}
