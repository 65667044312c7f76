//! What the plugins read of each answer: all fields that they need, and each enum with the words that they know and no other.
//!
//! Other fields may be there, as these clients ignore them; a missing one, a `null` where they take none, and a new word fail.

#![allow(dead_code, reason = "a field is read by being there")]

use serde::Deserialize;
use uuid::Uuid;

/// The extension for VS Code. Its types are TypeScript's, so nothing stops a wrong value before it is used.
pub(crate) mod vscode {
    use super::*;
    use std::collections::BTreeMap;

    #[derive(Debug, Deserialize)]
    pub(crate) struct BuildInfo {
        pub(crate) version: String,
        pub(crate) external_url: String,
    }

    /// The version gates what the extension offers: from 2.31.0, or a prerelease that begins with `devel`, all of it.
    pub(crate) fn check_version(version: &str) {
        let plain = version.strip_prefix('v').unwrap_or(version);
        let (core, rest) = plain.split_once('-').expect("a prerelease");
        let numbers: Vec<u64> = core.split('.').map(|number| number.parse().unwrap()).collect();
        assert!(numbers.len() == 3 && numbers >= vec![2, 31, 0], "{version}");
        assert!(rest.starts_with("devel"), "{version}");
        assert!(
            rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-+".contains(&byte)),
            "{version} is no semantic version"
        );
    }

    #[derive(Debug, Deserialize)]
    pub(crate) struct User {
        pub(crate) id: Uuid,
        pub(crate) username: String,
        pub(crate) email: String,
        pub(crate) name: String,
        pub(crate) roles: Vec<Role>,
    }

    #[derive(Debug, Deserialize)]
    pub(crate) struct Role {
        pub(crate) name: String,
        pub(crate) display_name: String,
    }

    #[derive(Debug, Deserialize)]
    pub(crate) struct Appearance {
        application_name: String,
        logo_url: String,
        announcement_banners: Vec<Banner>,
    }

    #[derive(Debug, Deserialize)]
    struct Banner {
        enabled: bool,
        message: Option<String>,
        background_color: Option<String>,
    }

    #[derive(Debug, Deserialize)]
    pub(crate) struct Workspaces {
        pub(crate) workspaces: Vec<Workspace>,
        pub(crate) count: usize,
    }

    #[derive(Debug, Deserialize)]
    pub(crate) struct Workspace {
        pub(crate) id: Uuid,
        pub(crate) name: String,
        pub(crate) owner_id: Uuid,
        pub(crate) owner_name: String,
        pub(crate) organization_id: Uuid,
        pub(crate) template_id: Uuid,
        pub(crate) template_name: String,
        pub(crate) template_display_name: String,
        pub(crate) template_icon: String,
        pub(crate) template_active_version_id: Uuid,
        pub(crate) template_require_active_version: bool,
        pub(crate) latest_build: Build,
        pub(crate) outdated: bool,
        pub(crate) health: Health,
        pub(crate) ttl_ms: Option<i64>,
        pub(crate) deleting_at: Option<String>,
        pub(crate) dormant_at: Option<String>,
        pub(crate) last_used_at: String,
    }

    impl Workspace {
        pub(crate) fn agents(&self) -> impl Iterator<Item = &Agent> {
            self.latest_build.resources.iter().flat_map(|resource| resource.agents.iter().flatten())
        }
    }

    #[derive(Debug, Deserialize)]
    pub(crate) struct Health {
        healthy: bool,
        failing_agents: Vec<Uuid>,
    }

    #[derive(Debug, Deserialize)]
    pub(crate) struct Build {
        pub(crate) id: Uuid,
        pub(crate) build_number: u64,
        pub(crate) transition: Transition,
        pub(crate) status: Status,
        pub(crate) reason: String,
        pub(crate) template_version_id: Uuid,
        pub(crate) template_version_name: String,
        pub(crate) resources: Vec<Resource>,
        pub(crate) job: Job,
        pub(crate) deadline: Option<String>,
    }

    #[derive(Debug, Deserialize, PartialEq, Eq)]
    #[serde(rename_all = "snake_case")]
    pub(crate) enum Transition {
        Start,
        Stop,
        Delete,
    }

    #[derive(Debug, Deserialize, PartialEq, Eq)]
    #[serde(rename_all = "snake_case")]
    pub(crate) enum Status {
        Pending,
        Starting,
        Running,
        Stopping,
        Stopped,
        Failed,
        Canceling,
        Canceled,
        Deleting,
        Deleted,
    }

    #[derive(Debug, Deserialize)]
    pub(crate) struct Job {
        id: Uuid,
        created_at: String,
        status: JobStatus,
        error: Option<String>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum JobStatus {
        Pending,
        Running,
        Succeeded,
        Canceling,
        Canceled,
        Failed,
    }

    #[derive(Debug, Deserialize)]
    pub(crate) struct Resource {
        id: Uuid,
        name: String,
        #[serde(rename = "type")]
        kind: String,
        pub(crate) agents: Option<Vec<Agent>>,
    }

    #[derive(Debug, Clone, Deserialize)]
    pub(crate) struct Agent {
        pub(crate) id: Uuid,
        pub(crate) name: String,
        pub(crate) status: AgentStatus,
        pub(crate) lifecycle_state: Lifecycle,
        operating_system: String,
        architecture: String,
        directory: Option<String>,
        expanded_directory: Option<String>,
        apps: Vec<App>,
        display_apps: Vec<String>,
        scripts: Vec<Script>,
        log_sources: Vec<LogSource>,
        startup_script_behavior: String,
    }

    #[derive(Debug, Clone, Copy, Deserialize, PartialEq, Eq)]
    #[serde(rename_all = "snake_case")]
    pub(crate) enum AgentStatus {
        Connecting,
        Connected,
        Disconnected,
        Timeout,
    }

    #[derive(Debug, Clone, Copy, Deserialize, PartialEq, Eq)]
    #[serde(rename_all = "snake_case")]
    pub(crate) enum Lifecycle {
        Created,
        Starting,
        StartTimeout,
        StartError,
        Ready,
        ShuttingDown,
        ShutdownTimeout,
        ShutdownError,
        Off,
    }

    #[derive(Debug, Clone, Deserialize)]
    struct App {
        id: Uuid,
        slug: String,
        display_name: String,
        url: String,
        command: Option<String>,
        icon: String,
        hidden: bool,
        health: AppHealth,
    }

    #[derive(Debug, Clone, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum AppHealth {
        Disabled,
        Initializing,
        Healthy,
        Unhealthy,
    }

    #[derive(Debug, Clone, Deserialize)]
    struct Script {
        id: Uuid,
        log_source_id: Uuid,
        display_name: String,
        start_blocks_login: bool,
        run_on_start: bool,
    }

    #[derive(Debug, Clone, Deserialize)]
    struct LogSource {
        id: Uuid,
        display_name: String,
    }

    /// A frame of a watched workspace.
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "snake_case", tag = "type", content = "data")]
    pub(crate) enum Event {
        Data(Box<Workspace>),
        Ping,
        Error(serde_json::Value),
    }

    impl Event {
        /// The workspace in a frame, if there is one.
        pub(crate) fn of(frame: &str) -> Option<Workspace> {
            match serde_json::from_str(frame).unwrap_or_else(|error| panic!("{error}: {frame}")) {
                Self::Data(workspace) => Some(*workspace),
                Self::Ping => None,
                Self::Error(error) => panic!("{error}"),
            }
        }
    }

    /// What the extension checks at run time, too.
    #[derive(Debug, Deserialize)]
    pub(crate) struct Metadata {
        #[serde(rename = "type")]
        kind: String,
        data: Vec<MetadataEvent>,
    }

    impl Metadata {
        pub(crate) fn of(frame: &str) -> Vec<(String, String)> {
            let seen: Self = serde_json::from_str(frame).unwrap_or_else(|error| panic!("{error}: {frame}"));
            assert_eq!(seen.kind, "data");
            seen.data.into_iter().map(|event| (event.description.key, event.result.value)).collect()
        }
    }

    #[derive(Debug, Deserialize)]
    struct MetadataEvent {
        result: MetadataResult,
        description: MetadataDescription,
    }

    #[derive(Debug, Deserialize)]
    struct MetadataResult {
        collected_at: String,
        age: f64,
        value: String,
        error: String,
    }

    #[derive(Debug, Deserialize)]
    struct MetadataDescription {
        display_name: String,
        key: String,
        script: String,
        interval: f64,
        timeout: f64,
    }

    #[derive(Debug, Deserialize)]
    pub(crate) struct ProvisionerJobLog {
        pub(crate) id: u64,
        created_at: String,
        log_source: LogOrigin,
        log_level: LogLevel,
        stage: String,
        output: String,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum LogOrigin {
        Provisioner,
        ProvisionerDaemon,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum LogLevel {
        Trace,
        Debug,
        Info,
        Warn,
        Error,
    }

    #[derive(Debug, Deserialize)]
    pub(crate) struct AgentLog {
        id: u64,
        created_at: String,
        output: String,
        level: LogLevel,
        source_id: Uuid,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(crate) struct SshConfig {
        hostname_prefix: String,
        hostname_suffix: String,
        ssh_config_options: BTreeMap<String, String>,
    }

    #[derive(Debug, Deserialize)]
    pub(crate) struct Template {
        pub(crate) id: Uuid,
        name: String,
        pub(crate) active_version_id: Uuid,
    }

    #[derive(Debug, Deserialize)]
    pub(crate) struct Version {
        id: Uuid,
        name: String,
        message: String,
        job: Job,
    }

    #[derive(Debug, Deserialize)]
    pub(crate) struct RichParameter {
        name: String,
        display_name: Option<String>,
        description_plaintext: String,
        #[serde(rename = "type")]
        kind: ParameterKind,
        mutable: bool,
        default_value: String,
        options: Vec<serde_json::Value>,
        required: bool,
        ephemeral: bool,
    }

    #[derive(Debug, Deserialize)]
    enum ParameterKind {
        #[serde(rename = "string")]
        String,
        #[serde(rename = "number")]
        Number,
        #[serde(rename = "bool")]
        Bool,
        #[serde(rename = "list(string)")]
        Strings,
    }

    #[derive(Debug, Deserialize)]
    pub(crate) struct BuildParameter {
        name: String,
        value: String,
    }
}

/// The plugins for JetBrains' Toolbox and Gateway. Moshi refuses a missing field, `null` for a type that takes none, and an unknown word.
pub(crate) mod jetbrains {
    pub(crate) use super::vscode::{AgentStatus, Lifecycle, Status};
    use super::*;

    /// The plugins refuse other names before they ask for them.
    pub(crate) fn check_name(name: &str, longest: usize) {
        let word = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
        assert!(name.len() <= longest && name.split('-').all(word), "{name}");
    }

    #[derive(Debug, Deserialize)]
    pub(crate) struct BuildInfo {
        external_url: String,
        version: String,
    }

    #[derive(Debug, Deserialize)]
    pub(crate) struct User {
        pub(crate) username: String,
    }

    #[derive(Debug, Deserialize)]
    pub(crate) struct Appearance {
        pub(crate) application_name: String,
    }

    #[derive(Debug, Deserialize)]
    pub(crate) struct Workspaces {
        pub(crate) workspaces: Vec<Workspace>,
    }

    #[derive(Debug, Deserialize)]
    pub(crate) struct Workspace {
        pub(crate) id: Uuid,
        pub(crate) template_id: Uuid,
        template_name: String,
        template_display_name: String,
        template_icon: String,
        pub(crate) latest_build: Build,
        outdated: bool,
        pub(crate) name: String,
        pub(crate) owner_name: String,
    }

    /// A build's number is a Kotlin `Int`.
    #[derive(Debug, Deserialize)]
    pub(crate) struct Build {
        id: Uuid,
        pub(crate) build_number: i32,
        template_version_id: Uuid,
        pub(crate) resources: Vec<Resource>,
        status: Status,
    }

    #[derive(Debug, Deserialize)]
    pub(crate) struct Resource {
        pub(crate) agents: Option<Vec<Agent>>,
    }

    #[derive(Debug, Deserialize)]
    pub(crate) struct Agent {
        id: Uuid,
        status: AgentStatus,
        pub(crate) name: String,
        architecture: Option<String>,
        operating_system: Option<String>,
        directory: Option<String>,
        expanded_directory: Option<String>,
        lifecycle_state: Lifecycle,
        login_before_ready: Option<bool>,
    }

    #[derive(Debug, Deserialize)]
    pub(crate) struct Template {
        id: Uuid,
        pub(crate) active_version_id: Uuid,
        name: String,
        display_name: String,
        icon: String,
    }
}
