//! Answers to what a version asks: where those of a build come from, and what is wrong with which.

use crate::error::{Answer, ApiError, bad_parameters};
use berth_domain::{
    ParameterValue,
    limit::{PARAMETERS_BYTES_MAX, PARAMETERS_MAX},
    parameter::{self, Answers},
};
use berth_store::Version;
use uuid::Uuid;

/// The field of a request that holds answers given one by one.
const FIELD: &str = "rich_parameter_values";
/// The field that names a preset.
const PRESET: &str = "template_version_preset_id";

/// What a request says about a build's answers.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Given<'a> {
    /// One by one.
    pub(crate) values: &'a [ParameterValue],
    /// By a preset of the version.
    pub(crate) preset: Option<Uuid>,
}

/// The answers of a build.
#[derive(Debug, Clone, Default)]
pub(crate) struct Resolved {
    /// All of the version's parameters, in its order.
    pub(crate) values: Vec<ParameterValue>,
    /// The names of those that hold for this build only.
    pub(crate) ephemeral: Vec<String>,
    /// The preset that was chosen.
    pub(crate) preset: Option<Uuid>,
}

impl Given<'_> {
    /// Whether the request says nothing.
    pub(crate) const fn is_nothing(&self) -> bool {
        self.values.is_empty() && self.preset.is_none()
    }

    /// The values of a build's parameters, or what is wrong with each. `previous` are the answers of the build before.
    pub(crate) fn resolve(self, version: &Version, previous: Option<&[ParameterValue]>) -> Answer<Resolved> {
        if self.values.len() > PARAMETERS_MAX {
            return Err(ApiError::field(FIELD, format!("has more than {PARAMETERS_MAX} values")));
        }
        let preset = match self.preset {
            None => &[],
            Some(id) => preset(version, id).ok_or_else(|| ApiError::field(PRESET, "is no preset of this version"))?,
        };
        let answers = Answers { preset, given: self.values, previous };
        let values = parameter::resolve(&version.imported.parameters, answers).map_err(bad_parameters)?;
        if values.iter().map(|value| value.value.len()).sum::<usize>() > PARAMETERS_BYTES_MAX {
            return Err(ApiError::field(FIELD, format!("comes to more than {PARAMETERS_BYTES_MAX} bytes")));
        }
        Ok(Resolved { values, preset: self.preset, ephemeral: ephemeral(version) })
    }
}

/// The answers of a build that takes down with what the one before came up with.
pub(crate) fn kept(version: &Version, previous: &[ParameterValue]) -> Resolved {
    let values = parameter::without_ephemeral(&version.imported.parameters, previous);
    Resolved { values, ephemeral: ephemeral(version), preset: None }
}

fn ephemeral(version: &Version) -> Vec<String> {
    version.imported.parameters.iter().filter(|parameter| parameter.ephemeral).map(|parameter| parameter.name.clone()).collect()
}

fn preset(version: &Version, id: Uuid) -> Option<&[ParameterValue]> {
    let preset = version.imported.presets.iter().find(|preset| preset.id == id);
    preset.map(|preset| preset.parameters.as_slice())
}
