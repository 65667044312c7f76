//! The API: an axum [`Router`] over the store.
//!
//! A handler parses, asks permission, calls one store operation, announces or pokes, and answers. Every route stands in one
//! table (`route.rs`) with who may call it; what the table does not name is 404. Paths and JSON are Coder's `/api/v2`
//! (see `berth_wire`), the routes under `/api/v2/runner` and `.../ticket` are ours.
//!
//! On one machine the server holds the router; on AWS it is a Lambda behind the CDN ([`behind_cdn`]), whose sockets the relay holds.
//!
//! The router keeps no state that a restart loses, but for login limits and the change bus.

mod agent;
mod answer;
mod app;
pub mod archive;
mod binary;
mod body;
mod build;
mod buildinfo;
mod changes;
mod config;
mod dry_run;
mod error;
mod file;
mod git_key;
mod guard;
mod host_key;
mod icon;
mod init_script;
mod instance;
mod limit;
mod log;
mod markdown;
mod metadata;
#[cfg(test)]
mod openapi;
mod openssh;
mod origin;
mod page;
mod parameter;
mod password;
mod port;
mod presence;
mod queue;
mod relay;
mod repair;
mod report;
mod route;
mod runner;
mod session;
mod socket;
mod state;
mod template;
mod terminal;
mod token;
mod upload;
mod user;
mod version;
mod view;
mod watch;
mod workspace;

use axum::Router;
use berth_domain::{Priority, Secret, Timestamp};
use berth_store::{JobId, Store};
use berth_wire::{agent::Relay, ticket::SigningKey};
use std::{path::PathBuf, sync::Arc};
use tokio_util::sync::CancellationToken;

pub use changes::{Changes, Listener, Topic};
pub use config::Config;
pub use host_key::host_key_seed;
pub use instance::InstanceKeys;
pub use origin::behind_cdn;
pub use port::{Announce, Attendance, Clock, Presence, Seat};
pub use presence::RelayPresence;
pub use queue::Queue;

/// All that the API needs; one per process.
#[derive(Debug, Clone)]
pub struct App {
    /// The store.
    pub store: Store,
    /// Settings.
    pub config: ApiConfig,
    /// Signs tickets and relay tokens.
    pub signing: SigningKey,
    /// What the SSH host keys of all agents are derived from.
    pub host_key_secret: Secret<[u8; 32]>,
    /// The queue to the dispatcher.
    pub announce: Arc<dyn Announce>,
    /// Who is at the relay.
    pub presence: Arc<dyn Presence>,
    /// The change bus; whoever else writes (dispatch, reap, sweep, the relay's presence) pokes it too.
    pub changes: Changes,
    /// The clock.
    pub clock: Clock,
    /// Canceled when the server stops: open sockets end then.
    pub drain: CancellationToken,
}

/// Settings of the API.
#[derive(Debug, Clone)]
pub struct ApiConfig {
    /// Where the API is reached from outside, `https://berth.example.com`, with or without a final slash.
    pub access_url: String,
    /// Where the relays are reached from outside; at least one.
    pub relay_urls: Vec<String>,
    /// Where answers go on for as long as someone listens, when this process cannot hold a connection open: followed logs, watched
    /// workspaces. `None` when it can.
    pub sockets_url: Option<String>,
    /// The URL below which every app has a host of its own, `https://apps.example.com`; `None` when this deployment serves no apps.
    pub apps_url: Option<String>,
    /// The directory that `/bin/*` serves, when this process serves it.
    pub binaries: Option<PathBuf>,
    /// Whether clients and agents may only meet at the relay.
    pub disable_direct_connections: bool,
    /// Whose word counts about EC2 instances: [`InstanceKeys::aws`].
    pub instance_keys: InstanceKeys,
}

impl ApiConfig {
    /// The access URL with exactly one final slash, as templates and agents get it.
    #[must_use]
    pub fn access_url(&self) -> String {
        format!("{}/", self.access_url.trim_end_matches('/'))
    }

    /// Where apps have their hosts.
    pub(crate) fn apps(&self) -> Option<app::Site<'_>> {
        app::Site::of(self.apps_url.as_deref()?)
    }

    /// Admission with this token at the deployment's relays.
    pub(crate) fn relay(&self, token: Secret) -> Relay {
        let mut urls = self.relay_urls.iter().cloned();
        Relay { url: urls.next().unwrap_or_default(), others: urls.collect(), token }
    }

    /// The same, the one at `url` first.
    pub(crate) fn relay_from(&self, url: &str, token: Secret) -> Relay {
        let others = self.relay_urls.iter().filter(|known| *known != url).cloned().collect();
        Relay { url: url.to_owned(), others, token }
    }
}

/// The router over an [`App`]. Serve it with `into_make_service_with_connect_info::<SocketAddr>()`, so that logins are limited by peer.
pub fn router(app: App) -> Router {
    route::router(Arc::new(Api {
        app,
        passwords: password::Passwords::default(),
        logins: limit::Logins::default(),
        binaries: binary::Etags::default(),
        templates: template::TemplateCache::default(),
        metadata: metadata::Values::default(),
    }))
}

/// The handlers' state: the app, and what lives in memory only.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) app: App,
    pub(crate) passwords: password::Passwords,
    pub(crate) logins: limit::Logins,
    pub(crate) binaries: binary::Etags,
    pub(crate) templates: template::TemplateCache,
    pub(crate) metadata: metadata::Values,
}

/// What handlers get as `State`.
pub(crate) type Shared = Arc<Api>;

impl Api {
    pub(crate) const fn store(&self) -> &Store {
        &self.app.store
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.app.clock.now()
    }

    pub(crate) fn poke_job(&self, job: JobId) {
        self.app.changes.poke(Topic::Job(job));
    }

    /// A job was queued for a person: tell the dispatcher and whoever watches.
    pub(crate) async fn announce(&self, job: JobId) {
        tracing::info!(%job, "a job is queued");
        self.app.announce.announce(job, Priority::Person).await;
        self.poke_job(job);
    }

    /// What is known of agents now. Asks the relay once, and only if one of them has ever said hello.
    pub(crate) async fn sight<'a>(&self, agents: &'a view::Agents) -> view::Sight<'a> {
        let greeted = agents.values().filter(|agent| !agent.endpoint_id.is_empty());
        let asked: Vec<_> = greeted.map(|agent| (agent.id, agent.endpoint_id.as_str())).collect();
        let attendance = if asked.is_empty() { Attendance::default() } else { self.app.presence.connected(&asked).await };
        view::Sight { agents, attendance, now: self.now() }
    }
}

#[cfg(test)]
mod tests;
