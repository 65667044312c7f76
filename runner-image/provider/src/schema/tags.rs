//! `data.coder_workspace_tags`.

use super::{Attribute, Block, ID, Noun, Type};
use crate::behaviour::{Context, new_uuid};
use crate::diagnostic::Diagnostic;
use crate::value::Object;

pub(super) static WORKSPACE_TAGS: Noun = Noun::data(
    "coder_workspace_tags",
    Block::of(&[ID, Attribute::optional("tags", Type::TextMap).doc("The tags that choose the runner of a build.")]),
    read,
)
.doc("Tags that choose the runner of a build.");

fn read(_: &Context, object: &mut Object) -> Vec<Diagnostic> {
    object.insert("id".into(), new_uuid());
    Vec::new()
}
