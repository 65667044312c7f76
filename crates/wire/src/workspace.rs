//! Workspaces.

use crate::build::Build;
use berth_domain::{AutomaticUpdates, DateTime, ParameterValue, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// `POST /api/v2/users/{user}/workspaces` (also under `/organizations/{org}/members/{user}/workspaces`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
pub struct CreateWorkspace {
    /// The template, whose active version is built; or
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_id: Option<Uuid>,
    /// one version. Exactly one of the two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_version_id: Option<Uuid>,
    /// Its name.
    pub name: String,
    /// Five-field cron with time zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autostart_schedule: Option<String>,
    /// Time to live after a start; none is the template's default, 0 for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<i64>,
    /// Answers to the version's parameters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rich_parameter_values: Vec<ParameterValue>,
    /// Whether each start moves it to the template's active version.
    #[serde(default)]
    pub automatic_updates: AutomaticUpdates,
    /// A preset of the version, whose answers win over the ones given one by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_version_preset_id: Option<Uuid>,
}

/// `PUT /api/v2/workspaces/{id}/autostart`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
pub struct SetAutostart {
    /// Five-field cron with time zone; none or empty for never.
    #[serde(default)]
    pub schedule: Option<String>,
}

/// `PUT /api/v2/workspaces/{id}/ttl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
pub struct SetTtl {
    /// Time to live after a start; none or 0 for ever.
    #[serde(default)]
    pub ttl_ms: Option<i64>,
}

/// `PUT /api/v2/workspaces/{id}/extend`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Extend {
    /// When the running workspace is to be stopped.
    #[schemars(with = "DateTime")]
    pub deadline: Timestamp,
}

/// `PUT /api/v2/workspaces/{id}/autoupdates`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SetAutomaticUpdates {
    /// `always` or `never`.
    pub automatic_updates: AutomaticUpdates,
}

/// `PATCH /api/v2/workspaces/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RenameWorkspace {
    /// Its new name.
    pub name: String,
}

/// A workspace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Workspace {
    /// Identifier.
    pub id: Uuid,
    /// When it was made.
    #[schemars(with = "DateTime")]
    pub created_at: Timestamp,
    /// When it last changed.
    #[schemars(with = "DateTime")]
    pub updated_at: Timestamp,
    /// Whose.
    pub owner_id: Uuid,
    /// Their name.
    pub owner_name: String,
    /// Their picture.
    #[serde(default)]
    pub owner_avatar_url: String,
    /// The organization.
    pub organization_id: Uuid,
    /// Its name.
    pub organization_name: String,
    /// Template.
    pub template_id: Uuid,
    /// Its name.
    pub template_name: String,
    /// For people.
    pub template_display_name: String,
    /// Picture.
    pub template_icon: String,
    /// Whether developers may cancel.
    pub template_allow_user_cancel_workspace_jobs: bool,
    /// The template's active version.
    pub template_active_version_id: Uuid,
    /// Whether workspaces must use it.
    pub template_require_active_version: bool,
    /// The newest build.
    pub latest_build: Build,
    /// Whether the template's active version is another one.
    pub outdated: bool,
    /// Its name.
    pub name: String,
    /// Cron with time zone.
    pub autostart_schedule: Option<String>,
    /// Time to live after a start.
    pub ttl_ms: Option<i64>,
    /// When it was last used.
    #[schemars(with = "DateTime")]
    pub last_used_at: Timestamp,
    /// When it is deleted.
    #[schemars(with = "Option<DateTime>")]
    pub deleting_at: Option<Timestamp>,
    /// Since when it is dormant.
    #[schemars(with = "Option<DateTime>")]
    pub dormant_at: Option<Timestamp>,
    /// Whether all agents fare well.
    pub health: WorkspaceHealth,
    /// `always` or `never`.
    pub automatic_updates: AutomaticUpdates,
    /// Whether it may be renamed.
    pub allow_renames: bool,
    /// Whether the asker marked it.
    pub favorite: bool,
    /// When the schedule starts it next.
    #[schemars(with = "Option<DateTime>")]
    pub next_start_at: Option<Timestamp>,
}

/// Whether all agents of a workspace fare well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkspaceHealth {
    /// Yes or no.
    pub healthy: bool,
    /// Those that do not.
    pub failing_agents: Vec<Uuid>,
}

/// `GET /api/v2/workspaces?q=&limit=&offset=`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Workspaces {
    /// The page.
    pub workspaces: Vec<Workspace>,
    /// How many match in all.
    pub count: usize,
}

/// One frame of `watch-ws`, one event of the SSE twin `watch`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "{T}Event")]
pub struct Event<T> {
    /// `data`, `ping` or `error`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The value, for `data`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<T>,
}
