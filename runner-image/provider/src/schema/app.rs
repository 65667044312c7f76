//! `coder_app`.

use super::{Attribute, Block, Default, ID, Nested, Noun, Rule, Type};
use crate::behaviour::{Done, Hooks, with_new_id};
use crate::diagnostic::Diagnostic;
use crate::value::{Object, at, true_at};

const HEALTHCHECK: &[Attribute] = &[
    Attribute::required("url", Type::Text).doc("The URL that answers when the app is healthy."),
    Attribute::required("interval", Type::Number).doc("The time between two checks, in seconds."),
    Attribute::required("threshold", Type::Number).doc("How many failed checks make the app unhealthy."),
];

pub(super) static APP: Noun = Noun::resource(
    "coder_app",
    Block::with(
        &[
            ID,
            Attribute::required("agent_id", Type::Text).doc("The agent that the app runs beside."),
            Attribute::required("slug", Type::Text)
                .rules(&[Rule::Matches(
                    "^[a-z0-9](-?[a-z0-9])*$",
                    "a host name: lower-case letters and digits, with single hyphens between them",
                )])
                .doc("Its name in URLs, unique in the template."),
            Attribute::optional("command", Type::Text)
                .rules(&[Rule::ConflictsWith(&["url", "subdomain"])])
                .doc("A command to run in a terminal."),
            Attribute::optional("url", Type::Text)
                .rules(&[Rule::ConflictsWith(&["command"])])
                .doc("Where the app listens, such as http://localhost:8080."),
            Attribute::optional("icon", Type::Text).rules(&[Rule::Url]).doc("The URL of its icon."),
            Attribute::optional("display_name", Type::Text).rules(&[Rule::LengthAtMost(64)]).doc("The name to show."),
            Attribute::optional("subdomain", Type::Bool).doc("Serve it on a host name of its own instead of a path."),
            Attribute::optional("share", Type::Text)
                .or(Default::Text("owner"))
                .rules(&[Rule::OneOf(&["owner", "authenticated", "public"])])
                .doc("Who may open it."),
            Attribute::optional("external", Type::Bool)
                .or_false()
                .rules(&[Rule::ConflictsWith(&["healthcheck", "command", "subdomain", "share"])])
                .doc("Open the URL from the browser instead of through the workspace."),
            Attribute::optional("group", Type::Text).rules(&[Rule::LengthAtMost(64)]).doc("The group to show it in."),
            Attribute::optional("order", Type::Number).doc("Its place among the apps, lowest first."),
            Attribute::optional("hidden", Type::Bool).or_false().doc("Do not show it."),
            Attribute::optional("open_in", Type::Text)
                .or(Default::Text("slim-window"))
                .rules(&[Rule::OneOf(&["tab", "slim-window"])])
                .doc("Where the browser opens it."),
            Attribute::optional("tooltip", Type::Text).rules(&[Rule::LengthAtMost(2048)]).doc("Markdown to show on hover."),
        ],
        &[Nested::set("healthcheck", Block::of(HEALTHCHECK)).max(1).conflicts(&["command"])],
    ),
    Hooks {
        create: |_, planned| {
            let remarks = hidden_but_decorated(&planned);
            let done = remarks.into_iter().fold(Done::exists(with_new_id(planned)), Done::telling);
            Box::pin(std::future::ready(done))
        },
        ..Hooks::PLAIN
    },
)
.doc("A web app or a command that the workspace offers.");

fn hidden_but_decorated(app: &Object) -> Vec<Diagnostic> {
    if !true_at(app, "hidden") {
        return Vec::new();
    }
    let set = ["display_name", "icon", "order"].into_iter().filter(|name| !at(app, name).is_zero());
    set.map(|name| {
        Diagnostic::warning(format!("{name} of a hidden app"), format!("\"{name}\" has no effect while \"hidden\" is true"))
            .about(name)
    })
    .collect()
}
