//! Templates: push, pull, list, delete, and what is refused.

use crate::harness::{Berth, repository, template};

#[test]
fn a_template_is_pushed_pulled_listed_and_deleted() {
    let berth = Berth::with_template();
    assert_eq!(berth.json(&["templates", "list"])[0]["name"], "local");
    let copy = berth.home().join("copy");
    berth.ok(&["templates", "pull", "local", &copy.to_string_lossy()]);
    let original = std::fs::read(repository().join("templates/local/main.tf")).unwrap();
    assert_eq!(std::fs::read(copy.join("main.tf")).unwrap(), original);

    let started = berth.home().join("started");
    berth.ok(&["templates", "init", "--id", "local", &started.to_string_lossy()]);
    assert_eq!(std::fs::read(started.join("main.tf")).unwrap(), original);
    let again = berth.fails(&["templates", "init", "--id", "local", &started.to_string_lossy()]);
    assert!(again.contains("is not empty") && again.contains("hint: "), "{again}");

    berth.ok(&["create", "dev", "--template", "local", "--yes"]);
    let refused = berth.fails(&["templates", "delete", "local", "--yes"]);
    assert!(refused.contains("workspace"), "{refused}");
    berth.ok(&["delete", "dev", "--yes"]);
    berth.ok(&["templates", "delete", "local", "--yes"]);
    assert_eq!(berth.json(&["templates", "list"]).as_array().unwrap().len(), 0);
}

#[test]
fn a_syntax_error_is_shown_in_terraforms_words_with_file_and_line() {
    let berth = Berth::signed_in();
    let broken = template(&berth, "broken", "resource \"terraform_data\" \"a\" {\n  input = \n}\n");
    let text = berth.fails(&["templates", "push", "broken", "--directory", &broken, "--yes"]);
    assert!(text.contains("main.tf") && text.contains('2') && text.contains("Invalid expression"), "{text}");
    assert_eq!(berth.json(&["templates", "list"]).as_array().unwrap().len(), 0, "no half-made template");

    let unknown = template(
        &berth,
        "unknown",
        "resource \"coder_agent\" \"a\" {\n  os = \"linux\"\n  arch = \"amd64\"\n  colour = \"red\"\n}\n",
    );
    let text = berth.fails(&["templates", "push", "unknown", "--directory", &unknown, "--yes"]);
    assert!(text.contains("main.tf") && text.contains("colour"), "{text}");
}

/// A tar of one entry, written field by field so that it can be hostile.
fn archive(path: &str, kind: tar::EntryType, link: Option<&str>) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    let name = path.as_bytes();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name);
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(0);
    if let Some(link) = link {
        header.set_link_name(link).unwrap();
    }
    header.set_cksum();
    let mut builder = tar::Builder::new(Vec::new());
    let main = b"resource \"terraform_data\" \"a\" {}\n";
    let mut good = tar::Header::new_ustar();
    good.set_size(main.len() as u64);
    good.set_mode(0o644);
    good.set_cksum();
    builder.append_data(&mut good, "main.tf", &main[..]).unwrap();
    builder.append(&header, &[][..]).unwrap();
    builder.into_inner().unwrap()
}

#[tokio::test]
async fn a_hostile_archive_is_refused_before_anything_is_kept() {
    let berth = Berth::signed_in();
    let client = berth.client();
    for (name, bytes) in [
        ("..", archive("../escape.tf", tar::EntryType::Regular, None)),
        ("absolute", archive("/etc/escape.tf", tar::EntryType::Regular, None)),
        ("symlink", archive("link", tar::EntryType::Symlink, Some("/etc/passwd"))),
        ("hard link", archive("link", tar::EntryType::Link, Some("main.tf"))),
        ("device", archive("device", tar::EntryType::Char, None)),
        ("fifo", archive("pipe", tar::EntryType::Fifo, None)),
        ("not a tar", b"PK\x03\x04 this is something else".repeat(64)),
    ] {
        let length = bytes.len() as u64;
        let refused = client.upload_file(std::io::Cursor::new(bytes), length, |_| ()).await.expect_err(name);
        let text = refused.to_string();
        assert!(!text.contains('\n') && !text.is_empty(), "{name}: {text}");
    }
}

#[test]
fn versions_go_forth_and_back_and_out_of_sight() {
    let berth = Berth::with_template();
    let directory = repository().join("templates/local").to_string_lossy().into_owned();
    let push = |extra: &[&str]| berth.run(&[&["templates", "push", "local", "--directory", &directory, "--yes"], extra].concat());
    let same = push(&[]);
    assert!(same.stderr.contains("Nothing to push"), "{same:?}");
    let second = push(&["--name", "v2", "--message", "again", "--activate=false"]);
    assert!(second.stderr.contains("which is not active"), "{second:?}");
    let active = || berth.json(&["templates", "show", "local"])["active_version_id"].clone();
    let versions = berth.json(&["templates", "versions", "local"]);
    assert_eq!(
        (versions.as_array().unwrap().len(), &versions[1]["name"], &versions[1]["message"]),
        (2, &"v2".into(), &"again".into())
    );
    assert_eq!(active(), versions[0]["id"]);

    berth.ok(&["templates", "versions", "promote", "--template", "local", "--template-version", "v2"]);
    assert_eq!(active(), versions[1]["id"]);
    let refused = berth.fails(&["templates", "versions", "archive", "local", "v2", "--yes"]);
    assert!(refused.contains("active") && refused.contains("hint: "), "{refused}");
    berth.ok(&["templates", "versions", "rollback", "local", "--yes"]);
    assert_eq!(active(), versions[0]["id"]);
    berth.ok(&["templates", "versions", "archive", "local", "v2", "--yes"]);
    let refused = berth.fails(&["templates", "versions", "promote", "--template", "local", "--template-version", "v2"]);
    assert!(refused.contains("is archived") && refused.contains("unarchive local v2"), "{refused}");
    assert_eq!(berth.json(&["templates", "versions", "local"]).as_array().unwrap().len(), 1);
    assert_eq!(berth.json(&["templates", "versions", "list", "local", "--include-archived"]).as_array().unwrap().len(), 2);
    berth.ok(&["templates", "versions", "unarchive", "local", "v2"]);
    berth.ok(&["templates", "versions", "edit", "local", "v2", "--name", "stable"]);
    let tar = berth.berth(&["templates", "pull", "local", "--version", "stable", "--tar"]).output().unwrap().stdout;
    let names: Vec<_> =
        tar::Archive::new(&tar[..]).entries().unwrap().map(|entry| entry.unwrap().path().unwrap().into_owned()).collect();
    assert!(names.contains(&"main.tf".into()), "{names:?}");
    let archived = berth.run(&["templates", "archive", "local", "--all", "--yes"]);
    assert!(archived.stderr.contains("Archived of local: stable."), "{archived:?}");
    let missing = berth.fails(&["templates", "versions", "promote", "-t", "local", "--template-version", "nope"]);
    assert!(missing.contains("has no version \"nope\""), "{missing}");
}

#[test]
fn a_template_is_edited_deprecated_and_renamed() {
    let berth = Berth::with_template();
    berth.ok(&[
        "templates",
        "edit",
        "local",
        "--default-ttl",
        "8h",
        "--max-ttl",
        "12h",
        "--replacement-consent",
        "--description",
        "Mine",
    ]);
    let shown = berth.json(&["templates", "show", "local"]);
    assert_eq!(
        (&shown["default_ttl_ms"], &shown["max_ttl_ms"], &shown["replacement_consent"], &shown["description"]),
        (&28_800_000.into(), &43_200_000.into(), &true.into(), &"Mine".into())
    );
    let words = berth.ok(&["templates", "show", "local"]);
    assert!(words.contains("8h") && words.contains("active version"), "{words}");
    let refused = berth.fails(&["templates", "edit", "local", "--default-ttl", "13h"]);
    assert!(refused.contains("default_ttl_ms: must not be longer than max_ttl_ms"), "{refused}");
    assert!(berth.fails(&["templates", "edit", "local"]).contains("nothing to change"), "an edit of nothing is a mistake");

    berth.ok(&["templates", "edit", "local", "--deprecated", "use the other"]);
    assert!(berth.ok(&["templates", "list"]).contains("deprecated"));
    let refused = berth.fails(&["create", "dev", "--template", "local", "--yes"]);
    assert!(refused.contains("template local is deprecated: use the other"), "{refused}");
    berth.ok(&["templates", "edit", "local", "--deprecated", "", "--name", "laptop"]);
    berth.ok(&["create", "dev", "--template", "laptop", "--yes"]);
    assert_eq!(berth.json(&["list"])[0]["template_name"], "laptop");
}

#[test]
fn a_variable_lives_on_and_its_secret_stays_secret() {
    let berth = Berth::signed_in();
    let text = "variable \"password\" {\n  type = string\n  sensitive = true\n}\nvariable \"region\" {\n  default = \"us\"\n}\nresource \"terraform_data\" \"a\" {\n  input = var.password\n}\n";
    let directory = template(&berth, "secretive", text);
    berth.ok(&[
        "templates",
        "push",
        "secretive",
        "-d",
        &directory,
        "--variable",
        "password=canary-1234",
        "--variable",
        "region=eu",
    ]);
    let next = template(&berth, "secretive-2", &format!("{text}# changed\n"));
    let pushed = berth.run(&["templates", "push", "secretive", "-d", &next]);
    assert_eq!(pushed.code, Some(0), "the password is known already: {pushed:?}");
    let active = berth.json(&["templates", "show", "secretive"])["active_version_id"].as_str().unwrap().to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let variables = runtime.block_on(berth.client().version_variables(active.parse().unwrap())).unwrap();
    let values: Vec<_> = variables.iter().map(|variable| (variable.name.as_str(), variable.value.as_str())).collect();
    assert_eq!(values, [("password", ""), ("region", "eu")]);
    assert!(!berth.server_log().contains("canary-1234") && !pushed.stderr.contains("canary-1234"));
}

#[test]
fn a_dry_run_shows_what_would_be_made_and_makes_nothing() {
    let berth = Berth::with_template();
    let planned = berth.run(&["create", "dev", "--template", "local", "--yes", "--dry-run", "-o", "json"]);
    assert_eq!(planned.code, Some(0), "{planned:?}");
    assert!(planned.stderr.contains("Plan: ") && planned.stderr.contains("nothing was made"), "{planned:?}");
    let resources: serde_json::Value = serde_json::from_str(&planned.stdout).unwrap();
    let names: Vec<_> = resources.as_array().unwrap().iter().map(|resource| resource["type"].as_str().unwrap()).collect();
    assert!(names.contains(&"berth_process") && names.contains(&"berth_directory"), "{names:?}");
    let with_agent = resources.as_array().unwrap().iter().find(|resource| resource["agents"][0]["name"] == "main");
    assert!(with_agent.is_some(), "{resources}");
    assert_eq!(berth.json(&["list"]).as_array().unwrap().len(), 0);
    assert!(berth.workspace_processes().is_empty(), "a plan starts nothing");
    assert!(
        !berth.data().join("workspaces").read_dir().is_ok_and(|mut entries| entries.next().is_some()),
        "and makes no directory"
    );
}
