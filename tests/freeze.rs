//! Freezing: what a version needs is kept when it is pushed, and its builds ask nobody else for it.

use crate::harness::{Berth, finish, template};
use std::fs;

/// A git repository whose module says `word`.
fn module(berth: &Berth, word: &str) -> String {
    let directory = berth.home().join("module");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("main.tf"), format!("output \"word\" {{\n  value = \"{word}\"\n}}\n")).unwrap();
    let git = "git init -q . && git add . && git -c user.name=a -c user.email=a@b commit -q -m one";
    let made = finish(berth.program("sh").args(["-c", git]).current_dir(&directory));
    assert_eq!(made.code, Some(0), "{made:?}");
    directory.to_string_lossy().into_owned()
}

#[test]
fn a_workspace_is_built_after_its_templates_module_is_gone() {
    let berth = Berth::signed_in();
    let source = module(&berth, "kept-word");
    let main = format!(
        "module \"far\" {{\n  source = \"git::file://{source}\"\n}}\nresource \"terraform_data\" \"it\" {{\n  input = module.far.word\n}}\n"
    );
    let directory = template(&berth, "far", &main);
    berth.ok(&["templates", "push", "far", "--directory", &directory, "--yes"]);
    fs::remove_dir_all(&source).unwrap();
    berth.ok(&["create", "dev", "--template", "far", "--yes"]);
    let logs = berth.ok(&["logs", "dev"]);
    assert!(!logs.contains("Initializing"), "{logs}");
    berth.ok(&["stop", "dev", "--yes"]);
    berth.ok(&["start", "dev", "--yes"]);
    berth.ok(&["delete", "dev", "--yes"]);
}

#[test]
fn a_push_without_a_required_variable_says_which_flag_to_add() {
    let berth = Berth::signed_in();
    let directory =
        template(&berth, "asking", "variable \"region\" {}\nresource \"terraform_data\" \"it\" {\n  input = var.region\n}\n");
    let text = berth.fails(&["templates", "push", "asking", "--directory", &directory, "--yes"]);
    assert!(text.contains("--variable region=VALUE"), "{text}");
    assert_eq!(berth.json(&["templates", "list"]).as_array().unwrap().len(), 0, "no half-made template");
    berth.ok(&["templates", "push", "asking", "--directory", &directory, "--yes", "--variable", "region=eu"]);
}
