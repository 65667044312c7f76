//! The two environments of a run: what the Terraform process sees, and what the in-process provider is told.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    path::Path,
};

use berth_domain::Transition;
use berth_provider::{agent_script_env_name, parameter_env_name, parameter_previous_env_name};
use berth_wire::{
    init_script,
    runner::{Build, Import, Owner},
};

use crate::Config;

/// Names that Terraform and its providers need from the machine.
const NAMES: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "TMPDIR",
    "LANG",
    "LC_ALL",
    "TZ",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    // Where a program in a Fargate task learns which task and Region it is in (Amazon ECS, task metadata endpoint version 4).
    "ECS_CONTAINER_METADATA_URI",
    "ECS_CONTAINER_METADATA_URI_V4",
];
/// Prefixes of the names by which providers find their clouds.
const PREFIXES: &[&str] = &["AWS_", "ARM_", "AZURE_", "GOOGLE_", "CLOUDSDK_", "KUBE", "DOCKER_"];

/// What a workspace that is a process on this machine sees of the machine.
const OF_PROCESSES: &[&str] = &["PATH", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "TZ", "TMPDIR"];
/// Operating systems and architectures (Go names) that a template may ask an agent for.
const MACHINES: &[(&str, &str)] = &[
    ("linux", "amd64"),
    ("linux", "arm64"),
    ("linux", "armv7"),
    ("darwin", "amd64"),
    ("darwin", "arm64"),
    ("windows", "amd64"),
    ("windows", "arm64"),
];

/// The part of the runner's environment that Terraform may see: an allow-list, so that nothing of ours is ever in it.
#[must_use]
pub(crate) fn inherited(all: &BTreeMap<OsString, OsString>) -> BTreeMap<OsString, OsString> {
    let allowed = |name: &OsStr| {
        let name = name.to_string_lossy();
        NAMES.contains(&name.as_ref()) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
    };
    all.iter().filter(|(name, _)| allowed(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// The whole environment of a Terraform process; `provider` is by what it finds our provider, or what that one is told as a plugin.
#[must_use]
pub(crate) fn of_terraform(config: &Config, cli_config: &Path, provider: BTreeMap<String, String>) -> BTreeMap<OsString, OsString> {
    let mut environment = config.inherited.clone();
    environment.extend(provider.into_iter().map(|(name, value)| (name.into(), value.into())));
    for (name, value) in [("TF_IN_AUTOMATION", "1"), ("TF_INPUT", "0"), ("CHECKPOINT_DISABLE", "1")] {
        environment.insert(name.into(), value.into());
    }
    environment.insert("TF_CLI_CONFIG_FILE".into(), cli_config.into());
    environment
}

/// The tag by which everything of a workspace is found.
pub(crate) const WORKSPACE_TAG: &str = "berth:workspace";

/// The variables by which the AWS provider (hashicorp/terraform-provider-aws #33339) tags all that it makes, without a word in the template: whose workspace it
/// is and of which template. The key is part of the variable's name.
#[must_use]
pub(crate) fn tags(build: &Build) -> BTreeMap<OsString, OsString> {
    let tags = [
        (WORKSPACE_TAG, build.workspace_id.to_string()),
        ("berth:owner", build.owner.username.clone()),
        ("berth:template", build.template_name.clone()),
    ];
    tags.into_iter().map(|(key, value)| (format!("TF_AWS_DEFAULT_TAGS_{key}").into(), value.into())).collect()
}

/// What the provider is told for a build.
#[must_use]
pub(crate) fn of_build(config: &Config, build: &Build) -> BTreeMap<String, String> {
    let mut environment = BTreeMap::new();
    let mut set = |name: &str, value: String| environment.insert(name.to_owned(), value);
    set("CODER_WORKSPACE_TRANSITION", build.transition.to_string());
    set("CODER_WORKSPACE_NAME", build.workspace_name.clone());
    set("CODER_WORKSPACE_ID", build.workspace_id.to_string());
    set("CODER_WORKSPACE_BUILD_ID", build.build_id.to_string());
    set("CODER_WORKSPACE_TEMPLATE_ID", build.template_id.to_string());
    set("CODER_WORKSPACE_TEMPLATE_NAME", build.template_name.clone());
    set("CODER_WORKSPACE_TEMPLATE_VERSION", build.version_name.clone());
    for parameter in &build.parameters {
        set(&parameter_env_name(&parameter.name), parameter.value.clone());
    }
    for parameter in &build.previous_parameters {
        set(&parameter_previous_env_name(&parameter.name), parameter.value.clone());
    }
    add_owner(&mut environment, &build.owner);
    add_machine(&mut environment, config, &build.access_url);
    environment
}

/// What the provider is told while a version's start or stop is planned: no build, the pusher as owner, and a stand-in for every parameter that
/// has no default and whose type could not hold the empty text.
#[must_use]
pub(crate) fn of_import(
    config: &Config,
    import: &Import,
    (transition, stand_ins): (Transition, &BTreeMap<String, String>),
) -> BTreeMap<String, String> {
    let mut environment = BTreeMap::new();
    let mut set = |name: &str, value: String| environment.insert(name.to_owned(), value);
    set("CODER_WORKSPACE_TRANSITION", transition.to_string());
    set("CODER_WORKSPACE_TEMPLATE_NAME", import.template_name.clone());
    set("CODER_WORKSPACE_TEMPLATE_VERSION", import.version_name.clone());
    for (name, value) in stand_ins {
        set(&parameter_env_name(name), value.clone());
    }
    add_owner(&mut environment, &import.owner);
    add_machine(&mut environment, config, &import.access_url);
    environment
}

fn add_owner(environment: &mut BTreeMap<String, String>, owner: &Owner) {
    let groups = serde_json::to_string(&owner.groups).unwrap_or_else(|_| "[]".to_owned());
    let values = [
        ("CODER_WORKSPACE_OWNER", owner.username.clone()),
        ("CODER_WORKSPACE_OWNER_ID", owner.id.to_string()),
        ("CODER_WORKSPACE_OWNER_NAME", owner.name.clone()),
        ("CODER_WORKSPACE_OWNER_EMAIL", owner.email.clone()),
        ("CODER_WORKSPACE_OWNER_LOGIN_TYPE", owner.login_type.clone()),
        ("CODER_WORKSPACE_OWNER_GROUPS", groups),
    ];
    environment.extend(values.map(|(name, value)| (name.to_owned(), value)));
}

fn add_machine(environment: &mut BTreeMap<String, String>, config: &Config, access_url: &str) {
    environment.insert("CODER_AGENT_URL".to_owned(), format!("{}/", access_url.trim_end_matches('/')));
    for (os, arch) in MACHINES {
        if let Some(script) = init_script::template(os, arch) {
            environment.insert(agent_script_env_name(os, arch), script);
        }
    }
    let Some(root) = &config.process_root else { return };
    environment.insert("BERTH_PROCESS_ROOT".to_owned(), root.display().to_string());
    for name in OF_PROCESSES {
        if let Some(value) = config.inherited.get(OsStr::new(name)).and_then(|value| value.to_str()) {
            environment.insert(format!("BERTH_PROCESS_ENV_{name}"), value.to_owned());
        }
    }
    if let Some(agent) = &config.agent_binary {
        // The init script takes the agent that is already on the machine.
        environment.insert("BERTH_PROCESS_ENV_BERTH_AGENT_BINARY".to_owned(), agent.display().to_string());
    }
}
