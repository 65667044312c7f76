//! `data.coder_workspace_owner`.

use super::{Attribute, Block, ID, Nesting, Noun, Type};
use crate::behaviour::{Context, new_uuid};
use crate::diagnostic::Diagnostic;
use crate::environment::Environment;
use crate::value::{Object, Value};

const ROLE: &[Attribute] = &[
    Attribute::computed("name", Type::Text).doc("The name of the role."),
    Attribute::computed("org_id", Type::Text).doc("The organization in which it holds; empty for all."),
];

pub(super) static WORKSPACE_OWNER: Noun = Noun::data(
    "coder_workspace_owner",
    Block::of(&[
        ID,
        Attribute::computed("name", Type::Text).doc("The user name."),
        Attribute::computed("full_name", Type::Text).doc("The full name."),
        Attribute::computed("email", Type::Text).doc("The email address."),
        Attribute::computed("ssh_public_key", Type::Text).doc("The public half of the key for git."),
        Attribute::computed("ssh_private_key", Type::Text).sensitive().doc("The private half of the key for git."),
        Attribute::computed("groups", Type::TextList).doc("The names of the groups."),
        Attribute::computed("session_token", Type::Text).sensitive().doc("A session token, valid while the workspace runs."),
        Attribute::computed("oidc_access_token", Type::Text).sensitive().doc("The OpenID Connect access token, if there is one."),
        Attribute::computed("login_type", Type::Text).doc("How the user logs in."),
        Attribute::computed("rbac_roles", Type::Objects(Nesting::List, ROLE)).doc("The roles."),
    ]),
    read,
)
.version(0)
.doc("The user who owns the workspace.");

fn read(context: &Context, object: &mut Object) -> Vec<Diagnostic> {
    let environment = &context.environment;
    let (groups, roles) = match (groups(environment), roles(environment)) {
        (Ok(groups), Ok(roles)) => (groups, roles),
        (groups, roles) => return groups.err().into_iter().chain(roles.err()).collect(),
    };
    let given = |name: &str, otherwise: &str| Value::text(environment.get(name).unwrap_or(otherwise));
    let mut set = |name: &str, value: Value| object.insert(name.into(), value);
    set("id", environment.get("CODER_WORKSPACE_OWNER_ID").map_or_else(new_uuid, Value::text));
    set("name", given("CODER_WORKSPACE_OWNER", "default"));
    set("full_name", given("CODER_WORKSPACE_OWNER_NAME", "default"));
    set("email", given("CODER_WORKSPACE_OWNER_EMAIL", "default@example.com"));
    set("ssh_public_key", given("CODER_WORKSPACE_OWNER_SSH_PUBLIC_KEY", ""));
    set("ssh_private_key", given("CODER_WORKSPACE_OWNER_SSH_PRIVATE_KEY", ""));
    set("session_token", given("CODER_WORKSPACE_OWNER_SESSION_TOKEN", ""));
    set("oidc_access_token", given("CODER_WORKSPACE_OWNER_OIDC_ACCESS_TOKEN", ""));
    set("login_type", environment.get("CODER_WORKSPACE_OWNER_LOGIN_TYPE").map_or(Value::Null, Value::text));
    set("groups", groups);
    set("rbac_roles", roles);
    Vec::new()
}

/// The names of the owner's groups, given as a JSON list.
pub(super) fn groups(environment: &Environment) -> Result<Value, Diagnostic> {
    let name = "CODER_WORKSPACE_OWNER_GROUPS";
    let Some(text) = environment.get(name) else { return Ok(Value::List(Vec::new())) };
    let groups: Option<Vec<String>> = serde_json::from_str(text).map_err(|why| unreadable(name, &why))?;
    Ok(Value::List(groups.unwrap_or_default().into_iter().map(Value::Text).collect()))
}

fn roles(environment: &Environment) -> Result<Value, Diagnostic> {
    let name = "CODER_WORKSPACE_OWNER_RBAC_ROLES";
    let Some(text) = environment.get(name) else { return Ok(Value::List(Vec::new())) };
    let roles: Option<Vec<serde_json::Value>> = serde_json::from_str(text).map_err(|why| unreadable(name, &why))?;
    let role = |role: &serde_json::Value| {
        let field = |name: &str| (name.to_owned(), Value::text(role[name].as_str().unwrap_or_default()));
        Value::Map(Object::from([field("name"), field("org_id")]))
    };
    Ok(Value::List(roles.unwrap_or_default().iter().map(role).collect()))
}

fn unreadable(name: &str, why: &serde_json::Error) -> Diagnostic {
    Diagnostic::error(format!("invalid {name}"), format!("the build gave no JSON list: {why}"))
}
