//! `data.coder_parameter`; its rules are in [`crate::parameter`].

use berth_domain::parameter::{Parameter, ParameterOption, ParameterRule};

use super::{Attribute, Block, Default, ID, Nested, Noun, Rule, Type};
use crate::behaviour::{Context, new_uuid};
use crate::diagnostic::Diagnostic;
use crate::environment::{parameter_env_name, parameter_previous_env_name};
use crate::parameter::{FORM_TYPES, TYPES, resolve};
use crate::value::{Object, Value, at, text_at, true_at};

const OPTION: &[Attribute] = &[
    Attribute::required("name", Type::Text).doc("The name to show."),
    Attribute::optional("description", Type::Text).doc("What choosing it does."),
    Attribute::required("value", Type::Text).doc("The value when it is chosen."),
    Attribute::optional("icon", Type::Text).rules(&[Rule::Url]).doc("The URL of its icon."),
];

const VALIDATION: &[Attribute] = &[
    Attribute::optional("min", Type::Number).doc("The least number."),
    Attribute::computed("min_disabled", Type::Bool).doc("True when min is not given."),
    Attribute::optional("max", Type::Number).doc("The greatest number."),
    Attribute::computed("max_disabled", Type::Bool).doc("True when max is not given."),
    Attribute::optional("monotonic", Type::Text).doc("increasing or decreasing: the direction in which a number may change."),
    Attribute::optional("regex", Type::Text)
        .rules(&[Rule::ConflictsWith(&["min", "max", "monotonic"])])
        .doc("The regular expression that a string matches."),
    Attribute::optional("error", Type::Text).doc("What to say otherwise, with {min}, {max} and {value} filled in."),
];

pub(super) static PARAMETER: Noun = Noun::data(
    "coder_parameter",
    Block::with(
        &[
            ID,
            Attribute::computed("value", Type::Text).doc("The value."),
            Attribute::required("name", Type::Text).doc("The name, unique in the template; another name is another parameter."),
            Attribute::optional("display_name", Type::Text).doc("The name to show."),
            Attribute::optional("description", Type::Text).doc("What it is for."),
            Attribute::optional("type", Type::Text)
                .or(Default::Text("string"))
                .rules(&[Rule::OneOf(TYPES)])
                .doc("The type of the value."),
            Attribute::optional("form_type", Type::Text)
                .or(Default::Text(""))
                .rules(&[Rule::OneOf(FORM_TYPES)])
                .doc("How forms ask for it."),
            Attribute::optional("styling", Type::Text).or(Default::Text("{}")).doc("JSON that says how forms show it."),
            Attribute::optional("mutable", Type::Bool).or_false().doc("Whether it may change after the workspace is created."),
            Attribute::optional("default", Type::Text).doc("The value when none is given; without it one must be given."),
            Attribute::optional("icon", Type::Text).rules(&[Rule::Url]).doc("The URL of its icon."),
            Attribute::computed("optional", Type::Bool).doc("True when there is a default."),
            Attribute::optional("order", Type::Number).doc("Its place among the parameters, lowest first."),
            Attribute::optional("ephemeral", Type::Bool).or_false().doc("Whether its value counts for one build only."),
        ],
        &[Nested::list("option", Block::of(OPTION)), Nested::list("validation", Block::of(VALIDATION)).max(1)],
    ),
    read,
)
.doc("A question that the developer answers when a workspace is built.");

fn read(context: &Context, object: &mut Object) -> Vec<Diagnostic> {
    let parameter = match declared(object) {
        Ok(parameter) => parameter,
        Err(diagnostic) => return vec![diagnostic],
    };
    let name = text_at(object, "name");
    let input = context.environment.given(&parameter_env_name(name));
    let previous = context.environment.given(&parameter_previous_env_name(name));
    let resolved = match resolve(&parameter, input, previous) {
        Ok(resolved) => resolved,
        Err(mut diagnostic) => {
            diagnostic.detail = format!("parameter \"{name}\": {}", diagnostic.detail);
            return vec![diagnostic];
        }
    };
    object.insert("id".into(), new_uuid());
    object.insert("value".into(), Value::Text(resolved.value));
    object.insert("form_type".into(), Value::Text(resolved.form_type));
    object.insert("optional".into(), Value::Bool(parameter.default.is_some()));
    complete_blocks(object);
    Vec::new()
}

fn declared(object: &Object) -> Result<Parameter, Diagnostic> {
    let blocks = |name: &str| at(object, name).elements().iter().filter_map(Value::as_object);
    let owned = |object: &Object, name: &str| text_at(object, name).to_owned();
    let option = |option: &Object| ParameterOption {
        name: owned(option, "name"),
        value: owned(option, "value"),
        ..ParameterOption::default()
    };
    Ok(Parameter {
        name: owned(object, "name"),
        display_name: String::new(),
        description: String::new(),
        kind: text_at(object, "type").parse().map_err(|why: String| Diagnostic::error("invalid type", why).about("type"))?,
        form_type: owned(object, "form_type"),
        mutable: true_at(object, "mutable"),
        default: at(object, "default").as_text().map(str::to_owned),
        icon: String::new(),
        options: blocks("option").map(option).collect(),
        rule: blocks("validation").next().map(rule).unwrap_or_default(),
        ephemeral: true_at(object, "ephemeral"),
        order: 0,
    })
}

fn rule(block: &Object) -> ParameterRule {
    let given = |name: &str| Some(text_at(block, name).to_owned()).filter(|text| !text.is_empty());
    ParameterRule {
        declared: true,
        min: at(block, "min").as_whole(),
        max: at(block, "max").as_whole(),
        monotonic: given("monotonic"),
        regex: given("regex"),
        error: given("error"),
    }
}

/// Templates and tools read empty values, not nulls, inside the blocks, and `min_disabled` instead of a null `min`.
fn complete_blocks(object: &mut Object) {
    for (name, rows) in [("option", OPTION), ("validation", VALIDATION)] {
        let Some(Value::List(blocks)) = object.get_mut(name) else { continue };
        for block in blocks {
            let Value::Map(block) = block else { continue };
            if name == "validation" {
                for (limit, disabled) in [("min", "min_disabled"), ("max", "max_disabled")] {
                    let missing = Value::Bool(!at(block, limit).is_known());
                    block.insert(disabled.into(), missing);
                }
            }
            for row in rows.iter().filter(|row| !row.is_computed()) {
                let empty = if matches!(row.kind, Type::Number) { Value::whole(0) } else { Value::text("") };
                if !at(block, row.name).is_known() {
                    block.insert(row.name.into(), empty);
                }
            }
        }
    }
}
