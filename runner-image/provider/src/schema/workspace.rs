//! `data.coder_workspace`, with the attributes about its owner that older templates read from it.

use super::{Attribute, Block, ID, Noun, Type};
use crate::behaviour::{Context, new_uuid};
use crate::diagnostic::Diagnostic;
use crate::value::{Object, Value};

pub(super) static WORKSPACE: Noun = Noun::data(
    "coder_workspace",
    Block::of(&[
        ID,
        Attribute::computed("access_url", Type::Text).doc("The URL of the deployment."),
        Attribute::computed("access_port", Type::Number).doc("The port of the deployment's URL."),
        Attribute::computed("start_count", Type::Number)
            .doc("1 while the workspace starts or runs, else 0: a count for what a stop removes."),
        Attribute::computed("transition", Type::Text).doc("start, stop or delete."),
        Attribute::computed("prebuild_count", Type::Number).doc("1 in a prebuilt workspace that nobody claimed, else 0."),
        Attribute::computed("is_prebuild", Type::Bool).doc("True in a prebuilt workspace that nobody claimed."),
        Attribute::computed("is_prebuild_claim", Type::Bool).doc("True in the build that claims a prebuilt workspace."),
        Attribute::computed("name", Type::Text).doc("The name of the workspace."),
        Attribute::computed("template_id", Type::Text).doc("The id of the template."),
        Attribute::computed("template_name", Type::Text).doc("The name of the template."),
        Attribute::computed("template_version", Type::Text).doc("The name of the template version."),
        Attribute::computed("owner", Type::Text).doc("The owner's user name; use coder_workspace_owner."),
        Attribute::computed("owner_id", Type::Text).doc("The owner's id; use coder_workspace_owner."),
        Attribute::computed("owner_email", Type::Text).doc("The owner's email address; use coder_workspace_owner."),
        Attribute::computed("owner_name", Type::Text).doc("The owner's full name; use coder_workspace_owner."),
        Attribute::computed("owner_groups", Type::TextList).doc("The owner's groups; use coder_workspace_owner."),
        Attribute::computed("owner_oidc_access_token", Type::Text)
            .sensitive()
            .doc("The owner's OpenID Connect token; use coder_workspace_owner."),
        Attribute::computed("owner_session_token", Type::Text)
            .sensitive()
            .doc("A session token of the owner; use coder_workspace_owner."),
    ]),
    read,
)
.doc("The workspace that is being built.");

fn read(context: &Context, object: &mut Object) -> Vec<Diagnostic> {
    let environment = &context.environment;
    let given = |name: &str, otherwise: &str| Value::text(environment.get(name).unwrap_or(otherwise));
    let claim = environment.says_true("CODER_WORKSPACE_IS_PREBUILD_CLAIM");
    let prebuild = environment.says_true("CODER_WORKSPACE_IS_PREBUILD") && !claim;
    let starts = environment.transition() == "start";
    let groups = match super::workspace_owner::groups(environment) {
        Ok(groups) => groups,
        Err(diagnostic) => return vec![diagnostic],
    };
    let mut set = |name: &str, value: Value| object.insert(name.into(), value);
    set("id", environment.get("CODER_WORKSPACE_ID").map_or_else(new_uuid, Value::text));
    set("access_url", Value::text(context.access_url.text.as_str()));
    set("access_port", Value::whole(i64::from(context.access_url.port)));
    set("transition", Value::text(environment.transition()));
    set("start_count", Value::whole(i64::from(starts)));
    set("prebuild_count", Value::whole(i64::from(prebuild)));
    set("is_prebuild", Value::Bool(prebuild));
    set("is_prebuild_claim", Value::Bool(claim));
    set("name", given("CODER_WORKSPACE_NAME", "default"));
    set("owner", given("CODER_WORKSPACE_OWNER", "default"));
    set("owner_id", environment.get("CODER_WORKSPACE_OWNER_ID").map_or_else(new_uuid, Value::text));
    set("owner_email", given("CODER_WORKSPACE_OWNER_EMAIL", "default@example.com"));
    set("owner_name", given("CODER_WORKSPACE_OWNER_NAME", "default"));
    set("owner_groups", groups);
    set("owner_oidc_access_token", given("CODER_WORKSPACE_OWNER_OIDC_ACCESS_TOKEN", ""));
    set("owner_session_token", given("CODER_WORKSPACE_OWNER_SESSION_TOKEN", ""));
    let mut found = Vec::new();
    for (attribute, name) in [
        ("template_id", "CODER_WORKSPACE_TEMPLATE_ID"),
        ("template_name", "CODER_WORKSPACE_TEMPLATE_NAME"),
        ("template_version", "CODER_WORKSPACE_TEMPLATE_VERSION"),
    ] {
        if environment.get(name).is_none() && environment.is_build() {
            found.push(Diagnostic::error(format!("missing {attribute}"), format!("the build does not say {name}")));
        }
        set(attribute, given(name, ""));
    }
    found
}
