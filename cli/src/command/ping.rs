//! `berth ping`.

use crate::{
    connection::{Connection, Stream, Wishes},
    failure::{Failure, NO_CONNECTION, Outcome},
    name::{DEFAULT_SUFFIX, HostForm, WorkspaceRef},
    printer::{Format, FormatFlag, Printer},
    session::Session,
    signal,
    wait::Scripts,
};
use berth_wire::tunnel::Target;
use clap::Args;
use serde::Serialize;
use std::{io, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, sleep, timeout},
};

/// After so many round trips a connection has found its direct path, if there is one.
const SETTLED: usize = 3;

/// Which workspace, how often.
#[derive(Debug, Args)]
pub struct Arguments {
    /// [owner/]name[.agent]
    #[arg(value_name = "NAME")]
    workspace: String,
    /// How many round trips; 0 goes on until Ctrl-C
    #[arg(short, long, value_name = "COUNT", default_value_t = 5)]
    num: u32,
    /// A round trip that takes longer is lost
    #[arg(short, long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    timeout: Duration,
    /// The pause between two round trips
    #[arg(long, value_name = "DURATION", default_value = "500ms", value_parser = duration)]
    wait: Duration,
    #[command(flatten)]
    format: FormatFlag,
}

fn duration(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration = text.parse().map_err(|_| "write it like 5s or 500ms".to_owned())?;
    Duration::try_from(span).map_err(|_| "a duration is not negative".to_owned())
}

/// One round trip.
#[derive(Debug, Serialize)]
struct Pong {
    number: u32,
    direct: bool,
    via: String,
    /// None when it was lost.
    milliseconds: Option<f64>,
}

/// Measures round trips to the agent. Starts no workspace.
pub(super) async fn run(arguments: &Arguments, session: &Session) -> Outcome {
    let reference = WorkspaceRef::from_host(&arguments.workspace, &HostForm { prefix: "", suffix: DEFAULT_SUFFIX })?;
    crate::log::to_directory(None, session)?;
    let connection = Connection::to(session, reference, Wishes { start: None, scripts: Scripts::No })?;
    let mut echo = Echo { stream: connection.open_first(&Target::Ping).await?.stream, number: 0 };
    let mut pongs = Vec::new();
    let measured = tokio::select! {
        measured = measure(arguments, (&connection, &mut echo), session.printer, &mut pongs) => measured,
        // Ctrl-C ends the measuring, not the report.
        _ = signal::ended() => Ok(()),
    };
    connection.close().await;
    measured?;
    match arguments.format.output {
        Format::Json => session.printer.json(&pongs)?,
        Format::Table => summary(&pongs, session.printer)?,
    }
    if !pongs.is_empty() && pongs.iter().all(|pong| pong.milliseconds.is_none()) {
        return Err(Failure::new("the agent did not answer")
            .code(NO_CONNECTION)
            .hint("`berth netcheck` looks at the network from here"));
    }
    Ok(())
}

/// A stream of which every byte comes back.
struct Echo {
    stream: Stream,
    number: u64,
}

impl Echo {
    async fn ping(&mut self) -> io::Result<Duration> {
        self.number += 1;
        let started = Instant::now();
        self.stream.write_u64(self.number).await?;
        self.stream.flush().await?;
        // An earlier one that counted as lost may still be on its way back.
        while self.stream.read_u64().await? != self.number {}
        Ok(started.elapsed())
    }
}

async fn measure(
    arguments: &Arguments,
    (connection, echo): (&Connection, &mut Echo),
    printer: Printer,
    pongs: &mut Vec<Pong>,
) -> Outcome {
    let mut number = 0;
    while arguments.num == 0 || number < arguments.num {
        if number > 0 {
            sleep(arguments.wait).await;
        }
        number += 1;
        let milliseconds = match timeout(arguments.timeout, echo.ping()).await {
            Ok(Ok(took)) => Some(took.as_secs_f64() * 1000.0),
            Ok(Err(error)) => {
                return Err(Failure::new(format!("the connection broke: {}", crate::config::plain(&error)))
                    .code(NO_CONNECTION)
                    .hint("`berth show` tells whether the agent is connected"));
            }
            Err(_) => None,
        };
        let look = connection.look().await;
        let (direct, via) = look.map_or_else(Default::default, |look| (look.direct, look.via));
        let pong = Pong { number, direct, via, milliseconds };
        if arguments.format.output == Format::Table {
            printer.data(line(&pong, arguments.timeout))?;
        }
        pongs.push(pong);
    }
    Ok(())
}

fn line(pong: &Pong, patience: Duration) -> String {
    let way = if pong.direct { "directly" } else { "through the relay" };
    match pong.milliseconds {
        Some(milliseconds) => format!("{}: {milliseconds:.1} ms {way} ({})", pong.number, pong.via),
        None => format!("{}: no answer within {} ms", pong.number, patience.as_millis()),
    }
}

fn summary(pongs: &[Pong], printer: Printer) -> Outcome {
    let heard: Vec<f64> = pongs.iter().filter_map(|pong| pong.milliseconds).collect();
    let (Some(best), Some(worst)) = (heard.iter().copied().reduce(f64::min), heard.iter().copied().reduce(f64::max)) else {
        return Ok(());
    };
    let direct = pongs.last().is_some_and(|pong| pong.direct);
    let mean = heard.iter().sum::<f64>() / heard.len() as f64;
    let lost = match pongs.len() - heard.len() {
        0 => String::new(),
        lost => format!(", {lost} lost"),
    };
    printer.data(format_args!(
        "{} round trips{lost}, {best:.1} to {worst:.1} ms, {mean:.1} on average, {}",
        pongs.len(),
        if direct { "direct" } else { "relayed" }
    ))?;
    if !direct && pongs.len() >= SETTLED {
        printer.hint(
            "no direct path so far: a firewall blocks UDP, or direct connections are switched off; `berth netcheck` tells more",
        );
    }
    Ok(())
}
