//! The arrows of ARCHITECTURE.md, held against what cargo says.

use std::{collections::BTreeMap, process::Command};

/// Who may use whom. Development dependencies are free.
const ARROWS: &[(&str, &[&str])] = &[
    ("berth-domain", &[]),
    ("berth-wire", &["berth-domain"]),
    ("berth-aws", &[]),
    ("berth-store", &["berth-domain", "berth-wire", "berth-aws"]),
    ("berth-lambda", &[]),
    ("berth-lambda-bed", &[]),
    ("berth-client", &["berth-domain", "berth-wire"]),
    ("berth-net", &["berth-domain", "berth-wire"]),
    ("berth-api", &["berth-domain", "berth-wire", "berth-aws", "berth-lambda", "berth-store"]),
    ("berth-dispatch", &["berth-domain", "berth-wire", "berth-aws", "berth-lambda", "berth-store"]),
    ("berth-reap", &["berth-domain", "berth-wire", "berth-aws", "berth-lambda", "berth-store"]),
    ("berth-sweep", &["berth-domain", "berth-wire", "berth-aws", "berth-lambda", "berth-store"]),
    ("berth-relay", &["berth-domain", "berth-wire", "berth-aws", "berth-net", "berth-client"]),
    ("berth-provider", &["berth-domain"]),
    ("berth-runner", &["berth-domain", "berth-wire", "berth-client", "berth-provider"]),
    ("berth-agent", &["berth-domain", "berth-wire", "berth-client", "berth-net"]),
    ("berth-cli", &["berth-domain", "berth-wire", "berth-client", "berth-net"]),
    (
        "berth-local",
        &[
            "berth-domain",
            "berth-wire",
            "berth-aws",
            "berth-store",
            "berth-api",
            "berth-dispatch",
            "berth-reap",
            "berth-sweep",
            "berth-relay",
        ],
    ),
    ("berth-tests", &[]),
    ("xtask", &[]),
];

fn packages() -> BTreeMap<String, Vec<String>> {
    let output = Command::new(env!("CARGO")).args(["metadata", "--format-version=1", "--no-deps", "--offline"]).output().unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let package = |package: &serde_json::Value| {
        let normal = |dependency: &&serde_json::Value| dependency["kind"].is_null();
        let names =
            package["dependencies"].as_array().unwrap().iter().filter(normal).map(|one| one["name"].as_str().unwrap().to_owned());
        (package["name"].as_str().unwrap().to_owned(), names.collect())
    };
    metadata["packages"].as_array().unwrap().iter().map(package).collect()
}

#[test]
fn arrows_point_down_only() {
    let packages = packages();
    let known: Vec<_> = ARROWS.iter().map(|(name, _)| *name).collect();
    for (name, dependencies) in &packages {
        let allowed = ARROWS.iter().find(|(known, _)| known == name).map(|(_, allowed)| *allowed);
        let allowed =
            allowed.unwrap_or_else(|| panic!("{name} is not in the table of arrows: draw it in ARCHITECTURE.md and here"));
        for dependency in dependencies.iter().filter(|dependency| known.contains(&dependency.as_str())) {
            assert!(allowed.contains(&dependency.as_str()), "{name} -> {dependency} is not an arrow of ARCHITECTURE.md");
        }
    }
    assert_eq!(packages.len(), ARROWS.len(), "the table names a package that is gone");
}

#[test]
fn only_the_store_knows_the_table() {
    for (name, dependencies) in packages() {
        let table = dependencies.iter().any(|dependency| dependency == "aws-sdk-dynamodb" || dependency == "dynoxide-rs");
        assert!(!table || name == "berth-store", "{name} links the table's SDK");
        let aws = dependencies.iter().any(|dependency| dependency.starts_with("aws-"));
        let outside = ["berth-agent", "berth-cli", "berth-client", "berth-net", "berth-runner", "berth-provider"];
        assert!(!aws || !outside.contains(&name.as_str()), "{name} runs where there are no credentials");
    }
}
