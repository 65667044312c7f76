//! Terraform states, as far as Berth must understand them: which version of which history a file is, and what it holds.
//!
//! Terraform writes a `lineage` when it makes a state and counts `serial` up with every change. A state that does not follow the
//! newest one is a step back or another workspace's: taking it would lose what was recorded since.

use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};
use std::collections::BTreeMap;

use crate::limit::LINEAGE_BYTES_MAX;

/// The format that Terraform 0.12 and later and OpenTofu write.
const FORMAT: u64 = 4;

/// What a state file says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateHead {
    /// Grows with every change.
    pub serial: u64,
    /// Which history it belongs to.
    pub lineage: String,
}

/// Why bytes are not a state that can be kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// Not a state, or cut off.
    #[error("this is not a Terraform state: {0}")]
    Malformed(String),
    /// A state of a format that nobody writes any more, or of one that is newer than we know.
    #[error("the state has format {0}, not {FORMAT}")]
    Format(u64),
    /// The state of something else.
    #[error("the state has lineage {given}, the workspace's has {newest}: it is not the state of this workspace")]
    Lineage {
        /// What was given.
        given: String,
        /// What the workspace has.
        newest: String,
    },
    /// A step back.
    #[error("the state has serial {given}, which is not above the newest one's {newest}")]
    Serial {
        /// What was given.
        given: u64,
        /// What the workspace has.
        newest: u64,
    },
}

/// A resource that a state holds: one instance of a managed one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateResource {
    /// `module.dev["a"].aws_instance.main[0]`.
    pub address: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its `id` attribute; empty when it has none.
    pub id: String,
}

#[derive(Deserialize)]
struct Head {
    version: u64,
    serial: u64,
    lineage: String,
}

impl StateHead {
    /// Reads it out of a whole state.
    ///
    /// # Errors
    /// When the bytes are not one whole state of the known format.
    pub fn read(state: &[u8]) -> Result<Self, StateError> {
        let Head { version, serial, lineage } = serde_json::from_slice(state).map_err(|error| malformed(&error))?;
        if version != FORMAT {
            return Err(StateError::Format(version));
        }
        if lineage.is_empty() || lineage.len() > LINEAGE_BYTES_MAX {
            return Err(StateError::Malformed(format!("its lineage is empty or longer than {LINEAGE_BYTES_MAX} bytes")));
        }
        Ok(Self { serial, lineage })
    }

    /// Whether a state with this head may become the newest after `newest`.
    ///
    /// # Errors
    /// [`StateError::Lineage`] or [`StateError::Serial`] when it may not.
    pub fn follows(&self, newest: &Self) -> Result<(), StateError> {
        if self.lineage != newest.lineage {
            return Err(StateError::Lineage { given: self.lineage.clone(), newest: newest.lineage.clone() });
        }
        if self.serial <= newest.serial {
            return Err(StateError::Serial { given: self.serial, newest: newest.serial });
        }
        Ok(())
    }
}

/// The same state under another serial; everything else keeps its text, numbers of any size included.
///
/// # Errors
/// When it is not a state.
pub fn with_serial(state: &[u8], serial: u64) -> Result<Vec<u8>, StateError> {
    StateHead::read(state)?;
    let mut fields: BTreeMap<String, &RawValue> = serde_json::from_slice(state).map_err(|error| malformed(&error))?;
    let serial = serde_json::value::to_raw_value(&serial).map_err(|error| malformed(&error))?;
    fields.insert("serial".to_owned(), &serial);
    serde_json::to_vec(&fields).map_err(|error| malformed(&error))
}

/// The managed resources that a state holds, in the order of their addresses.
///
/// # Errors
/// When it is not a state.
pub fn resources(state: &[u8]) -> Result<Vec<StateResource>, StateError> {
    StateHead::read(state)?;
    let state: Holder = serde_json::from_slice(state).map_err(|error| malformed(&error))?;
    let managed = state.resources.iter().filter(|resource| resource.mode == "managed");
    let mut resources: Vec<_> = managed.flat_map(Held::instances).collect();
    resources.sort_by(|one, two| one.address.cmp(&two.address));
    Ok(resources)
}

#[derive(Deserialize)]
struct Holder {
    #[serde(default)]
    resources: Vec<Held>,
}

#[derive(Deserialize)]
struct Held {
    mode: String,
    #[serde(rename = "type")]
    kind: String,
    name: String,
    #[serde(default)]
    module: String,
    #[serde(default)]
    instances: Vec<Instance>,
}

#[derive(Deserialize)]
struct Instance {
    #[serde(default)]
    index_key: Option<Value>,
    #[serde(default)]
    deposed: Option<String>,
    #[serde(default)]
    attributes: Option<Attributes>,
}

#[derive(Deserialize)]
struct Attributes {
    #[serde(default)]
    id: Option<Value>,
}

impl Held {
    fn instances(&self) -> impl Iterator<Item = StateResource> {
        let dot = if self.module.is_empty() { "" } else { "." };
        let address = format!("{}{dot}{}.{}", self.module, self.kind, self.name);
        self.instances.iter().map(move |instance| {
            let index = instance.index_key.as_ref().map(|key| format!("[{key}]")).unwrap_or_default();
            let deposed = instance.deposed.as_ref().map(|key| format!(" (deposed {key})")).unwrap_or_default();
            let id = match instance.attributes.as_ref().and_then(|attributes| attributes.id.as_ref()) {
                Some(Value::String(id)) => id.clone(),
                Some(Value::Null) | None => String::new(),
                Some(other) => other.to_string(),
            };
            StateResource { address: format!("{address}{index}{deposed}"), kind: self.kind.clone(), id }
        })
    }
}

fn malformed(error: &serde_json::Error) -> StateError {
    StateError::Malformed(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATE: &str = r#"{"version": 4, "terraform_version": "1.11.4", "serial": 7, "lineage": "l", "outputs": {}, "resources": [
        {"mode": "data", "type": "aws_ami", "name": "a", "instances": [{"attributes": {"id": "ami-1"}}]},
        {"mode": "managed", "type": "aws_instance", "name": "dev", "instances": [
            {"index_key": 0, "attributes": {"id": "i-1", "big": 12345678901234567890123, "small": 1.10}}]},
        {"module": "module.m[\"a\"]", "mode": "managed", "type": "aws_ebs_volume", "name": "home", "instances": [
            {"index_key": "x", "attributes": {"id": "vol-1"}}, {"deposed": "ab", "index_key": "x", "attributes": null}]}]}"#;

    fn head(serial: u64, lineage: &str) -> StateHead {
        StateHead { serial, lineage: lineage.to_owned() }
    }

    #[test]
    fn a_state_says_its_serial_and_lineage_and_half_a_state_nothing() {
        assert_eq!(StateHead::read(STATE.as_bytes()).unwrap(), head(7, "l"));
        for end in 0..STATE.len() {
            assert!(matches!(StateHead::read(&STATE.as_bytes()[..end]), Err(StateError::Malformed(_))), "{end} bytes");
        }
        assert_eq!(StateHead::read(br#"{"version": 3, "serial": 1, "lineage": "l"}"#), Err(StateError::Format(3)));
        assert!(StateHead::read(br#"{"version": 4, "serial": 1, "lineage": ""}"#).is_err());
    }

    #[test]
    fn only_a_later_serial_of_the_same_lineage_follows() {
        assert_eq!(head(2, "a").follows(&head(1, "a")), Ok(()));
        for (given, newest) in [(head(1, "a"), head(1, "a")), (head(1, "a"), head(2, "a"))] {
            assert!(matches!(given.follows(&newest), Err(StateError::Serial { .. })));
        }
        assert!(matches!(head(9, "b").follows(&head(1, "a")), Err(StateError::Lineage { .. })));
    }

    #[test]
    fn another_serial_leaves_every_other_byte_of_a_value_alone() {
        let moved = String::from_utf8(with_serial(STATE.as_bytes(), 40).unwrap()).unwrap();
        assert_eq!(StateHead::read(moved.as_bytes()).unwrap(), head(40, "l"));
        assert!(moved.contains("12345678901234567890123") && moved.contains("1.10"), "{moved}");
        assert_eq!(resources(moved.as_bytes()), resources(STATE.as_bytes()));
    }

    #[test]
    fn what_a_state_holds_is_named_by_address_type_and_id() {
        let found = resources(STATE.as_bytes()).unwrap();
        let lines: Vec<_> = found.iter().map(|one| format!("{} {} {}", one.address, one.kind, one.id)).collect();
        assert_eq!(
            lines,
            [
                "aws_instance.dev[0] aws_instance i-1",
                "module.m[\"a\"].aws_ebs_volume.home[\"x\"] aws_ebs_volume vol-1",
                "module.m[\"a\"].aws_ebs_volume.home[\"x\"] (deposed ab) aws_ebs_volume ",
            ]
        );
    }
}
