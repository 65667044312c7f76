//! The agent: the one Berth process inside a workspace.
//!
//! It dials out, proves itself with its token, and from then on answers the owner: SSH ([`ssh`]), terminals of browsers ([`terminal`]), forwarded
//! ports ([`tunnel`]), scripts ([`script`]). Everything it starts runs as the user it runs as itself, and ends with it ([`process`]).
//!
//! ```text
//! environment -> Config -> Control: hello, manifest -> Tailnet at the relay -> start scripts -> ready
//! SIGTERM -> stop scripts -> every process ended -> off -> Tailnet closed
//! ```

pub mod app;
pub mod config;
pub mod control;
pub mod cron;
pub mod identity;
pub mod instance;
pub mod lifecycle;
pub mod log;
pub mod manifest;
pub mod metadata;
pub mod monitor;
pub mod process;
pub mod script;
pub mod ssh;
pub mod terminal;
pub mod tunnel;
pub mod udp;
pub mod unit;
pub mod user;
pub mod verb;
pub mod visitor;

use std::sync::Arc;
use std::time::Duration;

use berth_net::{BindError, Reason, Tailnet, TailnetConfig};
use berth_wire::agent::Manifest;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use config::Config;
use control::{Control, ControlError};
use instance::InstanceError;
use process::Processes;
use script::ScriptRunner;
use ssh::{Server, SshConfig};
use terminal::{TerminalLimits, Terminals};
use tunnel::Tunnel;
use visitor::Visitors;

/// How long processes have between being told to end and being killed.
const END_GRACE: Duration = Duration::from_secs(3);

/// How long the last words may take: to clients, and to the control plane.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Why the agent ended other than by being told to.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The control plane has no more use for it, or cannot be talked to at all.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The machine cannot introduce it.
    #[error(transparent)]
    Instance(#[from] InstanceError),
    /// The manifest holds something this version cannot use.
    #[error("the manifest's {0} cannot be used: the agent and the deployment have different versions")]
    Manifest(&'static str),
    /// The tailnet cannot be joined.
    #[error("the agent cannot join the tailnet")]
    Tailnet(#[from] BindError),
}

/// The two ways of telling an agent to end.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// In order: stop scripts run, processes are asked to end.
    pub soon: CancellationToken,
    /// At once: whatever still runs is killed.
    pub now: CancellationToken,
}

/// Runs an agent until it is told to stop. Afterwards none of its processes is left.
///
/// # Errors
/// [`AgentError`]; the processes are ended all the same.
pub async fn run(config: Config, stop: Stop) -> Result<(), AgentError> {
    let processes = Processes::default();
    if let Err(error) = processes.adopt_orphans() {
        tracing::warn!(%error, "processes that detach themselves will not be ended with the agent");
    }
    let reaper = processes.clone();
    let _reaping = own(async move { reaper.reap_orphans().await });
    let config = tokio::select! {
        config = instance::introduced(config) => config?,
        () = stop.soon.cancelled() => return Ok(()),
    };
    let identity = identity::load_or_create(&config.key_file());
    let control = Arc::new(Control::new(&config, identity.endpoint_id())?);
    let manifest = tokio::select! {
        manifest = introduce(&control, &config) => manifest?,
        () = stop.soon.cancelled() => return Ok(()),
    };
    if let Err(error) = verb::link(&config) {
        tracing::warn!(%error, "`coder` and `berth` will be missing in the workspace");
    }
    let units = unit::socket::serve(config.socket_file());
    let _meeting = own(async move {
        if let Err(error) = units.await {
            tracing::warn!(%error, "scripts cannot wait for each other: `coder exp sync` does not work");
        }
    });
    let direct = !manifest.disable_direct_connections;
    let tailnet =
        Tailnet::bind(TailnetConfig { identity, relay: manifest::relay(&config, &manifest), direct, accept: true }).await?;
    let agent = Agent::new(config, processes, &manifest)?;
    let ended = agent.serve(&tailnet, (&control, &manifest), &stop).await;
    tailnet.close().await;
    ended
}

/// Says hello, and again once the manifest has told which directory is the user's.
async fn introduce(control: &Control, config: &Config) -> Result<Manifest, ControlError> {
    loop {
        let manifest = control.manifest().await?;
        let directory = manifest::sessions(config, &manifest).surroundings().directory;
        if !control.set_directory(&directory.to_string_lossy()) {
            return Ok(manifest);
        }
    }
}

/// Owns a task: it ends when the handle is dropped.
fn own<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> AbortOnDropHandle<T> {
    #[allow(clippy::disallowed_methods, reason = "the handle owns the task")]
    AbortOnDropHandle::new(tokio::task::spawn(task))
}

/// Runs what the template asks for, until dropped: the scripts of the start, then those on a schedule; metadata, apps and monitors all the while.
async fn work(runner: &ScriptRunner, control: &Control, manifest: &Manifest) {
    let scripts = async {
        lifecycle::start(runner, &manifest.scripts).await;
        cron::run(runner, &manifest.scripts).await;
    };
    tokio::join!(
        scripts,
        metadata::run(runner, control, &manifest.metadata),
        app::run(control, &manifest.apps),
        monitor::run(&runner.log, manifest.agent_id, &manifest.monitors),
    );
}

/// An agent that has its manifest.
struct Agent {
    config: Config,
    processes: Processes,
    server: Server,
}

impl Agent {
    fn new(config: Config, processes: Processes, manifest: &Manifest) -> Result<Agent, AgentError> {
        let host_key_seed = manifest::host_key_seed(manifest).ok_or(AgentError::Manifest("ssh_host_key_seed"))?;
        let sessions = manifest::sessions(&config, manifest);
        let server = Server::new(SshConfig { host_key_seed, sessions, processes: processes.clone() });
        Ok(Agent { config, processes, server })
    }

    /// Serves until told to stop or replaced, then ends everything in order.
    async fn serve(
        &self,
        tailnet: &Tailnet,
        (control, manifest): (&Arc<Control>, &Manifest),
        stop: &Stop,
    ) -> Result<(), AgentError> {
        let (key_sender, key) = watch::channel(manifest::ticket_key(manifest));
        let (server, doubt, visitors) = (self.server.clone(), Arc::new(Notify::new()), Visitors::default());
        let tunnel = Tunnel {
            tailnet: tailnet.clone(),
            terminals: Terminals::new(server.clone(), TerminalLimits::default()),
            server,
            key,
            doubt: Arc::clone(&doubt),
            visitors,
            resumables: Arc::default(),
        };
        let is_news = |key_id: &str| {
            if key_sender.borrow().id != key_id {
                doubt.notify_one();
            }
        };
        let serving = tunnel.clone();
        let _serving = own(async move { serving.serve().await });
        let (log, log_shipper) = log::channel(Arc::clone(control));
        let (reporter, lifecycle_shipper) = lifecycle::channel(Arc::clone(control));
        let shipping = own(async move { tokio::join!(log_shipper.run(), lifecycle_shipper.run()) });
        let sessions = manifest::sessions(&self.config, manifest);
        let runner = ScriptRunner { config: self.config.clone(), sessions, processes: self.processes.clone(), log, reporter };
        let apply = |manifest: &Manifest| {
            self.server.set_sessions(manifest::sessions(&self.config, manifest));
            key_sender.send_replace(manifest::ticket_key(manifest));
            manifest::relay(&self.config, manifest)
        };
        let ended = tokio::select! {
            error = tunnel::stay_connected(&tunnel, control, apply) => Err(error.into()),
            error = visitor::watch(&tunnel.visitors, control, self.config.recheck, is_news) => Err(error.into()),
            () = stop.soon.cancelled() => Ok(()),
            () = work(&runner, control, manifest) => Ok(()),
        };
        self.end(runner, manifest, (stop, ended.is_ok())).await;
        // Clients that would come back are told that there is nothing to come back to.
        tokio::time::timeout(LAST_WORDS, tailnet.resumables().end(Reason::Stopped)).await.ok();
        tokio::time::timeout(LAST_WORDS, shipping).await.ok();
        ended
    }

    /// Stop scripts, then every process, then the last report. A replaced agent has no say any more: it only ends its processes.
    async fn end(&self, runner: ScriptRunner, manifest: &Manifest, (stop, in_order): (&Stop, bool)) {
        let orderly = async {
            let last = match in_order {
                true => Some(lifecycle::stop(&runner, &manifest.scripts).await),
                false => None,
            };
            let killed = self.processes.end_all(END_GRACE).await;
            tracing::info!(killed, "every process has ended");
            last
        };
        let last = tokio::select! {
            last = orderly => last,
            () = stop.now.cancelled() => {
                self.processes.end_all(Duration::ZERO).await;
                None
            }
        };
        last.into_iter().for_each(|state| runner.reporter.tell(state));
        tokio::time::timeout(LAST_WORDS, self.server.drained()).await.ok();
    }
}
