//! What the deployment says of itself.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `GET /api/v2/buildinfo`, without authentication.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BuildInfo {
    /// [`crate::COMPATIBLE_VERSION`].
    pub version: String,
    /// Where the API is reached from outside.
    pub external_url: String,
    /// The name of the product, `Berth`.
    #[serde(default)]
    pub product: String,
    /// Where endpoints meet, as tickets say it; empty from a server that does not tell.
    #[serde(default)]
    pub relay_url: String,
}

/// An answer that is a sentence for people: that something is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Message {
    /// The sentence.
    pub message: String,
}

impl From<String> for Message {
    fn from(message: String) -> Self {
        Self { message }
    }
}

impl From<&str> for Message {
    fn from(message: &str) -> Self {
        Self { message: message.to_owned() }
    }
}

/// `GET /api/v2/deployment/ssh`: how `config-ssh` names hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SshConfig {
    /// Before a workspace's name: `berth.`.
    pub hostname_prefix: String,
    /// Behind it, after a dot: `berth`, as in `dev.berth`.
    pub hostname_suffix: String,
    /// More options for each host.
    pub ssh_config_options: BTreeMap<String, String>,
}

/// `GET /api/v2/appearance`: how clients dress.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Appearance {
    /// The product's name in headings.
    pub application_name: String,
    /// A picture beside it; empty for none.
    pub logo_url: String,
    /// Where the documentation is; empty for the product's own.
    pub docs_url: String,
    /// The banner of older clients.
    pub service_banner: Banner,
    /// Banners above each page.
    pub announcement_banners: Vec<Banner>,
}

/// A line above each page.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Banner {
    /// Whether it is shown.
    pub enabled: bool,
    /// Markdown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// A colour, `#rrggbb`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub background_color: String,
}
