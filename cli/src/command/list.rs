//! `berth list`.

use crate::{
    failure::Outcome,
    printer::{FormatFlag, ago, table, took},
    session::Session,
};
use berth_client::{Client, WorkspacesQuery};
use berth_wire::{
    domain::{Timestamp, WorkspaceStatus},
    workspace::Workspace,
};
use clap::Args;
use comfy_table::Table;

/// How many workspaces are asked for at a time.
const PAGE: u32 = 100;

/// Which ones.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Everyone's that you may see
    #[arg(short, long)]
    all: bool,
    /// For example "owner:me status:running name:dev template:linux"
    #[arg(long, value_name = "QUERY")]
    search: Option<String>,
    #[command(flatten)]
    format: FormatFlag,
}

/// Lists workspaces: yours, unless told otherwise.
pub(super) async fn run(arguments: &Arguments, session: &Session) -> Outcome {
    let client = session.client()?;
    let q = match (&arguments.search, arguments.all) {
        (Some(query), _) => query.clone(),
        (None, true) => String::new(),
        (None, false) => "owner:me".to_owned(),
    };
    let mine = q == "owner:me";
    let workspaces = all(&client, q).await?;
    if workspaces.is_empty() && session.printer.is_interactive() {
        session.printer.say("No workspaces.");
        session.printer.hint(if mine {
            "`berth create NAME -t TEMPLATE` makes one"
        } else {
            "`berth list --all` shows all you may see"
        });
    }
    session.printer.table_or_json(arguments.format.output, &workspaces, || listed(&workspaces, mine, Timestamp::now()))
}

async fn all(client: &Client, q: String) -> Outcome<Vec<Workspace>> {
    let mut found = Vec::new();
    loop {
        let offset = u32::try_from(found.len()).ok();
        let page = client.workspaces(&WorkspacesQuery { q: q.clone(), limit: Some(PAGE), offset }).await?;
        let (empty, count) = (page.workspaces.is_empty(), page.count);
        found.extend(page.workspaces);
        if empty || found.len() >= count {
            return Ok(found);
        }
    }
}

fn listed(workspaces: &[Workspace], mine: bool, now: Timestamp) -> Table {
    let mut table = table(["workspace", "template", "status", "built", "note"]);
    for workspace in workspaces {
        let name = if mine { workspace.name.clone() } else { format!("{}/{}", workspace.owner_name, workspace.name) };
        let built = ago(workspace.latest_build.created_at, now);
        table.add_row([
            name,
            workspace.template_name.clone(),
            workspace.latest_build.status.to_string(),
            built,
            notes(workspace, now),
        ]);
    }
    table
}

fn notes(workspace: &Workspace, now: Timestamp) -> String {
    let stops = workspace.latest_build.deadline.filter(|_| workspace.latest_build.status == WorkspaceStatus::Running);
    let stops = stops.map(|at| if at > now { format!("stops in {}", took(now, at)) } else { "stops now".to_owned() });
    let notes = [(!workspace.health.healthy, "an agent does not fare well"), (workspace.outdated, "outdated: `berth update`")];
    let notes = notes.iter().filter(|(holds, _)| *holds).map(|(_, note)| (*note).to_owned());
    notes.chain(stops).collect::<Vec<_>>().join(", ")
}
