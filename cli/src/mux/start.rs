//! How it comes to run in the background: our own executable with a hidden verb, a session of its own, and nothing of ours left open in it.

use super::{IDLE, Place, READY};
use crate::{
    config::{Config, Deployment},
    failure::{Failure, Outcome},
};
use berth_wire::domain::Secret;
use serde::{Deserialize, Serialize};
use std::{fs, io, path::Path, process::Stdio, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::Command,
    time::timeout,
};

/// How long it may take to be ready.
const READY_WITHIN: Duration = Duration::from_secs(5);
/// The first descriptor that is not one of the three every program has.
const FIRST_OTHER: i32 = 3;
/// Where a process finds its open descriptors, on Linux and on macOS.
const DESCRIPTORS: [&str; 2] = ["/proc/self/fd", "/dev/fd"];

/// What a multiplexer is told, on its stdin: arguments and variables can be read by others.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Settings {
    /// The deployment.
    pub url: String,
    /// As whom.
    pub token: Option<Secret>,
    /// Whether direct connections are allowed.
    pub direct: bool,
    /// The only relay to use.
    pub relay: Option<String>,
    /// How long it stays without being used.
    pub idle: Duration,
}

impl Settings {
    /// As flags and environment have them. None when it is switched off, or nobody is signed in.
    ///
    /// # Errors
    /// When a variable is not understood.
    pub fn of(config: &Config, deployment: &Deployment) -> Outcome<Option<Self>> {
        let is_off = match config.environment.get("BERTH_MUX") {
            None | Some("on") => false,
            Some("off") => true,
            Some(other) => return Err(Failure::usage(format!("BERTH_MUX={other:?} is neither on nor off"))),
        };
        if is_off || deployment.token.is_none() {
            return Ok(None);
        }
        let idle = config.environment.get("BERTH_MUX_IDLE").map_or(Ok(IDLE), duration)?;
        let (url, token, relay) = (deployment.url.clone(), deployment.token.clone(), config.relay.clone());
        Ok(Some(Self { url, token, direct: config.direct, relay, idle }))
    }
}

fn duration(text: &str) -> Outcome<Duration> {
    let refused = || Failure::usage(format!("BERTH_MUX_IDLE={text:?} is not a duration")).hint("write it like 10m or 30s");
    let span: jiff::SignedDuration = text.parse().map_err(|_| refused())?;
    Duration::try_from(span).map_err(|_| refused())
}

/// Starts one and waits until it says that it is ready, or that another one is.
pub(super) async fn start(place: &Place, settings: &Settings) -> io::Result<()> {
    let program = std::env::current_exe()?;
    let mut child = Command::new(program)
        .args(["mux", "serve"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .current_dir("/")
        .spawn()?;
    let told = serde_json::to_vec(settings)?;
    let starting = async {
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(&told).await?;
        }
        let mut said = String::new();
        if let Some(mut stdout) = child.stdout.take() {
            stdout.read_to_string(&mut said).await?;
        }
        if said == READY { Ok(()) } else { Err(io::Error::other(format!("it did not start; {} tells why", place.log().display()))) }
    };
    timeout(READY_WITHIN, starting).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Leaves the terminal and the session of whoever started us, and closes every descriptor that came with us but the three standard ones: someone
/// may wait for the end of a pipe, or for a lock, that we know nothing of. Call it before anything is opened.
///
/// # Errors
/// When the descriptors cannot be listed.
pub fn detach() -> io::Result<()> {
    // Fails only for the leader of a group, who has been left already.
    let _alone = rustix::process::setsid();
    let listed = DESCRIPTORS.into_iter().map(Path::new).find(|path| path.is_dir()).ok_or(io::ErrorKind::NotFound)?;
    let names: Vec<_> = fs::read_dir(listed)?.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    for descriptor in names.iter().filter_map(|name| name.parse::<i32>().ok()).filter(|descriptor| *descriptor >= FIRST_OTHER) {
        // The one that the list was read with is closed already.
        let _closed = nix::unistd::close(descriptor);
    }
    Ok(())
}
