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
