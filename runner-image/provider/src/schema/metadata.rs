//! `coder_metadata`.

use super::{Attribute, Block, ID, Nested, Noun, Rule, Type, duplicate};
use crate::behaviour::Hooks;
use crate::diagnostic::Diagnostic;
use crate::value::{Object, Value, at};

const ITEM: &[Attribute] = &[
    Attribute::required("key", Type::Text).doc("The key, unique in the block."),
    Attribute::optional("value", Type::Text).doc("The value to show."),
    Attribute::optional("sensitive", Type::Bool).or_false().doc("Hide the value until it is asked for."),
    Attribute::computed("is_null", Type::Bool).doc("True when no value is given."),
];

pub(super) static METADATA: Noun = Noun::resource(
    "coder_metadata",
    Block::with(
        &[
            ID,
            Attribute::required("resource_id", Type::Text).doc("The id of the resource that it describes."),
            Attribute::optional("hide", Type::Bool).doc("Do not show the resource."),
            Attribute::optional("icon", Type::Text).rules(&[Rule::Url]).doc("The URL of the resource's icon."),
            Attribute::optional("daily_cost", Type::Number).doc("What the resource costs a day, in the smallest unit of money."),
        ],
        &[Nested::list("item", Block::of(ITEM))],
    ),
    Hooks { customise, ..Hooks::PLAIN },
)
.doc("Facts to show beside a resource of the workspace.");

/// Says which items have no value, and gives those the empty text.
fn customise(planned: &mut Object) -> Vec<Diagnostic> {
    if let Some(Value::List(items)) = planned.get_mut("item") {
        for item in items {
            let Value::Map(item) = item else { continue };
            let is_null = match at(item, "value") {
                Value::Unknown => Value::Unknown,
                value => Value::Bool(*value == Value::Null),
            };
            if is_null == Value::Bool(true) {
                item.insert("value".into(), Value::text(""));
            }
            item.insert("is_null".into(), is_null);
        }
    }
    duplicate(planned, "item", "key").into_iter().collect()
}
