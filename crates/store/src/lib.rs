//! The one store of Berth: a single DynamoDB table through `aws-sdk-dynamodb`, and blobs.
//!
//! A verb is one conditional write or one transaction and is named after what it does to the domain; a list is one Query; an
//! expected refusal is a variant of the verb's own error. Time arrives as an argument. On a laptop and in tests the same SDK
//! talks to a DynamoDB inside the process ([`Store::open_local`]), on AWS to AWS's own ([`Store::open_aws`]); [`table`] draws the keys.

pub mod agent;
pub mod agent_log;
pub mod app;
pub mod aws;
pub mod blob;
pub mod build;
pub mod dry_run;
pub mod embedded;
pub mod file;
pub mod finish;
pub mod git_key;
pub mod job;
pub mod keys;
pub mod lease;
pub mod log;
pub mod meter;
pub mod modules;
pub mod relay;
pub mod repair;
pub mod resource;
pub mod schedule;
pub mod seal;
pub mod session;
pub mod state;
pub mod table;
pub mod template;
pub mod timing;
pub mod user;
pub mod version;
pub mod workspace;
mod write;

use std::sync::Arc;

pub use agent::{Agent, AgentError, AgentLogError, AgentTokenError, MintError};
pub use aws::AwsStore;
pub use berth_wire::runner::Finish as JobResult;
pub use blob::{BlobError, Blobs, Place};
pub use build::{Build, CreateBuildError};
pub use dry_run::DryRun;
pub use embedded::OpenError;
pub use file::File;
pub use finish::AGENTS_MAX;
pub use git_key::GitKey;
pub use job::{
    CancelError, ClaimError, FinishError, Home, Job, JobId, JobIdError, JobRecord, LeaseError, Lost, LostOutcome, Offer,
    OfferError, RunnerSession,
};
pub use keys::DeploymentKeys;
pub use lease::{Claim, Due, Heartbeat, Record};
pub use meter::Meter;
pub use relay::{RelaySeen, RelayState};
pub use repair::{CreateRepairError, LatestRepair, Repair};
pub use resource::Resource;
pub use schedule::ExtendWorkspaceError;
pub use seal::SealError;
pub use session::{Session, SessionKind};
pub use state::{PushStateError, PutStateError, StateAuthor, StateOrigin, StatePointer, StateVersion};
pub use table::TableError;
pub use template::{ActivateError, CreateTemplateError, DeleteTemplateError, Template, UpdateTemplateError};
pub use user::{CreateUserError, FirstUserError, UpdateUserError, User, UserChange};
pub use version::{ArchiveVersionError, CreateVersionError, Imported, UpdateVersionError, Version};
pub use workspace::{CreateWorkspaceError, RenameWorkspaceError, UpdateWorkspaceError, Workspace, WorkspaceChange};

/// The store. A clone is another handle to the same one.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) table: Arc<table::Table>,
    pub(crate) blobs: Blobs,
    pub(crate) sessions: Arc<session::Owners>,
}

impl Store {
    /// What this store has asked of its table so far. Subtract two of them to see what something costs.
    #[must_use]
    pub fn meter(&self) -> Meter {
        self.table.meter()
    }

    /// The blobs.
    #[must_use]
    pub const fn blobs(&self) -> &Blobs {
        &self.blobs
    }
}

#[cfg(test)]
extern crate self as berth_store;
/// The beginning of the stories in `tests/`, for those that need the inside.
#[cfg(test)]
#[allow(dead_code)]
#[path = "../tests/one/fixture.rs"]
mod fixture;
