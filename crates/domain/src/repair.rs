//! What exists of a workspace and is not in its Terraform state, and what can be done about it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::limit::{ADDRESS_BYTES_MAX, RESOURCE_ID_BYTES_MAX};

/// A resource that exists, is marked as a workspace's, and is in no state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Stray {
    /// Its Terraform type; empty when that is not known, and then it can only be removed by hand.
    #[serde(rename = "type")]
    pub kind: String,
    /// What `import` calls it; the ARN when its type is not known.
    pub id: String,
    /// What it is, for people: an ARN, or a process with its command line.
    #[serde(default)]
    pub what: String,
    /// The addresses in the template that are not in the state and could take it over.
    #[serde(default)]
    pub addresses: Vec<String>,
}

/// A stray by its names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StrayRef {
    /// Its Terraform type.
    #[serde(rename = "type")]
    pub kind: String,
    /// What `import` calls it.
    pub id: String,
}

/// A resource of a template that takes over one that exists, in the next build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Adoption {
    /// The address in the template: `aws_instance.dev[0]`.
    pub to: String,
    /// What `import` calls the one that exists.
    pub id: String,
}

/// Why something that exists cannot be named so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdoptionError {
    /// No address.
    #[error("{0:?} is not the address of a resource, such as aws_instance.dev[0]")]
    Address(String),
    /// No type.
    #[error("{0:?} is not a resource type")]
    Kind(String),
    /// An id that no provider gives.
    #[error("the id is empty, longer than {RESOURCE_ID_BYTES_MAX} bytes or has control characters")]
    Id,
}

impl Stray {
    /// Whether it can be taken over or removed through Terraform.
    #[must_use]
    pub const fn is_manageable(&self) -> bool {
        !self.kind.is_empty()
    }
}

impl StrayRef {
    /// Whether these are names that Terraform can be given.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check(&self) -> Result<(), AdoptionError> {
        if !is_identifier(&self.kind) {
            return Err(AdoptionError::Kind(self.kind.clone()));
        }
        check_id(&self.id)
    }
}

impl Adoption {
    /// Whether these are names that Terraform can be given: the text goes into a configuration file.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check(&self) -> Result<(), AdoptionError> {
        if kind_of(&self.to).is_none() {
            return Err(AdoptionError::Address(self.to.clone()));
        }
        check_id(&self.id)
    }

    /// The Terraform type that the address names; empty when it is no address.
    #[must_use]
    pub fn kind(&self) -> &str {
        kind_of(&self.to).unwrap_or_default()
    }
}

fn check_id(id: &str) -> Result<(), AdoptionError> {
    if id.is_empty() || id.len() > RESOURCE_ID_BYTES_MAX || id.chars().any(char::is_control) {
        return Err(AdoptionError::Id);
    }
    Ok(())
}

/// Terraform's names: letters, digits, `_` and `-`, not a digit first.
fn is_identifier(text: &str) -> bool {
    let starts_well = text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    starts_well && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}

/// The type in `module.a["x"].type.name[0]`; `None` when that is no address of a managed resource.
fn kind_of(address: &str) -> Option<&str> {
    if address.len() > ADDRESS_BYTES_MAX {
        return None;
    }
    let mut rest = address;
    loop {
        let (name, after) = rest.split_once('.')?;
        let name = Some(name).filter(|name| is_identifier(name))?;
        if name == "data" {
            return None;
        }
        let (label, after) = label(after)?;
        let after = match after.strip_prefix('[') {
            Some(index) => index_end(index)?,
            None => after,
        };
        if !is_identifier(label) {
            return None;
        }
        if name != "module" {
            return after.is_empty().then_some(name);
        }
        rest = after.strip_prefix('.')?;
    }
}

fn label(text: &str) -> Option<(&str, &str)> {
    text.split_at_checked(text.find(['.', '[']).unwrap_or(text.len()))
}

/// What follows the `]` of an index: digits, or a quoted key without quotes, escapes, templates or control characters in it.
fn index_end(text: &str) -> Option<&str> {
    let Some(key) = text.strip_prefix('"') else {
        let (digits, after) = text.split_once(']')?;
        return (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())).then_some(after);
    };
    let (key, after) = key.split_once('"')?;
    let plain =
        !key.chars().any(|character| character.is_control() || character == '\\') && !key.contains("${") && !key.contains("%{");
    after.strip_prefix(']').filter(|_| plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adoption(to: &str, id: &str) -> Adoption {
        Adoption { to: to.to_owned(), id: id.to_owned() }
    }

    #[test]
    fn an_address_names_its_type_and_nothing_else_gets_into_a_configuration() {
        for (address, kind) in [
            ("aws_instance.dev", "aws_instance"),
            ("aws_instance.dev[0]", "aws_instance"),
            ("module.a.module.b[\"x.y\"].aws_ebs_volume.home[\"k]\"]", "aws_ebs_volume"),
            ("berth_directory.my-home", "berth_directory"),
        ] {
            assert_eq!((adoption(address, "i").check(), adoption(address, "i").kind()), (Ok(()), kind), "{address}");
        }
        for address in [
            "",
            "aws_instance",
            "aws_instance.",
            "data.aws_ami.a",
            "module.a",
            "aws_instance.dev[x]",
            "aws_instance.dev[0].id",
            "aws_instance.dev[0]\n}",
            "aws_instance.dev[\"${file(1)}\"]",
            "aws_instance.dev[\"a\\\"b\"]",
            "aws instance.dev",
            "a.b } resource \"x\" \"y\" {",
        ] {
            assert!(matches!(adoption(address, "i").check(), Err(AdoptionError::Address(_))), "{address:?}");
        }
        for id in ["", "a\nb", &"x".repeat(RESOURCE_ID_BYTES_MAX + 1)] {
            assert_eq!(adoption("a.b", id).check(), Err(AdoptionError::Id), "{id:?}");
        }
    }
}
