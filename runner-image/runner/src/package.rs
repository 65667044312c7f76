//! Provider packages on this machine: a directory that keeps each package that an `init` installed, so that builds download none.
//!
//! It has the layout of a Terraform filesystem mirror, `<host>/<namespace>/<type>/<version>/<os>_<arch>/`, with a file
//! `<os>_<arch>.h1` beside each package that holds its checksum. A package is put together elsewhere and renamed into place whole, so
//! that several runners may do it at once; nobody changes one that is there. Whoever removes the directory loses nothing: the next
//! build that misses a package runs `init` and keeps it again. Terraform itself checks a package against the lock file's checksums
//! whenever it starts the provider.
//!
//! A runner's image can bring packages along in a directory of the same layout, which is never written to; it is looked into first.

use std::{
    fs,
    io::{self, Read, Write},
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};

use crate::template::{Lock, Locked, is_our_source};

/// The deepest directory inside a package; real ones have none or one.
const DEPTH_MAX: usize = 8;
/// Unfinished packages of runners that were killed are removed after this long.
const UNFINISHED_AFTER: Duration = Duration::from_secs(24 * 3600);
/// What the names of unfinished packages begin with.
const UNFINISHED: &str = ".unfinished-";
/// The directory inside `.terraform` where Terraform looks for packages.
const PROVIDERS: &str = ".terraform/providers";

/// The packages of one machine.
#[derive(Debug, Clone)]
pub struct Packages {
    /// What came with the runner.
    baked: Option<PathBuf>,
    /// What this machine keeps; `None` when it keeps nothing.
    kept: Option<PathBuf>,
    platform: String,
}

impl Packages {
    /// The packages that came with the runner, and those kept below a data directory.
    #[must_use]
    pub fn new(baked: Option<&Path>, data_dir: Option<&Path>) -> Self {
        Self { baked: baked.map(Path::to_owned), kept: data_dir.map(|data_dir| data_dir.join("providers")), platform: platform() }
    }

    fn path_in(&self, root: &Path, locked: &Locked) -> PathBuf {
        root.join(&locked.source).join(&locked.version).join(&self.platform)
    }

    /// Where a package that the lock knows is.
    fn place(&self, locked: &Locked) -> Option<PathBuf> {
        let is_whole = |place: &PathBuf| place.is_dir() && known(place).is_some_and(|h1| locked.hashes.contains(&h1));
        [&self.baked, &self.kept].into_iter().flatten().map(|root| self.path_in(root, locked)).find(is_whole)
    }

    /// Whether a package that the lock knows is there.
    #[must_use]
    pub fn has(&self, locked: &Locked) -> bool {
        self.place(locked).is_some()
    }

    /// Whether it came with the runner.
    #[must_use]
    pub fn is_baked(&self, locked: &Locked) -> bool {
        self.baked.as_ref().is_some_and(|root| self.place(locked).is_some_and(|place| place.starts_with(root)))
    }

    /// Whether this machine keeps packages.
    #[must_use]
    pub fn keeps(&self) -> bool {
        self.kept.is_some()
    }

    /// The addresses of the providers that came with the runner, in whatever version.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn baked_sources(&self) -> io::Result<Vec<String>> {
        let Some(root) = &self.baked else { return Ok(Vec::new()) };
        let sources = below(root, 3)?.into_iter();
        Ok(sources.filter_map(|source| Some(source.strip_prefix(root).ok()?.to_string_lossy().into_owned())).collect())
    }

    /// Keeps every package of the lock that an `init` installed in `directory` and that is not kept yet. Blocking. Files are linked
    /// where the file system allows it: a package of hundreds of megabytes then costs nothing.
    ///
    /// # Errors
    /// When the disk refuses, or a copy is not what the lock says.
    pub fn keep(&self, lock: &Lock, directory: &Path) -> io::Result<()> {
        let Some(root) = &self.kept else { return Ok(()) };
        for locked in lock.providers.iter().filter(|locked| !is_our_source(&locked.source)) {
            let installed = directory.join(PROVIDERS).join(&locked.source).join(&locked.version).join(&self.platform);
            if installed.is_dir() && !self.has(locked) {
                self.keep_one(root, locked, &installed)?;
            }
        }
        Ok(())
    }

    fn keep_one(&self, root: &Path, locked: &Locked, installed: &Path) -> io::Result<()> {
        fs::create_dir_all(root)?;
        remove_unfinished(root);
        let place = self.path_in(root, locked);
        if place.is_dir() {
            // Either another one of the same version, or one whose keeper was killed before it wrote the checksum.
            return if known(&place).is_some() { Ok(()) } else { note(root, &place, &h1(&place)?) };
        }
        let unfinished = tempfile::Builder::new().prefix(UNFINISHED).tempdir_in(root)?;
        let package = unfinished.path().join(&self.platform);
        let is_copy = copy(&installed.canonicalize()?, &package, 0)?;
        let only = match locked.hashes.iter().filter(|hash| hash.starts_with("h1:")).collect::<Vec<_>>().as_slice() {
            [only] if !is_copy => Some((*only).clone()),
            _ => None,
        };
        let h1 = only.map_or_else(|| h1(&package), Ok)?;
        if !locked.hashes.contains(&h1) {
            return Err(io::Error::other(format!("the package of {} is not the one that was locked", locked.short())));
        }
        fs::create_dir_all(place.parent().unwrap_or(root))?;
        match fs::rename(&package, &place) {
            Ok(()) => note(root, &place, &h1),
            Err(_) if place.is_dir() => Ok(()), // another runner was faster
            Err(error) => Err(error),
        }
    }

    /// Lays the lock's packages out in a template's directory as `init` would, and answers those that are not kept here.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn lay<'a>(&self, lock: &'a Lock, directory: &Path) -> io::Result<Vec<&'a Locked>> {
        let mut missing = Vec::new();
        for locked in &lock.providers {
            let Some(place) = self.place(locked) else {
                missing.push(locked);
                continue;
            };
            let parent = directory.join(PROVIDERS).join(&locked.source).join(&locked.version);
            fs::create_dir_all(&parent)?;
            symlink(place, parent.join(&self.platform))?;
        }
        Ok(missing)
    }

    /// Makes a mirror for an `init` at `at`: all that is here, without the packages whose checksum a lock file of the template does
    /// not know. Those are downloaded, and checked by their zip's checksum.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn mirror(&self, lock: &Lock, at: &Path) -> io::Result<()> {
        fs::create_dir_all(at)?;
        for root in [&self.baked, &self.kept].into_iter().flatten() {
            mirror(root, lock, at)?;
        }
        Ok(())
    }

    /// Removes the packages of the lock that are not what they were. Blocking, and reads each of them whole: for when Terraform
    /// refused one.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn remove_damaged(&self, lock: &Lock) -> io::Result<()> {
        let Some(root) = &self.kept else { return Ok(()) };
        for locked in lock.providers.iter().filter(|locked| self.has(locked) && !self.is_baked(locked)) {
            let place = self.path_in(root, locked);
            if h1(&place).is_ok_and(|h1| known(&place) == Some(h1)) {
                continue;
            }
            tracing::warn!(provider = locked.short(), "a kept provider package is damaged: it is removed");
            fs::remove_dir_all(&place)?;
        }
        Ok(())
    }
}

/// Writes a package's checksum beside it; until then nobody uses it.
fn note(root: &Path, place: &Path, h1: &str) -> io::Result<()> {
    let mut file = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(root)?;
    file.write_all(h1.as_bytes())?;
    file.persist(checksum_file(place)).map(drop).map_err(|error| error.error)
}

fn remove_unfinished(root: &Path) {
    let is_old = |entry: &fs::DirEntry| {
        let changed = entry.metadata().and_then(|about| about.modified()).ok();
        let age = changed.and_then(age);
        entry.file_name().to_string_lossy().starts_with(UNFINISHED) && age.is_some_and(|age| age > UNFINISHED_AFTER)
    };
    for entry in fs::read_dir(root).into_iter().flatten().flatten().filter(is_old) {
        let path = entry.path();
        let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        if let Err(error) = removed {
            tracing::warn!(%error, "an unfinished provider package stays behind");
        }
    }
}

/// Links the packages below `root` at `at`; what is there already stays.
fn mirror(root: &Path, lock: &Lock, at: &Path) -> io::Result<()> {
    for place in below(root, 5)? {
        let Ok(relative) = place.strip_prefix(root) else { continue };
        let Some(version) = relative.parent() else { continue };
        let source = version.parent().map(|source| source.to_string_lossy().into_owned()).unwrap_or_default();
        let Some(h1) = known(&place) else { continue };
        if lock.get(&source).is_some_and(|locked| !locked.hashes.contains(&h1)) {
            continue;
        }
        fs::create_dir_all(at.join(version))?;
        match symlink(&place, at.join(relative)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made?,
        }
    }
    Ok(())
}

/// `linux_amd64`: Go's names, as Terraform uses them.
#[must_use]
pub fn platform() -> String {
    let os = if cfg!(target_os = "macos") { "darwin" } else { std::env::consts::OS };
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    };
    format!("{os}_{arch}")
}

#[allow(clippy::disallowed_methods)] // only to tell what a killed runner left from what one is making now
fn age(changed: SystemTime) -> Option<Duration> {
    SystemTime::now().duration_since(changed).ok()
}

/// The checksum of a kept package; `None` when it is not whole yet.
fn known(place: &Path) -> Option<String> {
    fs::read_to_string(checksum_file(place)).ok().map(|text| text.trim().to_owned())
}

fn checksum_file(place: &Path) -> PathBuf {
    let mut name = place.file_name().unwrap_or_default().to_owned();
    name.push(".h1");
    place.with_file_name(name)
}

/// The directories so many levels below; none when there is no such directory.
fn below(directory: &Path, levels: usize) -> io::Result<Vec<PathBuf>> {
    let mut level = vec![directory.to_owned()];
    for _ in 0..levels {
        let mut next = Vec::new();
        for entry in level.iter().map(fs::read_dir).filter_map(Result::ok).flatten() {
            let entry = entry?;
            if entry.file_type()?.is_dir() && !entry.file_name().to_string_lossy().starts_with('.') {
                next.push(entry.path());
            }
        }
        level = next;
    }
    Ok(level)
}

/// Links or copies a directory of files; true when a file had to be copied. A copy cannot be written to.
fn copy(from: &Path, to: &Path, depth: usize) -> io::Result<bool> {
    if depth > DEPTH_MAX {
        return Err(io::Error::other("the package is nested too deeply"));
    }
    fs::create_dir(to)?;
    let mut any = false;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (kind, target) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            any |= copy(&entry.path(), &target, depth + 1)?;
        } else if !kind.is_file() {
            return Err(io::Error::other(format!("{:?} is neither a file nor a directory", entry.file_name())));
        } else if fs::hard_link(entry.path(), &target).is_err() {
            fs::copy(entry.path(), &target)?;
            let mode = fs::metadata(&target)?.permissions().mode();
            fs::set_permissions(&target, fs::Permissions::from_mode(mode & 0o555))?;
            any = true;
        }
    }
    Ok(any)
}

/// The checksum of an unpacked package: SHA-256 over a line for each file by name, each with the SHA-256 of the file (golang.org/x/mod,
/// sumdb/dirhash, `Hash1`).
fn h1(package: &Path) -> io::Result<String> {
    let mut names = Vec::new();
    list(package, "", &mut names, 0)?;
    names.sort();
    let mut lines = Sha256::new();
    for name in names {
        let mut file = fs::File::open(package.join(&name))?;
        let (mut digest, mut bytes) = (Sha256::new(), vec![0; 256 * 1024]);
        loop {
            let count = file.read(&mut bytes)?;
            if count == 0 {
                break;
            }
            digest.update(bytes.get(..count).unwrap_or_default());
        }
        lines.update(format!("{}  {name}\n", hex::encode(digest.finalize())));
    }
    Ok(format!("h1:{}", STANDARD.encode(lines.finalize())))
}

fn list(directory: &Path, prefix: &str, names: &mut Vec<String>, depth: usize) -> io::Result<()> {
    if depth > DEPTH_MAX {
        return Err(io::Error::other("the package is nested too deeply"));
    }
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            list(&entry.path(), &format!("{name}/"), names, depth + 1)?;
        } else {
            names.push(name);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "registry.terraform.io/example/tiny";

    fn locked(hash: &str) -> Lock {
        Lock::parse(&format!("provider \"{SOURCE}\" {{\n  version = \"1.2.3\"\n  hashes = [\"{hash}\"]\n}}\n"))
    }

    /// A template's directory in which an `init` installed a package.
    fn installed(home: &Path) -> PathBuf {
        let directory = home.join("template");
        let package = directory.join(PROVIDERS).join(SOURCE).join("1.2.3").join(platform());
        fs::create_dir_all(package.join("docs")).unwrap();
        fs::write(package.join("terraform-provider-tiny"), "#!/bin/sh\n").unwrap();
        fs::write(package.join("docs/README"), "hello\n").unwrap();
        directory
    }

    fn sum(home: &Path) -> String {
        h1(&home.join("template").join(PROVIDERS).join(SOURCE).join("1.2.3").join(platform())).unwrap()
    }

    #[test]
    fn the_checksum_is_terraforms_own() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("b"), "b\n").unwrap();
        fs::write(home.path().join("a"), "a\n").unwrap();
        // sha256sum a b | sha256sum, in base64.
        assert_eq!(h1(home.path()).unwrap(), "h1:oOw/UxvBP/2Po35sddlb//tpKHscE/O5rdJW0fT3eFA=");
    }

    #[test]
    fn a_package_that_was_kept_outlives_its_source() {
        let home = tempfile::tempdir().unwrap();
        let directory = installed(home.path());
        let lock = locked(&sum(home.path()));
        let packages = Packages::new(None, Some(&home.path().join("data")));
        packages.keep(&lock, &directory).unwrap();
        packages.keep(&lock, &directory).unwrap();
        fs::remove_dir_all(&directory).unwrap();

        let other = home.path().join("other");
        fs::create_dir(&other).unwrap();
        assert_eq!(packages.lay(&lock, &other).unwrap(), Vec::<&Locked>::new());
        let laid = other.join(PROVIDERS).join(SOURCE).join("1.2.3").join(platform());
        assert_eq!(fs::read_to_string(laid.join("docs/README")).unwrap(), "hello\n");
        let left: Vec<_> =
            fs::read_dir(home.path().join("data/providers")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["registry.terraform.io"], "nothing unfinished is left");
    }

    #[test]
    fn many_runners_keep_a_package_at_once_and_it_is_whole() {
        let home = tempfile::tempdir().unwrap();
        let directory = installed(home.path());
        let lock = locked(&sum(home.path()));
        let packages = Packages::new(None, Some(&home.path().join("data")));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| packages.keep(&lock, &directory).unwrap());
            }
        });
        packages.remove_damaged(&lock).unwrap();
        assert!(packages.has(&lock.providers[0]));
    }

    #[test]
    fn a_package_whose_keeper_was_killed_is_adopted_and_another_of_its_version_is_left_alone() {
        let home = tempfile::tempdir().unwrap();
        let directory = installed(home.path());
        let lock = locked(&sum(home.path()));
        let packages = Packages::new(None, Some(&home.path().join("data")));
        packages.keep(&lock, &directory).unwrap();
        let checksum = checksum_file(&packages.place(&lock.providers[0]).unwrap());
        fs::remove_file(&checksum).unwrap();
        assert!(!packages.has(&lock.providers[0]), "nobody uses it before its checksum is there");
        packages.keep(&lock, &directory).unwrap();
        assert!(packages.has(&lock.providers[0]));
        let other = locked("h1:patched");
        packages.keep(&other, &directory).unwrap();
        assert!(!packages.has(&other.providers[0]) && packages.has(&lock.providers[0]));
    }

    #[test]
    fn what_is_missing_is_named_and_what_is_damaged_is_removed() {
        let home = tempfile::tempdir().unwrap();
        let directory = installed(home.path());
        let lock = locked(&sum(home.path()));
        let packages = Packages::new(None, Some(&home.path().join("data")));
        let missing: Vec<_> = packages.lay(&lock, home.path()).unwrap().into_iter().map(Locked::short).collect();
        assert_eq!(missing, ["example/tiny 1.2.3"]);
        packages.keep(&lock, &directory).unwrap();
        fs::write(packages.place(&lock.providers[0]).unwrap().join("docs/README"), "tampered\n").unwrap();
        packages.remove_damaged(&lock).unwrap();
        assert!(!packages.has(&lock.providers[0]));
    }

    #[test]
    fn a_mirror_leaves_out_what_the_templates_own_lock_does_not_know() {
        let home = tempfile::tempdir().unwrap();
        let directory = installed(home.path());
        let (mine, other) = (locked(&sum(home.path())), locked("h1:another-platform"));
        let packages = Packages::new(None, Some(&home.path().join("data")));
        packages.mirror(&mine, &home.path().join("empty")).unwrap();
        packages.keep(&mine, &directory).unwrap();
        let in_mirror = |lock: &Lock, name: &str| {
            packages.mirror(lock, &home.path().join(name)).unwrap();
            home.path().join(name).join(SOURCE).join("1.2.3").join(platform()).is_dir()
        };
        assert!(in_mirror(&Lock::default(), "free") && in_mirror(&mine, "same") && !in_mirror(&other, "foreign"));
    }
}
