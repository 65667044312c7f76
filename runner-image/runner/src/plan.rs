//! What a plan says about a template: what it asks for, what can be chosen, and whether its names will do.

mod preset;

use std::collections::{BTreeMap, BTreeSet};

use berth_domain::{
    AgentName, ExternalAuth, Parameter, Preset, VersionId,
    parameter::{ParameterOption, ParameterRule, ParameterType},
};
use serde_json::{Map, Value};

use crate::resources::ResourceError;

/// What is read from the JSON form of a plan.
#[derive(Debug, Default)]
pub struct Plan {
    /// The parameters by `order`, then in the order of the template's text.
    pub parameters: Vec<Parameter>,
    /// The presets in the order of the template's text.
    pub presets: Vec<Preset>,
    /// The tags that choose the runner of a build.
    pub tags: BTreeMap<String, String>,
    /// The accounts elsewhere that it wants linked, in the order of the template's text.
    pub external_auth: Vec<ExternalAuth>,
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
    /// Two presets have one name.
    #[error("the preset {0:?} is declared twice")]
    PresetTwice(String),
    /// Two presets would be chosen at first.
    #[error("the presets {0:?} and {1:?} are both marked as default: only one can be")]
    DefaultTwice(String, String),
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

/// The output of `terraform show -json <plan>`.
///
/// # Errors
/// When it is not a plan that we understand.
pub fn parse(json: &[u8]) -> Result<Value, PlanError> {
    let plan: Value = serde_json::from_slice(json).map_err(|error| PlanError::Format(error.to_string()))?;
    let version = plan.get("format_version").and_then(Value::as_str).unwrap_or("none");
    if version.starts_with("1.") { Ok(plan) } else { Err(PlanError::Format(format!("its format version is {version}, not 1"))) }
}

/// Reads what a plan says about its template. `order` lists the addresses of the template's data sources as the text has them.
///
/// # Errors
/// When a name in it is not usable.
pub fn read(plan: &Value, order: &[String], version: VersionId) -> Result<Plan, PlanError> {
    let mut found = Vec::new();
    for root in [plan.pointer("/prior_state/values/root_module"), plan.pointer("/planned_values/root_module")].into_iter().flatten()
    {
        collect(root, &mut found);
    }
    let position =
        |resource: &Found<'_>| order.iter().position(|address| *address == format!("{}.{}", resource.kind, resource.name));
    found.sort_by_key(|resource| position(resource).unwrap_or(usize::MAX));
    let of = |kind: &str| found.iter().filter(|resource| resource.kind == kind).collect::<Vec<_>>();
    let parameters = parameters(&of("coder_parameter"))?;
    let presets = preset::presets(&of("coder_workspace_preset"), version)?;
    let mut warnings = preset::warnings(&presets, &parameters);
    check_agents(&found)?;
    if !found.iter().any(|resource| resource.kind == "coder_agent") {
        warnings.push("the template has no coder_agent: nobody can connect to its workspaces".to_owned());
    }
    let tags = preset::tags(&of("coder_workspace_tags"));
    let external_auth = preset::external_auth(&of("coder_external_auth"));
    Ok(Plan { parameters, presets, tags, external_auth, warnings })
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

fn parameters(found: &[&Found<'_>]) -> Result<Vec<Parameter>, PlanError> {
    let mut parameters: Vec<Parameter> = Vec::new();
    for resource in found {
        let parameter = parameter(resource)?;
        if parameters.iter().any(|other| other.name == parameter.name) {
            return Err(PlanError::ParameterTwice(parameter.name));
        }
        parameters.push(parameter);
    }
    parameters.sort_by_key(|parameter| parameter.order);
    Ok(parameters)
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

    fn plan(resources: &Value) -> Value {
        json!({"format_version": "1.2", "prior_state": {"values": {"root_module": {"resources": resources}}}})
    }

    fn read(plan: &Value, order: &[&str]) -> Result<Plan, PlanError> {
        let order: Vec<_> = order.iter().map(|address| (*address).to_owned()).collect();
        super::read(plan, &order, VersionId(uuid::Uuid::from_u128(1)))
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
        let found = read(&json, &["coder_parameter.region", "coder_parameter.disk"]).unwrap();
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
        assert!(matches!(parse(b"{}"), Err(PlanError::Format(_))));
        let preset = |label: &str, name: &str| resource("coder_workspace_preset", label, json!({"name": name, "default": true}));
        let twice = read(&plan(&json!([preset("a", "x"), preset("b", "x")])), &[]).unwrap_err();
        assert_eq!(twice.to_string(), "the preset \"x\" is declared twice");
        let twice = read(&plan(&json!([preset("a", "x"), preset("b", "y")])), &[]).unwrap_err();
        assert_eq!(twice.to_string(), "the presets \"x\" and \"y\" are both marked as default: only one can be");
    }

    #[test]
    fn presets_tags_and_external_auth_are_read_and_a_presets_mistakes_only_warn() {
        let size = resource(
            "coder_parameter",
            "size",
            json!({"name": "size", "type": "string", "option": [{"name": "L", "value": "large"}]}),
        );
        let small = json!({"name": "Small", "parameters": {"size": "tiny", "gone": "1"}, "prebuilds": [{"instances": 2}]});
        let json = plan(&json!([
            size,
            resource("coder_workspace_preset", "b", json!({"name": "Large", "default": true, "parameters": {"size": "large"}})),
            resource("coder_workspace_preset", "a", small),
            resource("coder_workspace_tags", "t", json!({"tags": {"zone": "eu"}})),
            resource("coder_external_auth", "g", json!({"id": "github", "optional": true, "access_token": "canary"})),
            resource("coder_external_auth", "h", json!({"id": "github"})),
        ]));
        let found = read(&json, &["coder_workspace_preset.a", "coder_workspace_preset.b"]).unwrap();
        let [small, large] = found.presets.as_slice() else { panic!("{found:?}") };
        assert_eq!((small.name.as_str(), small.prebuilds, large.default), ("Small", Some(2), true));
        assert_eq!(large.id, Preset::id_of(VersionId(uuid::Uuid::from_u128(1)), "Large"));
        assert_eq!(found.tags["zone"], "eu");
        assert_eq!(found.external_auth, [ExternalAuth { id: "github".to_owned(), optional: false }]);
        assert!(found.warnings[0].contains("\"gone\", which the template does not have"), "{:?}", found.warnings);
        assert!(found.warnings[1].starts_with("preset \"Small\", parameter \"size\": "), "{:?}", found.warnings);
        assert!(!format!("{found:?}").contains("canary"));
    }
}
