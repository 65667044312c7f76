//! What a template's managers decide for all its workspaces.

use crate::{Policy, limit};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The settings of a template, under Coder's names where Coder has them. Times are in milliseconds; 0 means none, or for the timeouts the
/// deployment's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TemplateSettings {
    /// A started workspace is stopped after this time, unless its owner chose another.
    pub default_ttl_ms: i64,
    /// The longest time that an owner may choose.
    pub max_ttl_ms: i64,
    /// Use of a workspace moves its stop this far away from now.
    pub activity_bump_ms: i64,
    /// A workspace whose start failed is stopped after this time, so that what it left costs nothing more.
    pub failure_ttl_ms: i64,
    /// Whether people may cancel builds of their own workspaces: a half-made cloud resource is not everybody's to tidy up.
    pub allow_user_cancel_workspace_jobs: bool,
    /// Whether people may start their workspaces with the active version only.
    pub require_active_version: bool,
    /// Why no new workspace may be made of it; empty while one may.
    pub deprecation_message: String,
    /// A build that takes longer is ended.
    pub build_timeout_ms: i64,
    /// A build that says and does nothing for this time is ended.
    pub silence_timeout_ms: i64,
    /// Whether a build that would replace or destroy a disk or a machine needs its person's consent.
    pub replacement_consent: bool,
    /// The most that a workspace may cost a day, in the units of `daily_cost` of the template's `coder_metadata`; 0 is no limit.
    pub daily_cost_max: i64,
}

impl Default for TemplateSettings {
    fn default() -> Self {
        Self {
            default_ttl_ms: 0,
            max_ttl_ms: 0,
            activity_bump_ms: 0,
            failure_ttl_ms: 0,
            allow_user_cancel_workspace_jobs: true,
            require_active_version: false,
            deprecation_message: String::new(),
            build_timeout_ms: 0,
            silence_timeout_ms: 0,
            replacement_consent: false,
            daily_cost_max: 0,
        }
    }
}

/// Why settings will not do: the field, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct SettingsError {
    /// The field.
    pub field: &'static str,
    /// What is wrong with it, a clause without subject.
    pub why: String,
}

impl TemplateSettings {
    /// Whether no new workspace may be made.
    #[must_use]
    pub const fn is_deprecated(&self) -> bool {
        !self.deprecation_message.is_empty()
    }

    /// The part of them that a build goes by.
    #[must_use]
    pub const fn policy(&self) -> Policy {
        Policy {
            default_ttl_ms: self.default_ttl_ms,
            max_ttl_ms: self.max_ttl_ms,
            activity_bump_ms: self.activity_bump_ms,
            failure_ttl_ms: self.failure_ttl_ms,
            build_timeout_ms: self.build_timeout_ms,
            silence_timeout_ms: self.silence_timeout_ms,
            replacement_consent: self.replacement_consent,
            daily_cost_max: self.daily_cost_max,
        }
    }

    /// Checks every value by itself and the two times to live against each other.
    ///
    /// # Errors
    /// The first field that will not do.
    pub fn check(&self) -> Result<(), SettingsError> {
        let refused = |field, why: String| Err(SettingsError { field, why });
        let ttls = [
            ("default_ttl_ms", self.default_ttl_ms),
            ("max_ttl_ms", self.max_ttl_ms),
            ("activity_bump_ms", self.activity_bump_ms),
            ("failure_ttl_ms", self.failure_ttl_ms),
        ];
        let ttl = limit::TTL_MILLISECONDS_MIN..=limit::TTL_MILLISECONDS_MAX;
        if let Some((field, _)) = ttls.into_iter().find(|(_, value)| *value != 0 && !ttl.contains(value)) {
            return refused(field, "must be between one minute and 30 days, or 0 for none".to_owned());
        }
        let timeouts = [("build_timeout_ms", self.build_timeout_ms), ("silence_timeout_ms", self.silence_timeout_ms)];
        let timeout = limit::BUILD_TIMEOUT_MILLISECONDS_MIN..=limit::BUILD_TIMEOUT_MILLISECONDS_MAX;
        if let Some((field, _)) = timeouts.into_iter().find(|(_, value)| *value != 0 && !timeout.contains(value)) {
            return refused(field, "must be between one minute and 24 hours, or 0 for the deployment's own".to_owned());
        }
        if self.max_ttl_ms != 0 && self.default_ttl_ms > self.max_ttl_ms {
            return refused("default_ttl_ms", "must not be longer than max_ttl_ms".to_owned());
        }
        if self.deprecation_message.len() > limit::MESSAGE_BYTES_MAX {
            return refused("deprecation_message", format!("is longer than {} bytes", limit::MESSAGE_BYTES_MAX));
        }
        if self.daily_cost_max < 0 {
            return refused("daily_cost_max", "must not be negative; 0 is no limit".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_old_row_does_not_say_is_the_default() {
        assert_eq!(serde_json::from_str::<TemplateSettings>("{}").unwrap(), TemplateSettings::default());
        assert!(TemplateSettings::default().check().is_ok());
        assert!(TemplateSettings::default().allow_user_cancel_workspace_jobs);
    }

    #[test]
    fn every_setting_has_its_range() {
        let hour = 3_600_000;
        let fine = TemplateSettings { default_ttl_ms: 8 * hour, max_ttl_ms: 12 * hour, ..TemplateSettings::default() };
        assert!(fine.check().is_ok());
        for (settings, field) in [
            (TemplateSettings { default_ttl_ms: 1, ..fine.clone() }, "default_ttl_ms"),
            (TemplateSettings { default_ttl_ms: 13 * hour, ..fine.clone() }, "default_ttl_ms"),
            (TemplateSettings { max_ttl_ms: -hour, ..fine.clone() }, "max_ttl_ms"),
            (TemplateSettings { activity_bump_ms: 31 * 24 * hour, ..fine.clone() }, "activity_bump_ms"),
            (TemplateSettings { failure_ttl_ms: 59_999, ..fine.clone() }, "failure_ttl_ms"),
            (TemplateSettings { build_timeout_ms: 25 * hour, ..fine.clone() }, "build_timeout_ms"),
            (TemplateSettings { silence_timeout_ms: 10, ..fine.clone() }, "silence_timeout_ms"),
            (TemplateSettings { deprecation_message: "x".repeat(1025), ..fine.clone() }, "deprecation_message"),
            (TemplateSettings { daily_cost_max: -1, ..fine.clone() }, "daily_cost_max"),
        ] {
            assert_eq!(settings.check().unwrap_err().field, field);
        }
    }
}
