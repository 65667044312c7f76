//! `data.coder_secret`.

use super::{Attribute, Block, ID, Noun, Problem, Rule, Type};
use crate::behaviour::Context;
use crate::diagnostic::Diagnostic;
use crate::value::{Object, Value, text_at};

pub(super) static SECRET: Noun = Noun::data(
    "coder_secret",
    Block::of(&[
        ID,
        Attribute::optional("env", Type::Text)
            .rules(&[Rule::Matches("^$|^[a-zA-Z_][a-zA-Z0-9_]*$", "the name of an environment variable")])
            .doc("The environment variable that the secret becomes."),
        Attribute::optional("file", Type::Text).rules(&[Rule::Check(check_file)]).doc("The file that the secret becomes."),
        Attribute::required("help_message", Type::Text).doc("What to tell a developer who has no such secret."),
        Attribute::computed("value", Type::Text).sensitive().doc("The secret; empty when there is none."),
    ]),
    read,
)
.doc("Asks for a secret of the workspace's owner.");

fn check_file(value: &Value) -> Option<Problem> {
    let file = value.as_text().unwrap_or_default();
    let good = file.is_empty() || file.starts_with('/') || file.starts_with("~/");
    (!good).then(|| Problem::Error(format!("\"{file}\" does not start with \"/\" or \"~/\"")))
}

fn read(context: &Context, object: &mut Object) -> Vec<Diagnostic> {
    let (id, name, what) = match (text_at(object, "env"), text_at(object, "file")) {
        ("", "") => return vec![Diagnostic::error("secret without a place", "one of \"env\" or \"file\" must be set")],
        (env, "") => (format!("env:{env}"), format!("CODER_SECRET_ENV_{env}"), format!("environment variable \"{env}\"")),
        ("", file) => (format!("file:{file}"), format!("CODER_SECRET_FILE_{}", hex::encode(file)), format!("file \"{file}\"")),
        _ => return vec![Diagnostic::error("secret with two places", "only one of \"env\" or \"file\" may be set")],
    };
    let value = context.environment.get(&name);
    if value.is_none() && context.environment.is_build() && context.environment.transition() == "start" {
        let help = text_at(object, "help_message");
        return vec![Diagnostic::error(
            format!("missing secret: {what}"),
            format!("{help}\n\nadd a secret that provides the {what}, then build again"),
        )];
    }
    object.insert("id".into(), Value::text(id));
    object.insert("value".into(), Value::text(value.unwrap_or_default()));
    Vec::new()
}
