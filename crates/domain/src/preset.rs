//! Presets: values for parameters that go together, under one name.

use crate::{ParameterValue, VersionId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// A `coder_workspace_preset` of a template version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "PresetDefinition")]
pub struct Preset {
    /// Follows from the version and the name, see [`Preset::id_of`].
    pub id: Uuid,
    /// Its name, unique in its version.
    pub name: String,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// A picture's path or URL.
    #[serde(default)]
    pub icon: String,
    /// Whether it is chosen at first; at most one of a version is.
    #[serde(default)]
    pub default: bool,
    /// The values it gives, by the order of their names. Some may be for parameters that the version does not have: those count for
    /// nothing.
    #[serde(default)]
    pub parameters: Vec<ParameterValue>,
    /// How many workspaces to keep ready; `None` when the preset does not say.
    #[serde(default)]
    pub prebuilds: Option<u32>,
}

impl Preset {
    /// The id of the preset with this name in this version: an import that runs twice finds the same.
    #[must_use]
    pub fn id_of(version: VersionId, name: &str) -> Uuid {
        let digest = Sha256::new().chain_update("preset").chain_update(version.0.as_bytes()).chain_update(name).finalize();
        let mut bytes = [0; 16];
        bytes.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        uuid::Builder::from_custom_bytes(bytes).into_uuid()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_presets_id_stays_and_is_its_versions_own() {
        let (one, two) = (VersionId(Uuid::from_u128(1)), VersionId(Uuid::from_u128(2)));
        assert_eq!(Preset::id_of(one, "Europe"), Preset::id_of(one, "Europe"));
        assert_ne!(Preset::id_of(one, "Europe"), Preset::id_of(one, "America"));
        assert_ne!(Preset::id_of(one, "Europe"), Preset::id_of(two, "Europe"));
    }
}
