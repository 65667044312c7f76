//! The file that IDE extensions read to show how a connection goes.

use crate::{
    connection::Connection,
    failure::{Failure, Outcome},
    splice::{End, Traffic},
};
use serde::Serialize;
use std::{collections::BTreeMap, path::Path, sync::atomic::Ordering, time::Duration};

/// The shortest interval that is kept to.
const INTERVAL_MIN: Duration = Duration::from_secs(1);

/// Where and how often to write.
#[derive(Debug, Clone, Copy)]
pub(super) struct NetworkInfo<'a> {
    pub(super) directory: &'a Path,
    pub(super) interval: Duration,
}

/// Coder's words for it: an IDE extension reads them.
#[derive(Debug, Serialize)]
struct Report {
    p2p: bool,
    latency: f64,
    preferred_derp: &'static str,
    derp_latency: BTreeMap<&'static str, f64>,
    upload_bytes_sec: u64,
    download_bytes_sec: u64,
    using_coder_connect: bool,
}

/// Writes the file again and again, named after the SSH client that started us; never returns.
pub(super) async fn report(info: Option<NetworkInfo<'_>>, connection: &Connection, traffic: &Traffic) -> End {
    let (Some(info), Some(client)) = (info, rustix::process::getppid()) else { return std::future::pending().await };
    let path = info.directory.join(format!("{}.json", client.as_raw_nonzero()));
    let (mut up, mut down) = (0, 0);
    let mut ticks = tokio::time::interval(info.interval);
    loop {
        ticks.tick().await;
        let now = (traffic.up.load(Ordering::Relaxed), traffic.down.load(Ordering::Relaxed));
        let seconds = info.interval.as_secs().max(1);
        let rates = (now.0.saturating_sub(up) / seconds, now.1.saturating_sub(down) / seconds);
        (up, down) = now;
        let Some(way) = connection.look().await else { continue };
        let milliseconds = way.milliseconds;
        let report = Report {
            p2p: way.direct,
            latency: milliseconds,
            preferred_derp: "relay",
            derp_latency: if way.direct { BTreeMap::new() } else { BTreeMap::from([("relay", milliseconds)]) },
            upload_bytes_sec: rates.0,
            download_bytes_sec: rates.1,
            using_coder_connect: false,
        };
        // A status display is not worth a broken connection.
        if let Ok(text) = serde_json::to_vec(&report) {
            let _written = crate::config::write_whole(&path, &text, 0o600);
        }
    }
}

/// `5s`, `500ms`; never below a second.
pub(super) fn interval(text: &str) -> Outcome<Duration> {
    let refused = || Failure::usage(format!("--network-info-interval {text:?} is not a duration")).hint("write it like 5s");
    let span: jiff::SignedDuration = text.parse().map_err(|_| refused())?;
    Duration::try_from(span).map(|interval| interval.max(INTERVAL_MIN)).map_err(|_| refused())
}
