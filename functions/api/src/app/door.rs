//! What there is to see at an app's host, and the way in.

use crate::{
    Api, Attendance,
    agent::{self, RELAYS_OWN_END},
    error::Answer,
    workspace,
};
use berth_domain::{
    Actor, AgentName, AppAddress, AppName, AppSharing, JobStatus, Timestamp, Transition, UserId,
    app::may_open_app,
    limit::{RELAY_CLIENT_SECONDS, TICKET_SECONDS},
};
use berth_store::{Agent, Workspace};
use berth_wire::{
    app::{Away, Opening, View},
    runner,
    ticket::RelayRole,
    tunnel::Target,
};
use http::Uri;
use jiff::SignedDuration;

/// The port of a URL that names none.
const HTTP_PORT: u16 = 80;

/// What a viewer gets to see; `None` is somebody who is not signed in. An app that does not exist looks like one that is not theirs.
pub(super) async fn view(api: &Api, address: &AppAddress, viewer: Option<&Actor>, endpoint: &str) -> Answer<View> {
    let nothing = if viewer.is_some() { View::Missing } else { View::SignIn };
    let Some((workspace, agents)) = workspace(api, address).await? else { return Ok(nothing) };
    let Some(agent) = chosen(&workspace, &agents, address.agent.as_ref()) else {
        let reader = viewer.filter(|actor| workspace.live_build.is_none() && actor.may_read_workspace(workspace.owner).is_ok());
        return Ok(reader.map_or(nothing, |actor| View::Away(away(&workspace, actor, api.now()))));
    };
    let Some(app) = App::of(agent, &address.app) else { return Ok(nothing) };
    if may_open_app(viewer, workspace.owner, app.sharing).is_err() {
        return Ok(nothing);
    }
    match app.inside {
        Err(why) => Ok(View::Unserved { why: why.to_owned() }),
        Ok(inside) => open(api, (&workspace, agent), inside, endpoint).await,
    }
}

/// The workspace that an address leads to, and its agents. Four reads and a Query.
pub(super) async fn workspace(api: &Api, address: &AppAddress) -> Answer<Option<(Workspace, Vec<Agent>)>> {
    let Some(owner) = api.store().user_by_name(&address.owner).await?.filter(|owner| !owner.suspended) else { return Ok(None) };
    let Some(named) = api.store().workspace_by_name(owner.id, &address.workspace).await? else { return Ok(None) };
    let found = api.store().workspace_and_agents(named.id).await?;
    Ok(found.filter(|(workspace, _)| !workspace.deleted))
}

/// The agent that is meant, if it lives: the named one, or the only one.
fn chosen<'a>(workspace: &Workspace, agents: &'a [Agent], name: Option<&AgentName>) -> Option<&'a Agent> {
    let live: Vec<_> = agents.iter().filter(|agent| workspace.live_build == Some(agent.build)).collect();
    match (name, live.as_slice()) {
        (Some(name), live) => live.iter().find(|agent| agent.definition.name.eq_ignore_ascii_case(name.as_str())).copied(),
        (None, [only]) => Some(only),
        (None, _) => None,
    }
}

/// An app as the template has it.
struct App<'a> {
    sharing: AppSharing,
    inside: Result<Inside<'a>, &'static str>,
}

/// Where it answers in the workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Inside<'a> {
    port: u16,
    root: &'a str,
}

impl<'a> App<'a> {
    /// A port is an app that nobody shared.
    fn of(agent: &'a Agent, name: &AppName) -> Option<Self> {
        match name {
            AppName::Port(port) => Some(Self { sharing: AppSharing::Owner, inside: Ok(Inside { port: *port, root: "/" }) }),
            AppName::Slug(slug) => {
                let app = agent.definition.apps.iter().find(|app| app.slug.eq_ignore_ascii_case(slug))?;
                Some(Self { sharing: app.share, inside: inside(app) })
            }
        }
    }
}

fn inside(app: &runner::App) -> Result<Inside<'_>, &'static str> {
    if app.external {
        return Err("it is a link to elsewhere: open it from the dashboard");
    }
    if !app.command.is_empty() {
        return Err("it is a command for the terminal: open it from the dashboard");
    }
    at(&app.url)
}

/// The port and the path of a URL on the workspace's loopback.
fn at(url: &str) -> Result<Inside<'_>, &'static str> {
    let parsed: Uri = url.parse().map_err(|_| "its template gives it no URL that can be read")?;
    let host = parsed.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    if parsed.scheme_str() != Some("http") {
        return Err("its URL is not http, and nothing else is served inside a workspace");
    }
    if !matches!(host, "localhost" | "127.0.0.1" | "::1" | "0.0.0.0" | "::") {
        return Err("its URL is not on the workspace's own machine: let the template give it one on localhost");
    }
    // As it is written: what the parser makes of it is not what the template says.
    let after = url.split_once("://").map_or("", |(_, rest)| rest);
    let root = after.find(['/', '?']).and_then(|at| after.get(at..)).unwrap_or("/");
    let root = root.split('#').next().unwrap_or("/");
    Ok(Inside { port: parsed.port_u16().unwrap_or(HTTP_PORT), root })
}

/// Introduces the relay to the agent, when the agent is there.
async fn open(api: &Api, (workspace, agent): (&Workspace, &Agent), inside: Inside<'_>, endpoint: &str) -> Answer<View> {
    let asked = [(agent.id, agent.endpoint_id.as_str())];
    let attendance = if agent.endpoint_id.is_empty() { Attendance::default() } else { api.app.presence.connected(&asked).await };
    let Some(seat) = attendance.connected.get(&agent.id) else {
        let what = "is started, and its agent has yet to connect".to_owned();
        return Ok(View::Away(Away { workspace: named(workspace), what, coming: true, may_start: false }));
    };
    workspace::note_use(api, workspace.id, workspace.last_used_at).await?;
    let after = |seconds| api.now() + SignedDuration::from_secs(seconds);
    let signing = &api.app.signing;
    let token = signing.relay(endpoint, RelayRole::Client, RELAYS_OWN_END, after(RELAY_CLIENT_SECONDS))?;
    // In the owner's name, whoever looks: the agent ends what is open when its owner may not stay.
    let owner = (workspace.owner.0, workspace.owner_name.as_str());
    let only = Target::Tcp { port: inside.port };
    let ticket = signing.agent_only((endpoint, &agent.endpoint_id), owner, only, after(TICKET_SECONDS))?;
    let ticket = agent::introduction(api, agent, (workspace.id, &seat.relay_url), (token, ticket));
    let root = if inside.root.starts_with('/') { inside.root.to_owned() } else { format!("/{}", inside.root) };
    Ok(View::Open(Box::new(Opening { ticket, port: inside.port, root })))
}

fn named(workspace: &Workspace) -> String {
    format!("{}/{}", workspace.owner_name, workspace.name)
}

/// What stands between a viewer and a workspace without a live agent.
fn away(workspace: &Workspace, viewer: &Actor, now: Timestamp) -> Away {
    let build = &workspace.latest_build;
    let active = build.job.status.is_active();
    let (what, coming) = match (build.transition, build.job.status) {
        (Transition::Start, _) if active => (starting(build.number, build.job.started_at, now), true),
        (Transition::Stop, _) if active => ("is being stopped".to_owned(), true),
        (Transition::Delete, _) if active => ("is being deleted".to_owned(), false),
        (Transition::Start, JobStatus::Failed) => (format!("is not running: build {} failed", build.number), false),
        (Transition::Start, JobStatus::Canceled) => (format!("is not running: build {} was canceled", build.number), false),
        _ => ("is stopped".to_owned(), false),
    };
    let may_start = !active && may_build(viewer, workspace.owner);
    Away { workspace: named(workspace), what, coming, may_start }
}

fn starting(number: u64, since: Option<Timestamp>, now: Timestamp) -> String {
    match since {
        Some(since) => format!("is starting: build {number} has been running for {} s", now.duration_since(since).as_secs().max(0)),
        None => format!("is starting: build {number} waits for a runner"),
    }
}

fn may_build(viewer: &Actor, owner: UserId) -> bool {
    viewer.may_build_workspace(owner).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_is_where_its_url_says_on_loopback_and_nowhere_else() {
        let found = |url| at(url).map(|inside| (inside.port, inside.root)).ok();
        assert_eq!(found("http://localhost:13337/?folder=/home/ada"), Some((13337, "/?folder=/home/ada")));
        assert_eq!(found("http://127.0.0.1:6080/vnc.html"), Some((6080, "/vnc.html")));
        assert_eq!(found("http://[::1]:8080"), Some((8080, "/")));
        assert_eq!(found("http://localhost"), Some((80, "/")));
        assert_eq!(found("http://localhost:80?a#b"), Some((80, "?a")));
        for elsewhere in [
            "https://localhost:8443",
            "http://169.254.169.254/latest",
            "http://localhost.evil:80",
            "http://a@evil:80",
            "file:///etc/passwd",
            "localhost:80",
            "",
        ] {
            assert_eq!(found(elsewhere), None, "{elsewhere}");
        }
    }
}
