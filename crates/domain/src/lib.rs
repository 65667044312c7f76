//! The nouns and rules of Berth as plain values: no I/O, no clock, no environment, no AWS.
//!
//! Time and randomness arrive as arguments. Text becomes a type once, at the border (`WorkspaceName::parse`);
//! inside, every value is already valid.

pub mod agent;
pub mod app;
pub mod build;
pub mod cron;
pub mod external_auth;
pub mod id;
pub mod lease;
pub mod limit;
pub mod name;
pub mod parameter;
pub mod permission;
pub mod policy;
pub mod preset;
pub mod repair;
pub mod search;
pub mod secret;
pub mod state;
pub mod template;
pub mod timing;
pub mod variable;

pub use agent::{AgentStatus, AppHealth, AppSharing, Lifecycle, ScriptStage, ScriptStatus};
pub use app::{AppAddress, AppAddressError, AppName};
pub use build::{
    AutomaticUpdates, BuildReason, FailureCode, JobStatus, LogLevel, LogSource, Priority, Transition, WorkspaceStatus,
};
pub use cron::{Cron, CronError};
pub use external_auth::ExternalAuth;
pub use id::{
    AgentId, AppId, BuildId, DryRunId, FileId, OrganizationId, RepairId, TaskId, TemplateId, TokenId, UserId, VersionId,
    WorkspaceId,
};
pub use lease::{Fence, Lease};
pub use name::{AgentName, NameError, TemplateName, Username, WorkspaceName};
pub use parameter::{Parameter, ParameterError, ParameterProblem, ParameterValue};
pub use permission::{Actor, Denied, Role};
pub use policy::{Deadlines, ExtendError, Gate, Policy};
pub use preset::Preset;
pub use repair::{Adoption, AdoptionError, Stray, StrayRef};
pub use search::{SearchError, WorkspaceSearch};
pub use secret::{Secret, SessionToken, TokenHash};
pub use state::{StateError, StateHead, StateResource};
pub use template::{SettingsError, TemplateSettings};
pub use timing::{Timing, TimingStage};
pub use variable::Variable;

/// A point in time, UTC, nanosecond precision. The only clock type that crosses a function boundary.
pub type Timestamp = jiff::Timestamp;

/// A [`Timestamp`] in schemas (RFC 3339): `#[schemars(with = "DateTime")]`. There are no values of it.
#[derive(Debug)]
pub enum DateTime {}

impl schemars::JsonSchema for DateTime {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "DateTime".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "format": "date-time" })
    }
}
