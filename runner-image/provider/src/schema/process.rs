//! `berth_process` and `berth_directory`: a workspace on the machine that runs the build. Their verbs are in
//! [`crate::process`] and [`crate::directory`].

use super::{Attribute, Block, Default, ID, Noun, Problem, Rule, Type};
use crate::behaviour::Hooks;
use crate::value::Value;
use crate::{directory, process};

pub(super) static PROCESS: Noun = Noun::resource(
    "berth_process",
    Block::of(&[
        ID,
        Attribute::required("command", Type::TextList).rules(&[Rule::NotEmpty]).doc("The program and its arguments."),
        Attribute::optional("env", Type::TextMap)
            .doc("Environment variables, beside PATH, HOME, USER, LOGNAME, SHELL, LANG and TMPDIR."),
        Attribute::optional("dir", Type::Text).rules(&[Rule::AbsolutePath]).doc("The directory in which it starts, also its HOME."),
        Attribute::optional_computed("log_file", Type::Text)
            .rules(&[Rule::AbsolutePath])
            .doc("The file to which its output is appended; one beside the workspace's directories by default."),
        Attribute::optional("stop_grace_seconds", Type::Number)
            .or(Default::Number(10))
            .rules(&[Rule::Between(0, 3600)])
            .updates_in_place()
            .doc("How long it may take to end by itself when it is stopped."),
        Attribute::computed("pid", Type::Number).doc("The process id; null when it died and left processes behind."),
        Attribute::computed("start_time", Type::Text).doc("When it started, as the system counts it."),
        Attribute::computed("boot_id", Type::Text).doc("The boot of the machine on which the process id means something."),
        Attribute::computed("fingerprint", Type::Text)
            .doc("The SHA-256 of command, env and dir as it was started, with which an import knows it again."),
    ]),
    Hooks {
        broken: process::broken,
        adopt: process::adopt,
        import: Some(|context, id| Box::pin(process::import(context, id))),
        create: |context, planned| Box::pin(process::create(context, planned)),
        read: |_, state| Box::pin(process::read(state)),
        delete: |context, state| Box::pin(process::delete(context, state)),
        ..Hooks::PLAIN
    },
)
.version(0)
.doc("A process on the machine that runs the build, in a session of its own; it outlives the build.");

pub(super) static DIRECTORY: Noun = Noun::resource(
    "berth_directory",
    Block::of(&[
        ID,
        Attribute::optional("name", Type::Text)
            .or(Default::Text("home"))
            .rules(&[Rule::Check(check_name)])
            .doc("The name of the directory, unique in the workspace."),
        Attribute::computed("path", Type::Text).doc("Its absolute path."),
    ]),
    Hooks {
        import: Some(|context, id| Box::pin(directory::import(context, id))),
        create: |context, planned| Box::pin(directory::create(context, planned)),
        read: |_, state| Box::pin(directory::read(state)),
        delete: |context, state| Box::pin(directory::delete(context, state)),
        ..Hooks::PLAIN
    },
)
.version(0)
.doc("A directory on the machine that runs the build; it lives as long as the workspace.");

fn check_name(value: &Value) -> Option<Problem> {
    let name = value.as_text().unwrap_or_default();
    (!directory::is_plain_name(name)).then(|| Problem::Error(format!("\"{name}\" is not the name of one directory")))
}
