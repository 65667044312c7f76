//! `berth ping`.

use crate::{
    connection::{Connection, Wishes},
    failure::{Failure, NO_CONNECTION, Outcome},
    name::{DEFAULT_SUFFIX, HostForm, WorkspaceRef},
    printer::{Format, FormatFlag, Printer},
    session::Session,
    signal,
    wait::Scripts,
};
use berth_net::Peer;
use clap::Args;
use serde::Serialize;
use std::time::Duration;

/// The pause between two round trips.
const PAUSE: Duration = Duration::from_millis(500);
/// A round trip that takes longer is lost.
const LOST: Duration = Duration::from_secs(5);

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
    #[command(flatten)]
    format: FormatFlag,
}

/// One round trip.
#[derive(Debug, Serialize)]
struct Pong {
    number: u32,
    direct: bool,
    via: String,
    milliseconds: f64,
}

/// Measures round trips to the agent. Starts nothing.
pub(super) async fn run(arguments: &Arguments, session: &Session) -> Outcome {
    let reference = WorkspaceRef::from_host(&arguments.workspace, &HostForm { prefix: "", suffix: DEFAULT_SUFFIX })?;
    crate::log::to_directory(None, session)?;
    let connection = Connection::open(session, &reference, Wishes { start: None, scripts: Scripts::No }).await?;
    let mut pongs = Vec::new();
    let measured = measure(arguments, &connection.peer, session.printer, &mut pongs);
    let measured = tokio::select! {
        measured = measured => measured,
        // Ctrl-C ends the measuring, not the report.
        _ = signal::ended() => Ok(()),
    };
    connection.close().await;
    measured?;
    match arguments.format.output {
        Format::Json => session.printer.json(&pongs),
        Format::Table => summary(&pongs, session.printer),
    }
}

async fn measure(arguments: &Arguments, peer: &Peer, printer: Printer, pongs: &mut Vec<Pong>) -> Outcome {
    let lost = |why: String| {
        Failure::new(format!("no answer: {why}")).code(NO_CONNECTION).hint("`berth show` tells whether the agent is connected")
    };
    let mut number = 0;
    while arguments.num == 0 || number < arguments.num {
        if number > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        number += 1;
        let answer =
            tokio::time::timeout(LOST, peer.ping()).await.map_err(|_| lost(format!("{} seconds have passed", LOST.as_secs())))?;
        let took = answer.map_err(|error| lost(error.to_string()))?;
        let path = peer.path();
        let direct = path.as_ref().is_some_and(|path| path.direct);
        let via = path.and_then(|path| path.remote_addr.map(|address| address.to_string()).or(path.relay_url)).unwrap_or_default();
        let pong = Pong { number, direct, via, milliseconds: took.as_secs_f64() * 1000.0 };
        if arguments.format.output == Format::Table {
            let way = if pong.direct { "directly" } else { "through the relay" };
            printer.data(format_args!("{number}: {:.1} ms {way} ({})", pong.milliseconds, pong.via))?;
        }
        pongs.push(pong);
    }
    Ok(())
}

fn summary(pongs: &[Pong], printer: Printer) -> Outcome {
    let (Some(best), Some(worst)) =
        (pongs.iter().map(|pong| pong.milliseconds).reduce(f64::min), pongs.iter().map(|pong| pong.milliseconds).reduce(f64::max))
    else {
        return Ok(());
    };
    let direct = pongs.last().is_some_and(|pong| pong.direct);
    printer.data(format_args!(
        "{} round trips, {best:.1} to {worst:.1} ms, {}",
        pongs.len(),
        if direct { "direct" } else { "relayed" }
    ))?;
    if !direct && pongs.len() >= SETTLED {
        printer.hint("no direct path so far: a firewall blocks UDP, or --disable-direct-connections is set");
    }
    Ok(())
}
