//! `data.coder_workspace_preset`.

use berth_domain::Cron;

use super::{Attribute, Block, ID, Nested, Noun, Problem, Rule, Type};
use crate::behaviour::Context;
use crate::diagnostic::Diagnostic;
use crate::value::{Object, Value, at, text_at};

const SCHEDULE: &[Attribute] = &[
    Attribute::required("cron", Type::Text)
        .rules(&[Rule::Check(check_cron)])
        .doc("When it holds: minute (always *), hour, day of month, month, day of week."),
    Attribute::required("instances", Type::Number).doc("How many workspaces to keep ready then."),
];

const SCHEDULING: Block = Block::with(
    &[Attribute::required("timezone", Type::Text).rules(&[Rule::Check(check_timezone)]).doc("An IANA time zone.")],
    &[Nested::list("schedule", Block::of(SCHEDULE)).min(1)],
);

const PREBUILDS: Block = Block::with(
    &[Attribute::required("instances", Type::Number).rules(&[Rule::AtLeast(0)]).doc("How many workspaces to keep ready.")],
    &[
        Nested::set(
            "expiration_policy",
            Block::of(&[Attribute::required("ttl", Type::Number)
                .rules(&[Rule::Check(check_ttl)])
                .doc("After how many seconds a ready workspace is replaced; 0 is never.")]),
        )
        .max(1),
        Nested::list("scheduling", SCHEDULING).max(1),
    ],
);

pub(super) static WORKSPACE_PRESET: Noun = Noun::data(
    "coder_workspace_preset",
    Block::with(
        &[
            ID,
            Attribute::required("name", Type::Text).rules(&[Rule::NotEmpty]).doc("The name, which is also the id."),
            Attribute::optional("description", Type::Text).rules(&[Rule::LengthAtMost(128)]).doc("What it is for."),
            Attribute::optional("icon", Type::Text).rules(&[Rule::Url, Rule::LengthAtMost(256)]).doc("The URL of its icon."),
            Attribute::optional("default", Type::Bool).or_false().doc("Whether it is chosen at first."),
            Attribute::optional("parameters", Type::TextMap).doc("The values of parameters, by name."),
        ],
        &[Nested::set("prebuilds", PREBUILDS).max(1)],
    ),
    read,
)
.doc("Values for parameters that go together, under one name.");

fn check_ttl(value: &Value) -> Option<Problem> {
    let ttl = value.as_whole().unwrap_or_default();
    let good = ttl == 0 || (3600..=31_536_000).contains(&ttl);
    (!good).then(|| Problem::Error(format!("{ttl} is neither 0 nor between 3600 and 31536000")))
}

fn check_cron(value: &Value) -> Option<Problem> {
    let text = value.as_text().unwrap_or_default();
    let error = |why: &str| Some(Problem::Error(format!("\"{text}\" is not such a schedule: {why}")));
    let fields: Vec<_> = text.split_whitespace().collect();
    if fields.len() != 5 {
        return error("five fields are needed");
    }
    if fields.first() != Some(&"*") {
        return error("the minute must be *");
    }
    Cron::parse_unix(text).err().and_then(|why| error(&why.to_string()))
}

fn check_timezone(value: &Value) -> Option<Problem> {
    let name = value.as_text().unwrap_or_default();
    // Go's words for no zone and the machine's own; and a machine without a zone database cannot judge.
    let good =
        ["", "UTC", "Local"].contains(&name) || jiff::tz::db().is_definitively_empty() || jiff::tz::TimeZone::get(name).is_ok();
    (!good).then(|| Problem::Error(format!("\"{name}\" is not an IANA time zone")))
}

fn read(_: &Context, object: &mut Object) -> Vec<Diagnostic> {
    let inner = |object: &Object, name: &str| -> Vec<Object> {
        at(object, name).elements().iter().filter_map(Value::as_object).cloned().collect()
    };
    let scheduling = inner(object, "prebuilds").iter().flat_map(|prebuilds| inner(prebuilds, "scheduling")).collect::<Vec<_>>();
    let schedules: Vec<_> = scheduling.iter().flat_map(|scheduling| inner(scheduling, "schedule")).collect();
    let crons: Vec<_> = schedules.iter().map(|schedule| text_at(schedule, "cron")).collect();
    let meet = |first: &str, second: &str| Some(Cron::parse_unix(first).ok()?.overlaps(&Cron::parse_unix(second).ok()?));
    for (index, first) in crons.iter().enumerate() {
        for second in crons.iter().skip(index + 1) {
            if meet(first, second) == Some(true) {
                let detail = format!("\"{first}\" and \"{second}\" hold at the same time");
                return vec![Diagnostic::error("overlapping schedules", detail).about("prebuilds")];
            }
        }
    }
    let name = at(object, "name").clone();
    object.insert("id".into(), name);
    Vec::new()
}
