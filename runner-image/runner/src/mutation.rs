//! Hostile bytes: whatever stands in an archive, a state, a plan or a template, reading it ends with an answer. Each reader gets thousands
//! of mutations of good input, always the same ones.

use std::{fs, panic, thread};

use berth_domain::{Secret, VersionId};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use uuid::Uuid;

use crate::{
    archive,
    plan::{self, Plan},
    resources::{self, State},
    state::Version,
    template::{self, Lock, Template},
};

/// The stack of a thread in which Tokio runs blocking work, in bytes.
const STACK_BYTES: usize = 2 * 1024 * 1024;
/// Pieces of syntax that a mutation puts where they do not belong.
const PIECES: [&[u8]; 28] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b"\\",
    b"${",
    b"%{",
    b"<<-EOT\n",
    b"\n",
    b"=",
    b"null",
    b"-1",
    b"1e999",
    b"18446744073709551616",
    b"\xff",
    b"\xed\xa0\x80",
    b"\0",
    b"\\u0000",
    b"\\ud800",
    b"[[[[[[[[[[[[[[[[",
    b"{\"a\":",
    b"(",
    b"//",
    b"/*",
    b"\xef\xbb\xbf",
    b"0.1.2",
    b"true",
];

const STATE: &str = r#"{
  "version": 4, "terraform_version": "1.11.4", "serial": 7, "lineage": "5a", "outputs": {}, "check_results": null,
  "resources": [
    {"mode": "managed", "type": "coder_agent", "name": "main", "provider": "provider[\"registry.terraform.io/coder/coder\"]", "instances": [
      {"schema_version": 1, "attributes": {"id": "0190a6a0-0000-7000-8000-000000000001", "token": "t", "os": "linux", "arch": "amd64",
        "auth": "token", "env": {"A": "b"}, "metadata": [{"key": "k", "script": "s", "interval": 1, "timeout": 2, "display_name": "d", "order": 0}]}}]},
    {"mode": "managed", "type": "coder_app", "name": "web", "provider": "provider[\"registry.terraform.io/coder/coder\"]", "instances": [
      {"schema_version": 1, "attributes": {"id": "0190a6a0-0000-7000-8000-000000000002", "agent_id": "0190a6a0-0000-7000-8000-000000000001",
        "slug": "web", "url": "http://localhost:80", "share": "owner"}, "dependencies": ["coder_agent.main"]}]},
    {"mode": "managed", "type": "berth_process", "name": "dev", "provider": "provider[\"registry.terraform.io/berth/berth\"]", "instances": [
      {"index_key": 0, "schema_version": 0, "attributes": {"id": "0190a6a0-0000-7000-8000-000000000003", "pid": 7},
        "dependencies": ["coder_agent.main", "module.m[\"a\"].berth_directory.home"]}]},
    {"module": "module.m[\"a\"]", "mode": "managed", "type": "berth_directory", "name": "home", "provider": "module.m.provider[\"x\"]", "instances": [
      {"index_key": "k", "schema_version": 0, "attributes": {"id": "h", "path": "/x"}}]},
    {"mode": "managed", "type": "coder_metadata", "name": "m", "provider": "provider[\"registry.terraform.io/coder/coder\"]", "instances": [
      {"schema_version": 1, "attributes": {"id": "i", "resource_id": "h", "hide": false, "daily_cost": 3,
        "item": [{"key": "a", "value": "b", "sensitive": false, "is_null": false}]}, "dependencies": ["module.m[\"a\"].berth_directory.home"]}]}
  ]
}"#;

const PLAN: &str = r#"{
  "format_version": "1.2", "terraform_version": "1.11.4",
  "planned_values": {"root_module": {"resources": [
    {"address": "coder_agent.main", "mode": "managed", "type": "coder_agent", "name": "main", "values": {"os": "linux", "arch": "amd64"}}],
    "child_modules": [{"address": "module.m", "resources": []}]}},
  "prior_state": {"format_version": "1.0", "values": {"root_module": {"resources": [
    {"address": "data.coder_parameter.size", "mode": "data", "type": "coder_parameter", "name": "size", "values": {
      "name": "size", "display_name": "Size", "type": "number", "form_type": "slider", "default": "3", "mutable": true, "ephemeral": false,
      "optional": true, "order": 1, "icon": "", "description": "d", "option": null,
      "validation": [{"min": 1, "max": 9, "min_disabled": false, "max_disabled": false, "monotonic": "", "regex": "", "error": ""}]}},
    {"address": "data.coder_parameter.region", "mode": "data", "type": "coder_parameter", "name": "region", "values": {
      "name": "region", "type": "string", "default": "eu", "option": [{"name": "Europe", "value": "eu", "icon": "", "description": ""}]}}]}}},
  "configuration": {"root_module": {"resources": []}}
}"#;

const TEMPLATE: &str = r#"
terraform {
  required_providers {
    coder = { source = "coder/coder", version = "~> 2.0" }
  }
  backend "s3" {}
}
variable "zones" {
  type    = list(string)
  default = ["a", "b"]
}
data "coder_parameter" "disk" {
  name = "disk"
  type = "number"
  validation {
    min = 10
    max = 100
  }
  option {
    name  = "x ${1 + 2 * (3 - var.zones[0])}"
    value = "%{ if true }a%{ else }b%{ endif }"
  }
}
resource "coder_agent" "main" {
  os = { for k, v in { a = 1 } : k => v ... if v != null }
  startup_script = <<-EOT
    echo "${local.name}" 'it''s'
  EOT
}
"#;

const TEMPLATE_JSON: &str = r#"{"resource": {"null_resource": {"n": [{}, {"count": 2}]}}, "terraform": [{"backend": {"s3": {}},
  "required_providers": [{"aws": "~> 5", "coder": {"source": "coder/coder"}}]}], "variable": {"a": {"type": "string", "default": [1, {"b": null}]}},
  "data": {"coder_parameter": {"p": {"name": "p", "option": [{"value": "1"}]}}}}"#;

const LOCK: &str = "provider \"registry.terraform.io/coder/coder\" {\n  version = \"2.0.0\"\n  hashes = [\n    \"h1:x\",\n  ]\n}\n";

/// The template whose only file this is.
fn read_template(name: &str, bytes: &[u8]) -> Template {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join(name), bytes).unwrap();
    let _ = template::blank_backends(directory.path());
    Template::read(directory.path()).unwrap_or_default()
}

/// What a plan says, as an import reads it.
fn read_plan(bytes: &[u8]) -> Option<Plan> {
    plan::read(&plan::parse(bytes).ok()?, &["coder_parameter.size".to_owned()], VersionId(Uuid::nil())).ok()
}

/// Gives a variable that is a list this value.
fn write_variable(bytes: &[u8]) {
    let template = read_template("main.tf", b"variable \"v\" {\n  type = list(string)\n}\n");
    let given = [("v".to_owned(), Secret::new(String::from_utf8_lossy(bytes).into_owned()))].into();
    let directory = tempfile::tempdir().unwrap();
    template.write_variables(directory.path(), &given).unwrap();
}

fn mutated(random: &mut StdRng, good: &[u8]) -> Vec<u8> {
    let mut bytes = good.to_vec();
    for _ in 0..random.random_range(1..5) {
        let at = random.random_range(0..=bytes.len());
        let end = (at + random.random_range(0..40)).min(bytes.len());
        match random.random_range(0..7) {
            0 => bytes.truncate(at),
            1 => drop(bytes.splice(at..at, PIECES[random.random_range(0..PIECES.len())].iter().copied())),
            2 => drop(bytes.splice(at..end, PIECES[random.random_range(0..PIECES.len())].iter().copied())),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let piece = bytes[at..end].to_vec();
                drop(bytes.splice(at..at, piece.repeat(random.random_range(1..6))));
            }
            5 if at < bytes.len() => bytes[at] ^= 1 << random.random_range(0..8),
            _ if at < bytes.len() => bytes[at] = random.random(),
            _ => {}
        }
    }
    bytes
}

/// Gives a reader `count` mutations, on a stack as small as it has in the runner. A panic is told with what caused it.
fn torture(good: &'static [&'static str], count: u64, read: fn(&[u8])) {
    let tortured = thread::Builder::new().stack_size(STACK_BYTES).spawn(move || {
        for seed in 0..count {
            let mut random = StdRng::seed_from_u64(seed);
            let good = good[random.random_range(0..good.len())];
            let bytes = mutated(&mut random, good.as_bytes());
            if panic::catch_unwind(|| read(&bytes)).is_err() {
                panic!("mutation {seed}: {}", String::from_utf8_lossy(&bytes));
            }
        }
    });
    tortured.unwrap().join().unwrap();
}

#[test]
fn no_state_makes_its_readers_panic() {
    torture(&[STATE], 20_000, |bytes| {
        let (_, state) = (Version::of(bytes), State::parse(bytes));
        if let Ok(state) = &state {
            let _ = (state.nodes(), state.is_empty(), state.providers().count());
        }
        assert!(resources::read(bytes).is_err() || state.is_ok());
    });
    assert!(resources::read(STATE.as_bytes()).is_ok_and(|reading| reading.resources.len() == 2), "the good one is good");
}

#[test]
fn no_plan_makes_its_reader_panic() {
    torture(&[PLAN], 20_000, |bytes| drop(read_plan(bytes)));
    assert!(read_plan(PLAN.as_bytes()).is_some_and(|plan| plan.parameters.len() == 2), "the good one is good");
}

#[test]
fn no_template_makes_its_reader_panic() {
    torture(&[TEMPLATE], 3_000, |bytes| drop(read_template("main.tf", bytes)));
    torture(&[TEMPLATE_JSON], 3_000, |bytes| drop(read_template("main.tf.json", bytes)));
    assert_eq!(read_template("main.tf", TEMPLATE.as_bytes()).stand_ins.len(), 1, "the good one is good");
    assert_eq!(read_template("main.tf.json", TEMPLATE_JSON.as_bytes()).variables.len(), 1, "the good one is good");
}

#[test]
fn no_variable_and_no_lock_file_makes_its_reader_panic() {
    torture(&["[\"a\", {b = \"c\"}, -3.5, (true), null]", "{\"a\": [1, {\"b\": \"\\u00e9\"}]}"], 3_000, write_variable);
    torture(&[LOCK], 300, |bytes| {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(".terraform.lock.hcl"), bytes).unwrap();
        let _ = template::strip_our_providers(directory.path());
    });
}

/// A parser that calls itself for each bracket is at the mercy of whoever writes brackets.
#[test]
fn brackets_without_end_do_not_exhaust_the_stack() {
    for open in ["[", "{", "(", "!", "-", "a(", "[[", "{a=", "\"${", "a ? ", "x {\n", "<<EOT\n${", "(a?"] {
        let bytes = format!("a = {}", open.repeat(100_000));
        let blocks = open.repeat(100_000);
        let read = thread::Builder::new().stack_size(STACK_BYTES).spawn(move || {
            for text in [bytes, blocks] {
                for name in ["main.tf", "main.tf.json"] {
                    drop(read_template(name, text.as_bytes()));
                }
                write_variable(text.as_bytes());
                let _ = (State::parse(text.as_bytes()).is_ok(), read_plan(text.as_bytes()).is_some(), Lock::parse(&text));
            }
        });
        read.unwrap().join().unwrap();
    }
}

#[test]
fn no_archive_makes_the_unpacking_panic_or_write_outside() {
    let good = crate::testing::tar(&[("main.tf", "terraform {}"), ("modules/a/b.tf", "x"), ("README.md", "# hi")]);
    let room = tempfile::tempdir().unwrap();
    let inside = room.path().join("inside");
    for seed in 0..3_000 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut bytes = good.clone();
        for _ in 0..random.random_range(1..4) {
            let header = random.random_range(0..bytes.len() / 512) * 512;
            let field = [0, 100, 124, 156, 157, 257, 345][random.random_range(0..7)];
            let piece: &[u8] =
                [&b"../"[..], b"/etc/x\0", b"2", b"5", b"L", b"x", b"777777", b"\xff\xff\xff", b"a/b\0"][random.random_range(0..9)];
            bytes[header + field..header + field + piece.len()].copy_from_slice(piece);
            let sum: u32 = bytes[header..header + 512]
                .iter()
                .enumerate()
                .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) })
                .sum();
            bytes[header + 148..header + 156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
        fs::create_dir(&inside).unwrap();
        let _ = archive::unpack(&bytes, &inside);
        assert_eq!(fs::read_dir(room.path()).unwrap().count(), 1, "mutation {seed} wrote outside");
        fs::remove_dir_all(&inside).unwrap();
    }
}
