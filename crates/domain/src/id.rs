//! Identifiers: UUIDs that cannot be mixed up.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};
use uuid::Uuid;

/// Text that is not a UUID where an identifier was wanted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a UUID")]
pub struct IdError(pub String);

macro_rules! id {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        #[schemars(inline)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new identifier that sorts by the time of its making (UUID v7).
            #[must_use]
            pub fn new(now: jiff::Timestamp, random: [u8; 10]) -> Self {
                let milliseconds = u64::try_from(now.as_millisecond()).unwrap_or(0);
                Self(uuid::Builder::from_unix_timestamp_millis(milliseconds, &random).into_uuid())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Uuid::try_parse(text).map(Self).map_err(|_| IdError(text.to_owned()))
            }
        }
    )+};
}

id! {
    /// A person or service that signs in.
    UserId,
    /// A template: a name with a row of immutable versions.
    TemplateId,
    /// One immutable version of a template; its import job has the same id.
    VersionId,
    /// A workspace.
    WorkspaceId,
    /// One build of a workspace; its job has the same id.
    BuildId,
    /// A look for what exists of a workspace and is in no state; its job has the same id.
    RepairId,
    /// A plan of a workspace that is not made; its job has the same id.
    DryRunId,
    /// One agent of one build.
    AgentId,
    /// One app of one agent.
    AppId,
    /// An uploaded template archive.
    FileId,
    /// The runner process or Fargate task that holds a build's lease.
    TaskId,
    /// A session or API token (the public half).
    TokenId,
    /// The organization; a deployment has exactly one, [`OrganizationId::DEFAULT`].
    OrganizationId,
}

impl OrganizationId {
    /// The one organization of every deployment.
    pub const DEFAULT: Self = Self(Uuid::from_u128(0xbe47_0000_0000_4000_8000_0000_0000_0001));
}
