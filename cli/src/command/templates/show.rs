//! `berth templates show`.

use super::edit::duration;
use crate::{
    dry_run,
    failure::Outcome,
    printer::{FormatFlag, render, table},
    session::Session,
};
use berth_wire::template::{RichParameter, Template, Version};
use clap::Args;
use comfy_table::Table;

/// Which template.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The template
    template: String,
    #[command(flatten)]
    format: FormatFlag,
}

/// Shows a template's settings, and what a workspace of it is made of and asks.
pub(super) async fn run(arguments: &Arguments, session: &Session) -> Outcome {
    let client = session.client()?;
    let template = super::find(&client, &arguments.template).await?;
    if arguments.format.output == crate::printer::Format::Json {
        return session.printer.json(&template);
    }
    let id = template.active_version_id;
    let (version, resources, parameters) =
        tokio::try_join!(client.version(id), client.version_resources(id), client.version_parameters(id))?;
    let mut text = render(&settings(&template, &version));
    if !resources.is_empty() {
        text.push('\n');
        text.push_str(&render(&dry_run::made_of(&resources)));
    }
    if !parameters.is_empty() {
        text.push('\n');
        text.push_str(&render(&asked(&parameters)));
    }
    session.printer.text(&text)
}

fn settings(template: &Template, version: &Version) -> Table {
    let settings = &template.settings;
    let yes = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    let mut table = table(["setting", "value"]);
    let mut row = |name: &str, value: String| {
        table.add_row([name.to_owned(), value]);
    };
    row("name", template.name.clone());
    row("display name", template.display_name.clone());
    row("description", template.description.clone());
    row("active version", version.name.clone());
    if template.deprecated {
        row("deprecated", settings.deprecation_message.clone());
    }
    row("default TTL", duration(settings.default_ttl_ms));
    row("maximum TTL", duration(settings.max_ttl_ms));
    row("activity bump", duration(settings.activity_bump_ms));
    row("failure TTL", duration(settings.failure_ttl_ms));
    row("people may cancel", yes(settings.allow_user_cancel_workspace_jobs));
    row("active version required", yes(settings.require_active_version));
    row("build timeout", own(settings.build_timeout_ms));
    row("silence timeout", own(settings.silence_timeout_ms));
    row("replacement needs consent", yes(settings.replacement_consent));
    row("daily cost at most", if settings.daily_cost_max == 0 { "any".to_owned() } else { settings.daily_cost_max.to_string() });
    table
}

fn own(milliseconds: i64) -> String {
    if milliseconds == 0 { "the deployment's".to_owned() } else { duration(milliseconds) }
}

fn asked(parameters: &[RichParameter]) -> Table {
    let mut table = table(["parameter", "type", "default", "can change"]);
    for parameter in parameters {
        let default = if parameter.required { "(required)".to_owned() } else { parameter.default_value.clone() };
        let changes = if parameter.mutable { "yes" } else { "no" };
        table.add_row([parameter.name.clone(), parameter.kind.clone(), default, changes.to_owned()]);
    }
    table
}
