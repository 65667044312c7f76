//! The document of the API, OpenAPI 3.1, made of what is there: the table of routes, the handlers' signatures and doc comments, and the
//! wire's types. A route without words does not pass.
//!
//! Only tests make it: `docs/openapi.json` is checked in and served as it stands ([`crate::buildinfo::openapi`]), so that no program
//! carries what makes it. The stories hold each answer that they get to it ([`contract`]).

mod contract;
mod part;
mod schema;

pub(crate) use contract::check;
pub(crate) use part::Described;

use crate::route::{Access, Route, table};
use schema::Schemas;
use schemars::JsonSchema;
use serde_json::{Map, Value, json};
use std::{collections::BTreeSet, path::Path, sync::LazyLock};

/// The document.
pub(crate) static DOCUMENT: LazyLock<Value> = LazyLock::new(document);

/// One operation as it is being described.
pub(crate) struct Operation<'a> {
    schemas: &'a mut Schemas,
    path: &'static str,
    parameters: Vec<Value>,
    body: Value,
    answers: Map<String, Value>,
}

impl Operation<'_> {
    /// The path's parameters: one of the type, or for a tuple one of each.
    fn path<T: JsonSchema>(&mut self) {
        let schema = schema::tidy(self.schemas.requests.subschema_for::<T>().to_value());
        let parts = schema["prefixItems"].as_array().cloned().unwrap_or_else(|| vec![schema]);
        let names: Vec<_> = self.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
        assert_eq!(names.len(), parts.len(), "{} has other parameters than its handler", self.path);
        for (name, schema) in names.into_iter().zip(parts) {
            self.parameters.push(json!({ "name": name, "in": "path", "required": true, "schema": schema }));
        }
    }

    /// The query's parameters: the fields of the type.
    fn query<T: JsonSchema>(&mut self) {
        let schema = schema::tidy(self.schemas.requests.root_schema_for::<T>().to_value());
        for (name, mut field) in schema["properties"].as_object().cloned().unwrap_or_default() {
            let description = field.as_object_mut().and_then(|field| field.remove("description")).unwrap_or_default();
            let mut parameter = json!({ "name": name, "in": "query", "schema": field });
            if !description.is_null() {
                parameter["description"] = description;
            }
            self.parameters.push(parameter);
        }
    }

    fn header(&mut self, name: &str, description: &str) {
        self.parameters.push(json!({ "name": name, "in": "header", "description": description, "schema": { "type": "string" } }));
    }

    fn body<T: JsonSchema>(&mut self, media_type: &str, required: bool) {
        let schema = schema::tidy(self.schemas.requests.subschema_for::<T>().to_value());
        self.body = json!({ "required": required, "content": { media_type: { "schema": schema } } });
    }

    fn bytes(&mut self) {
        self.body = json!({ "required": false, "content": { "application/octet-stream": { "schema": {} } } });
    }

    fn answer<T: JsonSchema>(&mut self, status: u16, description: &str) {
        let schema = schema::tidy(self.schemas.answers.subschema_for::<T>().to_value());
        let content = json!({ "application/json": { "schema": schema } });
        self.answers.insert(status.to_string(), json!({ "description": description, "content": content }));
    }

    fn answer_of(&mut self, status: u16, description: &str, media_type: Option<&str>) {
        let mut answer = json!({ "description": description });
        if let Some(media_type) = media_type {
            answer["content"] = json!({ media_type: { "schema": {} } });
        }
        self.answers.insert(status.to_string(), answer);
    }
}

fn document() -> Value {
    let (mut schemas, mut paths, mut taken) = (Schemas::new(), Map::new(), BTreeSet::new());
    schemas.answers.subschema_for::<berth_wire::ErrorBody>();
    for route in table() {
        let method = route.method.as_str().to_ascii_lowercase();
        let operation = operation(&route, &mut schemas, &mut taken);
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[method] = operation;
    }
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Berth",
            "version": "2",
            "description": "Development environments in an organization's own AWS account. Paths and shapes inside `/api/v2` are those that Coder's clients know.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/", "description": "The deployment that this document came from." }],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "session": { "type": "apiKey", "in": "header", "name": berth_wire::SESSION_HEADER, "description": "A session or API token of a person." },
                "bearer": { "type": "http", "scheme": "bearer", "description": "The same, as a bearer token." },
                "cookie": { "type": "apiKey", "in": "cookie", "name": crate::session::SESSION_COOKIE, "description": "A session, in a browser: what changes something must come from a page of ours." },
                "agent": { "type": "apiKey", "in": "header", "name": berth_wire::SESSION_HEADER, "description": "The token of a workspace agent." },
                "runner": { "type": "http", "scheme": "bearer", "description": "The session that a job's claim gave." },
            },
            "responses": {
                "Refused": {
                    "description": "Why not, and what can be done about it.",
                    "content": { "application/json": { "schema": { "$ref": "#/components/schemas/ErrorBody" } } },
                },
            },
        },
    });
    schemas.finish(&mut document);
    document
}

fn operation(route: &Route, schemas: &mut Schemas, taken: &mut BTreeSet<String>) -> Value {
    let mut operation = Operation { schemas, path: route.path, parameters: Vec::new(), body: Value::Null, answers: Map::new() };
    (route.describe)(&mut operation);
    let Operation { parameters, body, mut answers, .. } = operation;
    for refused in ["4XX", "5XX"] {
        answers.insert(refused.to_owned(), json!({ "$ref": "#/components/responses/Refused" }));
    }
    let (module, name) = handler(route);
    let words = words(&module, &name);
    let words = words.unwrap_or_else(|| panic!("{} {}: say in a doc comment what {module}::{name} does", route.method, route.path));
    let summary = words.split_once(". ").map_or(words.as_str(), |(first, _)| first).trim_end_matches('.');
    let mut id = format!("{module}_{name}");
    if !taken.insert(id.clone()) {
        id = format!("{id}_{}", route.path.rsplit('/').next().unwrap_or_default());
        assert!(taken.insert(id.clone()), "{id} is there twice");
    }
    let mut described = json!({
        "operationId": id,
        "tags": [module],
        "summary": summary,
        "description": format!("{words}\n\nFor {}.", route.access.words()),
        "parameters": parameters,
        "responses": answers,
        "security": security(route.access),
    });
    if !body.is_null() {
        described["requestBody"] = body;
    }
    described
}

fn security(access: Access) -> Value {
    match access {
        Access::Public => json!([]),
        Access::Agent => json!([{ "agent": [] }]),
        Access::Runner => json!([{ "runner": [] }]),
        Access::Upload => json!([{ "session": [] }, { "runner": [] }]),
        _ => json!([{ "session": [] }, { "bearer": [] }, { "cookie": [] }]),
    }
}

/// Module and name of a route's handler: `workspace`, `list`.
fn handler(route: &Route) -> (String, String) {
    let (module, name) = route.handler_name.rsplit_once("::").expect("a handler is a function in a module");
    (module.strip_prefix("berth_api::").unwrap_or(module).to_owned(), name.to_owned())
}

/// The doc comment of a handler, as one paragraph, read where it stands.
fn words(module: &str, name: &str) -> Option<String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(module.replace("::", "/")).with_extension("rs");
    let source = std::fs::read_to_string(&source).unwrap_or_else(|error| panic!("{}: {error}", source.display()));
    let lines: Vec<_> = source.lines().collect();
    let at = lines.iter().position(|line| line.starts_with(&format!("pub(crate) async fn {name}(")))?;
    let above = lines[..at].iter().rev().take_while(|line| line.starts_with("///") || line.starts_with("#["));
    let mut words: Vec<_> = above.filter_map(|line| line.strip_prefix("///")).map(str::trim).collect();
    words.reverse();
    Some(schema::plain(&words.join(" "))).filter(|words| !words.is_empty())
}

#[test]
fn the_document_is_what_the_handlers_say() {
    let made = format!("{:#}\n", *DOCUMENT);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let kept = std::fs::read_to_string(root.join("docs/openapi.json")).unwrap_or_default();
    if made != kept {
        std::fs::write(root.join("target/openapi.json"), &made).unwrap();
        panic!(
            "docs/openapi.json is not what the handlers say\nhint: cp target/openapi.json docs/openapi.json, and read the difference"
        );
    }
}
