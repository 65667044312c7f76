//! `berth mux`: the process in the background that holds connections.

use crate::{
    config::{plain, unwritable},
    failure::{Failure, Outcome},
    mux::{self, Look, Place, READY, Settings, Standing, Status},
    printer::{Format, FormatFlag, Printer},
    session::Session,
};
use clap::{Args, Subcommand};
use std::{
    fs::File,
    io::{self, Read, Write},
};

/// What of it.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show what runs, and which connections it holds
    Status(FormatFlag),
    /// End it as soon as nothing uses it; streams that are open go on
    Stop,
    /// Be it
    #[command(hide = true)]
    Serve,
}

impl Arguments {
    /// Whether this process is to be the one in the background: then nothing of whoever started it may stay open.
    pub(super) const fn serves(&self) -> bool {
        matches!(self.what, What::Serve)
    }
}

/// Shows, ends, or is it.
pub(super) async fn run(arguments: &Arguments, session: &Session) -> Outcome {
    match &arguments.what {
        What::Status(format) => status(*format, session).await,
        What::Stop => stop(session).await,
        What::Serve => serve(session).await,
    }
}

fn places(session: &Session) -> Outcome<Vec<Place>> {
    Place::all(&session.config).map_err(|error| {
        Failure::new(format!("cannot look for what runs: {}", plain(&error))).hint("it must be a directory of yours, mode 0700")
    })
}

async fn running(session: &Session) -> Outcome<Vec<(Place, Status)>> {
    let mut found = Vec::new();
    for place in places(session)? {
        if let Some(status) = mux::status(&place).await {
            found.push((place, status));
        }
    }
    Ok(found)
}

async fn status(format: FormatFlag, session: &Session) -> Outcome {
    let found = running(session).await?;
    if format.output == Format::Json {
        return session.printer.json(&found.iter().map(|(_, status)| status).collect::<Vec<_>>());
    }
    if found.is_empty() {
        session.printer.say("None runs; `berth ssh` starts one.");
    }
    found.iter().try_for_each(|(place, status)| show(place, status, session.printer))
}

fn show(place: &Place, status: &Status, printer: Printer) -> Outcome {
    let minutes = status.seconds / 60;
    printer.data(format_args!(
        "{} (process {}, for {minutes} minutes; log in {})",
        status.url,
        status.pid,
        place.log().display()
    ))?;
    status.agents.iter().try_for_each(|agent| {
        let way = match &agent.path {
            Some(Look { direct: true, via, milliseconds }) => format!("direct to {via}, {milliseconds:.1} ms"),
            Some(Look { direct: false, via, milliseconds }) => format!("through {via}, {milliseconds:.1} ms"),
            None => "not connected".to_owned(),
        };
        printer.data(format_args!("  {}: {} streams, {way}", agent.name, agent.streams))
    })
}

async fn stop(session: &Session) -> Outcome {
    let found = running(session).await?;
    for (place, status) in &found {
        mux::leave(place).await.map_err(|error| {
            Failure::new(format!("process {} does not end: {}", status.pid, plain(&error))).hint(format!("`kill {}`", status.pid))
        })?;
    }
    session.printer.say(match found.len() {
        0 => "None runs.".to_owned(),
        1 => "Stopped.".to_owned(),
        count => format!("Stopped {count}."),
    });
    Ok(())
}

/// Serves. Who started us waits for a word on our stdout, and for its end.
async fn serve(session: &Session) -> Outcome {
    let mut told = String::new();
    let read = io::stdin().read_to_string(&mut told).and_then(|_| serde_json::from_str::<Settings>(&told).map_err(Into::into));
    let settings = read.map_err(|error| {
        Failure::usage(format!("there are no settings on stdin: {error}"))
            .hint("berth starts this by itself; see `berth mux status`")
    })?;
    let place = Place::of(&session.config, &settings);
    let log = place.open_log().map_err(|error| unwritable(place.log(), &error))?;
    crate::log::to(log);
    let served = mux::serve(&place, settings, let_go).await;
    if let Err(failure) = &served {
        tracing::error!(%failure, "not served");
    }
    served
}

fn let_go(_standing: Standing) {
    let mut stdout = io::stdout();
    let _said = stdout.write_all(READY.as_bytes()).and_then(|()| stdout.flush());
    // Without a null device, who started us waits until we end, or for a few seconds.
    if let Ok(nowhere) = File::options().write(true).open("/dev/null") {
        let _let_go = rustix::stdio::dup2_stdout(&nowhere);
    }
}
