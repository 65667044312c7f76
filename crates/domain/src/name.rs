//! Names that people type: one rule for all of them, the one that IDE plugins enforce too.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Longest user, workspace or template name, in characters.
pub const NAME_CHARS_MAX: usize = 32;
/// Longest agent name, in characters.
pub const AGENT_NAME_CHARS_MAX: usize = 64;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was given.
    #[error("a name is needed")]
    Empty,
    /// Longer than the limit.
    #[error("{name:?} is longer than {limit} characters")]
    Long {
        /// The refused text.
        name: String,
        /// The limit, in characters.
        limit: usize,
    },
    /// A character outside `a-z A-Z 0-9 -`, or a hyphen at an end or doubled.
    #[error("{0:?} may hold only letters and digits with single hyphens between them")]
    Shape(String),
    /// A word that routes or commands use.
    #[error("{0:?} is a reserved word")]
    Reserved(String),
}

fn check(text: &str, limit: usize) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > limit {
        return Err(NameError::Long { name: text.chars().take(80).collect(), limit });
    }
    let word = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !text.split('-').all(word) {
        return Err(NameError::Shape(text.to_owned()));
    }
    Ok(())
}

macro_rules! name {
    ($($(#[$doc:meta])* $name:ident($limit:expr, $reserved:expr)),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Accepts the text as it stands or says what is wrong with it.
            ///
            /// # Errors
            /// When the text is empty, too long, misshapen or reserved.
            pub fn parse(text: &str) -> Result<Self, NameError> {
                check(text, $limit)?;
                let reserved: &[&str] = &$reserved;
                if reserved.contains(&text.to_ascii_lowercase().as_str()) {
                    return Err(NameError::Reserved(text.to_owned()));
                }
                Ok(Self(text.to_owned()))
            }

            /// The name as typed.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The form two names are compared by: names differ only if they differ without regard to case.
            #[must_use]
            pub fn key(&self) -> String {
                self.0.to_ascii_lowercase()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::parse(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }
    )+};
}

name! {
    /// A user's name.
    Username(NAME_CHARS_MAX, ["me", "first", "login", "logout", "authmethods"]),
    /// A workspace's name, unique among its owner's workspaces.
    WorkspaceName(NAME_CHARS_MAX, ["new", "me"]),
    /// A template's name.
    TemplateName(NAME_CHARS_MAX, ["new"]),
    /// An agent's name: the Terraform label of its `coder_agent`.
    AgentName(AGENT_NAME_CHARS_MAX, []),
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_name_is_what_the_ide_plugins_regex_accepts(text in "[a-zA-Z0-9 _.-]{0,34}") {
            let model = regex::Regex::new("^[A-Za-z0-9]+(-[A-Za-z0-9]+)*$").unwrap();
            let expected = text.len() <= 32 && model.is_match(&text) && !["new", "me"].contains(&text.to_lowercase().as_str());
            prop_assert_eq!(WorkspaceName::parse(&text).is_ok(), expected);
        }
    }

    #[test]
    fn a_bad_name_says_which_rule_it_breaks() {
        assert_eq!(WorkspaceName::parse("").unwrap_err().to_string(), "a name is needed");
        assert_eq!(
            WorkspaceName::parse("a_b").unwrap_err().to_string(),
            "\"a_b\" may hold only letters and digits with single hyphens between them"
        );
        assert!(matches!(Username::parse("Me"), Err(NameError::Reserved(_))));
    }
}
