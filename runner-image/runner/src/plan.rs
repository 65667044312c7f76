//! What a plan says about a template: the parameters it asks for and the agents it would have.

use std::collections::BTreeSet;

use berth_domain::{
    AgentName, Parameter,
    parameter::{ParameterOption, ParameterRule, ParameterType},
};
use serde_json::{Map, Value};

use crate::resources::ResourceError;

/// What is read from the JSON form of a plan.
#[derive(Debug, Default)]
pub struct Plan {
    /// The parameters by `order`, then in the order of the template's text.
    pub parameters: Vec<Parameter>,
    /// What the author should know.
    pub warnings: Vec<String>,
}

/// Why a plan makes no template version.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// It is not a plan that we understand.
    #[error("terraform's plan cannot be read: {0}")]
    Format(String),
    /// Two parameters have one name.
    #[error("the parameter {0:?} is declared twice")]
    ParameterTwice(String),
    /// A parameter has a type that we do not know.
    #[error("parameter {name:?}: {why}")]
    Parameter {
        /// The parameter.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// An agent's name will not do.
    #[error(transparent)]
    Agent(#[from] ResourceError),
}

/// Reads the output of `terraform show -json <plan>`. `order` lists the labels of the `coder_parameter` blocks as the text has them.
///
/// # Errors
/// When it is not a plan, or a name in it is not usable.
pub fn read(json: &[u8], order: &[String]) -> Result<Plan, PlanError> {
    let plan: Value = serde_json::from_slice(json).map_err(|error| PlanError::Format(error.to_string()))?;
    let version = plan.get("format_version").and_then(Value::as_str).unwrap_or("none");
    if !version.starts_with("1.") {
        return Err(PlanError::Format(format!("its format version is {version}, not 1")));
    }
    let mut found = Vec::new();
    for root in [plan.pointer("/prior_state/values/root_module"), plan.pointer("/planned_values/root_module")].into_iter().flatten()
    {
        collect(root, &mut found);
    }
    let mut result = Plan { parameters: parameters(&found, order)?, warnings: Vec::new() };
    check_agents(&found)?;
    if !found.iter().any(|resource| resource.kind == "coder_agent") {
        result.warnings.push("the template has no coder_agent: nobody can connect to its workspaces".to_owned());
    }
    Ok(result)
}

struct Found<'a> {
    address: &'a str,
    kind: &'a str,
    name: &'a str,
    values: &'a Map<String, Value>,
}

fn collect<'a>(module: &'a Value, found: &mut Vec<Found<'a>>) {
    let list = |key: &str| module.get(key).and_then(Value::as_array).into_iter().flatten();
    for resource in list("resources") {
        let text = |key: &str| resource.get(key).and_then(Value::as_str).unwrap_or_default();
        let Some(values) = resource.get("values").and_then(Value::as_object) else { continue };
        if !found.iter().any(|known| known.address == text("address")) {
            found.push(Found { address: text("address"), kind: text("type"), name: text("name"), values });
        }
    }
    list("child_modules").for_each(|child| collect(child, found));
}

fn parameters(found: &[Found<'_>], order: &[String]) -> Result<Vec<Parameter>, PlanError> {
    let mut declared: Vec<(usize, Parameter)> = Vec::new();
    for resource in found.iter().filter(|resource| resource.kind == "coder_parameter") {
        let parameter = parameter(resource)?;
        if declared.iter().any(|(_, other)| other.name == parameter.name) {
            return Err(PlanError::ParameterTwice(parameter.name));
        }
        let position = order.iter().position(|label| label == resource.name).unwrap_or(usize::MAX);
        declared.push((position, parameter));
    }
    declared.sort_by_key(|(position, parameter)| (parameter.order, *position));
    Ok(declared.into_iter().map(|(_, parameter)| parameter).collect())
}

fn parameter(resource: &Found<'_>) -> Result<Parameter, PlanError> {
    let values = resource.values;
    let name = text(values, "name");
    let kind = text(values, "type");
    let kind: ParameterType = if kind.is_empty() { Ok(ParameterType::String) } else { kind.parse() }
        .map_err(|why| PlanError::Parameter { name: name.clone(), why })?;
    let default = values.get("default").and_then(Value::as_str).map(str::to_owned);
    let is_optional = values.get("optional").and_then(Value::as_bool).unwrap_or(default.is_some());
    Ok(Parameter {
        display_name: text(values, "display_name"),
        description: text(values, "description"),
        kind,
        form_type: text(values, "form_type"),
        mutable: flag(values, "mutable"),
        default: default.filter(|_| is_optional),
        icon: text(values, "icon"),
        options: blocks(values, "option").map(option).collect(),
        rule: blocks(values, "validation").next().map(rule).unwrap_or_default(),
        ephemeral: flag(values, "ephemeral"),
        order: whole(values, "order").unwrap_or(0),
        name,
    })
}

fn option(values: &Map<String, Value>) -> ParameterOption {
    ParameterOption {
        name: text(values, "name"),
        description: text(values, "description"),
        value: text(values, "value"),
        icon: text(values, "icon"),
    }
}

fn rule(values: &Map<String, Value>) -> ParameterRule {
    let given = |key: &str| Some(text(values, key)).filter(|text| !text.is_empty());
    let bound = |key: &str, disabled: &str| if flag(values, disabled) { None } else { whole(values, key) };
    ParameterRule {
        declared: true,
        regex: given("regex"),
        error: given("error"),
        min: bound("min", "min_disabled"),
        max: bound("max", "max_disabled"),
        monotonic: given("monotonic"),
    }
}

fn check_agents(found: &[Found<'_>]) -> Result<(), ResourceError> {
    let mut names = BTreeSet::new();
    for agent in found.iter().filter(|resource| resource.kind == "coder_agent") {
        let name =
            AgentName::parse(agent.name).map_err(|source| ResourceError::AgentName { name: agent.name.to_owned(), source })?;
        if !names.insert(name.key()) {
            return Err(ResourceError::AgentTwice(agent.name.to_owned()));
        }
    }
    Ok(())
}

fn text(values: &Map<String, Value>, key: &str) -> String {
    values.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn flag(values: &Map<String, Value>, key: &str) -> bool {
    values.get(key).and_then(Value::as_bool).unwrap_or(false)
}

#[allow(clippy::cast_possible_truncation)]
fn whole(values: &Map<String, Value>, key: &str) -> Option<i64> {
    let value = values.get(key)?;
    value.as_i64().or_else(|| value.as_f64().map(|number| number as i64))
}

fn blocks<'a>(values: &'a Map<String, Value>, key: &str) -> impl Iterator<Item = &'a Map<String, Value>> {
    values.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn plan(resources: &Value) -> Vec<u8> {
        json!({"format_version": "1.2", "prior_state": {"values": {"root_module": {"resources": resources}}}})
            .to_string()
            .into_bytes()
    }

    fn resource(kind: &str, name: &str, values: Value) -> Value {
        json!({"address": format!("{kind}.{name}"), "type": kind, "name": name, "values": values})
    }

    #[test]
    fn parameters_come_in_the_authors_order_with_their_rules() {
        let disk = json!({"name": "disk", "type": "number", "optional": false, "default": null, "mutable": true,
            "validation": [{"min": 10, "max": 0, "max_disabled": true, "min_disabled": false, "regex": "", "error": "", "monotonic": "increasing"}]});
        let region = json!({"name": "region", "type": "string", "optional": true, "default": "", "option": [
            {"name": "Europe", "value": "eu", "description": null, "icon": "/e.svg"}]});
        let json = plan(&json!([resource("coder_parameter", "disk", disk), resource("coder_parameter", "region", region)]));
        let order = ["region".to_owned(), "disk".to_owned()];
        let found = read(&json, &order).unwrap();
        let [region, disk] = found.parameters.as_slice() else { panic!("{found:?}") };
        assert_eq!((region.name.as_str(), region.default.as_deref(), region.options[0].value.as_str()), ("region", Some(""), "eu"));
        assert_eq!((disk.default.clone(), disk.kind, disk.mutable), (None, ParameterType::Number, true));
        assert_eq!((disk.rule.min, disk.rule.max, disk.rule.monotonic.as_deref()), (Some(10), None, Some("increasing")));
        assert_eq!(found.warnings.len(), 1, "no agent");
    }

    #[test]
    fn unusable_names_are_refused() {
        let twice = plan(&json!([
            resource("coder_parameter", "a", json!({"name": "x"})),
            resource("coder_parameter", "b", json!({"name": "x"}))
        ]));
        assert_eq!(read(&twice, &[]).unwrap_err().to_string(), "the parameter \"x\" is declared twice");
        let agent = plan(&json!([resource("coder_agent", "my_agent", json!({}))]));
        let expected = "rename resource \"coder_agent\" \"my_agent\": \"my_agent\" may hold only letters and digits with single hyphens between them";
        assert_eq!(read(&agent, &[]).unwrap_err().to_string(), expected);
        assert!(matches!(read(b"{}", &[]), Err(PlanError::Format(_))));
    }
}
