//! `data.coder_external_auth`.

use super::{Attribute, Block, Noun, Rule, Type};
use crate::behaviour::Context;
use crate::diagnostic::Diagnostic;
use crate::environment::external_auth_env_name;
use crate::value::{Object, Value, text_at};

pub(super) static EXTERNAL_AUTH: Noun = Noun::data(
    "coder_external_auth",
    Block::of(&[
        Attribute::required("id", Type::Text).rules(&[Rule::NotEmpty]).doc("The id of the external auth provider."),
        Attribute::computed("access_token", Type::Text).sensitive().doc("The owner's access token there; empty when not linked."),
        Attribute::optional("optional", Type::Bool).doc("Whether a workspace may be built without it."),
    ]),
    read,
)
.doc("Asks the developer to link an account elsewhere, such as a git host.");

fn read(context: &Context, object: &mut Object) -> Vec<Diagnostic> {
    let id = text_at(object, "id");
    let legacy = format!("CODER_GIT_AUTH_ACCESS_TOKEN_{id}");
    let token = context.environment.get(&external_auth_env_name(id)).or_else(|| context.environment.get(&legacy));
    let token = Value::text(token.unwrap_or_default());
    object.insert("access_token".into(), token);
    Vec::new()
}
