//! Joining the parts: one listener, one table, one queue, one relay; drained on the first signal, interrupted on the second.

use crate::{
    config::{Config, ConfigError},
    dashboard, host,
    keys::{KeyError, Keys},
    presence::{self, RelayPresence},
    queue::Queue,
    task::Tasks,
};
use axum::{Router, middleware::from_fn};
use berth_api::{ApiConfig, App, Changes, Clock, InstanceKeys, Presence};
use berth_domain::Secret;
use berth_relay::{
    Apps, FollowersMax, Keys as RelayKeys, Live, Relay, RelayConfig, SiteError, Tunnels, Upstream, UpstreamError, Web,
};
use berth_store::{OpenError, SealError, Store};
use std::{io, net::SocketAddr, path::Path, sync::Arc, time::Duration};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long interrupted runners get to push what there is.
const INTERRUPTED_PATIENCE: Duration = Duration::from_secs(20);

/// Why the server cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The port is taken.
    #[error("{0} is in use\nhint: another berth server may run; stop it or give another --port")]
    PortInUse(SocketAddr),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}\nhint: give another --address or --port")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The table or the blobs cannot be opened.
    #[error("{0}\nhint: stop the server that uses it, mend its files, or give another directory with --data DIR")]
    Open(#[source] OpenError),
    /// The keys of the blobs cannot be used.
    #[error(
        "{0}\nhint: put the key file back from your backup; without it the states and templates sealed with it cannot be read. To begin anew, give another directory with --data DIR"
    )]
    Seal(SealError),
    /// The keys cannot be opened.
    #[error(transparent)]
    Key(#[from] KeyErrorBox),
    /// A file in the data directory cannot be written.
    #[error("cannot write to the data directory: {0}\nhint: make room, or give another with --data DIR")]
    Data(#[source] io::Error),
    /// The configuration is not usable.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Apps cannot have hosts where they are to have them.
    #[error("{0}\nhint: for example --apps-url https://apps.example.com/, where *.apps.example.com leads to this server")]
    Apps(#[from] SiteError),
    /// The server cannot ask itself.
    #[error("cannot set up the apps: {0}")]
    Upstream(#[from] UpstreamError),
    /// The relay cannot be made.
    #[error("cannot start the relay: {0}")]
    Relay(String),
}

/// A key error, private to this crate, as a public source.
#[derive(Debug, thiserror::Error)]
#[error("{0}\nhint: make room or mend the file's permissions; a lost key is never replaced silently")]
pub struct KeyErrorBox(String);

impl From<OpenError> for ServeError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Seal(error) => Self::Seal(error),
            other => Self::Open(other),
        }
    }
}

impl From<KeyError> for ServeError {
    fn from(error: KeyError) -> Self {
        Self::Key(KeyErrorBox(error.to_string()))
    }
}

/// Serves until a signal, then drains. Prints the URL on standard output once connections are accepted.
///
/// # Errors
/// When the port, the data directory or a key cannot be used.
pub async fn serve(config: Config) -> Result<(), ServeError> {
    let mut signals = Signals::new().map_err(ServeError::Data)?;
    let listener = listen(config.listen)?;
    let port = listener.local_addr().map_or(config.listen.port(), |address| address.port());
    let local_url: Arc<str> = format!("http://{}/", SocketAddr::new(reachable(config.listen), port)).into();
    let access_url: Arc<str> = config.access_url.as_deref().map_or_else(|| Arc::clone(&local_url), Into::into);
    // The store first: it locks the data directory, so that two first starts do not make each other's keys.
    let store = Store::open_local(&config.data).await?;
    let keys = Keys::open(&config.data)?;
    let (drain, trackers, changes) = (CancellationToken::new(), TaskTracker::new(), Changes::default());
    let relay = Relay::new(RelayConfig::new(RelayKeys::fixed(vec![keys.ticket.verifying()])));

    let config = Arc::new(config);
    let (ended, ends) = mpsc::unbounded_channel();
    let tasks = Tasks::new(Arc::clone(&config), Arc::clone(&local_url), ended).map_err(ServeError::Data)?;
    let queue =
        Queue::start(&trackers, (store.clone(), changes.clone(), tasks.clone(), ends), config.options.builds_max, drain.clone());
    let (tunnels, own_url) = (Tunnels::default(), own_relay_url(&config, &access_url));
    let own = (relay.presence(), tunnels.endpoint_id(), Arc::clone(&own_url));
    let own = RelayPresence::start(&trackers, own, changes.clone(), drain.clone());
    let (relay_urls, presence) = meeting_points(&config, &own_url, (own, &keys))?;

    let apps_url = apps_url(&config, &access_url, port);
    let apps = apps_url.as_deref().map(|url| {
        let api = Upstream::new(&local_url)?;
        Ok::<_, ServeError>(Apps::new(url, &access_url, api, tunnels.clone())?)
    });

    let app = App {
        store,
        config: ApiConfig {
            access_url: access_url.to_string(),
            relay_urls,
            sockets_url: None,
            apps_url,
            binaries: Some(config.binaries.clone()),
            disable_direct_connections: config.options.disable_direct_connections,
            instance_keys: InstanceKeys::aws(),
        },
        signing: keys.ticket,
        host_key_secret: Secret::new(keys.host_key_secret),
        announce: Arc::new(queue.clone()),
        presence,
        changes,
        clock: Clock::system(),
        drain: drain.clone(),
    };
    let own = Arc::clone(&access_url);
    let router = terminals(&local_url, (&relay, &tunnels), drain.clone())?
        .fallback_service(berth_api::router(app))
        .layer(from_fn(dashboard::serve))
        .layer(from_fn(move |request, next| host::guard(Arc::clone(&own), request, next)));
    let server = trackers.spawn(berth_relay::serve(listener, Web { router, apps: apps.transpose()? }, relay, drain.clone()));
    announce_ready(&access_url, config.options.ready_file.as_deref()).map_err(ServeError::Data)?;

    signals.wait().await;
    finish_builds(&queue, &tasks, &mut signals).await;
    drain.cancel();
    trackers.close();
    trackers.wait().await;
    let _served = server.await;
    tunnels.close().await;
    Ok(())
}

/// Where apps have their hosts. Every browser takes a host below `localhost` for its own machine (RFC 6761, section 6.3), so that nothing has
/// to be set up where browser and server are on one.
fn apps_url(config: &Config, access_url: &str, port: u16) -> Option<String> {
    let on_this_machine = || {
        let rest = access_url.strip_prefix("http://")?;
        let host = rest.split(['/', ':']).next()?;
        let is_loopback = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        is_loopback.then(|| format!("http://apps.localhost:{port}"))
    };
    let given = config.apps_url.as_deref().map(|url| url.trim_end_matches('/').to_owned());
    given.or_else(on_this_machine)
}

/// The route of terminals in a browser, which asks the API as it would be asked from elsewhere.
fn terminals(local_url: &str, (relay, tunnels): (&Relay, &Tunnels), drain: CancellationToken) -> Result<Router, ServeError> {
    let api = Upstream::new(local_url)?;
    Ok(Live::beside_the_api(api, relay.presence(), FollowersMax::default(), drain).terminals(tunnels.clone()))
}

/// Our own relay as clients and agents know it; among others it is written as those are.
fn own_relay_url(config: &Config, access_url: &Arc<str>) -> Arc<str> {
    if config.relay_urls.is_empty() { Arc::clone(access_url) } else { format!("{}/", access_url.trim_end_matches('/')).into() }
}

/// Where clients and agents meet, and who tells which of them are there: our own relay, if it is one of them, and those elsewhere.
fn meeting_points(
    config: &Config,
    own_url: &str,
    (own, keys): (RelayPresence, &Keys),
) -> Result<(Vec<String>, Arc<dyn Presence>), ServeError> {
    if config.relay_urls.is_empty() {
        return Ok((vec![own_url.to_owned()], Arc::new(own)));
    }
    let (here, elsewhere): (Vec<_>, Vec<_>) = config.relay_urls.iter().cloned().partition(|url| url == own_url);
    // By this variable everybody else here is told whom to trust.
    let roots = config.environment.iter().find(|(name, value)| name == "SSL_CERT_FILE" && !value.is_empty());
    let away = presence::elsewhere(&elsewhere, keys.ticket.clone(), roots.map(|(_, file)| file.as_str()))
        .map_err(|error| ServeError::Relay(error.to_string()))?;
    let presence: Arc<dyn Presence> = match here.is_empty() {
        true => away,
        false => Arc::new(presence::Both(own, away)),
    };
    Ok((config.relay_urls.clone(), presence))
}

/// Waits for running builds; a second signal interrupts them.
async fn finish_builds(queue: &Queue, tasks: &Tasks, signals: &mut Signals) {
    queue.pause();
    if tasks.count() == 0 {
        return;
    }
    tracing::info!(builds = tasks.count(), "waiting for running builds; Ctrl-C again interrupts them");
    tokio::select! {
        () = tasks.none() => return,
        () = signals.wait() => {}
    }
    tracing::warn!(builds = tasks.count(), "interrupting running builds");
    tasks.interrupt();
    if tokio::time::timeout(INTERRUPTED_PATIENCE, tasks.none()).await.is_err() {
        tracing::warn!(builds = tasks.count(), "runners did not end in time; they go on, and the next server takes them up");
    }
}

fn listen(address: SocketAddr) -> Result<TcpListener, ServeError> {
    berth_relay::listen(address).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => ServeError::PortInUse(address),
        _ => ServeError::Listen { address, source },
    })
}

/// The address at which this machine reaches itself: loopback when listening everywhere.
fn reachable(listen: SocketAddr) -> std::net::IpAddr {
    match listen.ip() {
        std::net::IpAddr::V4(ip) if ip.is_unspecified() => std::net::Ipv4Addr::LOCALHOST.into(),
        std::net::IpAddr::V6(ip) if ip.is_unspecified() => std::net::Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}

/// Says that connections are accepted: on standard output for people, in a file for programs.
#[allow(clippy::print_stdout)]
fn announce_ready(url: &str, file: Option<&Path>) -> Result<(), io::Error> {
    println!("Berth is ready at {url} (open it in a browser)\nSign in with: berth login {url}");
    let Some(file) = file else { return Ok(()) };
    let beside = file.with_extension("new");
    std::fs::write(&beside, format!("{url}\n"))?;
    std::fs::rename(beside, file)
}

/// SIGINT, SIGTERM and SIGHUP, each asking to end.
struct Signals([Signal; 3]);

impl Signals {
    fn new() -> Result<Self, io::Error> {
        Ok(Self([signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?]))
    }

    async fn wait(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
