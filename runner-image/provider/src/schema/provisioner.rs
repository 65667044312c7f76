//! `data.coder_provisioner`.

use super::{Attribute, Block, ID, Noun, Type};
use crate::behaviour::{Context, new_uuid};
use crate::diagnostic::Diagnostic;
use crate::machine;
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
    let arch = match machine::arch() {
        "arm" => "armv7",
        arch => arch,
    };
    object.insert("id".into(), new_uuid());
    object.insert("os".into(), Value::text(machine::os()));
    object.insert("arch".into(), Value::text(arch));
    Vec::new()
}
