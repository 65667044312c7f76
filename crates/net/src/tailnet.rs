//! An endpoint on the tailnet.

use crate::{
    Identity,
    credit::lock,
    health::{self, Health},
    link, proxy,
    resume::Resumables,
    session::{SESSIONS_MAX, STREAMS_UNVERIFIED_MAX, UNVERIFIED_BYTES, UNVERIFIED_MAX},
    transport::{self, Takes},
};
use berth_wire::{agent::Relay, tunnel::ALPN};
use iroh::{Endpoint, RelayConfig, RelayMap, RelayMode, RelayUrl, Watcher, endpoint::presets, tls::CaTlsConfig};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    runtime::Handle,
    sync::{Semaphore, watch},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

/// Pause before a socket is tried to be opened again.
const BIND_AGAIN: Duration = Duration::from_secs(1);

/// What an endpoint needs to come up.
#[derive(Debug, Clone)]
pub struct TailnetConfig {
    /// Who it is.
    pub identity: Identity,
    /// Where it can be met, and its admission there. Of several relays it is at the one that answers fastest, and at another when that fails:
    /// so an agent. A client names the one that its agent is at, since it does not find the agent at another.
    pub relay: Relay,
    /// Whether it may use direct paths; else everything goes through the relay. Only between two ends on one machine, of which the other may,
    /// is the loopback interface used all the same.
    pub direct: bool,
    /// Whether it takes connections: an agent does, a client does not.
    pub accept: bool,
}

/// Why an endpoint did not come up.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The relay's address is not one.
    #[error("{0:?} is not the URL of a relay")]
    Relay(String),
    /// No socket could be opened.
    #[error("cannot open a socket: {0}")]
    Socket(String),
}

/// Why an endpoint is not at its relay.
#[derive(Debug, thiserror::Error)]
pub enum OnlineError {
    /// The relay refused the token. Get a new one and call [`Tailnet::update_relay`].
    #[error("the relay refused to let us in: {0}")]
    Denied(String),
    /// No answer in time.
    #[error("cannot reach the relay: {0}")]
    Unreachable(String),
    /// This end was closed.
    #[error("this end of the tailnet is closed")]
    Closed,
}

/// An endpoint on the tailnet. Cheap to clone. Call [`Tailnet::close`] before the process ends, or peers learn of it only minutes later.
#[derive(Debug, Clone)]
pub struct Tailnet {
    inner: Arc<Inner>,
    _supervisor: Arc<AbortOnDropHandle<()>>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    config: Mutex<TailnetConfig>,
    /// The current endpoint; replaced by [`Inner::rebuild`].
    endpoint: watch::Sender<Endpoint>,
    health: watch::Sender<Health>,
    links: Arc<AtomicUsize>,
    unverified: Arc<Semaphore>,
    sessions: Arc<Semaphore>,
    resumables: Resumables,
    rebuilding: tokio::sync::Mutex<()>,
    /// Held while `health` is written, so that a replaced endpoint has no last word.
    publishing: Mutex<()>,
    closed: CancellationToken,
}

impl Tailnet {
    /// Opens the sockets and begins to connect to the relay; returns without waiting for it.
    ///
    /// # Errors
    /// [`BindError`].
    pub async fn bind(config: TailnetConfig) -> Result<Self, BindError> {
        let endpoint = bind(&config).await?;
        let inner = Arc::new(Inner {
            config: Mutex::new(config),
            endpoint: watch::Sender::new(endpoint),
            health: watch::Sender::new(Health::Connecting),
            links: Arc::default(),
            unverified: Arc::new(Semaphore::new(UNVERIFIED_MAX)),
            sessions: Arc::new(Semaphore::new(SESSIONS_MAX)),
            resumables: Resumables::default(),
            rebuilding: tokio::sync::Mutex::new(()),
            publishing: Mutex::new(()),
            closed: CancellationToken::new(),
        });
        let supervisor = link::spawn(health::supervise(Arc::clone(&inner)));
        Ok(Self { inner, _supervisor: Arc::new(supervisor) })
    }

    /// This endpoint's name on the tailnet.
    #[must_use]
    pub fn endpoint_id(&self) -> String {
        self.endpoint().id().to_string()
    }

    /// How the connection to the relay is, and each change of it. A direct connection to a peer can be up while this is not.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<Health> {
        self.inner.health.subscribe()
    }

    /// Waits until the relay has let us in, `patience` at the most.
    ///
    /// # Errors
    /// [`OnlineError::Denied`] at once when the relay refuses us; [`OnlineError::Unreachable`] after `patience`.
    pub async fn online(&self, patience: Duration) -> Result<(), OnlineError> {
        let mut health = self.health();
        let settled = health.wait_for(|health| matches!(health, Health::Connected | Health::Denied { .. }));
        let settled = tokio::select! {
            settled = tokio::time::timeout(patience, settled) => settled.map(|value| value.map(|health| health.clone())),
            () = self.inner.closed.cancelled() => return Err(OnlineError::Closed),
        };
        match settled {
            Ok(Ok(Health::Denied { reason })) => Err(OnlineError::Denied(reason)),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(OnlineError::Closed),
            Err(_) => Err(OnlineError::Unreachable(match &*self.inner.health.borrow() {
                Health::Disconnected { reason, .. } => reason.clone(),
                _ => format!("no answer in {} seconds", patience.as_secs()),
            })),
        }
    }

    /// Takes a new relay or a new token. An endpoint presents the token it began with until it is refused, so: when [`Health::Denied`], this
    /// replaces the endpoint (same identity; its connections end), otherwise the new token waits for the next connection to the relay.
    ///
    /// # Errors
    /// [`BindError`].
    pub async fn update_relay(&self, relay: Relay) -> Result<(), BindError> {
        let old = {
            let mut config = lock(&self.inner.config);
            std::mem::replace(&mut config.relay, relay.clone())
        };
        let denied = matches!(&*self.inner.health.borrow(), Health::Denied { .. });
        if denied {
            return self.inner.rebuild().await;
        }
        let known = self.learn_relays(&relay).await?;
        for url in old.urls().filter_map(|url| url.parse::<RelayUrl>().ok()).filter(|url| !known.contains(url)) {
            self.endpoint().remove_relay(&url).await;
        }
        Ok(())
    }

    /// Tells all peers that we go, and goes. Takes a few round trips, 3 seconds at the most.
    pub async fn close(&self) {
        self.inner.closed.cancel();
        self.endpoint().close().await;
    }

    /// Waits until the relay lets us in again or our own addresses change: whatever could not be reached before may be now.
    pub async fn improved(&self) {
        let mut health = self.health();
        health.mark_unchanged();
        let mut addresses = self.endpoint().watch_addr();
        tokio::select! {
            () = async { while health.changed().await.is_ok() && !health.borrow_and_update().is_connected() {} } => {}
            _ = addresses.updated() => {}
            () = self.inner.closed.cancelled() => {}
        }
    }

    /// Begins anew with the same identity: other sockets, another connection to the relay. For an endpoint that reaches nobody although others
    /// do. Its connections end.
    ///
    /// # Errors
    /// [`BindError`].
    pub async fn begin_anew(&self) -> Result<(), BindError> {
        self.inner.rebuild().await
    }

    /// Leaves its relays for others, as somebody else. An endpoint keeps to the relay that it once found best, also when that is gone; and so
    /// does whoever knew it there, who would answer a known key at the old relay. Its connections end.
    ///
    /// # Errors
    /// [`BindError`].
    pub async fn move_to(&self, identity: Identity, relay: Relay) -> Result<(), BindError> {
        {
            let mut config = lock(&self.inner.config);
            (config.identity, config.relay) = (identity, relay);
        }
        self.inner.rebuild().await
    }

    /// The resumable streams that clients have here.
    #[must_use]
    pub fn resumables(&self) -> &Resumables {
        &self.inner.resumables
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        self.inner.endpoint()
    }

    pub(crate) fn links(&self) -> &Arc<AtomicUsize> {
        &self.inner.links
    }

    pub(crate) fn unverified(&self) -> &Arc<Semaphore> {
        &self.inner.unverified
    }

    pub(crate) fn sessions(&self) -> &Arc<Semaphore> {
        &self.inner.sessions
    }

    /// Makes relays and the token for them known to the endpoint.
    pub(crate) async fn learn_relays(&self, relay: &Relay) -> Result<Vec<RelayUrl>, BindError> {
        let (endpoint, configs) = (self.endpoint(), relay_configs(relay)?);
        let urls = configs.iter().map(|config| config.url.clone()).collect();
        for config in configs {
            endpoint.insert_relay(config.url.clone(), Arc::new(config)).await;
        }
        Ok(urls)
    }

    /// The next connection, over replacements of the endpoint.
    pub(crate) async fn next_incoming(&self) -> Option<iroh::endpoint::Incoming> {
        let mut current = self.inner.endpoint.subscribe();
        loop {
            let endpoint = current.borrow_and_update().clone();
            tokio::select! {
                Some(incoming) = endpoint.accept() => return Some(incoming),
                replaced = current.changed() => replaced.ok()?,
                () = self.inner.closed.cancelled() => return None,
            }
        }
    }
}

impl Inner {
    pub(crate) fn endpoint(&self) -> Endpoint {
        self.endpoint.borrow().clone()
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.health.borrow().is_connected()
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Endpoint> {
        self.endpoint.subscribe()
    }

    /// Whether no connection would be lost by replacing the endpoint.
    pub(crate) fn is_unused(&self) -> bool {
        self.links.load(Ordering::Relaxed) == 0
    }

    /// Publishes what `next` makes of the health so far, unless `current` has been replaced meanwhile.
    pub(crate) fn publish(&self, current: &watch::Receiver<Endpoint>, next: impl FnOnce(&Health) -> Health) {
        let _alone = lock(&self.publishing);
        if current.has_changed().unwrap_or(true) {
            return;
        }
        self.health.send_if_modified(|health| {
            let next = next(health);
            (*health != next).then(|| *health = next).is_some()
        });
    }

    pub(crate) const fn closed(&self) -> &CancellationToken {
        &self.closed
    }

    /// Replaces the endpoint by a new one with the same identity.
    pub(crate) async fn rebuild(&self) -> Result<(), BindError> {
        let _alone = self.rebuilding.lock().await;
        let config = lock(&self.config).clone();
        relay_configs(&config.relay)?;
        let old = self.endpoint();
        // The old one goes first: of two endpoints with one key, the relay serves only one.
        old.close().await;
        if let Some(endpoint) = self.closed.run_until_cancelled(bind_again(&config)).await {
            let _alone = lock(&self.publishing);
            self.endpoint.send_replace(endpoint);
            self.health.send_replace(Health::Connecting);
        }
        // Closed while we were at it, by someone who saw the old one.
        if self.closed.is_cancelled() {
            self.endpoint().close().await;
        }
        Ok(())
    }
}

impl Drop for Inner {
    /// An endpoint that nobody closed is closed behind the caller's back, so that peers hear of it if the process lives on for a moment.
    fn drop(&mut self) {
        let endpoint = self.endpoint();
        if !endpoint.is_closed()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(async move { endpoint.close().await });
        }
    }
}

/// Tries until there is an endpoint: without one, nobody would try again.
async fn bind_again(config: &TailnetConfig) -> Endpoint {
    loop {
        match bind(config).await {
            Ok(endpoint) => return endpoint,
            Err(error) => tracing::warn!(%error, "cannot replace the tailnet endpoint, trying on"),
        }
        tokio::time::sleep(BIND_AGAIN).await;
    }
}

async fn bind(config: &TailnetConfig) -> Result<Endpoint, BindError> {
    let relays = relay_configs(&config.relay)?;
    let encrypted = relays.iter().any(|relay| relay.url.scheme() == "https");
    // There can be only one; whoever has relays of which one is outside the company's network has all of them there.
    let proxy = relays.iter().find_map(|relay| proxy::to(&relay.url));
    let map: RelayMap = relays.into_iter().collect();
    // Whoever accepts gives little to those who have shown no ticket yet, and more when they have (`session.rs`); whoever dials takes no
    // streams from the other end at all.
    let takes = if config.accept { Takes { streams: STREAMS_UNVERIFIED_MAX, bytes: UNVERIFIED_BYTES } } else { Takes::NOTHING };
    let mut builder = Endpoint::builder(presets::Minimal)
        .secret_key(config.identity.key())
        .relay_mode(RelayMode::Custom(map))
        .transport_config(transport::settings(takes));
    if config.accept {
        builder = builder.alpns(vec![ALPN.to_vec()]);
    }
    if encrypted {
        builder = builder.ca_tls_config(trusted());
    }
    if let Some(proxy) = proxy {
        builder = builder.proxy_url(proxy);
    }
    if !config.direct {
        let bound = builder.clear_ip_transports().bind_addr(nowhere(config.accept));
        builder = bound.map_err(|error| BindError::Socket(error.to_string()))?;
    }
    builder.bind().await.map_err(|error| BindError::Socket(format!("{error:#}")))
}

/// Where an endpoint that may not go direct opens its socket. Having none would turn send batching off, which more than halves what the relay
/// path carries; so it is on loopback, and the two ends use different families, or they would find each other on one machine.
fn nowhere(accept: bool) -> (IpAddr, u16) {
    let v6 = IpAddr::V6(Ipv6Addr::LOCALHOST);
    if !accept && UdpSocket::bind((v6, 0)).is_ok() { (v6, 0) } else { (IpAddr::V4(Ipv4Addr::LOCALHOST), 0) }
}

fn relay_configs(relay: &Relay) -> Result<Vec<RelayConfig>, BindError> {
    let config = |url: &str| {
        let parsed: RelayUrl = url.parse().map_err(|_| BindError::Relay(url.to_owned()))?;
        // Address discovery is TLS over UDP, with the relay's certificate: a relay without one has none.
        let config = if parsed.scheme() == "https" { RelayConfig::from(parsed) } else { RelayConfig::new(parsed, None) };
        Ok(config.with_auth_token(relay.token.expose().as_str()))
    };
    relay.urls().map(config).collect()
}

/// The public roots, and whatever the machine trusts besides: a company's proxy, or its own authority.
fn trusted() -> CaTlsConfig {
    CaTlsConfig::embedded().with_extra_roots(rustls_native_certs::load_native_certs().certs)
}
