//! The relay as a program of its own: the assembly of its parts, from the first port to the last goodbye.

use crate::{
    Apps, Keys, Live, Port, Relay, RelayConfig, SiteError, Tunnels, Web,
    config::Config,
    discovery::{Discovery, DiscoveryError},
    health::Health,
    host::RelayHost,
    live::FollowersMax,
    name::{Name, NameError},
    presence,
    tls::{CertificateError, Certificates},
    upstream::{Upstream, UpstreamError},
};
use axum::{Router, extract::Request, middleware::from_fn};
use std::{io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

/// How long to wait before the API is asked for its keys again at the start; it doubles with each failure.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// How long at the most.
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// Why the relay cannot start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A port cannot be used.
    #[error("cannot listen on {address}: {source}\nhint: set {variable} to another address")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What sets it.
        variable: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// Signals cannot be heard.
    #[error("cannot listen for signals")]
    Signals(#[source] io::Error),
    /// The API has no usable URL.
    #[error("BERTH_ACCESS_URL: {0}")]
    Api(#[from] UpstreamError),
    /// Apps have no domain of their own.
    #[error("BERTH_APPS_DOMAIN: {0}")]
    Apps(#[from] SiteError),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] CertificateError),
    /// UDP cannot be used.
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    /// The public side cannot be set up.
    #[error(transparent)]
    Name(#[from] NameError),
}

/// Serves until SIGTERM or SIGINT, then drains: new connections are refused, endpoints and sockets are told, running requests end.
///
/// # Errors
/// [`RunError`], before anything is served.
pub async fn run(config: Config) -> Result<(), RunError> {
    let mut signals = Signals::new().map_err(RunError::Signals)?;
    let listener = listen(config.listen, "BERTH_LISTEN")?;
    let address = listener.local_addr().unwrap_or(config.listen);
    let health_listener = listen(config.health_listen, "BERTH_HEALTH_LISTEN")?;
    let api = Upstream::new(&config.access_url)?;
    let (drain, health, keys) = (CancellationToken::new(), Health::new(config.public.is_some()), Keys::of(api.clone()));
    let relay = Relay::new(RelayConfig::new(keys.clone()));
    let tunnels = Tunnels::default();
    let apps = config
        .public
        .as_ref()
        .map(|public| Apps::new(&format!("https://{}", public.apps_domain), &config.access_url, api.clone(), tunnels.clone()));
    let live = Live::new(api, relay.presence(), FollowersMax::default(), drain.clone());
    let known = (keys.clone(), Some(tunnels.endpoint_id()));
    let web = Web { router: router(&config, (live, &tunnels), &relay, known, health.clone()), apps: apps.transpose()? };

    let mut background = JoinSet::new();
    let (tls, discovery) = match &config.public {
        None => (None, None),
        Some(public) => {
            let certificates = Certificates::default();
            let udp = SocketAddr::new(address.ip(), config.discovery_port);
            let discovery = Discovery::start(udp, &certificates).await?;
            let tls = Arc::new(certificates.server_config()?);
            background.spawn(Name::new(public, address.port(), certificates, health.clone())?.hold());
            (Some(tls), Some(discovery))
        }
    };
    background.spawn(learn_keys(keys, health.clone()));
    let private = health.clone().private();
    background.spawn(async move {
        let _ended = axum::serve(health_listener, private).await;
    });
    tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), tls = tls.is_some(), "the relay listens");

    let mut served = JoinSet::new();
    served.spawn(crate::serve(Port { listener, tls }, web, relay.clone(), drain.clone()));
    signals.wait().await;
    tracing::info!(endpoints = relay.endpoints(), "draining");
    health.drains();
    drain.cancel();
    served.join_all().await;
    tunnels.close().await;
    background.shutdown().await;
    if let Some(discovery) = discovery {
        discovery.stop().await;
    }
    tracing::info!("drained");
    Ok(())
}

/// Everything but the tailnet, which [`crate::serve`] answers itself.
fn router(
    config: &Config,
    (live, tunnels): (Live, &Tunnels),
    relay: &Relay,
    (keys, own): (Keys, Option<String>),
    health: Health,
) -> Router {
    let presence = presence::answer::router(relay.presence(), keys, own);
    let live = live.clone().router().merge(live.terminals(tunnels.clone()));
    let routes = Router::new().merge(health.public()).merge(presence).merge(live);
    let host = RelayHost::new(config);
    routes.layer(from_fn(move |request: Request, next| {
        let host = host.clone();
        async move { host.guard(request, next).await }
    }))
}

/// Asks the API until it has told its keys once, then now and then.
async fn learn_keys(keys: Keys, health: Health) {
    let mut wait = FIRST_WAIT;
    while let Err(error) = keys.read().await {
        tracing::error!(%error, again_in_ms = wait.as_millis(), "the relay can let nobody in yet");
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
    health.has_keys();
    keys.keep_fresh().await;
}

fn listen(address: SocketAddr, variable: &'static str) -> Result<TcpListener, RunError> {
    crate::listen(address).map_err(|source| RunError::Listen { address, variable, source })
}

/// SIGTERM and SIGINT.
struct Signals([Signal; 2]);

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self([signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?]))
    }

    async fn wait(&mut self) {
        let [terminate, interrupt] = &mut self.0;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}
