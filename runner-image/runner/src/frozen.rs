//! What an import keeps of `terraform init`, and how a build does without it.
//!
//! ```text
//! import:  init --> packages kept on this machine, lock and modules kept with the version
//! build:   lock and modules from the version, packages from this machine --> no init, no download
//!          a package is missing --> one init with the lock, which keeps it
//! ```

use berth_wire::runner::Frozen;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::task::spawn_blocking;

use crate::{
    module,
    package::Packages,
    room::Room,
    template::{self, LOCK_FILE, Lock},
    work::{Done, Work},
};

/// Keeps what an `init` made for the version that is imported, and answers the lock file's text. Nothing to do when none ran.
///
/// # Errors
/// The failed job, or a stop.
pub(crate) async fn keep(work: &Work, room: &Room, warnings: &mut Vec<String>) -> Result<String, Done> {
    if room.template.needs_init.is_none() {
        return Ok(String::new());
    }
    work.log.stage("Keeping modules and providers");
    let directory = room.directory();
    // A build may be served our provider in another way than this import was.
    let lock = template::strip_our_providers(&directory).and_then(|()| template::lock_text(&directory));
    let lock = lock.map_err(|error| work.failed(format!("cannot read {LOCK_FILE}: {error}")))?;
    let packed = spawn_blocking(move || module::pack(&directory)).await;
    let packed = packed.map_err(|error| work.failed(format!("packing the modules ended badly: {error}")))?;
    match packed {
        Ok(None) => {}
        Ok(Some(modules)) => work.keep_modules(modules.into()).await?,
        Err(error) => {
            let warning = format!("the modules are not kept, so that each build fetches them again: {error}");
            work.log.warn(&warning);
            warnings.push(warning);
        }
    }
    Ok(lock)
}

/// Keeps the packages that an `init` installed, for the builds to come on this machine. A machine that cannot keep them works, slowly.
pub(crate) async fn keep_packages(work: &Work, room: &Room) {
    let (packages, directory) = (packages(work), room.directory());
    if !packages.keeps() {
        return say_downloaded(work, room, &packages);
    }
    let kept = spawn_blocking(move || packages.keep(&Lock::read(&directory)?, &directory)).await;
    if let Err(error) = kept.map_err(std::io::Error::other).and_then(|kept| kept) {
        work.log.warn(&format!("provider packages are not kept, so that each build downloads them again: {error}"));
    }
}

/// A machine that keeps nothing downloads again each time: that is said, with what to do about it.
fn say_downloaded(work: &Work, room: &Room, packages: &Packages) {
    let lock = Lock::read(&room.directory()).unwrap_or_default();
    let ours = |locked: &&template::Locked| template::is_our_source(&locked.source);
    let (baked, fetched): (Vec<_>, Vec<_>) =
        lock.providers.iter().filter(|locked| !ours(locked)).partition(|locked| packages.is_baked(locked));
    say_baked(work, baked.into_iter());
    if !fetched.is_empty() {
        let names = fetched.into_iter().map(template::Locked::short).collect::<Vec<_>>().join(", ");
        work.log
            .say(&format!("From the registry, and so again in each build: {names} (the runner image can bring providers along)"));
    }
}

fn say_baked<'a>(work: &Work, baked: impl Iterator<Item = &'a template::Locked>) {
    let names = baked.map(template::Locked::short).collect::<Vec<_>>().join(", ");
    if !names.is_empty() {
        work.log.say(&format!("From the runner's image: {names}"));
    }
}

/// Lays out what the import of the build's version kept. `init` is needed afterwards only if something is missing on this machine, or
/// the state needs a provider that the version does not know; that is said.
///
/// # Errors
/// The failed job, or a stop.
pub(crate) async fn lay(work: &Work, frozen: &Frozen, room: &mut Room) -> Result<(), Done> {
    if *frozen == Frozen::default() {
        return Ok(());
    }
    let modules = match &frozen.modules {
        Some(sha256) => modules(work, sha256).await?,
        None => None,
    };
    let has_all_modules = modules.is_some() == frozen.modules.is_some();
    let lock = Lock::parse(&frozen.lock);
    say_baked(work, lock.providers.iter().filter(|locked| packages(work).is_baked(locked)));
    let laying = Laying { lock: lock.clone(), text: frozen.lock.clone(), modules, packages: packages(work) };
    let directory = room.directory();
    let missing = spawn_blocking(move || laying.run(&directory)).await;
    let missing = missing.map_err(|error| work.failed(format!("laying out the version's modules ended badly: {error}")))?;
    let missing = missing.map_err(|error| work.failed(format!("cannot lay out what the version's import kept: {error}")))?;
    let foreign = room.template.state_sources.iter().find(|source| lock.get(source).is_none()).cloned();
    let reason = if let Some(source) = &foreign {
        Some(format!("the workspace's state holds resources of {source}, which this version does not use"))
    } else if !missing.is_empty() {
        Some(format!("not on this machine yet: {}", missing.join(", ")))
    } else if has_all_modules {
        None
    } else {
        Some("modules are missing".to_owned())
    };
    if let Some(reason) = &reason {
        work.log.say(&format!("Running terraform init: {reason}"));
    }
    room.template.needs_init = reason;
    room.is_pinned = foreign.is_none();
    Ok(())
}

/// What Terraform refused to start is removed, so that the `init` that follows installs it anew.
pub(crate) async fn remove_damaged(work: &Work, room: &Room) {
    let (packages, directory) = (packages(work), room.directory());
    let removed = spawn_blocking(move || {
        packages.remove_damaged(&Lock::read(&directory)?)?;
        let laid = directory.join(".terraform/providers");
        if laid.exists() { std::fs::remove_dir_all(laid) } else { Ok(()) }
    });
    if let Err(error) = removed.await.map_err(std::io::Error::other).and_then(|removed| removed) {
        tracing::warn!(%error, "kept provider packages could not be checked");
    }
}

/// The packages of this machine.
pub(crate) fn packages(work: &Work) -> Packages {
    Packages::new(work.config.provider_mirror.as_deref(), work.config.data_dir.as_deref())
}

/// The kept modules; `None` when they are gone or damaged: a build must not fail for that, least of all a delete.
async fn modules(work: &Work, sha256: &str) -> Result<Option<Bytes>, Done> {
    let fetched = work.unless_stopped(work.modules()).await?;
    let whole = |bytes: &Bytes| hex::encode(Sha256::digest(bytes)) == sha256;
    match fetched? {
        Some(bytes) if whole(&bytes) => Ok(Some(bytes)),
        Some(_) | None => {
            work.log.warn("the modules that the version's import kept are gone or damaged: fetching them again");
            Ok(None)
        }
    }
}

/// The blocking part of laying out.
struct Laying {
    lock: Lock,
    text: String,
    modules: Option<Bytes>,
    packages: Packages,
}

impl Laying {
    /// Answers which packages are missing.
    fn run(self, directory: &std::path::Path) -> std::io::Result<Vec<String>> {
        if !self.text.is_empty() {
            std::fs::write(directory.join(LOCK_FILE), &self.text)?;
        }
        if let Some(modules) = &self.modules {
            module::lay(modules, directory).map_err(std::io::Error::other)?;
        }
        let missing = self.packages.lay(&self.lock, directory)?;
        Ok(missing.into_iter().map(template::Locked::short).collect())
    }
}
