//! `coder_script`.

use berth_domain::Cron;

use super::{Attribute, Block, Default, ID, Noun, Problem, Rule, Type};
use crate::behaviour::Hooks;
use crate::diagnostic::Diagnostic;
use crate::value::{Object, Value, at};

pub(super) static SCRIPT: Noun = Noun::resource(
    "coder_script",
    Block::of(&[
        ID,
        Attribute::required("agent_id", Type::Text).doc("The agent that runs it."),
        Attribute::required("display_name", Type::Text).doc("The name to show."),
        Attribute::required("script", Type::Text).doc("The text of the script."),
        Attribute::optional("log_path", Type::Text).doc("Where its output is kept."),
        Attribute::optional("icon", Type::Text).doc("The URL of its icon."),
        Attribute::optional("cron", Type::Text)
            .rules(&[Rule::Check(check_cron)])
            .doc("When it runs: seconds, minutes, hours, day of month, month, day of week."),
        Attribute::optional("start_blocks_login", Type::Bool).or_false().doc("Login waits until it has run."),
        Attribute::optional("run_on_start", Type::Bool).or_false().doc("Run it when the agent starts."),
        Attribute::optional("run_on_stop", Type::Bool).or_false().doc("Run it before the agent stops."),
        Attribute::optional("timeout", Type::Number)
            .or(Default::Number(0))
            .rules(&[Rule::AtLeast(1)])
            .doc("The longest run, in seconds; no limit when left out."),
    ]),
    Hooks { customise, ..Hooks::PLAIN },
)
.doc("A script that the agent runs when it starts, before it stops, or on a schedule.");

fn check_cron(value: &Value) -> Option<Problem> {
    let text = value.as_text().unwrap_or_default();
    if let Err(why) = Cron::parse_with_seconds(text) {
        return Some(Problem::Error(format!("\"{text}\" is not a schedule: {why}")));
    }
    let unix = text.split_whitespace().count() == 5 && Cron::parse_unix(text).is_ok();
    unix.then(|| {
        Problem::Warning(format!(
            "\"{text}\" has five fields and its first one is read as seconds; \"0 {text}\" runs it at the start of the minute"
        ))
    })
}

fn customise(planned: &mut Object) -> Vec<Diagnostic> {
    let never = ["run_on_start", "run_on_stop", "cron"].iter().all(|name| at(planned, name).is_zero());
    if never {
        return vec![Diagnostic::error(
            "script never runs",
            "at least one of \"run_on_start\", \"run_on_stop\" or \"cron\" must be set",
        )];
    }
    if *at(planned, "start_blocks_login") == Value::Bool(true) && at(planned, "run_on_start").is_zero() {
        let detail = "\"start_blocks_login\" can only be set if \"run_on_start\" is true";
        return vec![Diagnostic::error("script does not run at start", detail).about("start_blocks_login")];
    }
    Vec::new()
}
