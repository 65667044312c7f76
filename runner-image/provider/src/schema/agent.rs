//! `coder_agent` and `coder_agent_instance`.
//!
//! An agent's token is made when the agent is created and kept until it is replaced: a refresh does not change it, so
//! what embeds it does not change either. A claimed prebuilt workspace is told the token that its agent already has.

use super::{Attribute, Block, Default, ID, Nested, Nesting, Noun, Problem, Rule, Type, duplicate};
use crate::behaviour::{Context, Hooks, new_uuid, now, with_new_id};
use crate::diagnostic::Diagnostic;
use crate::environment::{agent_script_env_name, running_agent_token_env_name};
use crate::value::{Object, Value, at, text_at};

const DISPLAY_APPS: &[Attribute] = &[
    Attribute::optional("vscode", Type::Bool).or(Default::Bool(true)).doc("Show the VS Code Desktop button."),
    Attribute::optional("vscode_insiders", Type::Bool).or_false().doc("Show the VS Code Insiders button."),
    Attribute::optional("web_terminal", Type::Bool).or(Default::Bool(true)).doc("Show the web terminal."),
    Attribute::optional("port_forwarding_helper", Type::Bool).or(Default::Bool(true)).doc("Show the port-forwarding button."),
    Attribute::optional("ssh_helper", Type::Bool).or(Default::Bool(true)).doc("Show the SSH button."),
];

const METADATA: &[Attribute] = &[
    Attribute::required("key", Type::Text).doc("The key, unique in the agent."),
    Attribute::optional("display_name", Type::Text).doc("The name to show."),
    Attribute::required("script", Type::Text).doc("The script whose output is the value."),
    Attribute::optional("timeout", Type::Number).doc("The longest run of the script, in seconds."),
    Attribute::required("interval", Type::Number).doc("The time between two runs, in seconds."),
    Attribute::optional("order", Type::Number).doc("Its place among the others, lowest first."),
];

const ENABLED: Attribute = Attribute::required("enabled", Type::Bool).doc("Whether it is monitored.");
const THRESHOLD: Attribute =
    Attribute::required("threshold", Type::Number).rules(&[Rule::Between(0, 100)]).doc("The use, in percent, that notifies.");

const MONITORED: &[Nested] = &[
    Nested::set("memory", Block::of(&[ENABLED, THRESHOLD])).max(1),
    Nested::set(
        "volume",
        Block::of(&[
            Attribute::required("path", Type::Text)
                .rules(&[Rule::NotEmpty, Rule::AbsolutePath])
                .doc("The path of the volume, unique in the agent."),
            ENABLED,
            THRESHOLD,
        ]),
    ),
];

pub(super) static AGENT: Noun = Noun::resource(
    "coder_agent",
    Block::with(
        &[
            ID,
            Attribute::required("arch", Type::Text).rules(&[Rule::OneOf(&["amd64", "armv7", "arm64"])]).doc("The architecture."),
            Attribute::required("os", Type::Text)
                .rules(&[Rule::OneOf(&["linux", "darwin", "windows"])])
                .doc("The operating system."),
            Attribute::optional("auth", Type::Text)
                .or(Default::Text("token"))
                .rules(&[Rule::OneOf(&["token", "google-instance-identity", "aws-instance-identity", "azure-instance-identity"])])
                .doc("How the agent proves who it is."),
            Attribute::optional("api_key_scope", Type::Text)
                .or(Default::Text("all"))
                .rules(&[Rule::OneOf(&["all", "no_user_data"])])
                .doc("What the agent's token may read about its owner."),
            Attribute::computed("init_script", Type::Text).updates_in_place().doc("The script that fetches and starts the agent."),
            Attribute::computed("token", Type::Text).sensitive().doc("The agent's token."),
            Attribute::optional("dir", Type::Text)
                .deprecated()
                .rules(&[Rule::Check(home_only)])
                .doc("The directory in which sessions start; the home directory by default."),
            Attribute::optional("env", Type::TextMap).doc("Environment variables of every session."),
            Attribute::optional("startup_script", Type::Text).doc("A script to run when the agent starts."),
            Attribute::optional("shutdown_script", Type::Text).doc("A script to run before the agent stops."),
            Attribute::optional("connection_timeout", Type::Number)
                .or(Default::Number(120))
                .rules(&[Rule::AtLeast(0)])
                .doc("How long, in seconds, the agent may take to connect before it is reported; 0 is for ever."),
            Attribute::optional("troubleshooting_url", Type::Text).doc("A page that helps when the agent does not connect."),
            Attribute::optional("motd_file", Type::Text).doc("The file that is shown at login."),
            Attribute::optional("startup_script_behavior", Type::Text)
                .or(Default::Text("non-blocking"))
                .rules(&[Rule::OneOf(&["blocking", "non-blocking"])])
                .doc("Whether login waits for the startup script."),
            Attribute::optional("order", Type::Number).doc("Its place among the agents, lowest first."),
            Attribute::optional_computed("display_apps", Type::Objects(Nesting::Set, DISPLAY_APPS))
                .or(Default::OneObject)
                .rules(&[Rule::ObjectsAtMost(1)])
                .doc("The built-in apps to show."),
        ],
        &[Nested::list("metadata", Block::of(METADATA)), Nested::set("resources_monitoring", Block::with(&[], MONITORED)).max(1)],
    ),
    Hooks {
        customise,
        create: |context, planned| now(create(&context, planned)),
        read: |context, state| now(read(&context, state)),
        ..Hooks::PLAIN
    },
)
.doc("An agent: the program in the workspace that developers connect to.");

pub(super) static AGENT_INSTANCE: Noun = Noun::resource(
    "coder_agent_instance",
    Block::of(&[
        ID,
        Attribute::required("agent_id", Type::Text).doc("The agent."),
        Attribute::required("instance_id", Type::Text).doc("The cloud instance in which it runs."),
    ]),
    Hooks::PLAIN,
)
.version(0)
.doc("Names the cloud instance of an agent that authenticates by instance identity.");

fn home_only(dir: &Value) -> Option<Problem> {
    let dir = dir.as_text().unwrap_or_default();
    let home = ["", "$HOME", "~"].contains(&dir);
    (!home).then(|| Problem::Warning("\"dir\" is deprecated: sessions outside $HOME break file sync".into()))
}

fn customise(planned: &mut Object) -> Vec<Diagnostic> {
    let mut found: Vec<_> = duplicate(planned, "metadata", "key").into_iter().collect();
    let empty = |monitoring: &Object| ["memory", "volume"].iter().all(|name| at(monitoring, name).is_zero());
    for monitoring in at(planned, "resources_monitoring").elements().iter().filter_map(Value::as_object) {
        let twice = duplicate(monitoring, "volume", "path").map(|diagnostic| diagnostic.about("resources_monitoring"));
        found.extend(twice);
        if empty(monitoring) {
            let detail = "at least one memory or volume block is needed";
            found.push(Diagnostic::error("empty resources_monitoring", detail).about("resources_monitoring"));
        }
    }
    found
}

fn create(context: &Context, planned: Object) -> Object {
    let mut agent = with_new_id(planned);
    let token = context.environment.get(&running_agent_token_env_name()).map_or_else(new_uuid, Value::text);
    agent.insert("token".into(), token);
    let script = init_script(context, &agent).unwrap_or_default();
    agent.insert("init_script".into(), Value::text(script));
    agent
}

fn read(context: &Context, mut agent: Object) -> Object {
    if let Some(token) = context.environment.get(&running_agent_token_env_name()) {
        agent.insert("token".into(), Value::text(token));
    }
    // A build that is not told the script (a stop, say) keeps the one it knows.
    if let Some(script) = init_script(context, &agent) {
        agent.insert("init_script".into(), Value::text(script));
    }
    agent
}

fn init_script(context: &Context, agent: &Object) -> Option<String> {
    let name = agent_script_env_name(text_at(agent, "os"), text_at(agent, "arch"));
    let script = context.environment.get(&name)?;
    Some(script.replace("${ACCESS_URL}", &context.access_url.root).replace("${AUTH_TYPE}", text_at(agent, "auth")))
}
