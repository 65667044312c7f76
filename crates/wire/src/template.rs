//! Files, templates, versions and their parameters.

use crate::build::Job;
use berth_domain::{DateTime, ParameterValue, TemplateSettings, Timestamp, parameter::ParameterOption};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The answer to `POST /api/v2/files` (body: a tar, `Content-Type: application/x-tar`). 201 for a new file, 200 for a known one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UploadedFile {
    /// The file's id, to be named in [`CreateVersion::file_id`].
    #[serde(rename = "hash")]
    pub id: Uuid,
}

/// `POST /api/v2/organizations/{org}/templateversions`: starts the import job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CreateVersion {
    /// A name; else one is made.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// What changed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The template it is for; none for a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_id: Option<Uuid>,
    /// `file`.
    #[serde(default)]
    pub storage_method: String,
    /// The archive.
    pub file_id: Uuid,
    /// `terraform`.
    #[serde(default)]
    pub provisioner: String,
    /// Terraform variables.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub user_variable_values: Vec<VariableValue>,
}

/// `POST /api/v2/templateversions/{id}/dry-run`: plans a workspace without making it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
pub struct CreateDryRun {
    /// What the workspace would be named.
    #[serde(default)]
    pub workspace_name: String,
    /// Answers.
    #[serde(default)]
    pub rich_parameter_values: Vec<ParameterValue>,
    /// A preset of the version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_version_preset_id: Option<Uuid>,
    /// Terraform variables, instead of those that the version was pushed with. For those who manage templates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub user_variable_values: Vec<VariableValue>,
}

/// A Terraform variable's value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VariableValue {
    /// Variable.
    pub name: String,
    /// HCL or text.
    pub value: String,
}

/// A template version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Version {
    /// Identifier.
    pub id: Uuid,
    /// Its template, once it has one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub template_id: Option<Uuid>,
    /// The organization.
    pub organization_id: Uuid,
    /// When it was pushed.
    #[schemars(with = "DateTime")]
    pub created_at: Timestamp,
    /// When it last changed.
    #[schemars(with = "DateTime")]
    pub updated_at: Timestamp,
    /// Its name.
    pub name: String,
    /// What changed.
    pub message: String,
    /// Its import job.
    pub job: Job,
    /// README.md of the archive.
    #[serde(default)]
    pub readme: String,
    /// Who pushed it.
    pub created_by: MinimalUser,
    /// Whether it is archived.
    pub archived: bool,
    /// Warnings.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// A user in few words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MinimalUser {
    /// Identifier.
    pub id: Uuid,
    /// Name.
    pub username: String,
    /// Picture.
    #[serde(default)]
    pub avatar_url: String,
}

/// Adds the settings that a request may name, each `None` when it does not: one list, so that creating and changing know the same.
macro_rules! with_settings {
    ($(#[$doc:meta])* pub struct $name:ident { $($own:tt)* } $($setting:ident: $type:ty),+ $(,)?) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
        pub struct $name {
            $($own)*
            $(
                #[doc = concat!("See [`TemplateSettings::", stringify!($setting), "`].")]
                #[serde(default, skip_serializing_if = "Option::is_none")]
                pub $setting: Option<$type>,
            )+
        }

        impl $name {
            /// The settings as they are after this request: what it names, and the rest as it was.
            #[must_use]
            pub fn settings(&self, before: &TemplateSettings) -> TemplateSettings {
                TemplateSettings { $($setting: self.$setting.clone().unwrap_or_else(|| before.$setting.clone())),+ }
            }
        }
    };
    ($(#[$doc:meta])* pub struct $name:ident { $($own:tt)* }) => {
        with_settings! {
            $(#[$doc])* pub struct $name { $($own)* }
            default_ttl_ms: i64,
            max_ttl_ms: i64,
            activity_bump_ms: i64,
            failure_ttl_ms: i64,
            allow_user_cancel_workspace_jobs: bool,
            require_active_version: bool,
            deprecation_message: String,
            build_timeout_ms: i64,
            silence_timeout_ms: i64,
            replacement_consent: bool,
            daily_cost_max: i64,
        }
    };
}

with_settings! {
    /// `POST /api/v2/organizations/{org}/templates`.
    pub struct CreateTemplate {
        /// Its name.
        pub name: String,
        /// For people.
        #[serde(default)]
        pub display_name: String,
        /// One line.
        #[serde(default)]
        pub description: String,
        /// A picture.
        #[serde(default)]
        pub icon: String,
        /// The imported version that becomes active.
        pub template_version_id: Uuid,
    }
}

with_settings! {
    /// `PATCH /api/v2/templates/{id}`: what is left out stays.
    pub struct UpdateTemplate {
        /// Its name; workspaces are not touched by another one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub name: Option<String>,
        /// For people.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub display_name: Option<String>,
        /// One line.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub description: Option<String>,
        /// A picture.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub icon: Option<String>,
    }
}

/// `PATCH /api/v2/templateversions/{id}`: what is left out stays. The content of a version never changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
pub struct UpdateVersion {
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// `POST /api/v2/templates/{id}/versions/archive`: puts away what nothing uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
pub struct ArchiveVersions {
    /// Every unused version, not only those whose import ended badly.
    #[serde(default)]
    pub all: bool,
}

/// The answer to [`ArchiveVersions`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ArchivedVersions {
    /// The template.
    pub template_id: Uuid,
    /// The versions that were put away now.
    pub archived_ids: Vec<Uuid>,
}

/// `PATCH /api/v2/templates/{id}/versions`: makes a version active.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ActivateVersion {
    /// The version.
    pub id: Uuid,
}

/// A template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Template {
    /// Identifier.
    pub id: Uuid,
    /// When it was made.
    #[schemars(with = "DateTime")]
    pub created_at: Timestamp,
    /// When it last changed.
    #[schemars(with = "DateTime")]
    pub updated_at: Timestamp,
    /// The organization.
    pub organization_id: Uuid,
    /// The organization's name.
    pub organization_name: String,
    /// Its name.
    pub name: String,
    /// For people.
    pub display_name: String,
    /// `terraform`.
    pub provisioner: String,
    /// The version that new workspaces get.
    pub active_version_id: Uuid,
    /// The version that they got before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_version_id: Option<Uuid>,
    /// People with a workspace of it.
    pub active_user_count: i64,
    /// One line.
    pub description: String,
    /// Whether no new workspace may be made of it; the message is among the settings.
    pub deprecated: bool,
    /// A picture.
    pub icon: String,
    /// Who made it.
    pub created_by_id: Uuid,
    /// Their name.
    pub created_by_name: String,
    /// What holds for its workspaces.
    #[serde(flatten)]
    pub settings: TemplateSettings,
}

/// A variable as `GET /api/v2/templateversions/{id}/variables` lists it. What is sensitive has an empty value and default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Its type constraint, as the template has it.
    #[serde(rename = "type")]
    pub kind: String,
    /// The value that the version was pushed with; the default when there was none.
    pub value: String,
    /// Its default: text as it is, everything else as JSON.
    pub default_value: String,
    /// Whether a value must be given.
    pub required: bool,
    /// Whether its value must not be shown.
    pub sensitive: bool,
}

/// An account elsewhere that a version wants, as `GET /api/v2/templateversions/{id}/external-auth` lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExternalAuth {
    /// The provider's id, as the operator configured it.
    pub id: String,
    /// The kind of provider.
    #[serde(rename = "type")]
    pub kind: String,
    /// For people.
    pub display_name: String,
    /// Picture.
    pub display_icon: String,
    /// Where to link the account.
    pub authenticate_url: String,
    /// Whether the caller has linked it.
    pub authenticated: bool,
    /// Whether a workspace may be built without it.
    #[serde(default)]
    pub optional: bool,
}

/// A preset as `GET /api/v2/templateversions/{id}/presets` lists it, under Coder's capital names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
#[serde(rename_all = "PascalCase")]
pub struct Preset {
    /// Identifier, to be named in a request for a build.
    #[serde(rename = "ID")]
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// The answers it gives.
    pub parameters: Vec<PresetParameter>,
    /// Whether it is chosen at first.
    pub default: bool,
    /// How many workspaces are to be kept ready.
    pub desired_prebuild_instances: Option<u32>,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// Picture.
    #[serde(default)]
    pub icon: String,
}

/// One answer of a preset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub struct PresetParameter {
    /// The parameter.
    pub name: String,
    /// The value as text.
    pub value: String,
}

impl From<berth_domain::Preset> for Preset {
    fn from(preset: berth_domain::Preset) -> Self {
        let answer = |value: berth_domain::ParameterValue| PresetParameter { name: value.name, value: value.value };
        Self {
            id: preset.id,
            name: preset.name,
            parameters: preset.parameters.into_iter().map(answer).collect(),
            default: preset.default,
            desired_prebuild_instances: preset.prebuilds,
            description: preset.description,
            icon: preset.icon,
        }
    }
}

/// A parameter as `GET /api/v2/templateversions/{id}/rich-parameters` lists it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RichParameter {
    /// Key.
    pub name: String,
    /// For people.
    pub display_name: String,
    /// Markdown.
    pub description: String,
    /// The same without markup.
    pub description_plaintext: String,
    /// `string`, `number`, `bool`, `list(string)`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Form control.
    pub form_type: String,
    /// Whether it may change later.
    pub mutable: bool,
    /// Used when none is given.
    pub default_value: String,
    /// Picture.
    pub icon: String,
    /// Choices.
    pub options: Vec<ParameterOption>,
    /// Words for a refusal.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub validation_error: String,
    /// Pattern.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub validation_regex: String,
    /// Smallest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_min: Option<i64>,
    /// Largest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_max: Option<i64>,
    /// `increasing` or `decreasing`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub validation_monotonic: String,
    /// Whether it has no default.
    pub required: bool,
    /// Whether it holds for one build.
    pub ephemeral: bool,
}

impl From<berth_domain::Parameter> for RichParameter {
    fn from(parameter: berth_domain::Parameter) -> Self {
        let rule = parameter.rule;
        Self {
            name: parameter.name,
            display_name: parameter.display_name,
            description_plaintext: parameter.description.clone(),
            description: parameter.description,
            kind: parameter.kind.to_string(),
            form_type: parameter.form_type,
            mutable: parameter.mutable,
            required: parameter.default.is_none(),
            default_value: parameter.default.unwrap_or_default(),
            icon: parameter.icon,
            options: parameter.options,
            validation_error: rule.error.unwrap_or_default(),
            validation_regex: rule.regex.unwrap_or_default(),
            validation_min: rule.min,
            validation_max: rule.max,
            validation_monotonic: rule.monotonic.unwrap_or_default(),
            ephemeral: parameter.ephemeral,
        }
    }
}
