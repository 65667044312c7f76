//! `data.coder_task` and `coder_ai_task`.

use uuid::Uuid;

use super::{Attribute, Block, ID, Nested, Noun, Rule, Type};
use crate::behaviour::{Context, Done, Hooks, new_uuid};
use crate::diagnostic::Diagnostic;
use crate::value::{Object, Value, at, text_at};

pub(super) static TASK: Noun = Noun::data(
    "coder_task",
    Block::of(&[
        ID,
        Attribute::computed("prompt", Type::Text).doc("What the task is asked to do."),
        Attribute::computed("enabled", Type::Bool).doc("True when the workspace is a task's."),
    ]),
    read,
)
.version(0)
.doc("The task that the workspace was made for, if it was.");

pub(super) static AI_TASK: Noun = Noun::resource(
    "coder_ai_task",
    Block::with(
        &[
            ID,
            Attribute::optional_computed("app_id", Type::Text)
                .rules(&[Rule::Uuid, Rule::ConflictsWith(&["sidebar_app"])])
                .doc("The app to show beside the task."),
            Attribute::computed("prompt", Type::Text).doc("What the task is asked to do."),
            Attribute::computed("enabled", Type::Bool).doc("True when the workspace is a task's."),
        ],
        &[Nested::set(
            "sidebar_app",
            Block::of(&[Attribute::required("id", Type::Text).rules(&[Rule::Uuid]).doc("The app to show; use app_id instead.")]),
        )
        .max(1)
        .conflicts(&["app_id"])
        .deprecated()],
    ),
    Hooks { create: |context, planned| Box::pin(std::future::ready(create(&context, planned))), ..Hooks::PLAIN },
)
.doc("Makes workspaces of this template able to run tasks.");

fn task_id(context: &Context) -> Result<Option<String>, uuid::Error> {
    let Some(text) = context.environment.get("CODER_TASK_ID") else { return Ok(None) };
    let id = Uuid::parse_str(text)?;
    Ok((!id.is_nil()).then(|| id.to_string()))
}

fn read(context: &Context, object: &mut Object) -> Vec<Diagnostic> {
    let id = match task_id(context) {
        Ok(id) => id,
        Err(why) => return vec![Diagnostic::error("invalid CODER_TASK_ID", why.to_string())],
    };
    object.insert("enabled".into(), Value::Bool(id.is_some()));
    object.insert("id".into(), id.map_or_else(new_uuid, Value::Text));
    object.insert("prompt".into(), Value::text(context.environment.get("CODER_TASK_PROMPT").unwrap_or_default()));
    Vec::new()
}

fn create(context: &Context, mut planned: Object) -> Done {
    if !at(&planned, "app_id").is_known() {
        let sidebar = at(&planned, "sidebar_app").elements().first().and_then(Value::as_object);
        let app = sidebar.map(|sidebar| text_at(sidebar, "id").to_owned()).unwrap_or_default();
        planned.insert("app_id".into(), Value::Text(app));
    }
    if text_at(&planned, "app_id").is_empty() {
        return Done::failed(Diagnostic::error("task without an app", "\"app_id\" must be set").about("app_id"));
    }
    let id = task_id(context).ok().flatten();
    planned.insert("enabled".into(), Value::Bool(id.is_some()));
    planned.insert("id".into(), id.map_or_else(new_uuid, Value::Text));
    planned.insert("prompt".into(), context.environment.get("CODER_TASK_PROMPT").map_or(Value::Null, Value::text));
    Done::exists(planned)
}
