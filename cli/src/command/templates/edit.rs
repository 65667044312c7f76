//! `berth templates edit`.

use crate::{
    command::schedule,
    failure::{Failure, Outcome},
    session::Session,
};
use berth_wire::template::UpdateTemplate;
use clap::{ArgAction, Args};
use jiff::SignedDuration;

/// Which template, and what to change. What is left out stays.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The template
    template: String,
    /// Another name; workspaces stay as they are
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Its name for people
    #[arg(long, value_name = "TEXT")]
    display_name: Option<String>,
    /// One line about it
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// A picture's path or URL
    #[arg(long, value_name = "URL")]
    icon: Option<String>,
    /// Stop a started workspace after this time, unless its owner chose another; 0 for never
    #[arg(long, value_name = "DURATION", value_parser = milliseconds)]
    default_ttl: Option<i64>,
    /// The longest time that an owner may choose; 0 for any
    #[arg(long, value_name = "DURATION", value_parser = milliseconds)]
    max_ttl: Option<i64>,
    /// Use of a workspace puts its stop off to this far from now; 0 for not at all
    #[arg(long, value_name = "DURATION", value_parser = milliseconds)]
    activity_bump: Option<i64>,
    /// Stop a workspace whose start failed after this time; 0 for never
    #[arg(long, value_name = "DURATION", value_parser = milliseconds)]
    failure_ttl: Option<i64>,
    /// Whether people may cancel builds of their workspaces
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    allow_user_cancel_workspace_jobs: Option<bool>,
    /// Whether workspaces start with the active version only
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    require_active_version: Option<bool>,
    /// Why no new workspace may be made of it; empty to allow it again
    #[arg(long, value_name = "MESSAGE")]
    deprecated: Option<String>,
    /// End a build that takes longer; 0 for the deployment's own limit
    #[arg(long, value_name = "DURATION", value_parser = milliseconds)]
    build_timeout: Option<i64>,
    /// End a build that says and does nothing for this time; 0 for the deployment's own limit
    #[arg(long, value_name = "DURATION", value_parser = milliseconds)]
    silence_timeout: Option<i64>,
    /// Whether a build that replaces or destroys a disk or a machine needs consent
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    replacement_consent: Option<bool>,
    /// The most that a workspace may cost a day, in the template's own units of `daily_cost`; 0 for no limit
    #[arg(long, value_name = "UNITS")]
    daily_cost_max: Option<i64>,
    /// Accepted for scripts: nothing is asked
    #[arg(short, long)]
    yes: bool,
}

/// Changes a template.
pub(super) async fn run(arguments: Arguments, session: &Session) -> Outcome {
    let (update, name) = (update(&arguments), arguments.template);
    if update == UpdateTemplate::default() {
        return Err(Failure::usage("nothing to change is given").hint("`berth templates edit --help` lists what can be changed"));
    }
    let client = session.client()?;
    let template = super::find(&client, &name).await?;
    let template = client.update_template(template.id, &update).await.map_err(|error| match error.is_conflict() {
        true => Failure::new(error.to_string()).hint("choose another name"),
        false => error.into(),
    })?;
    session.printer.say(format_args!("Template {} is changed.", template.name));
    Ok(())
}

fn update(arguments: &Arguments) -> UpdateTemplate {
    UpdateTemplate {
        name: arguments.name.clone(),
        display_name: arguments.display_name.clone(),
        description: arguments.description.clone(),
        icon: arguments.icon.clone(),
        default_ttl_ms: arguments.default_ttl,
        max_ttl_ms: arguments.max_ttl,
        activity_bump_ms: arguments.activity_bump,
        failure_ttl_ms: arguments.failure_ttl,
        allow_user_cancel_workspace_jobs: arguments.allow_user_cancel_workspace_jobs,
        require_active_version: arguments.require_active_version,
        deprecation_message: arguments.deprecated.clone(),
        build_timeout_ms: arguments.build_timeout,
        silence_timeout_ms: arguments.silence_timeout,
        replacement_consent: arguments.replacement_consent,
        daily_cost_max: arguments.daily_cost_max,
    }
}

/// Reads `8h`, `1h30m`, `7d`, and `0`, which takes a limit away.
fn milliseconds(text: &str) -> Result<i64, String> {
    let duration = match text {
        "0" => SignedDuration::ZERO,
        text => schedule::duration(text).map_err(|failure| failure.to_string())?,
    };
    i64::try_from(duration.as_millis()).map_err(|_| format!("{text:?} is too long"))
}

/// Milliseconds as people write them; `none` for 0.
pub(super) fn duration(milliseconds: i64) -> String {
    match milliseconds {
        0 => "none".to_owned(),
        _ => format!("{:#}", SignedDuration::from_millis(milliseconds)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, wanted) in [("8h", 8 * 3_600_000), ("1h30m", 5_400_000), ("90m", 5_400_000), ("7d", 604_800_000), ("0", 0)] {
            assert_eq!(milliseconds(text), Ok(wanted), "{text}");
        }
        for text in ["", "8", "h", "-1h", "0s"] {
            assert!(milliseconds(text).is_err(), "{text}");
        }
        assert_eq!((duration(0), duration(5_400_000)), ("none".to_owned(), "1h 30m".to_owned()));
    }
}
