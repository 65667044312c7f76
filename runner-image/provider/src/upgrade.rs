//! Reads the state file's JSON of a resource back, whichever provider and version wrote it.
//!
//! What is not in the table any more is dropped (Terraform would refuse it) and what is new is null.

use crate::schema::{Block, Type};
use crate::value::{Number, Object, Value};

/// The object that `stored` holds, in the shape of the table.
pub(crate) fn upgrade(block: &Block, stored: &serde_json::Value) -> Object {
    let mut object = Object::new();
    for attribute in block.attributes {
        object.insert(attribute.name.into(), convert(attribute.kind, &stored[attribute.name]));
    }
    for nested in block.blocks {
        let elements = stored[nested.name].as_array().into_iter().flatten();
        let elements = elements.map(|element| Value::Map(upgrade(&nested.block, element)));
        object.insert(nested.name.into(), Value::List(elements.collect()));
    }
    object
}

fn convert(kind: Type, stored: &serde_json::Value) -> Value {
    use serde_json::Value as Json;
    match (kind, stored) {
        (_, Json::Null) => Value::Null,
        (Type::Text, Json::String(text)) => Value::text(text.as_str()),
        (Type::Text, Json::Bool(_) | Json::Number(_)) => Value::text(stored.to_string()),
        (Type::Bool, Json::Bool(truth)) => Value::Bool(*truth),
        (Type::Bool, Json::String(text)) => text.parse().map_or(Value::Null, Value::Bool),
        (Type::Number, Json::Number(_)) => Value::from(stored.clone()),
        (Type::Number, Json::String(text)) => Number::parse(text).map_or(Value::Null, Value::Number),
        (Type::TextList, Json::Array(elements)) => {
            Value::List(elements.iter().map(|element| convert(Type::Text, element)).collect())
        }
        (Type::TextMap, Json::Object(entries)) => {
            Value::Map(entries.iter().map(|(key, value)| (key.clone(), convert(Type::Text, value))).collect())
        }
        (Type::Objects(_, rows), Json::Array(elements)) => {
            Value::List(elements.iter().map(|element| Value::Map(upgrade(&Block::of(rows), element))).collect())
        }
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::schema;
    use crate::value::at;

    #[test]
    fn state_of_an_older_provider_loses_what_is_gone_and_keeps_the_rest() {
        let noun = schema().iter().find(|noun| noun.name == "coder_agent").unwrap();
        let stored = serde_json::json!({
            "id": "1", "os": "linux", "login_before_ready": true, "connection_timeout": "120", "env": {"A": 1},
            "display_apps": [{"vscode": true, "gone": 1}], "metadata": [{"key": "k", "interval": 3, "gone": 1}],
        });
        let object = upgrade(&noun.block, &stored);
        assert!(!object.contains_key("login_before_ready"));
        assert_eq!(at(&object, "connection_timeout"), &Value::whole(120));
        assert_eq!(at(&object, "env"), &Value::Map(Object::from([("A".into(), Value::text("1"))])));
        assert_eq!(at(&object, "token"), &Value::Null);
        assert_eq!(at(&object, "resources_monitoring"), &Value::List(vec![]));
        let metadata = at(&object, "metadata").elements()[0].as_object().unwrap();
        assert_eq!(at(metadata, "interval"), &Value::whole(3));
        assert!(!metadata.contains_key("gone"));
    }
}
