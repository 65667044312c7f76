//! `berth logs`.

use super::builds::BuildFlag;
use crate::{
    change,
    failure::{Failure, Outcome},
    name::WorkspaceRef,
    printer::{Format, FormatFlag, Printer, printable},
    session::{Session, find_workspace},
    signal,
    wait::{self, JobRef},
};
use berth_client::Client;
use berth_wire::{
    agent::AgentLog,
    build::{Build, JobLog},
    resource::Agent,
};
use clap::Args;
use futures_util::{StreamExt, stream};
use serde::Serialize;

/// Which log.
#[derive(Debug, Args)]
pub struct Arguments {
    /// [owner/]name
    #[arg(value_name = "NAME")]
    workspace: String,
    /// Go on as lines come: until the build ends, then the agents' until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    build: BuildFlag,
    #[command(flatten)]
    format: FormatFlag,
}

/// Prints the log of a build, and for the newest build those of its agents.
pub(super) async fn run(arguments: &Arguments, session: &Session) -> Outcome {
    let reference: WorkspaceRef = arguments.workspace.parse()?;
    let client = session.client()?;
    let workspace = find_workspace(&client, &reference).await?;
    let build = arguments.build.find(&client, &workspace).await?;
    let newest = build.id == workspace.latest_build.id;
    let format = arguments.format.output;
    if arguments.follow {
        return signal::unless_ended(follow(&client, &build, newest, (session.printer, format)), || {}).await;
    }
    let lines = client.build_logs(build.id, 0).await?;
    let mut agent_lines = Vec::new();
    for agent in change::agents(&build).filter(|_| newest) {
        agent_lines.extend(client.agent_logs(agent.id, 0).await?.into_iter().map(|line| Line::agent(agent, line)));
    }
    if format == Format::Json {
        let all: Vec<Line> = lines.into_iter().map(Line::Build).chain(agent_lines).collect();
        return session.printer.json(&all);
    }
    let mut view = View::new(session.printer);
    lines.into_iter().map(Line::Build).chain(agent_lines).try_for_each(|line| view.show(&line))
}

async fn follow(client: &Client, build: &Build, newest: bool, (printer, format): (Printer, Format)) -> Outcome {
    let mut view = View::new(printer);
    let mut printed = Ok(());
    let show = |line: &JobLog| {
        if printed.is_ok() {
            printed = view.follow(&Line::Build(line.clone()), format);
        }
    };
    wait::job(client, JobRef::Build(build.id), show).await?;
    printed?;
    if !newest {
        return Ok(());
    }
    let build = client.build(build.id).await?;
    let mut streams = Vec::new();
    for agent in change::agents(&build) {
        let agent = agent.clone();
        let follow = client.agent_logs_follow(agent.id, 0).await?;
        streams.push(follow.into_stream().map(move |line| line.map(|line| Line::agent(&agent, line))).boxed());
    }
    let mut all = stream::select_all(streams);
    while let Some(line) = all.next().await {
        view.follow(&line?, format)?;
    }
    Ok(())
}

/// One line of either kind.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Line {
    Build(JobLog),
    Agent {
        agent: String,
        #[serde(flatten)]
        line: AgentLog,
    },
}

impl Line {
    fn agent(agent: &Agent, line: AgentLog) -> Self {
        Self::Agent { agent: agent.name.clone(), line }
    }
}

/// Writes lines under headings.
struct View {
    printer: Printer,
    heading: String,
}

impl View {
    const fn new(printer: Printer) -> Self {
        Self { printer, heading: String::new() }
    }

    /// A line as it comes: for programs, one JSON object per line.
    fn follow(&mut self, line: &Line, format: Format) -> Outcome {
        match format {
            Format::Table => self.show(line),
            Format::Json => {
                let text =
                    serde_json::to_string(line).map_err(|error| Failure::new(format!("cannot write a line as JSON: {error}")))?;
                self.printer.data(text)
            }
        }
    }

    fn show(&mut self, line: &Line) -> Outcome {
        let (heading, output) = match line {
            Line::Build(line) => (line.stage.clone(), &line.output),
            Line::Agent { agent, line } => (format!("agent {agent}"), &line.output),
        };
        if heading != self.heading {
            self.printer.data(format_args!("==> {}", printable(&heading)))?;
            self.heading = heading;
        }
        if output.trim().is_empty() { Ok(()) } else { self.printer.data(format_args!("    {}", printable(output.trim_end()))) }
    }
}
