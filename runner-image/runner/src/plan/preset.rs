//! Presets, workspace tags and external authentication, as a plan has read them.

use std::collections::{BTreeMap, BTreeSet};

use berth_domain::{ExternalAuth, Parameter, ParameterValue, Preset, VersionId};
use serde_json::{Map, Value};

use super::{Found, PlanError, blocks, flag, text, whole};

/// The presets, in the order in which they were found.
pub(super) fn presets(found: &[&Found<'_>], version: VersionId) -> Result<Vec<Preset>, PlanError> {
    let mut presets: Vec<Preset> = Vec::new();
    for resource in found {
        let preset = preset(resource.values, version);
        if presets.iter().any(|other| other.name == preset.name) {
            return Err(PlanError::PresetTwice(preset.name));
        }
        if let Some(other) = presets.iter().find(|other| other.default && preset.default) {
            return Err(PlanError::DefaultTwice(other.name.clone(), preset.name));
        }
        presets.push(preset);
    }
    Ok(presets)
}

fn preset(values: &Map<String, Value>, version: VersionId) -> Preset {
    let name = text(values, "name");
    let prebuilds = blocks(values, "prebuilds").next().and_then(|prebuilds| whole(prebuilds, "instances"));
    Preset {
        id: Preset::id_of(version, &name),
        description: text(values, "description"),
        icon: text(values, "icon"),
        default: flag(values, "default"),
        parameters: pairs(values, "parameters").map(|(name, value)| ParameterValue { name, value }).collect(),
        prebuilds: prebuilds.and_then(|instances| u32::try_from(instances).ok()),
        name,
    }
}

/// What a preset gives that its template cannot take. It counts for nothing, so that the author may know but nobody is held up.
pub(super) fn warnings(presets: &[Preset], parameters: &[Parameter]) -> Vec<String> {
    let mut warnings = Vec::new();
    for preset in presets {
        for given in &preset.parameters {
            let (name, value) = (&given.name, &given.value);
            match parameters.iter().find(|parameter| parameter.name == *name).map(|parameter| parameter.check(value, None)) {
                Some(Ok(())) => {}
                Some(Err(why)) => warnings.push(format!("preset {:?}, parameter {name:?}: {why}", preset.name)),
                None => warnings
                    .push(format!("preset {:?} gives the parameter {name:?}, which the template does not have", preset.name)),
            }
        }
    }
    warnings
}

/// The tags of all `coder_workspace_tags`; of two with one key the later wins.
pub(super) fn tags(found: &[&Found<'_>]) -> BTreeMap<String, String> {
    found.iter().flat_map(|resource| pairs(resource.values, "tags")).collect()
}

/// The accounts elsewhere, each once. One that is asked for twice is optional only if it is so both times.
pub(super) fn external_auth(found: &[&Found<'_>]) -> Vec<ExternalAuth> {
    let asked = || found.iter().map(|resource| (text(resource.values, "id"), flag(resource.values, "optional")));
    let mut seen = BTreeSet::new();
    let once = asked().filter(|(id, _)| seen.insert(id.clone()));
    let is_optional = |id: &str| asked().filter(|(other, _)| other == id).all(|(_, optional)| optional);
    once.map(|(id, _)| ExternalAuth { optional: is_optional(&id), id }).collect()
}

fn pairs(values: &Map<String, Value>, key: &str) -> impl Iterator<Item = (String, String)> {
    let map = values.get(key).and_then(Value::as_object);
    map.into_iter().flatten().filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
}
