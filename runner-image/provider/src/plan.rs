//! The plan engine: what a resource will be, from its rows, its configuration and what it was.
//!
//! Rules: a null optional attribute gets its default; a null computed one keeps its value or is unknown until created;
//! a value that differs from the stored one only by "unset" against empty is no change (state written by other
//! providers holds empty values); any other difference of a `force_new` attribute replaces the resource.

use crate::schema::{Attribute, Block, Default, Nesting, Presence, Type};
use crate::value::{Object, Value, at};

/// What the computed attributes that the configuration leaves out become.
#[derive(Clone, Copy)]
pub(crate) enum Fill<'a> {
    /// Unknown: the resource will be created.
    Create,
    /// As stored: the resource exists.
    Update(&'a Object),
    /// Null: the caller sets them, or they are nested.
    Read,
}

/// The planned object of `config`.
pub(crate) fn fill(block: &Block, config: &Object, fill: Fill<'_>) -> Object {
    let mut planned = Object::new();
    for attribute in block.attributes {
        planned.insert(attribute.name.into(), fill_attribute(attribute, at(config, attribute.name), fill));
    }
    for nested in block.blocks {
        let value = match at(config, nested.name) {
            Value::Unknown => Value::Unknown,
            blocks => Value::List(blocks.elements().iter().map(|element| fill_element(&nested.block, element)).collect()),
        };
        planned.insert(nested.name.into(), value);
    }
    planned
}

/// Puts the stored value back wherever the planned one says the same.
pub(crate) fn keep_equal(block: &Block, prior: &Object, planned: &mut Object) {
    for attribute in block.attributes {
        let stored = at(prior, attribute.name);
        if same_attribute(attribute, stored, at(planned, attribute.name)) {
            planned.insert(attribute.name.into(), stored.clone());
        }
    }
    for nested in block.blocks {
        let stored = at(prior, nested.name);
        let same = |a: &Value, b: &Value| same_element(&nested.block, a, b);
        if stored.is_known() && same_elements(nested.nesting, stored, at(planned, nested.name), same) {
            planned.insert(nested.name.into(), stored.clone());
        }
    }
}

/// The names of the `force_new` attributes and blocks in which `planned` differs from `prior`.
pub(crate) fn replacing(block: &Block, prior: &Object, planned: &Object) -> Vec<&'static str> {
    let attributes = block.attributes.iter().filter(|attribute| attribute.force_new && attribute.presence != Presence::Computed);
    let changed = attributes.filter(|attribute| !same_attribute(attribute, at(prior, attribute.name), at(planned, attribute.name)));
    let mut names: Vec<_> = changed.map(|attribute| attribute.name).collect();
    let blocks = block.blocks.iter().filter(|nested| {
        let same = |a: &Value, b: &Value| same_element(&nested.block, a, b);
        !same_elements(nested.nesting, at(prior, nested.name), at(planned, nested.name), same)
    });
    names.extend(blocks.map(|nested| nested.name));
    names
}

/// Makes the object storable: what is still unknown becomes null, and nothing is missing.
pub(crate) fn settle(block: &Block, object: &Object) -> Object {
    let mut settled = Object::new();
    for attribute in block.attributes {
        settled.insert(attribute.name.into(), without_unknown(at(object, attribute.name)));
    }
    for nested in block.blocks {
        let elements = at(object, nested.name).elements().iter();
        let elements = elements.filter_map(Value::as_object).map(|element| Value::Map(settle(&nested.block, element)));
        settled.insert(nested.name.into(), Value::List(elements.collect()));
    }
    settled
}

fn fill_attribute(attribute: &Attribute, value: &Value, fill: Fill<'_>) -> Value {
    let value = match (attribute.kind, value) {
        (Type::Objects(_, rows), Value::List(elements)) if !elements.is_empty() => {
            return Value::List(elements.iter().map(|element| fill_element(&Block::of(rows), element)).collect());
        }
        (Type::Objects(..), Value::List(_)) => &Value::Null,
        _ => value,
    };
    match (value, attribute.default, fill) {
        (Value::Null, Some(default), _) => default_value(attribute, default),
        (Value::Null, None, Fill::Create) if attribute.is_computed() => Value::Unknown,
        (Value::Null, None, Fill::Update(prior)) if attribute.is_computed() => at(prior, attribute.name).clone(),
        (value, _, _) => value.clone(),
    }
}

fn fill_element(block: &Block, element: &Value) -> Value {
    match element {
        Value::Map(config) => Value::Map(fill(block, config, Fill::Read)),
        other => other.clone(),
    }
}

fn default_value(attribute: &Attribute, default: Default) -> Value {
    match (default, attribute.kind) {
        (Default::Text(text), _) => Value::text(text),
        (Default::Bool(truth), _) => Value::Bool(truth),
        (Default::Number(number), _) => Value::whole(number),
        (Default::OneObject, Type::Objects(_, rows)) => {
            Value::List(vec![Value::Map(fill(&Block::of(rows), &Object::new(), Fill::Read))])
        }
        (Default::OneObject, _) => Value::Null,
    }
}

fn same_attribute(attribute: &Attribute, a: &Value, b: &Value) -> bool {
    match attribute.kind {
        Type::Objects(nesting, rows) => same_elements(nesting, a, b, |a, b| same_element(&Block::of(rows), a, b)),
        _ => a == b || (a.is_zero() && b.is_zero()),
    }
}

/// Compares two nested blocks. Their computed attributes follow from the others, so they do not count.
fn same_element(block: &Block, a: &Value, b: &Value) -> bool {
    let (Some(a), Some(b)) = (a.as_object(), b.as_object()) else { return a == b };
    let attributes = block.attributes.iter().filter(|attribute| attribute.presence != Presence::Computed);
    attributes.into_iter().all(|attribute| same_attribute(attribute, at(a, attribute.name), at(b, attribute.name)))
        && block.blocks.iter().all(|nested| {
            let same = |a: &Value, b: &Value| same_element(&nested.block, a, b);
            same_elements(nested.nesting, at(a, nested.name), at(b, nested.name), same)
        })
}

fn same_elements(nesting: Nesting, a: &Value, b: &Value, same: impl Fn(&Value, &Value) -> bool) -> bool {
    if matches!(a, Value::Unknown) || matches!(b, Value::Unknown) || a.elements().len() != b.elements().len() {
        return a == b;
    }
    if nesting == Nesting::List {
        return a.elements().iter().zip(b.elements()).all(|(a, b)| same(a, b));
    }
    let mut rest: Vec<&Value> = b.elements().iter().collect();
    a.elements().iter().all(|a| rest.iter().position(|b| same(a, b)).map(|index| rest.swap_remove(index)).is_some())
}

fn without_unknown(value: &Value) -> Value {
    match value {
        Value::Unknown => Value::Null,
        Value::List(elements) => Value::List(elements.iter().map(without_unknown).collect()),
        Value::Map(entries) => Value::Map(entries.iter().map(|(key, value)| (key.clone(), without_unknown(value))).collect()),
        known => known.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::schema;

    fn block(name: &str) -> &'static Block {
        &schema().iter().find(|noun| noun.name == name).unwrap().block
    }

    fn object(json: serde_json::Value) -> Object {
        Value::from(json).as_object().unwrap().clone()
    }

    #[test]
    fn a_new_agent_gets_its_defaults_and_its_computed_attributes_are_unknown() {
        let config = object(serde_json::json!({"os": "linux", "arch": "amd64"}));
        let planned = fill(block("coder_agent"), &config, Fill::Create);
        assert_eq!(at(&planned, "auth"), &Value::text("token"));
        assert_eq!(at(&planned, "connection_timeout"), &Value::whole(120));
        assert_eq!(at(&planned, "token"), &Value::Unknown);
        assert_eq!(at(&planned, "metadata"), &Value::List(vec![]));
        let apps = at(&planned, "display_apps").elements();
        assert_eq!(at(apps[0].as_object().unwrap(), "vscode_insiders"), &Value::Bool(false));
        assert_eq!(at(apps[0].as_object().unwrap(), "vscode"), &Value::Bool(true));
    }

    #[test]
    fn one_named_display_app_leaves_the_others_at_their_defaults() {
        let config = object(serde_json::json!({"os": "linux", "arch": "amd64", "display_apps": [{"vscode": false}]}));
        let planned = fill(block("coder_agent"), &config, Fill::Create);
        let apps = at(&planned, "display_apps").elements()[0].as_object().unwrap();
        assert_eq!(at(apps, "vscode"), &Value::Bool(false));
        assert_eq!(at(apps, "web_terminal"), &Value::Bool(true));
    }

    #[test]
    fn an_unchanged_configuration_changes_nothing_even_when_the_state_holds_empty_values() {
        let rows = block("coder_agent");
        let config = object(serde_json::json!({"os": "linux", "arch": "amd64",
            "metadata": [{"key": "a", "script": "b", "interval": 5}]}));
        let mut prior = settle(rows, &fill(rows, &config, Fill::Create));
        prior.insert("id".into(), Value::text("x"));
        prior.insert("dir".into(), Value::text(""));
        prior.insert("order".into(), Value::whole(0));
        let mut planned = fill(rows, &config, Fill::Update(&prior));
        keep_equal(rows, &prior, &mut planned);
        assert_eq!(planned, prior);
        assert!(replacing(rows, &prior, &planned).is_empty());
    }

    #[test]
    fn a_changed_attribute_or_block_replaces_and_a_set_has_no_order() {
        let rows = block("coder_agent");
        let volumes = |a: &str, b: &str| {
            let volume = |path: &str| serde_json::json!({"path": path, "enabled": true, "threshold": 80});
            object(
                serde_json::json!({"os": "linux", "arch": "amd64", "resources_monitoring": [{"volume": [volume(a), volume(b)]}]}),
            )
        };
        let prior = settle(rows, &fill(rows, &volumes("/a", "/b"), Fill::Create));
        let same = fill(rows, &volumes("/b", "/a"), Fill::Update(&prior));
        assert!(replacing(rows, &prior, &same).is_empty());
        let other = fill(rows, &volumes("/b", "/c"), Fill::Update(&prior));
        assert_eq!(replacing(rows, &prior, &other), ["resources_monitoring"]);
        let mut arm = volumes("/a", "/b");
        arm.insert("arch".into(), Value::text("arm64"));
        assert_eq!(replacing(rows, &prior, &fill(rows, &arm, Fill::Update(&prior))), ["arch"]);
    }

    #[test]
    fn what_may_update_in_place_does_not_replace() {
        let rows = block("berth_process");
        let config = |grace: i64| object(serde_json::json!({"command": ["sleep", "9"], "stop_grace_seconds": grace}));
        let prior = settle(rows, &fill(rows, &config(10), Fill::Create));
        let planned = fill(rows, &config(20), Fill::Update(&prior));
        assert_ne!(planned, prior);
        assert!(replacing(rows, &prior, &planned).is_empty());
    }
}
