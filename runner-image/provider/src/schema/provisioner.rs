//! `data.coder_provisioner`.

use super::{Attribute, Block, ID, Noun, Type};
use crate::behaviour::{Context, new_uuid};
use crate::diagnostic::Diagnostic;
use crate::value::{Object, Value};

pub(super) static PROVISIONER: Noun = Noun::data(
    "coder_provisioner",
    Block::of(&[
        ID,
        Attribute::computed("os", Type::Text).doc("The operating system of the runner, in Go's words."),
        Attribute::computed("arch", Type::Text).doc("The architecture of the runner, in Go's words."),
    ]),
    read,
)
.doc("The machine that runs Terraform.");

fn read(_: &Context, object: &mut Object) -> Vec<Diagnostic> {
    let os = match std::env::consts::OS {
        "macos" => "darwin",
        os => os,
    };
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "arm" => "armv7",
        arch => arch,
    };
    object.insert("id".into(), new_uuid());
    object.insert("os".into(), Value::text(os));
    object.insert("arch".into(), Value::text(arch));
    Vec::new()
}
