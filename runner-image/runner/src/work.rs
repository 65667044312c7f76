//! What import and build have in common: everything up to a Terraform that can be run.

use std::{collections::BTreeMap, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use berth_client::RunnerClient;
use berth_domain::{LogLevel, Secret};
use berth_provider::Served;
use berth_wire::runner::{Enclosed, Finish, Outcome};
use bytes::Bytes;
use tokio::task::spawn_blocking;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    Config, environment, frozen,
    lease::{Stop, Stops},
    log::Log,
    progress::Progress,
    room::Room,
    terraform::{Ended, FindError, Run, Terraform, process, user::CAPABILITIES},
};

/// A claimed job at work.
#[derive(Debug)]
pub(crate) struct Work {
    /// The runner's settings.
    pub(crate) config: Arc<Config>,
    /// The job's session.
    pub(crate) client: RunnerClient,
    /// Whether nobody has claimed it before.
    pub(crate) is_first_claim: bool,
    /// What came along with the claim.
    pub(crate) enclosed: Enclosed,
    /// Reasons to stop.
    pub(crate) stops: Stops,
    /// The job's log.
    pub(crate) log: Log,
    /// What Terraform is at.
    pub(crate) progress: Progress,
    /// The search for Terraform, begun before the claim.
    pub(crate) finding: AbortOnDropHandle<Result<Terraform, FindError>>,
}

/// How the work on a job came to its end.
#[derive(Debug)]
pub(crate) enum Done {
    /// With something to report.
    Finish(Box<Finish>),
    /// With a stop before Terraform changed anything, or after which nothing more can be said than that.
    Stopped(Stop),
}

/// Terraform, its directory and its provider, ready to run.
#[derive(Debug)]
pub(crate) struct Ready {
    /// Runs commands.
    pub(crate) run: Run,
    /// The working directory.
    pub(crate) room: Room,
    /// The provider, unless it is a plugin; it lives as long as commands run.
    served: Option<Served>,
}

impl Work {
    /// Waits for a future, unless there is a reason to stop first.
    ///
    /// # Errors
    /// The reason to stop.
    pub(crate) async fn unless_stopped<T>(&self, future: impl Future<Output = T>) -> Result<T, Done> {
        let mut stops = self.stops.watch();
        tokio::select! {
            result = future => Ok(result),
            Ok(stop) = stops.wait_for(Option::is_some) => Err(Done::Stopped(stop.unwrap_or(Stop::Canceled))),
        }
    }

    /// The template archive, fetched unless it came along.
    ///
    /// # Errors
    /// The failed job, or a stop.
    pub(crate) async fn archive(&self) -> Result<Bytes, Done> {
        if let Some(archive) = decoded(self.enclosed.archive.as_ref()) {
            return Ok(archive);
        }
        self.client.archive().await.map_err(|error| self.refused(&error, "the template archive"))
    }

    /// The state that the job begins with, fetched unless it came along.
    ///
    /// # Errors
    /// The failed job, or a stop.
    pub(crate) async fn state(&self) -> Result<Option<Bytes>, Done> {
        if let Some(state) = decoded(self.enclosed.state.as_ref()) {
            return Ok(Some(state).filter(|state| !state.is_empty()));
        }
        self.client.state().await.map_err(|error| self.refused(&error, "the workspace's state"))
    }

    /// Fetches the modules that the version's import kept.
    ///
    /// # Errors
    /// The failed job, or a stop.
    pub(crate) async fn modules(&self) -> Result<Option<Bytes>, Done> {
        self.client.modules().await.map_err(|error| self.refused(&error, "the version's modules"))
    }

    /// Keeps the modules of the version that is imported.
    ///
    /// # Errors
    /// The failed job, or a stop.
    pub(crate) async fn keep_modules(&self, modules: Bytes) -> Result<(), Done> {
        let kept = self.unless_stopped(self.client.put_modules(modules)).await?;
        kept.map_err(|error| match self.stops.note(&error) {
            true => Done::Stopped(Stop::Lost),
            false => self.failed(format!("cannot keep the version's modules: {error}")),
        })
    }

    fn refused(&self, error: &berth_client::ClientError, what: &str) -> Done {
        if self.stops.note(error) { Done::Stopped(Stop::Lost) } else { self.failed(format!("cannot fetch {what}: {error}")) }
    }

    /// A failed job; its reason goes to the log as well.
    #[must_use]
    pub(crate) fn failed(&self, error: String) -> Done {
        self.log.fail(&error);
        Done::finish(Outcome::Failed { error })
    }

    /// Unpacks the archive beside the state.
    ///
    /// # Errors
    /// The failed job.
    pub(crate) async fn room(&self, archive: Bytes, state: Option<Bytes>) -> Result<Room, Done> {
        let room = spawn_blocking(move || Room::prepare(&archive, state.as_deref())).await;
        match room {
            Ok(Ok(room)) => Ok(room),
            Ok(Err(error)) => Err(self.failed(error.to_string())),
            Err(error) => Err(self.failed(format!("preparing the working directory ended badly: {error}"))),
        }
    }

    /// Serves the provider and waits for Terraform to be found.
    ///
    /// # Errors
    /// The failed job, or a stop.
    pub(crate) async fn ready(&mut self, mut room: Room, told: BTreeMap<String, String>) -> Result<Ready, Done> {
        let (served, provider) = self.provider(&mut room, told).await?;
        let cli_config = room.cli_config(self.config.terraform_cli_config.as_deref(), self.config.provider_plugin.as_deref());
        let cli_config = cli_config.map_err(|error| self.failed(format!("cannot prepare the working directory: {error}")))?;
        let found = {
            let mut stops = self.stops.watch();
            tokio::select! {
                found = &mut self.finding => found,
                Ok(stop) = stops.wait_for(Option::is_some) => return Err(Done::Stopped(stop.unwrap_or(Stop::Canceled))),
            }
        };
        let terraform = match found {
            Ok(Ok(terraform)) => terraform,
            Ok(Err(error)) => return Err(self.failed(error.to_string())),
            Err(error) => return Err(self.failed(format!("the search for terraform ended badly: {error}"))),
        };
        let run = Run {
            terraform,
            runner: self.config.executable.clone(),
            user: self.config.terraform_user,
            directory: room.directory(),
            environment: environment::of_terraform(&self.config, &cli_config, provider),
            grace: self.config.cancel_grace,
            stops: self.stops.clone(),
            log: self.log.clone(),
            progress: self.progress.clone(),
        };
        if let Some(user) = run.user {
            let runner = run.runner.clone();
            let given = spawn_blocking(move || room.hand_over(user, &runner).map(|()| room)).await;
            let given = given.map_err(std::io::Error::other).and_then(|given| given);
            room = given.map_err(|error| {
                self.failed(format!(
                    "cannot give the working directory to user {user} ({error}): the runner needs {CAPABILITIES} (setcap)"
                ))
            })?;
        }
        let mut ready = Ready { run, room, served };
        if let Some(reason) = ready.room.template.needs_init.clone() {
            tracing::debug!(reason, "terraform init is needed");
            self.init(&mut ready).await?;
        }
        Ok(ready)
    }

    /// Serves the provider, or has it installed as a plugin; and what Terraform's environment says of it.
    async fn provider(
        &self,
        room: &mut Room,
        told: BTreeMap<String, String>,
    ) -> Result<(Option<Served>, BTreeMap<String, String>), Done> {
        if self.config.provider_plugin.is_some() {
            room.template.needs_init.get_or_insert_with(|| "the provider is a plugin".to_owned());
            room.is_pinned = false; // The lock does not know our provider.
            return Ok((None, told));
        }
        let served = berth_provider::serve(&room.socket(), told.into()).await;
        let served = served.map_err(|error| self.failed(format!("cannot serve the provider: {error}")))?;
        let reattach = BTreeMap::from([(process::REATTACH.to_owned(), served.reattach_json())]);
        Ok((Some(served), reattach))
    }

    /// Runs a command; when Terraform asks for the `init` that was left out, that first, and the command again.
    ///
    /// # Errors
    /// The failed job, or a stop.
    pub(crate) async fn command(&self, ready: &mut Ready, stage: &str, arguments: &[&str]) -> Result<Ended, Done> {
        self.log.stage(stage);
        let run = |ended: Result<Ended, crate::terraform::RunError>| ended.map_err(|error| self.failed(error.to_string()));
        let ended = run(ready.run.command(arguments).await)?;
        if !ended.asks_for_init() || ready.room.template.needs_init.is_some() {
            return Ok(ended);
        }
        frozen::remove_damaged(self, &ready.room).await;
        self.init(ready).await?;
        self.log.stage(stage);
        run(ready.run.command(arguments).await)
    }

    async fn init(&self, ready: &mut Ready) -> Result<(), Done> {
        self.log.stage("Initializing Terraform");
        ready.room.template.needs_init.get_or_insert_with(|| "terraform asked for it".to_owned());
        let mut arguments = vec!["init", "-input=false", "-no-color"];
        if ready.room.is_pinned {
            arguments.push("-lockfile=readonly");
        }
        if let Err(error) = ready.room.fill_mirror(&frozen::packages(self)) {
            tracing::warn!(%error, "the provider packages of this machine are not used");
        }
        if self.init_from_image(ready, &arguments).await? {
            return Ok(());
        }
        let ended = ready.run.command(&arguments).await;
        let ended = ended.map_err(|error| self.failed(error.to_string()))?;
        match (ended.is_success(), self.stops.now()) {
            (true, _) => {}
            (false, Some(stop)) if ended.was_asked => return Err(Done::Stopped(stop)),
            (false, _) => return Err(self.failed(format!("terraform init failed: {}", ended.error()))),
        }
        frozen::keep_packages(self, &ready.room).await;
        Ok(())
    }

    /// Tries an `init` with the providers of the runner's image before the registries' newer ones, which every build would download.
    /// False when they do not suffice; the log then hears nothing of it.
    async fn init_from_image(&self, ready: &Ready, arguments: &[&str]) -> Result<bool, Done> {
        let sources = frozen::packages(self).baked_sources().unwrap_or_default();
        if sources.is_empty() || ready.room.is_pinned || self.config.terraform_cli_config.is_some() {
            return Ok(false);
        }
        let configured = ready.room.cli_config_here(&sources);
        let path = configured.map_err(|error| self.failed(format!("cannot prepare the working directory: {error}")))?;
        let mut run = ready.run.clone();
        run.environment.insert("TF_CLI_CONFIG_FILE".into(), path.into());
        let output = self.unless_stopped(run.quietly(arguments)).await?.map_err(|error| self.failed(error.to_string()))?;
        if output.status.success() {
            for line in String::from_utf8_lossy(&output.stdout).lines() {
                self.log.terraform(LogLevel::Info, line);
            }
            frozen::keep_packages(self, &ready.room).await;
        }
        Ok(output.status.success())
    }
}

impl Ready {
    /// Tells the provider of another build than it was told of at first.
    pub(crate) fn tell(&mut self, told: BTreeMap<String, String>) {
        match &self.served {
            Some(served) => served.set_environment(told.into()),
            None => self.run.environment.extend(told.into_iter().map(|(name, value)| (name.into(), value.into()))),
        }
    }
}

impl Done {
    /// A job that ended with this outcome and nothing else to report.
    #[must_use]
    pub(crate) fn finish(outcome: Outcome) -> Self {
        Self::Finish(Box::new(report(outcome)))
    }
}

/// What came along in base64.
fn decoded(text: Option<&Secret>) -> Option<Bytes> {
    STANDARD.decode(text?.expose()).ok().map(Bytes::from)
}

/// A report of an outcome and nothing else.
#[must_use]
pub(crate) fn report(outcome: Outcome) -> Finish {
    Finish { outcome, resources: Vec::new(), imported: None, timings: Vec::new(), found: Vec::new() }
}
