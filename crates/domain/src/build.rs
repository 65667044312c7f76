//! Builds and jobs: the words that clients switch on, and how a workspace's status follows from its latest build.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $text)] $variant),+ }

        impl $name {
            /// The word on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    _ => Err(format!("{text:?} is not one of {}", [$($text),+].join(", "))),
                }
            }
        }
    };
}
pub(crate) use words;

words! {
    /// What a build does to a workspace.
    Transition {
        /// Bring it up.
        Start = "start",
        /// Bring it down, keeping what persists.
        Stop = "stop",
        /// Destroy all of it.
        Delete = "delete",
    }
}

words! {
    /// Where a job (a build or a template version's import) stands.
    JobStatus {
        /// Queued.
        Pending = "pending",
        /// A runner works on it.
        Running = "running",
        /// Done.
        Succeeded = "succeeded",
        /// Someone asked to cancel; the runner has not ended yet.
        Canceling = "canceling",
        /// Ended by request.
        Canceled = "canceled",
        /// Ended with an error.
        Failed = "failed",
    }
}

impl JobStatus {
    /// Whether the job has not ended.
    #[must_use]
    pub const fn is_active(self) -> bool {
        matches!(self, Self::Pending | Self::Running | Self::Canceling)
    }
}

words! {
    /// What a client shows for a workspace. These exact words; no other may ever appear.
    WorkspaceStatus {
        /// Queued.
        Pending = "pending",
        /// A start build runs.
        Starting = "starting",
        /// Up.
        Running = "running",
        /// A stop build runs.
        Stopping = "stopping",
        /// Down.
        Stopped = "stopped",
        /// The latest build failed.
        Failed = "failed",
        /// The latest build is being canceled.
        Canceling = "canceling",
        /// The latest build was canceled.
        Canceled = "canceled",
        /// A delete build runs.
        Deleting = "deleting",
        /// Gone.
        Deleted = "deleted",
    }
}

impl WorkspaceStatus {
    /// The status that follows from the latest build.
    #[must_use]
    pub const fn of(transition: Transition, job: JobStatus) -> Self {
        match (job, transition) {
            (JobStatus::Pending, _) => Self::Pending,
            (JobStatus::Running, Transition::Start) => Self::Starting,
            (JobStatus::Running, Transition::Stop) => Self::Stopping,
            (JobStatus::Running, Transition::Delete) => Self::Deleting,
            (JobStatus::Succeeded, Transition::Start) => Self::Running,
            (JobStatus::Succeeded, Transition::Stop) => Self::Stopped,
            (JobStatus::Succeeded, Transition::Delete) => Self::Deleted,
            (JobStatus::Canceling, _) => Self::Canceling,
            (JobStatus::Canceled, _) => Self::Canceled,
            (JobStatus::Failed, _) => Self::Failed,
        }
    }
}

words! {
    /// Why a build was asked for.
    BuildReason {
        /// A person or program asked.
        Initiator = "initiator",
        /// The schedule started it.
        Autostart = "autostart",
        /// The schedule or idleness stopped it.
        Autostop = "autostop",
        /// `berth ssh` started it.
        SshConnection = "ssh_connection",
        /// VS Code started it.
        VscodeConnection = "vscode_connection",
        /// A JetBrains IDE started it.
        JetbrainsConnection = "jetbrains_connection",
        /// The dashboard asked.
        Dashboard = "dashboard",
        /// The CLI asked.
        Cli = "cli",
    }
}

impl BuildReason {
    /// Who waits for the build: a person, or nobody.
    #[must_use]
    pub const fn priority(self) -> Priority {
        match self {
            Self::Autostart | Self::Autostop => Priority::Automatic,
            _ => Priority::Person,
        }
    }
}

words! {
    /// Which jobs go first when more wait than can run.
    #[derive(Default)]
    Priority {
        /// Someone waits for it.
        #[default]
        Person = "person",
        /// A schedule asked for it: it waits behind people's.
        Automatic = "automatic",
    }
}

words! {
    /// Whether a start moves a workspace to its template's active version.
    #[derive(Default)]
    AutomaticUpdates {
        /// Each start does.
        Always = "always",
        /// Only `update` does.
        #[default]
        Never = "never",
    }
}

words! {
    /// Why a job failed, for programs; people read the error's text.
    FailureCode {
        /// The plan replaces or destroys what holds data or runs: ask, then try again with `allow_replace`.
        ReplacementNeedsConsent = "REPLACEMENT_NEEDS_CONSENT",
        /// The plan costs more than the template allows.
        InsufficientQuota = "INSUFFICIENT_QUOTA",
        /// The runner was lost while it worked: what it was making may exist and be in no state. A repair finds it.
        RunnerLost = "RUNNER_LOST",
    }
}

words! {
    /// Who wrote a build log line.
    LogSource {
        /// The runner itself (or the control plane).
        ProvisionerDaemon = "provisioner_daemon",
        /// Terraform.
        Provisioner = "provisioner",
    }
}

words! {
    /// How loud a log line is.
    LogLevel {
        /// Finest.
        Trace = "trace",
        /// For debugging.
        Debug = "debug",
        /// Ordinary.
        Info = "info",
        /// Noteworthy.
        Warn = "warn",
        /// Something failed.
        Error = "error",
    }
}
