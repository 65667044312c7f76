//! The resources that are rows and nothing else: `coder_env`, `coder_devcontainer`, `coder_external_agent`.

use super::{Attribute, Block, Default, ID, Noun, Rule, Type};
use crate::behaviour::{Hooks, new_uuid, now, with_new_id};

pub(super) static ENV: Noun = Noun::resource(
    "coder_env",
    Block::of(&[
        ID,
        Attribute::required("agent_id", Type::Text).doc("The agent whose sessions get it."),
        Attribute::required("name", Type::Text)
            .rules(&[Rule::Matches("^[a-zA-Z_][a-zA-Z0-9_]*$", "the name of an environment variable")])
            .doc("The name of the environment variable."),
        Attribute::optional("value", Type::Text).doc("Its value."),
        Attribute::optional("merge_strategy", Type::Text)
            .or(Default::Text("replace"))
            .rules(&[Rule::OneOf(&["replace", "append", "prepend", "error"])])
            .doc("What happens when several resources set the same name; joined values have a colon between them."),
    ]),
    Hooks::PLAIN,
)
.doc("An environment variable of every session of an agent.");

pub(super) static DEVCONTAINER: Noun = Noun::resource(
    "coder_devcontainer",
    Block::of(&[
        ID,
        Attribute::required("agent_id", Type::Text).doc("The agent that starts it."),
        Attribute::required("workspace_folder", Type::Text)
            .rules(&[Rule::NotEmpty])
            .doc("The folder that holds its configuration."),
        Attribute::optional("config_path", Type::Text).doc("The path of devcontainer.json, when it is not the usual one."),
        Attribute::computed("subagent_id", Type::Text).doc("The id of the agent inside it."),
    ]),
    Hooks {
        create: |_, planned| {
            let mut created = with_new_id(planned);
            created.insert("subagent_id".into(), new_uuid());
            now(created)
        },
        ..Hooks::PLAIN
    },
)
.doc("A dev container that the agent starts.");

pub(super) static EXTERNAL_AGENT: Noun = Noun::resource(
    "coder_external_agent",
    Block::of(&[ID, Attribute::required("agent_id", Type::Text).doc("The agent that somebody starts by hand.")]),
    Hooks::PLAIN,
)
.doc("Marks an agent that is started outside of the template.");
