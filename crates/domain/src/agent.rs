//! Agents and apps: the words for their states.

use crate::build::words;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

words! {
    /// Whether an agent can be reached.
    AgentStatus {
        /// It has not connected yet.
        Connecting = "connecting",
        /// It is connected.
        Connected = "connected",
        /// It was connected and is not.
        Disconnected = "disconnected",
        /// It did not connect within its template's time.
        Timeout = "timeout",
    }
}

words! {
    /// How far an agent's start-up or shutdown is.
    Lifecycle {
        /// The agent process has not reported.
        Created = "created",
        /// Start scripts run.
        Starting = "starting",
        /// A start script takes longer than its time limit.
        StartTimeout = "start_timeout",
        /// A start script failed.
        StartError = "start_error",
        /// All start scripts ended well.
        Ready = "ready",
        /// Stop scripts run.
        ShuttingDown = "shutting_down",
        /// A stop script takes longer than its time limit.
        ShutdownTimeout = "shutdown_timeout",
        /// A stop script failed.
        ShutdownError = "shutdown_error",
        /// The agent has ended.
        Off = "off",
    }
}

impl Lifecycle {
    /// Whether start-up is over, well or not.
    #[must_use]
    pub const fn has_started(self) -> bool {
        !matches!(self, Self::Created | Self::Starting)
    }
}

words! {
    /// Who may open an app.
    AppSharing {
        /// Only the workspace's owner.
        Owner = "owner",
        /// Anyone signed in.
        Authenticated = "authenticated",
        /// The owner's organization.
        Organization = "organization",
        /// Anyone.
        Public = "public",
    }
}

words! {
    /// Whether an app answers.
    AppHealth {
        /// It has no health check.
        Disabled = "disabled",
        /// Not yet checked.
        Initializing = "initializing",
        /// It answers.
        Healthy = "healthy",
        /// It does not.
        Unhealthy = "unhealthy",
    }
}

words! {
    /// Why a script ran.
    ScriptStage {
        /// The agent had started.
        Start = "start",
        /// The agent was told to end.
        Stop = "stop",
        /// Its schedule said so.
        Cron = "cron",
    }
}

words! {
    /// How a script ended.
    ScriptStatus {
        /// With exit code 0.
        Ok = "ok",
        /// With another code, by a signal, or it did not start.
        ExitFailure = "exit_failure",
        /// It took longer than its limit and was ended.
        TimedOut = "timed_out",
        /// With exit code 0, but what it left in the background held its output open.
        PipesLeftOpen = "pipes_left_open",
    }
}
