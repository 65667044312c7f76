//! The schema table as the protocol wants it.

use serde_json::{Value as Json, json};

use crate::proto::provider as wire;
use crate::schema::{self, Attribute, Block, Nested, Nesting, Noun, Presence, Type};

/// Everything that Terraform asks for before it does anything.
pub(crate) fn schema() -> wire::ProviderSchema {
    let table = |data: bool| {
        let nouns = schema::schema().iter().filter(move |noun| noun.is_data() == data);
        nouns.map(|noun| (noun.name.to_owned(), noun_schema(noun))).collect()
    };
    wire::ProviderSchema {
        provider: Some(wire::Schema { version: 0, block: Some(block(&schema::PROVIDER, "")) }),
        resource_schemas: table(false),
        data_source_schemas: table(true),
        diagnostics: Vec::new(),
        server_capabilities: Some(wire::Capabilities { plan_destroy: false, get_provider_schema_optional: true }),
    }
}

fn noun_schema(noun: &Noun) -> wire::Schema {
    wire::Schema { version: noun.version, block: Some(block(&noun.block, noun.doc)) }
}

fn block(rows: &Block, doc: &str) -> wire::SchemaBlock {
    wire::SchemaBlock {
        version: 0,
        attributes: rows.attributes.iter().map(attribute).collect(),
        block_types: rows.blocks.iter().map(nested).collect(),
        description: doc.into(),
        deprecated: false,
    }
}

fn attribute(row: &Attribute) -> wire::SchemaAttribute {
    wire::SchemaAttribute {
        name: row.name.into(),
        r#type: type_of(row.kind).to_string().into_bytes(),
        description: row.doc.into(),
        required: row.presence == Presence::Required,
        optional: matches!(row.presence, Presence::Optional | Presence::OptionalComputed),
        computed: row.is_computed(),
        sensitive: row.sensitive,
        deprecated: row.deprecated,
    }
}

fn nested(row: &Nested) -> wire::SchemaNested {
    let nesting = match row.nesting {
        Nesting::List => wire::Nesting::List,
        Nesting::Set => wire::Nesting::Set,
    };
    wire::SchemaNested {
        type_name: row.name.into(),
        block: Some(wire::SchemaBlock { deprecated: row.deprecated, ..block(&row.block, "") }),
        nesting: nesting.into(),
        min_items: row.min.into(),
        max_items: row.max.into(),
    }
}

/// A type in Terraform's JSON notation.
fn type_of(kind: Type) -> Json {
    match kind {
        Type::Text => json!("string"),
        Type::Bool => json!("bool"),
        Type::Number => json!("number"),
        Type::TextList => json!(["list", "string"]),
        Type::TextMap => json!(["map", "string"]),
        Type::Objects(nesting, rows) => {
            let fields: serde_json::Map<_, _> = rows.iter().map(|row| (row.name.to_owned(), type_of(row.kind))).collect();
            let collection = if nesting == Nesting::List { "list" } else { "set" };
            json!([collection, ["object", fields]])
        }
    }
}
