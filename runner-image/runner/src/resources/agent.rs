//! A `coder_agent` and all that belongs to it.

use std::collections::BTreeMap;

use berth_domain::{
    AgentName, AppSharing, Secret,
    limit::{AGENT_CONNECT_SECONDS, VOLUME_MONITORS_MAX},
};
use berth_wire::{
    resource::AppHealthcheck,
    runner::{Agent, App, Metadata, Monitors, Script, VolumeMonitor},
};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{Node, ResourceError, graph::Fields};

/// The buttons that `display_apps` may turn on and off, with their defaults.
const DISPLAY_APPS: &[(&str, bool)] =
    &[("vscode", true), ("vscode_insiders", false), ("web_terminal", true), ("port_forwarding_helper", true), ("ssh_helper", true)];
/// How an agent says that AWS is to say who it is.
const AWS_IDENTITY: &str = "aws-instance-identity";
/// Where the instance id of a machine is, for agents that identify themselves by it.
const INSTANCE_IDS: &[(&str, &str)] = &[
    ("aws_instance", "id"),
    ("aws_spot_instance_request", "spot_instance_id"),
    ("azurerm_linux_virtual_machine", "virtual_machine_id"),
    ("azurerm_windows_virtual_machine", "virtual_machine_id"),
    ("google_compute_instance", "instance_id"),
];

/// Reads an agent with its apps, scripts and environment.
pub(super) fn read(node: &Node<'_>, nodes: &[Node<'_>]) -> Result<Agent, ResourceError> {
    let name = AgentName::parse(node.name).map_err(|source| ResourceError::AgentName { name: node.name.to_owned(), source })?;
    let id = id_of(node)?;
    let mine =
        |kind: &'static str| nodes.iter().filter(move |other| other.kind == kind && other.text("agent_id") == node.text("id"));
    let auth = or(node.text("auth"), "token");
    Ok(Agent {
        id,
        name: name.as_str().to_owned(),
        token: (auth == "token").then(|| Secret::new(node.text("token").to_owned())),
        auth: auth.to_owned(),
        instance_id: mine("coder_agent_instance")
            .map(|instance| instance.text("instance_id").to_owned())
            .next()
            .unwrap_or_default(),
        instance_arn: String::new(),
        api_key_scope: node.text("api_key_scope").to_owned(),
        arch: node.text("arch").to_owned(),
        os: node.text("os").to_owned(),
        directory: node.text("dir").to_owned(),
        env: environment(node, mine("coder_env"))?,
        motd_file: node.text("motd_file").to_owned(),
        connection_timeout_seconds: node.whole("connection_timeout").unwrap_or(AGENT_CONNECT_SECONDS),
        troubleshooting_url: node.text("troubleshooting_url").to_owned(),
        startup_script_behavior: or(node.text("startup_script_behavior"), "non-blocking").to_owned(),
        display_apps: display_apps(node),
        order: node.whole("order").unwrap_or(0),
        scripts: own_scripts(node, id).into_iter().map(Ok).chain(mine("coder_script").map(script)).collect::<Result<_, _>>()?,
        apps: mine("coder_app").map(app).collect::<Result<_, _>>()?,
        metadata: node.blocks("metadata").map(|block| metadata(Fields(block))).collect(),
        monitors: node.blocks("resources_monitoring").next().map(|block| monitors(&Fields(block))).unwrap_or_default(),
    })
}

/// The agent with the instance id of the machine that it is placed on, when it needs one and none is given, and with that machine's ARN.
pub(super) fn with_instance_id(mut agent: Agent, holder: &Node<'_>) -> Agent {
    let attribute = INSTANCE_IDS.iter().find(|(kind, _)| *kind == holder.kind).map(|(_, attribute)| attribute);
    if let Some(attribute) = attribute.filter(|_| agent.auth != "token" && agent.instance_id.is_empty()) {
        agent.instance_id = holder.text(attribute).to_owned();
    }
    if agent.auth == AWS_IDENTITY {
        agent.instance_arn = holder.text("arn").to_owned();
    }
    agent
}

fn id_of(node: &Node<'_>) -> Result<Uuid, ResourceError> {
    Uuid::parse_str(node.text("id")).map_err(|_| wrong(node, format!("id {:?} is not a UUID", node.text("id"))))
}

fn wrong(node: &Node<'_>, what: String) -> ResourceError {
    ResourceError::Attribute { address: node.address.clone(), what }
}

fn or<'a>(text: &'a str, default: &'a str) -> &'a str {
    if text.is_empty() { default } else { text }
}

/// The agent's own `env`, with each `coder_env` merged into it in the order of addresses.
fn environment<'a>(
    node: &Node<'_>,
    additions: impl Iterator<Item = &'a Node<'a>>,
) -> Result<BTreeMap<String, String>, ResourceError> {
    let mut environment: BTreeMap<String, String> = node.pairs("env").collect();
    for addition in additions {
        let (name, value) = (addition.text("name"), addition.text("value"));
        let before = environment.get(name);
        let merged = match (before, or(addition.text("merge_strategy"), "replace")) {
            (Some(_), "error") => return Err(wrong(addition, format!("the environment variable {name} is already set"))),
            (Some(before), "append") => format!("{before}:{value}"),
            (Some(before), "prepend") => format!("{value}:{before}"),
            _ => value.to_owned(),
        };
        environment.insert(name.to_owned(), merged);
    }
    Ok(environment)
}

fn display_apps(node: &Node<'_>) -> Vec<String> {
    let chosen = node.blocks("display_apps").next();
    let is_on = |name: &str, default: bool| chosen.map_or(default, |chosen| Fields(chosen).flag(name));
    DISPLAY_APPS.iter().filter(|(name, default)| is_on(name, *default)).map(|(name, _)| (*name).to_owned()).collect()
}

/// `startup_script` and `shutdown_script` as scripts. Their ids follow from the agent's, so that they stay the same.
fn own_scripts(node: &Node<'_>, agent: Uuid) -> Vec<Script> {
    let script = |attribute: &str, display_name: &str, log_path: &str| Script {
        id: derived_id(agent, attribute),
        display_name: display_name.to_owned(),
        icon: String::new(),
        script: node.text(attribute).to_owned(),
        log_path: log_path.to_owned(),
        cron: String::new(),
        start_blocks_login: false,
        run_on_start: false,
        run_on_stop: false,
        timeout_seconds: 0,
    };
    let start = Script {
        run_on_start: true,
        start_blocks_login: node.text("startup_script_behavior") == "blocking",
        ..script("startup_script", "Startup Script", "coder-startup-script.log")
    };
    let stop = Script { run_on_stop: true, ..script("shutdown_script", "Shutdown Script", "coder-shutdown-script.log") };
    [start, stop].into_iter().filter(|script| !script.script.is_empty()).collect()
}

/// An id that follows from another and a name.
pub(super) fn derived_id(base: Uuid, name: &str) -> Uuid {
    let digest = Sha256::new().chain_update(base.as_bytes()).chain_update(name).finalize();
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

fn script(node: &Node<'_>) -> Result<Script, ResourceError> {
    Ok(Script {
        id: id_of(node)?,
        display_name: node.text("display_name").to_owned(),
        icon: node.text("icon").to_owned(),
        script: node.text("script").to_owned(),
        log_path: node.text("log_path").to_owned(),
        cron: node.text("cron").to_owned(),
        start_blocks_login: node.flag("start_blocks_login"),
        run_on_start: node.flag("run_on_start"),
        run_on_stop: node.flag("run_on_stop"),
        timeout_seconds: node.whole("timeout").and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(0),
    })
}

fn app(node: &Node<'_>) -> Result<App, ResourceError> {
    let share: AppSharing = or(node.text("share"), "owner").parse().map_err(|error| wrong(node, error))?;
    let healthcheck = node.blocks("healthcheck").next().map(|check| {
        let check = Fields(check);
        let whole = |name| check.whole(name).unwrap_or(0);
        AppHealthcheck { url: check.text("url").to_owned(), interval: whole("interval"), threshold: whole("threshold") }
    });
    Ok(App {
        id: id_of(node)?,
        slug: node.text("slug").to_owned(),
        display_name: or(node.text("display_name"), node.text("slug")).to_owned(),
        url: node.text("url").to_owned(),
        command: node.text("command").to_owned(),
        icon: node.text("icon").to_owned(),
        subdomain: node.flag("subdomain"),
        external: node.flag("external"),
        share,
        healthcheck: healthcheck.unwrap_or_default(),
        hidden: node.flag("hidden"),
        open_in: or(node.text("open_in"), "slim-window").to_owned(),
        group: node.text("group").to_owned(),
        tooltip: node.text("tooltip").to_owned(),
        order: node.whole("order").unwrap_or(0),
    })
}

fn metadata(block: Fields<'_>) -> Metadata {
    Metadata {
        key: block.text("key").to_owned(),
        display_name: or(block.text("display_name"), block.text("key")).to_owned(),
        script: block.text("script").to_owned(),
        interval: block.whole("interval").unwrap_or(0),
        timeout: block.whole("timeout").unwrap_or(0),
    }
}

/// What is watched of memory and volumes, without what is switched off.
fn monitors(monitoring: &Fields<'_>) -> Monitors {
    let threshold = |block: &Fields<'_>| {
        let percent = block.whole("threshold").and_then(|percent| u8::try_from(percent).ok());
        percent.filter(|_| block.flag("enabled"))
    };
    let volume = |block: Fields<'_>| Some(VolumeMonitor { path: block.text("path").to_owned(), threshold: threshold(&block)? });
    Monitors {
        memory: monitoring.blocks("memory").find_map(|block| threshold(&Fields(block))),
        volumes: monitoring.blocks("volume").filter_map(|block| volume(Fields(block))).take(VOLUME_MONITORS_MAX).collect(),
    }
}
